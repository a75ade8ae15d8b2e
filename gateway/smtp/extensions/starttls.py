"""STARTTLS (RFC 3207)."""

from typing import TYPE_CHECKING, Self

from gateway.smtp.events import TlsRequested
from gateway.smtp.extension import Extension, Policy
from gateway.smtp.refusals import NOT_AVAILABLE
from gateway.smtp.reply import Reply
from gateway.smtp.state import Cause, State

if TYPE_CHECKING:
    from gateway.smtp.server import ServerConnection

__all__ = ["StartTls"]

_READY = Reply.of(220, "2.0.0", "ready for TLS")
_NO_ARGUMENT = Reply.of(501, "5.5.4", "STARTTLS takes no argument")
_IN_TRANSACTION = Reply.of(503, "5.5.1", "STARTTLS comes after a hello and outside a transaction")
_INJECTION = Reply.of(503, "5.5.1", "nothing may follow STARTTLS before the handshake")
_REQUIRED = Reply.of(530, "5.7.0", "STARTTLS first")

_WITHOUT_TLS = frozenset({b"EHLO", b"HELO", b"LHLO", b"NOOP", b"QUIT", b"STARTTLS"})


class StartTls(Extension):
    """STARTTLS; `required` refuses everything but hellos, NOOP and QUIT before it (RFC 3207 §4)."""

    name = "Start TLS"
    keyword = "STARTTLS"

    def __init__(self, *, required: bool = False) -> None:
        self._required = required
        self.verbs = {b"STARTTLS": self._starttls}

    @classmethod
    def for_policy(cls, policy: Policy) -> Self | None:
        return cls(required=policy.require_tls) if policy.starttls else None

    def is_offered(self, connection: "ServerConnection") -> bool:
        return not connection.tls

    def refuse_verb(self, connection: "ServerConnection", verb: bytes) -> Reply | None:
        return _REQUIRED if self._required and not connection.tls and verb not in _WITHOUT_TLS else None

    def _starttls(self, connection: "ServerConnection", argument: bytes) -> None:
        if argument:
            return connection.respond(_NO_ARGUMENT)
        if connection.tls:
            return connection.respond(NOT_AVAILABLE)
        if connection.state not in (State.READY, State.RESET_NEEDED) or connection.authenticated_as:
            return connection.respond(_IN_TRANSACTION)
        if connection.has_more_octets:
            # RFC 3207 §6: what came in clear behind the command may be an attacker's, and must never be taken for the
            # client's once it is under TLS.
            return connection.close(_INJECTION)
        connection.respond(_READY)
        connection.step(Cause.STARTTLS_ACCEPTED)
        return connection.ask(TlsRequested())
