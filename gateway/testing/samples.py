"""Sample mails: one of each kind that has broken a mail system, as delivery hands them to a connector."""

import hashlib
import io
import os
import tempfile
from datetime import UTC, datetime

from gateway.address import NULL_REVERSE_PATH, Address, parse_path
from gateway.envelope import (
    BLOCK,
    Client,
    Content,
    Envelope,
    Mail,
    Message,
    Parameter,
    Recipient,
    Sender,
    Tls,
    Transaction,
    TransactionEnvelope,
    new_id,
    read_headers,
    read_metadata,
    with_own_trace,
)
from gateway.envelope.flatten import flatten, preserve

__all__ = ["plain_mail", "sample_mails"]

_EVERY_OCTET = bytes(range(256))
_TEXT = b"From: a@example.net\r\nSubject: a sample\r\n\r\nHello.\r\n"
_TRACE = b"Received: from client.example.net by mx.example.org with ESMTPS; Sat, 21 Nov 2026 10:00:00 +0000\r\n"
_CONTAINERS = ((0, _TRACE), (1, b"\\Flagged $Forwarded"), (0xFFFF, _EVERY_OCTET), (2, b""))


def plain_mail() -> Mail:
    """A fresh small mail with nothing special about it; its content is in memory."""
    return preserve(_mail(_TEXT))


def sample_mails() -> dict[str, Mail]:
    """Fresh mails under fresh ids, by what is special about each. The caller closes their contents."""
    header_oddities = b"Subject: caf\xe9\r\nX-Two: 1\r\nX-Two:\r\n\t2\r\nno colon\r\n\r\n\xe9\r\n"
    many = [_recipient(f"r{number}@example.org", "NOTIFY=SUCCESS,FAILURE") for number in range(1000)]
    large = _TEXT + _EVERY_OCTET * (BLOCK // 170)
    received = {
        "plain": _mail(_TEXT),
        "header octets that are not UTF-8": _mail(header_oddities),
        "null reverse-path, to the postmaster": _mail(_TEXT, sender=NULL_REVERSE_PATH, to=[_recipient("Postmaster")]),
        "quoted local-part": _mail(_TEXT, to=[_recipient('"a \\" b@c"@example.org')]),
        "local-part that looks like a path": _mail(_TEXT, to=[_recipient('"../../{id}/%2e%2e;$(id)"@example.org')]),
        "UTF-8 addresses": _mail(
            "Subject: Grüße\r\n\r\n".encode(),
            sender=_address("grüße@bücher.example"),
            to=[_recipient("用户@例子.example", "ORCPT=utf-8;x")],
        ),
        "metadata of every type": _mail(_TEXT, containers=_CONTAINERS),
        "empty content": _mail(b""),
        "binary content in chunks": _mail(_EVERY_OCTET + b"\n.\n\r\n.\r\n\0" + b"x" * 5000, chunks=(256, 0, 5009)),
        "large content in a file": _mail(_file(large), chunks=(len(large),)),
        "a thousand recipients": _mail(_TEXT, to=many),
    }
    samples = {name: preserve(mail) for name, mail in received.items()}
    return {**samples, "metadata flattened": flatten(_mail(_TEXT, containers=_CONTAINERS))}


def _mail(
    content: bytes | Content,
    *,
    sender: Address | None = None,
    to: list[Recipient] | None = None,
    containers: tuple[tuple[int, bytes], ...] = (),
    chunks: tuple[int, ...] = (),
) -> Mail:
    if isinstance(content, bytes):
        content = Content(content)
    headers, headers_complete = read_headers(content.read(BLOCK))
    envelope = Envelope(
        id=new_id(),
        received_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        gateway="mx.example.org",
        transaction=Transaction(
            protocol="ESMTPS",
            listener="mx",
            session="sample",
            client=Client(address="192.0.2.1", port=50123),
            hello="client.example.net",
            tls=Tls(version="TLSv1.3", cipher="TLS_AES_256_GCM_SHA384"),
            extensions=("CHUNKING", "METADATA", "SMTPUTF8"),
            body="BINARYMIME" if chunks else "8BITMIME",
        ),
        envelope=TransactionEnvelope(
            mail_from=Sender(
                address=_address("a@example.net") if sender is None else sender,
                parameters=(Parameter(keyword="SMTPUTF8"), Parameter(keyword="SIZE", value=str(content.size))),
            ),
            recipients=tuple(to or [_recipient("b@example.org")]),
        ),
        metadata=read_metadata(with_own_trace(_TRACE, containers), trusted=True),
        message=Message(
            size=content.size,
            sha256=hashlib.sha256(content.read()).hexdigest(),
            headers=headers,
            headers_complete=headers_complete,
            chunks=chunks,
        ),
    )
    return Mail(envelope, content)


def _recipient(path: str, *parameters: str) -> Recipient:
    pairs = [parameter.partition("=") for parameter in parameters]
    return Recipient(
        address=_address(path), parameters=tuple(Parameter(keyword=keyword, value=value) for keyword, _, value in pairs)
    )


def _address(path: str) -> Address:
    return parse_path(path.encode(), utf8=True)


def _file(octets: bytes) -> Content:
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(octets)
        return Content(file=io.FileIO(os.dup(file.fileno())))
