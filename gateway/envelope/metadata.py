"""Metadata containers (MD00 §3.1): from what BMTD brought to the envelope's `Metadata`, as pure functions.

In the order in which a mail passes them: `decode_container` takes the two type octets off, `with_own_trace` puts this
gateway's own trace first and numbers them all, `read_metadata` adds the views. Containers stay verbatim; the views are
bounded, for a stranger's container may hold anything.
"""

import re
from collections.abc import Iterable

from gateway.envelope.headers import MAXIMUM_FIELDS, MAXIMUM_OCTETS, read_headers
from gateway.envelope.model import Container, Header, Metadata, Origin

__all__ = [
    "KEYWORDS",
    "TRACE",
    "decode_container",
    "encode_container",
    "keyword_view",
    "read_metadata",
    "trace_view",
    "with_own_trace",
]

TRACE = 0
KEYWORDS = 1

_MAXIMUM_KEYWORDS = 32
_MAXIMUM_KEYWORD_OCTETS = 64
# Far more than the accepted keywords can fill; what lies beyond is not looked at.
_KEYWORD_OCTETS_READ = 8_192

# RFC 3501 §9: flag = "\" atom / atom.
_KEYWORD = re.compile(rb"\\?[!#$&'+-\[^-z|}~]+")
# RFC 3501 §2.3.2: no client may set \Recent. The others hide a mail or train a filter, so strangers may not set those.
_NEVER = frozenset({"\\recent"})
_NOT_BY_STRANGERS = _NEVER | {
    "\\deleted",
    "\\seen",
    "\\draft",
    "$junk",
    "$notjunk",
    "$phishing",
    "nonjunk",
    "junk",
}


def decode_container(octets: bytes) -> tuple[int, bytes]:
    """The type and the data of a container as BMTD carries it.

    Raises ValueError for fewer than the two octets of a type.
    """
    if len(octets) < 2:
        raise ValueError(f"a container has at least the two octets of its type, this one has {len(octets)}")
    return int.from_bytes(octets[:2]), octets[2:]


def encode_container(container: Container) -> bytes:
    """The octets that BMTD carries: the type in network byte order, then the data."""
    return container.type.to_bytes(2) + container.data


def with_own_trace(own: bytes, received: Iterable[tuple[int, bytes]]) -> tuple[Container, ...]:
    """All containers of a mail: this gateway's own trace fields, then the received ones, (type, data) in BMTD order."""
    # MD00 §4.1: own trace is a container before all others; with flattening that yields newest first (RFC 5321 §4.4).
    first = Container(index=0, type=TRACE, origin=Origin.GATEWAY, data=own)
    return (
        first,
        *(
            Container(index=index, type=type_, origin=Origin.RECEIVED, data=data)
            for index, (type_, data) in enumerate(received, 1)
        ),
    )


def read_metadata(containers: tuple[Container, ...], *, trusted: bool) -> Metadata:
    """The containers and the views of them. `trusted` peers may set the flags that hide a mail or mark it as junk."""
    trace, trace_complete = trace_view(containers)
    return Metadata(
        containers=containers,
        trace=trace,
        trace_complete=trace_complete,
        keywords=keyword_view(containers, trusted=trusted),
    )


def trace_view(containers: Iterable[Container]) -> tuple[tuple[Header, ...], bool]:
    """The header fields of the type 0 containers from top to bottom, and whether they are all.

    The view has as many fields as the header section of a content may have, and reads as many octets.
    """
    headers: list[Header] = []
    octets_left = MAXIMUM_OCTETS
    for container in containers:
        if container.type == TRACE:
            fields, complete = read_headers(container.data, octets_left)
            headers += fields
            octets_left = max(0, octets_left - len(container.data))
            if not complete or len(headers) > MAXIMUM_FIELDS:
                return tuple(headers[:MAXIMUM_FIELDS]), False
    return tuple(headers), True


def keyword_view(containers: Iterable[Container], *, trusted: bool) -> tuple[str, ...]:
    r"""The IMAP flags of the type 1 container that a mail store may set, each once, as they were written.

    MD00 §5: a flag that is malformed or not allowed is ignored, never an error. Allowed are the first 32 of up to 64
    octets; never `\Recent`, and from a peer that is not `trusted` none that hides a mail or says what is junk.
    """
    refused = _NEVER if trusted else _NOT_BY_STRANGERS
    found: dict[str, str] = {}
    for container in containers:
        if container.type == KEYWORDS:
            for octets in _words(container.data):
                if len(octets) <= _MAXIMUM_KEYWORD_OCTETS and _KEYWORD.fullmatch(octets):
                    keyword = octets.decode("ascii")
                    found.setdefault(keyword.lower(), keyword)
    return tuple(keyword for folded, keyword in found.items() if folded not in refused)[:_MAXIMUM_KEYWORDS]


def _words(data: bytes) -> list[bytes]:
    words = data[:_KEYWORD_OCTETS_READ].rstrip(b"\r\n").split(b" ")
    return words[:-1] if len(data) > _KEYWORD_OCTETS_READ else words
