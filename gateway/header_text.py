"""The grammar of a header section (RFC 5322 §2.2, §4.5), in octets: where it ends, its fields, the names of those.

Only CRLF ends a line here, as everywhere in SMTP: a bare CR or LF belongs to the field in which it stands. Everything
that reads header text stands on this module, so that no two places can disagree about what a field is. All of it takes
linear time, also on hostile text: the patterns have one way to match and cannot backtrack.
"""

import re

from gateway.line_ends import has_bare

__all__ = ["check_trace_fields", "colon_of", "section_end", "split_fields"]

# RFC 5322 §2.2.3: a line that begins with white space continues the field above it.
_FIELD_END = re.compile(rb"\r\n(?![ \t])")
# RFC 5322 §3.6.8 ftext; §4.5 lets white space stand before the colon.
_FIELD_START = re.compile(rb"[!-9;-~]++[ \t]*+:")

_NOT_A_FIELD = re.compile(rb"\r\n(?![ \t]|[!-9;-~]++:|\Z)")
_NO_TRACE = re.compile(
    rb"\r\n(From|Sender|Reply-To|To|Cc|Bcc|Subject|Date|Message-ID|In-Reply-To|References"
    rb"|(?:MIME|Content)-[!-9;-~]*+):",
    re.IGNORECASE,
)


def section_end(octets: bytes) -> int:
    """Where the empty line that ends the header section begins; -1 when `octets` have none."""
    if octets.startswith(b"\r\n"):
        return 0
    found = octets.find(b"\r\n\r\n")
    return found if found < 0 else found + 2


def split_fields(section: bytes) -> list[bytes]:
    """The fields of a section that has no empty line, in order, each with its folding and without its final CRLF."""
    fields = _FIELD_END.split(section)
    if not fields[-1]:
        fields.pop()
    return fields


def colon_of(field: bytes) -> int:
    """Where the colon after the field's name stands; 0 when the line is no header field."""
    match = _FIELD_START.match(field)
    return match.end() - 1 if match else 0


def check_trace_fields(data: bytes) -> str:
    """What keeps the data of a type 0 container from being trace fields, as one clause; empty when nothing does.

    The data are complete header fields that would stand above a message's own: a structure that would end or alter
    that header section is wrong, and so is a field that would speak for the author (From, Subject, Content-Type, …).
    What a field says is not judged (RFC 5321 §3.7.2); a missing CRLF at the very end is no fault.
    """
    if not data:
        return ""
    if data[0] in b" \t":
        return "it begins with a continuation line"
    if has_bare(data):
        return "it has a bare CR or LF"
    if b"\0" in data:
        return "it has a NUL"
    if section_end(data) >= 0:
        return "it has an empty line"
    lines = b"\r\n" + data
    if _NOT_A_FIELD.search(lines):
        return "it has a line that is no header field"
    if author := _NO_TRACE.search(lines):
        return f"it has the field {author[1][:40].decode('ascii')}, which is no trace field"
    return ""
