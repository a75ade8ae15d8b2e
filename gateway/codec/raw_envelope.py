"""The envelope from the headers that `gateway.codec.raw` writes and the content beside them: what a replay reads."""

from collections.abc import Iterable, Mapping

import msgspec
from msgspec import structs

from gateway.codec import raw
from gateway.codec.error import CodecError
from gateway.envelope import (
    Client,
    Container,
    Envelope,
    Flattened,
    Message,
    Metadata,
    Proxy,
    Tls,
    Transaction,
    read_headers,
    read_metadata,
)

__all__ = ["decode"]

_REPEATED = {"mail-rcpt", "mail-keyword", "mail-disposition"}


def decode(headers: Iterable[tuple[str, bytes]], head: bytes) -> Envelope:
    """The inverse of `raw.encode`. `head` is the whole content, or as much of its beginning as `read_headers` takes.

    What no header carries is read again, as it was when the mail came in: the header section from the content, the
    trace from the containers. The disposition is left out; it told of the destination where these headers lay.
    Raises CodecError where a header is missing, comes twice, or is not as `raw.encode` writes it.
    """
    headers = list(headers)
    transaction_envelope, containers = raw.decode(headers)
    fields, is_complete = read_headers(head)
    try:
        texts = _texts(headers)
        keywords = tuple(value.decode() for name, value in headers if name == "mail-keyword")
        envelope = Envelope(
            id=texts["mail-id"],
            received_at=texts["mail-received-at"],
            gateway=texts.get("mail-gateway", ""),
            transaction=_transaction(texts),
            envelope=transaction_envelope,
            metadata=_metadata(containers, keywords),
            message=Message(
                size=int(texts["mail-size"]),
                sha256=texts["mail-sha256"],
                headers=fields,
                headers_complete=is_complete,
                chunks=tuple(map(int, texts.get("mail-chunks", "").split())),
                flattened=_flattened(texts.get("mail-flattened", "")),
            ),
        )
        # The struct's own constructor does not look at patterns and limits.
        return msgspec.convert(msgspec.to_builtins(envelope, builtin_types=(bytes,)), Envelope, builtin_types=(bytes,))
    except KeyError as error:
        raise CodecError(f"the header {error.args[0]} is missing") from error
    except ValueError as error:
        raise CodecError(f"the headers are not those of an envelope: {error}") from error


def _texts(headers: Iterable[tuple[str, bytes]]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for name, value in headers:
        if name.startswith("mail-") and name not in _REPEATED:
            if name in texts:
                raise CodecError(f"the header {name} is there twice")
            texts[name] = value.decode()
    return texts


def _transaction(texts: Mapping[str, str]) -> Transaction:
    tls, _, cipher = texts.get("mail-tls", "").partition(" ")
    address, port = _peer(texts["mail-client"])
    proxy = _peer(texts["mail-proxy"]) if "mail-proxy" in texts else None
    return Transaction(
        protocol=texts.get("mail-protocol", ""),
        listener=texts.get("mail-listener", ""),
        session=texts.get("mail-session", ""),
        client=Client(address=address, port=port),
        hello=texts.get("mail-hello", ""),
        proxy=Proxy(address=proxy[0], port=proxy[1]) if proxy else None,
        tls=Tls(version=tls, cipher=cipher) if "mail-tls" in texts else None,
        authenticated_as=texts.get("mail-authenticated-as", ""),
        extensions=tuple(texts.get("mail-extensions", "").split()),
        body=texts.get("mail-body", ""),
    )


def _peer(text: str) -> tuple[str, int]:
    address, _, port = text.rpartition(" ")
    return address, int(port)


def _metadata(containers: tuple[Container, ...], keywords: tuple[str, ...]) -> Metadata:
    return structs.replace(read_metadata(containers, trusted=False), keywords=keywords)


def _flattened(text: str) -> Flattened | None:
    size, _, sha256 = text.partition(" ")
    return Flattened(size=int(size), sha256=sha256) if text else None
