"""Header sections as values: every field in order, duplicates and oddities kept, octet for octet.

`read_headers` runs once for every mail. It bounds itself to the beginning of the content and says so when the header
section was longer; `write_header` is its inverse. What a field is, `gateway.header_text` knows.
"""

from collections.abc import Iterable

from gateway.envelope.model import Header
from gateway.header_text import colon_of, section_end, split_fields

__all__ = [
    "MAXIMUM_FIELDS",
    "MAXIMUM_HOPS",
    "MAXIMUM_OCTETS",
    "count_received",
    "field_spans",
    "head_fields",
    "is_named",
    "read_fields",
    "read_headers",
    "write_header",
]

MAXIMUM_OCTETS = 102_400
MAXIMUM_FIELDS = 1_000
# RFC 5321 §6.3: at least 100 hops must be allowed.
MAXIMUM_HOPS = 100


def read_headers(head: bytes, limit: int = MAXIMUM_OCTETS) -> tuple[tuple[Header, ...], bool]:
    """The header fields at the beginning of a content, and whether they are all.

    `head` is the whole content or more than `limit` octets of it. False comes with the fields that lie wholly within
    the first `limit` octets, or with the first MAXIMUM_FIELDS of them.
    """
    fields, complete = head_fields(head, limit)
    if len(fields) > MAXIMUM_FIELDS:
        return read_fields(fields[:MAXIMUM_FIELDS]), False
    return read_fields(fields), complete


def head_fields(head: bytes, limit: int = MAXIMUM_OCTETS) -> tuple[list[bytes], bool]:
    """The fields of a header section in octets, each without its final CRLF, and whether they are all.

    `head` is the whole content or more than `limit` octets of it.
    """
    section = head[:limit]
    end = section_end(section)
    if end >= 0:
        return split_fields(section[:end]), True
    fields = split_fields(section)
    if len(head) <= limit:
        return fields, True
    # The last field may go on beyond the limit, even where its line is complete: the next one may continue it.
    return fields[:-1], False


def read_fields(fields: Iterable[bytes]) -> tuple[Header, ...]:
    """The values of fields that `split_fields` separated.

    A name stands as it came, with the white space that obsolete syntax allows after it (RFC 5322 §4.5).
    """
    headers = []
    for field in fields:
        colon = colon_of(field)
        # Without a colon it is all value. A name is ASCII, and as long in characters as in octets.
        value = colon + 1 if colon else 0
        try:
            text = field.decode()
            headers.append(Header(name=text[:colon], value=text[value:]))
        except UnicodeDecodeError:
            octets = field[value:]
            name = field[:colon].decode("ascii")
            headers.append(Header(name=name, value=octets.decode(errors="replace"), raw=octets))
    return tuple(headers)


def write_header(header: Header) -> bytes:
    """The field as it stood in the header section, with its final CRLF."""
    octets = header.raw or header.value.encode()
    if header.name:
        return b"%b:%b\r\n" % (header.name.encode("ascii"), octets)
    return octets + b"\r\n"


def is_named(header: Header, name: str) -> bool:
    """Whether the field has this name; `name` is in lower case."""
    return header.name.rstrip(" \t").lower() == name


def count_received(headers: Iterable[Header]) -> int:
    """How many Received fields there are: the hops that a mail has behind it (RFC 5321 §6.3)."""
    return sum(is_named(header, "received") for header in headers)


def field_spans(head: bytes, name: bytes, limit: int = MAXIMUM_OCTETS) -> tuple[tuple[int, int], ...]:
    """Where the fields of one name begin and end, final CRLF included, within the first `limit` octets.

    `head` is as for `read_headers`; `name` is in lower case.
    """
    spans = []
    position = 0
    for field in head_fields(head, limit)[0]:
        end = min(position + len(field) + 2, len(head))
        if field[: len(name)].lower() == name and field[: colon_of(field)].rstrip(b" \t").lower() == name:
            spans.append((position, end))
        position = end
    return tuple(spans)
