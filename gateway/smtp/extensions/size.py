"""Message size declaration (RFC 1870)."""

import re
from typing import TYPE_CHECKING, Self

from gateway.smtp.events import MailReceived
from gateway.smtp.extension import Extension, Policy
from gateway.smtp.refusals import TOO_BIG
from gateway.smtp.reply import Reply

if TYPE_CHECKING:
    from gateway.smtp.server import ServerConnection

__all__ = ["Size"]

_DECLARED = re.compile(r"[0-9]{1,20}\Z")


class Size(Extension):
    """SIZE, with the largest message in octets that is taken."""

    name = "Message Size Declaration"
    keyword = "SIZE"
    mail_octets = 26

    def __init__(self, maximum_octets: int) -> None:
        self._maximum = maximum_octets
        self.mail_parameters = {"SIZE": _check_size}

    @classmethod
    def for_policy(cls, policy: Policy) -> Self:
        return cls(policy.message_octets)

    def keyword_parameters(self, connection: "ServerConnection") -> tuple[str, ...]:  # noqa: ARG002  # a hook
        return (str(self._maximum),)

    def refuse_mail(self, connection: "ServerConnection", mail: MailReceived) -> Reply | None:  # noqa: ARG002  # a hook
        # RFC 1870 §6.1: better now than after the octets.
        return TOO_BIG if mail.size > self._maximum else None


def _check_size(value: str) -> str:
    return "" if _DECLARED.match(value) else "SIZE is not a number of octets"
