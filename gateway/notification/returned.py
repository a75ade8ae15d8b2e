"""The last part of a notification: the mail it is about, or its header section (RFC 6522, RFC 6533 §4).

Either is the flattened form, so that the way the mail took can be seen.
"""

import base64
import re

from msgspec import Struct

from gateway.envelope import Mail
from gateway.envelope.flatten import relay_form
from gateway.envelope.headers import MAXIMUM_OCTETS, head_fields
from gateway.header_text import colon_of, section_end
from gateway.line_ends import has_bare

__all__ = ["Part", "is_lines", "returned_headers", "returned_mail"]

# A sender that sent more has a copy, and the next hop its limit.
_MOST_OCTETS = 1024 * 1024
# RFC 5322 §2.1.1. Two patterns, of which the second is looked for only where its line feed is.
_LONG_FIRST_LINE = re.compile(rb"[^\r\n]{999}")
_LONG_LINE = re.compile(rb"\n[^\r\n]{999}")


class Part(Struct, frozen=True):
    """One part of the report: its media type, its Content-Transfer-Encoding, and its octets so encoded."""

    media_type: str
    encoding: str
    octets: bytes


def returned_mail(mail: Mail, *, utf8: bool) -> Part:
    """The whole mail; its header section where it is above 1 MiB, or is not lines that any server takes.

    With `utf8` the notification goes by SMTPUTF8, so that UTF-8 in header fields may stand as it is.
    `mail` has its containers: it is not flattened. Raises OSError where the content cannot be read.
    """
    form = relay_form(mail.envelope.metadata.containers, mail.content)
    if form.size > _MOST_OCTETS:
        return returned_headers(mail, utf8=utf8)
    octets = form.read()
    if not is_lines(octets):
        return returned_headers(mail, utf8=utf8)
    if octets.isascii():
        return Part("message/rfc822", "7bit", octets)
    end = section_end(octets)
    head = octets if end < 0 else octets[:end]
    if _is_global(mail, head):
        return _global("message/global", octets, utf8=utf8)
    return Part("message/rfc822", "8bit", octets)


def returned_headers(mail: Mail, *, utf8: bool, most_octets: int = MAXIMUM_OCTETS) -> Part:
    """The fields in the first so many octets of the header section. Otherwise as `returned_mail`."""
    form = relay_form(mail.envelope.metadata.containers, mail.content)
    fields, _ = head_fields(form.read(most_octets + 1), most_octets)
    # Lines that are no fields are what a content without a header section begins with.
    octets = b"".join(b"%b\r\n" % field for field in fields if colon_of(field))
    if octets.isascii() and is_lines(octets):
        return Part("text/rfc822-headers", "7bit", octets)
    if _is_utf8(octets) and is_lines(octets):
        return _global("message/global-headers", octets, utf8=utf8)
    return Part("text/rfc822-headers", "base64", _base64(octets))


def is_lines(octets: bytes) -> bool:
    """Whether any server takes this as the lines of a mail: no bare CR or LF, no NUL, no line above 998 octets."""
    return (
        not has_bare(octets)
        and b"\0" not in octets
        and not _LONG_FIRST_LINE.match(octets)
        and not _LONG_LINE.search(octets)
    )


def _is_global(mail: Mail, head: bytes) -> bool:
    # UTF-8 may also stand in the header fields of body parts, which SMTPUTF8 announces and nobody looks for here.
    announced = any(
        parameter.keyword.upper() == "SMTPUTF8" for parameter in mail.envelope.envelope.mail_from.parameters
    )
    return announced or (not head.isascii() and _is_utf8(head))


def _is_utf8(octets: bytes) -> bool:
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True


def _global(media_type: str, octets: bytes, *, utf8: bool) -> Part:
    # RFC 6533 §4.5: whether the way back takes UTF-8 in header fields is known only where it has to.
    return Part(media_type, "8bit", octets) if utf8 else Part(media_type, "base64", _base64(octets))


def _base64(octets: bytes) -> bytes:
    return base64.encodebytes(octets).replace(b"\n", b"\r\n")
