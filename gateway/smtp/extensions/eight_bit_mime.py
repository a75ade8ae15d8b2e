"""8-bit MIME transport (RFC 6152). Content is octets here either way; BODY is kept in the envelope for the next hop."""

from gateway.smtp.extension import Extension

__all__ = ["EightBitMime"]


class EightBitMime(Extension):
    """8BITMIME."""

    name = "8bit-MIMEtransport"
    keyword = "8BITMIME"
    mail_octets = 17

    def __init__(self) -> None:
        self.mail_parameters = {"BODY": _check_body}


def _check_body(value: str) -> str:
    return "" if value.upper() in ("7BIT", "8BITMIME") else "BODY has no such value"
