"""Sample mails: one of each kind that has broken a mail system, as delivery hands them to a connector."""

import hashlib
import io
import os
import tempfile
from datetime import UTC, datetime

from msgspec import structs

from gateway.address import NULL_REVERSE_PATH, Address, parse_path
from gateway.envelope import (
    BLOCK,
    Action,
    Client,
    Container,
    Content,
    Disposition,
    Envelope,
    Flattened,
    Header,
    Mail,
    Message,
    Metadata,
    Origin,
    Parameter,
    Recipient,
    Sender,
    Tls,
    Transaction,
    TransactionEnvelope,
    new_id,
)

__all__ = ["plain_mail", "sample_mails"]

_ALL_OCTETS = bytes(range(256))
_TEXT = b"From: a@example.net\r\nSubject: a sample\r\n\r\nHello.\r\n"
_TEXT_HEADERS = (Header(name="From", value=" a@example.net"), Header(name="Subject", value=" a sample"))
_TRACE = b"Received: from client.example.net by mx.example.org with ESMTP; Sat, 21 Nov 2026 10:00:00 +0000\r\n"
_TRACE_HEADER = Header(name="Received", value=_TRACE[len(b"Received:") : -len(b"\r\n")].decode())


def sample_mails() -> dict[str, Mail]:
    """Fresh mails under fresh ids, by what is special about each. The caller closes their contents."""
    return {
        "plain": plain_mail(),
        "header octets that are not UTF-8": _mail(
            b"Subject: caf\xe9\r\nX-Two: 1\r\nX-Two: 2\r\nno colon\r\n\r\n\xe9\r\n",
            headers=(
                Header(name="Subject", value=" caf\ufffd", raw=b" caf\xe9"),
                Header(name="X-Two", value=" 1"),
                Header(name="X-Two", value=" 2"),
                Header(name="", value="no colon"),
            ),
        ),
        "null reverse-path, to the postmaster": _mail(
            _TEXT, sender=NULL_REVERSE_PATH, recipients=(_recipient("Postmaster"),), headers=_TEXT_HEADERS
        ),
        "quoted local-part": _mail(_TEXT, recipients=(_recipient('"a \\" b@c"@example.org'),), headers=_TEXT_HEADERS),
        "local-part that is a path": _mail(
            _TEXT, recipients=(_recipient('"../../{id}/%2e%2e;$(id)"@example.org'),), headers=_TEXT_HEADERS
        ),
        "UTF-8 addresses": _mail(
            "Subject: Grüße\r\n\r\n".encode(),
            sender=_address("grüße@bücher.example"),
            recipients=(_recipient("用户@例子.example"),),
            headers=(Header(name="Subject", value=" Grüße"),),
        ),
        "metadata of every type": _mail(_TEXT, metadata=_every_metadata(), headers=_TEXT_HEADERS),
        "metadata flattened": _flattened_mail(),
        "empty content": _mail(b""),
        "binary content in chunks": _mail(_ALL_OCTETS + b"\n.\n\r\n.\r\n\0" + b"x" * 5000, chunks=(256, 0, 5008)),
        "large content in a file": _mail(_file(_TEXT + _ALL_OCTETS * (BLOCK // 170)), headers=_TEXT_HEADERS),
        "a thousand recipients": _mail(
            _TEXT,
            recipients=tuple(
                _recipient(f"r{number}@example.org", Parameter(keyword="NOTIFY", value="SUCCESS,FAILURE"))
                for number in range(1000)
            ),
            headers=_TEXT_HEADERS,
        ),
    }


def plain_mail() -> Mail:
    """A fresh small mail with nothing special about it; its content is in memory."""
    return _mail(_TEXT, headers=_TEXT_HEADERS)


def _mail(
    content: bytes | Content,
    *,
    sender: Address | None = None,
    recipients: tuple[Recipient, ...] = (),
    headers: tuple[Header, ...] = (),
    metadata: Metadata | None = None,
    chunks: tuple[int, ...] = (),
) -> Mail:
    if isinstance(content, bytes):
        content = Content(content)
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
            recipients=recipients or (_recipient("b@example.org"),),
        ),
        metadata=metadata or Metadata(),
        message=Message(size=content.size, sha256=_sha256(content), headers=headers, chunks=chunks),
    )
    return Mail(envelope, content)


def _every_metadata() -> Metadata:
    containers = (
        Container(index=0, type=0, origin=Origin.GATEWAY, data=_TRACE),
        Container(index=1, type=0, origin=Origin.RECEIVED, data=_TRACE),
        Container(index=2, type=1, origin=Origin.RECEIVED, data=b"\\Flagged $Forwarded"),
        Container(index=3, type=0xFFFF, origin=Origin.RECEIVED, data=_ALL_OCTETS),
        Container(index=4, type=2, origin=Origin.RECEIVED, data=b""),
    )
    return Metadata(
        containers=containers,
        trace=(_TRACE_HEADER, _TRACE_HEADER),
        keywords=("\\Flagged", "$Forwarded"),
        disposition=tuple(_disposition(container, Action.CARRIED) for container in containers),
    )


def _flattened_mail() -> Mail:
    own = Container(index=0, type=0, origin=Origin.GATEWAY, data=_TRACE)
    other = Container(index=1, type=0x1234, origin=Origin.RECEIVED, data=_ALL_OCTETS)
    disposition = (_disposition(own, Action.FLATTENED), _disposition(other, Action.DISCARDED))
    received = _mail(_TEXT, headers=_TEXT_HEADERS, metadata=Metadata(disposition=disposition))
    content = received.content.derive(prefix=b"Return-Path: <a@example.net>\r\n" + _TRACE)
    message = structs.replace(
        received.envelope.message, flattened=Flattened(size=content.size, sha256=_sha256(content))
    )
    return Mail(structs.replace(received.envelope, message=message), content)


def _disposition(container: Container, action: Action) -> Disposition:
    return Disposition(index=container.index, type=container.type, size=len(container.data), action=action)


def _recipient(path: str, *parameters: Parameter) -> Recipient:
    return Recipient(address=_address(path), parameters=parameters)


def _address(path: str) -> Address:
    return parse_path(path.encode(), utf8=True)


def _file(octets: bytes) -> Content:
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(octets)
        return Content(file=io.FileIO(os.dup(file.fileno()), "r+"))


def _sha256(content: Content) -> str:
    digest = hashlib.sha256()
    for block in content.blocks():
        digest.update(block)
    return digest.hexdigest()
