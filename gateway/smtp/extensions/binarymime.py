"""BINARYMIME (RFC 3030 §3): content that is not lines, by BDAT only."""

from typing import TYPE_CHECKING

from gateway.smtp.extension import Extension
from gateway.smtp.reply import Reply

if TYPE_CHECKING:
    from gateway.smtp.server import ServerConnection

__all__ = ["BinaryMime"]

_NEEDS_BDAT = Reply.of(503, "5.5.1", "BODY=BINARYMIME needs BDAT")


class BinaryMime(Extension):
    """BINARYMIME."""

    name = "Binary MIME Transport"
    keyword = "BINARYMIME"
    requires = ("CHUNKING", "8BITMIME")
    mail_octets = 16

    def __init__(self) -> None:
        self.mail_parameters = {"BODY": _check_body}

    def refuse_data(self, connection: "ServerConnection") -> Reply | None:
        mail = connection.transaction.mail
        return _NEEDS_BDAT if mail is not None and mail.body == "BINARYMIME" else None


def _check_body(value: str) -> str:
    # The other values are those of 8BITMIME.
    return "" if value.upper() == "BINARYMIME" else "BODY has no such value"
