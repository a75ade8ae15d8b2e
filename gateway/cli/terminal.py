"""What strangers wrote, in forms that a terminal shows and does not obey."""

import json
import sys
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from typing import Any

__all__ = ["decoded", "json_line", "printable"]


def printable(text: str) -> str:
    """The text on one line, with `?` for whatever the terminal would obey or standard output cannot write."""
    if text.isascii() and text.isprintable():
        return text
    shown = "".join(character if character.isprintable() else "?" for character in text)
    encoding = sys.stdout.encoding or "utf-8"
    return shown.encode(encoding, "replace").decode(encoding)


def decoded(value: str) -> str:
    """A header field's value without folding, and with its encoded words (RFC 2047) read where they can be."""
    unfolded = value.replace("\r\n", "").strip()
    try:
        # What cannot be decoded is shown as it stands; the raw form is in the envelope.
        return str(make_header(decode_header(unfolded)))
    except (HeaderParseError, LookupError, ValueError):
        return unfolded


def json_line(value: Any) -> str:
    """One JSON object on one line of printable ASCII."""
    return json.dumps(value, separators=(",", ":")).replace("\x7f", "\\u007f")
