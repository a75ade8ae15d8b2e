"""Header fields and addresses of a notification, whose words come from strangers and may say nothing else.

All that a notification says stands in fields that `field` has written, or in lines that `one_line` has: neither can be
made to end early.
"""

import re

__all__ = ["field", "final_recipient", "one_line", "seven_bit"]

# RFC 5322 §2.1.1, without the CRLF.
_LINE_OCTETS = 998
# However many octets UTF-8 has for each, so many characters fit a line.
_PIECE_CHARACTERS = 240

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")
# RFC 6533 §3: what is no QCHAR.
_NO_QCHAR = re.compile(r"[^\x21-\x2a\x2c-\x3c\x3e-\x5b\x5d-\x7e]")


def field(name: str, value: str) -> bytes:
    """The field with its CRLF, in UTF-8; control characters become question marks, and no line is too long."""
    line = one_line(f"{name}: {value}")
    octets = line.encode(errors="replace")
    if len(octets) > _LINE_OCTETS:
        # Only an address beyond all measure comes here: folding puts white space into it, which is the lesser evil.
        starts = range(0, len(line), _PIECE_CHARACTERS)
        octets = "\r\n ".join(line[start : start + _PIECE_CHARACTERS] for start in starts).encode(errors="replace")
    return octets + b"\r\n"


def one_line(text: str) -> str:
    """The text with question marks for control characters, line ends among them."""
    return _CONTROL.sub("?", text)


def seven_bit(text: str) -> str:
    r"""The text with `\x{…}` (RFC 6533 §3) in place of what is not printable ASCII; what is so already stays."""
    return _UNPRINTABLE.sub(_embedded, text)


def final_recipient(raw: str) -> str:
    """A path with its address type: `rfc822` (RFC 3461 §6.3), or the 7-bit form of `utf-8` (RFC 6533 §3)."""
    return f"rfc822; {raw}" if raw.isascii() else f"utf-8; {_NO_QCHAR.sub(_embedded, raw)}"


def _embedded(match: re.Match[str]) -> str:
    return f"\\x{{{ord(match[0]):02X}}}"
