"""What a server offers: the lines of its reply to EHLO or LHLO (RFC 5321 §4.1.1.1) as a mapping."""

from collections.abc import Mapping

from gateway.smtp.reply import Reply

__all__ = ["Capabilities", "read_capabilities"]

Capabilities = Mapping[str, tuple[str, ...]]
"""Keywords, in upper case, and the parameters behind each."""


def read_capabilities(reply: Reply) -> Capabilities:
    """Read the lines after the first, which is the server's greeting. A keyword said twice counts as last said."""
    found: dict[str, tuple[str, ...]] = {}
    for line in reply.lines[1:]:
        words = line.split()
        if words:
            found[words[0].upper()] = tuple(words[1:])
    return found
