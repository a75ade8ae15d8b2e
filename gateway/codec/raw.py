"""The envelope as headers beside a body that is the content itself (`message/rfc822`), as Kafka and HTTP carry it.

    mail-id  mail-received-at  mail-gateway          as in the envelope
    mail-from                                        the argument of MAIL: `<a@example.net> BODY=8BITMIME SMTPUTF8`
    mail-rcpt                                        the argument of RCPT, one header per recipient, in order
    mail-protocol  mail-listener  mail-session  mail-hello  mail-authenticated-as  mail-body
    mail-client  mail-proxy                          address and port: `2001:db8::1 50123`
    mail-tls                                         version and cipher
    mail-extensions  mail-chunks                     words
    mail-size  mail-sha256                           of the content as received
    mail-flattened                                   size and SHA-256 of the body, where it is the flattened form
    mail-keyword                                     one header per IMAP flag
    bmtd-0000  bmtd-0001  …                          one header per container: two octets of type, then the data; the
                                                     first is this gateway's own trace, the others came with the mail
    mail-disposition                                 `<index> <type> <size> <action>`, one header per container that is
                                                     not carried

Values are UTF-8, but for the containers, which are octets. A header whose value would be empty is left out. The header
fields of the mail are not repeated: they begin the body.
"""

import re
from collections.abc import Iterable

from gateway.address import Address, AddressSyntaxError, parse_path
from gateway.codec.bmtd import read_blocks
from gateway.codec.error import CodecError
from gateway.envelope import (
    Action,
    Container,
    Envelope,
    Parameter,
    Recipient,
    Sender,
    TransactionEnvelope,
    encode_container,
)

__all__ = ["decode", "encode", "encode_in_brief"]

_PATH = re.compile(r'<((?:[^">]++|"(?:[^"\\]++|\\.)*+")*+)>')


def encode(envelope: Envelope) -> list[tuple[str, bytes]]:
    """The headers in order; a name may come many times."""
    transaction, message, metadata = envelope.transaction, envelope.message, envelope.metadata
    client, proxy, tls, flattened = transaction.client, transaction.proxy, transaction.tls, message.flattened
    texts = [
        ("mail-id", envelope.id),
        ("mail-received-at", envelope.received_at),
        ("mail-gateway", envelope.gateway),
        ("mail-from", _argument(envelope.envelope.mail_from)),
        *(("mail-rcpt", _argument(recipient)) for recipient in envelope.envelope.recipients),
        ("mail-protocol", transaction.protocol),
        ("mail-listener", transaction.listener),
        ("mail-session", transaction.session),
        ("mail-client", f"{client.address} {client.port}"),
        ("mail-hello", transaction.hello),
        ("mail-proxy", f"{proxy.address} {proxy.port}" if proxy else ""),
        ("mail-tls", f"{tls.version} {tls.cipher}" if tls else ""),
        ("mail-authenticated-as", transaction.authenticated_as),
        ("mail-extensions", " ".join(transaction.extensions)),
        ("mail-body", transaction.body),
        ("mail-size", str(message.size)),
        ("mail-sha256", message.sha256),
        ("mail-chunks", " ".join(map(str, message.chunks))),
        ("mail-flattened", f"{flattened.size} {flattened.sha256}" if flattened else ""),
        *(("mail-keyword", keyword) for keyword in metadata.keywords),
        *(
            ("mail-disposition", f"{done.index} {done.type} {done.size} {done.action}")
            for done in metadata.disposition
            if done.action is not Action.CARRIED
        ),
    ]
    headers = [(name, text.encode()) for name, text in texts if text]
    headers += [(_container_name(container.index), encode_container(container)) for container in metadata.containers]
    return headers


def encode_in_brief(envelope: Envelope) -> list[tuple[str, bytes]]:
    """Only which mail it is, from whom and for whom: `mail-id`, `mail-from` and `mail-rcpt`, as `encode` has them."""
    transaction = envelope.envelope
    return [
        ("mail-id", envelope.id.encode()),
        ("mail-from", _argument(transaction.mail_from).encode()),
        *[("mail-rcpt", _argument(recipient).encode()) for recipient in transaction.recipients],
    ]


def decode(headers: Iterable[tuple[str, bytes]]) -> tuple[TransactionEnvelope, tuple[Container, ...]]:
    """What it takes to send the mail again: originator and recipients with their parameters, and the containers.

    Headers of other names are left alone. Raises CodecError where one of these is missing or not as `encode` writes it.
    """
    senders: list[Sender] = []
    recipients: list[Recipient] = []
    blocks: list[bytes] = []
    for name, value in headers:
        if name == "mail-from":
            address, parameters = _read_argument(name, value)
            senders.append(Sender(address=address, parameters=parameters))
        elif name == "mail-rcpt":
            address, parameters = _read_argument(name, value)
            recipients.append(Recipient(address=address, parameters=parameters))
        elif name.startswith("bmtd-"):
            if name != _container_name(len(blocks)):
                raise CodecError(f"{name} stands where {_container_name(len(blocks))} should")
            blocks.append(value)
    if len(senders) != 1 or not recipients:
        raise CodecError("there must be one mail-from and at least one mail-rcpt")
    return TransactionEnvelope(mail_from=senders[0], recipients=tuple(recipients)), read_blocks(blocks)


def _container_name(index: int) -> str:
    return f"bmtd-{index:04}"


def _argument(path: Sender | Recipient) -> str:
    """The argument of MAIL or RCPT (RFC 5321 §4.1.2): the path, then its parameters."""
    words = [f"<{path.address.raw}>"]
    words += [f"{p.keyword}={p.value}" if p.value else p.keyword for p in path.parameters]
    return " ".join(words)


def _read_argument(name: str, value: bytes) -> tuple[Address, tuple[Parameter, ...]]:
    try:
        text = value.decode()
        path = _PATH.match(text)
        if path is None:
            raise CodecError(f"{name} does not begin with a path in angle brackets")
        address = parse_path(path[1].encode(), utf8=True)
    except (UnicodeDecodeError, AddressSyntaxError) as error:
        raise CodecError(f"{name} has no address of RFC 5321: {error}") from error
    parameters = (word.partition("=") for word in text[path.end() :].split(" ") if word)
    return address, tuple(Parameter(keyword=keyword, value=value) for keyword, _, value in parameters)
