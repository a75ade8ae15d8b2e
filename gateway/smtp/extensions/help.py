"""HELP (RFC 5321 §4.1.1.8)."""

from typing import TYPE_CHECKING

from gateway.smtp.extension import Extension
from gateway.smtp.reply import Reply
from gateway.status import DELIVERED

if TYPE_CHECKING:
    from gateway.smtp.server import ServerConnection

__all__ = ["Help"]

_UNKNOWN_TOPIC = Reply.of(504, "5.5.4", "no help on that")


class Help(Extension):
    """HELP: lists the verbs that work here."""

    name = "Help"
    keyword = "HELP"

    def __init__(self) -> None:
        self.verbs = {b"HELP": _help}


def _help(connection: "ServerConnection", argument: bytes) -> None:
    if argument:
        return connection.respond_to_junk(_UNKNOWN_TOPIC)
    return connection.respond_to_junk(Reply(214, DELIVERED, ("this is Mailsluice, it knows", connection.known_verbs())))
