"""SMTP and LMTP (RFC 2033) as data: all that differs between them."""

from dataclasses import dataclass

__all__ = ["DIALECTS", "LMTP", "SMTP", "Dialect"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """`hello` and `extended_hello` are the greeting verbs; a client may only use extensions after the extended one."""

    name: str
    hello: frozenset[bytes]
    extended_hello: bytes
    reply_per_recipient: bool

    def protocol(self, *, extended: bool, utf8: bool, tls: bool, authenticated: bool) -> str:
        """The protocol type for the `with` clause of a Received field (RFC 3848, RFC 6531 §4.3)."""
        if self.name == "SMTP" and not extended:
            return "SMTP"
        base = ("UTF8" if utf8 else "E" if self.name == "SMTP" else "") + self.name
        return base + ("S" if tls else "") + ("A" if authenticated else "")


SMTP = Dialect(name="SMTP", hello=frozenset({b"EHLO", b"HELO"}), extended_hello=b"EHLO", reply_per_recipient=False)
# RFC 2033 §4.1 and §4.2: LHLO in place of EHLO and HELO; after the content, one reply for each accepted recipient.
LMTP = Dialect(name="LMTP", hello=frozenset({b"LHLO"}), extended_hello=b"LHLO", reply_per_recipient=True)

DIALECTS = {"smtp": SMTP, "lmtp": LMTP}
