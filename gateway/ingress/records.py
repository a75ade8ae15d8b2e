"""What the ingress logs: a line for each mail, refused recipient, login, and connection that came to nothing.

The lines have what an operator searches for, in fields. A recipient list is cut short, and nothing else of the mail is
in them.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import structlog

from gateway.address import Address
from gateway.delivery import Failure, RecipientOutcome, in_brief
from gateway.envelope import Client
from gateway.ingress.transaction import Transaction
from gateway.smtp import Reply

__all__ = [
    "authentication",
    "authenticator_failed",
    "connection_failed",
    "connections_accepted_again",
    "connections_not_accepted",
    "mail_admitted_again",
    "mail_answered",
    "mail_cut_off",
    "mail_not_admitted",
    "mail_refused",
    "recipient_referred",
    "recipient_refused",
    "session_broken",
    "storage_failed",
]

_log = structlog.get_logger("mailsluice.ingress")

_MAXIMUM_RECIPIENTS = 20


def mail_answered(
    transaction: Transaction,
    outcomes: Sequence[RecipientOutcome],
    replies: Sequence[Reply],
    *,
    seconds: float,
    hints: Mapping[str, int] = MappingProxyType({}),
) -> None:
    """The canonical line: who, to whom, what was answered, where it lies, and why it does not where it does not.

    `hints` counts what the client's tokens about stored content came to.
    """
    receipts = {receipt.connector: receipt.location for outcome in outcomes for receipt in outcome.receipts}
    failures: dict[str, list[Failure]] = {}
    for outcome in outcomes:
        for failure in outcome.failures:
            failures.setdefault(failure.connector, []).append(failure)
    _log.info(
        "mail",
        **_whose(transaction),
        protocol=transaction.session.protocol,
        recipients=[recipient.address.raw for recipient in transaction.recipients[:_MAXIMUM_RECIPIENTS]],
        recipient_count=len(transaction.recipients),
        size=transaction.content.size,
        replies=sorted({f"{reply.code} {reply.status}" for reply in replies}),
        receipts=receipts,
        failures={name: in_brief(some) for name, some in failures.items()},
        seconds=round(seconds, 6),
        **({"content_tokens": dict(hints)} if hints else {}),
    )


def mail_cut_off(transaction: Transaction, reply: Reply, *, seconds: float) -> None:
    """The canonical line of a mail whose delivery was ended before its outcome was known; the client keeps the mail."""
    mail_answered(transaction, (), (reply,), seconds=seconds)


def mail_refused(transaction: Transaction, reply: Reply) -> None:
    """A mail that is wrong in itself, or larger than it may be: refused before any destination heard of it."""
    _log.info(
        "mail refused",
        **_whose(transaction),
        recipient_count=len(transaction.recipients),
        reply=str(reply),
    )


def recipient_refused(transaction: Transaction, address: Address) -> None:
    """No route takes this recipient. A client reaches its limit of errors before it can fill a log with these."""
    _log.info(
        "recipient refused",
        **_whose(transaction),
        recipient=address.raw,
        cause="no route matches",
    )


def recipient_referred(transaction: Transaction, address: Address, reply: Reply) -> None:
    """A recipient's mail is taken elsewhere: the client was told where, or to come again where it cannot be told."""
    _log.info(
        "recipient referred" if reply.codes else "recipient put off",
        **_whose(transaction),
        recipient=address.raw,
        reply=" ".join(map(str, (reply, *reply.codes))),
    )


def authentication(session: str, client: Client, login: bytes, *, success: bool) -> None:
    """A login was tried."""
    text = login.decode("utf-8", "backslashreplace")
    _log.info("authentication", session=session, client=client.address, login=text, success=success)


def authenticator_failed(session: str, client: Client, error: OSError) -> None:
    """The authenticator could not be asked; the client was told to come again."""
    _log.error("authenticator failed", session=session, client=client.address, cause=str(error))


def connection_failed(session: str, client: Client, error: Exception) -> None:
    """A connection came to nothing before its greeting or in a handshake."""
    _log.info("connection failed", session=session, client=client.address, cause=str(error))


def session_broken(session: str, client: Client) -> None:
    """A defect of this program ended a session. Call it where the exception is caught."""
    _log.exception("session broken", session=session, client=client.address)


def storage_failed(id_: str, error: OSError) -> None:
    """Incoming content could not be stored; the client was told to come again."""
    _log.error("content cannot be stored", id=id_, cause=str(error))


def mail_not_admitted(cause: str) -> None:
    """From now on mail is refused for the moment, and this line is not repeated until it is accepted again."""
    _log.error("alarm: mail is refused for now", cause=cause)


def mail_admitted_again() -> None:
    """What `mail_not_admitted` told is over."""
    _log.info("mail is accepted again")


def connections_not_accepted(error: OSError) -> None:
    """The system lets nobody connect now; those who try wait. Not repeated until they are accepted again."""
    _log.error("connections cannot be accepted now", cause=error.strerror)


def connections_accepted_again() -> None:
    """What `connections_not_accepted` told is over."""
    _log.info("connections are accepted again")


def _whose(transaction: Transaction) -> dict[str, str]:
    session = transaction.session
    return {
        "id": transaction.id,
        "session": session.session,
        "listener": session.listener,
        "client": session.client.address,
        "mail_from": transaction.mail.address.raw,
    }
