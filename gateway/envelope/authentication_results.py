"""Authentication-Results that strangers forge (RFC 8601 §5).

A reader believes the field where it names the authentication service of its own network. So a field that names this
gateway's, but came from outside, is taken out of the trace containers before the gateway adds its own. The content is
not touched: its octets are what signatures were made over.
"""

import re
from collections.abc import Iterable

from gateway.envelope.content import Content
from gateway.envelope.headers import field_spans
from gateway.envelope.metadata import TRACE
from gateway.header_text import colon_of

__all__ = ["without_own_results"]

_NAME = b"authentication-results"
# Comments before the identifier may be this long; nobody writes any.
_OCTETS_READ = 1_024
# RFC 8601 §2.2: authserv-id is a value of RFC 2045 §5.1, a token or a quoted-string.
_IDENTIFIER = re.compile(rb'"((?:[^"\\]++|\\.)*+)"|([^\s;()"]++)', re.DOTALL)
_QUOTED_PAIR = re.compile(rb"\\(.)", re.DOTALL)


def without_own_results(received: Iterable[tuple[int, bytes]], authserv_id: str) -> tuple[tuple[int, bytes], ...]:
    """The containers of an untrusted peer, as (type, data), without the results that claim to be `authserv_id`'s.

    A field whose identifier cannot be read goes too: its next reader may be able to. A container that had nothing else
    is left out; all other octets stay as they are.
    """
    own = authserv_id.encode().lower()
    kept = []
    for type_, data in received:
        honest = _without_results_of(own, data) if type_ == TRACE else data
        if honest or not data:
            kept.append((type_, honest))
    return tuple(kept)


def _without_results_of(own: bytes, data: bytes) -> bytes:
    if _NAME not in data.lower():
        return data
    forged = tuple(
        (start, end)
        for start, end in field_spans(data, _NAME, len(data))
        if _identifier(data[start : min(end, start + _OCTETS_READ)]) in (own, b"")
    )
    return Content(data).derive(omit=forged).read() if forged else data


def _identifier(field: bytes) -> bytes:
    """The authserv-id in lower case; empty when there is none to read."""
    match = _IDENTIFIER.match(field, _after_comments(field, colon_of(field) + 1))
    if match is None or match.end() == _OCTETS_READ:
        return b""
    quoted, token = match.groups()
    return (token or _QUOTED_PAIR.sub(rb"\1", quoted)).lower()


def _after_comments(field: bytes, position: int) -> int:
    """Where the first word after `position` begins, with white space and comments (RFC 5322 §3.2.2) skipped."""
    depth = 0
    while position < len(field):
        octet = field[position : position + 1]
        if octet == b"(":
            depth += 1
        elif octet == b")" and depth:
            depth -= 1
        elif octet == b"\\" and depth:
            position += 1
        elif not depth and not octet.isspace():
            break
        position += 1
    return position
