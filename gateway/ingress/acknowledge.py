"""From what the destinations said to what the client reads: receipts and failures become replies.

A positive reply stands for a receipt of every destination of that recipient's route, and is never made otherwise. An
SMTP client gets one reply for all recipients: any temporary failure makes it try all of them again, under a new id;
only when there is none does a permanent failure refuse the mail. An LMTP client gets one for each (RFC 2033 §4.2).
"""

import errno
from collections.abc import Sequence

from gateway.connector import PermanentFailure
from gateway.delivery import Failure, RecipientOutcome
from gateway.smtp import Dialect, Reply
from gateway.status import DELIVERED, LOCAL_ERROR, STORAGE_FULL, Status

__all__ = [
    "NOT_TAKEN_HERE",
    "NO_SUCH_RECIPIENT",
    "RECIPIENT_OK",
    "SENDER_OK",
    "acknowledge",
    "refuse",
    "storage_failure",
]

SENDER_OK = Reply.of(250, "2.1.0", "sender ok")
RECIPIENT_OK = Reply.of(250, "2.1.5", "recipient ok")
NO_SUCH_RECIPIENT = Reply.of(550, "5.1.1", "no route to this recipient")
NOT_TAKEN_HERE = Reply.of(451, "4.3.0", "this recipient's mail is not taken here now")

# RFC 5321 §4.2.3 has few codes; these tell more than 451 and 550 would.
_CODES = {"4.3.1": 452, "4.2.2": 452, "5.3.4": 552, "5.2.2": 552, "5.4.6": 554, "5.6.0": 554}


def acknowledge(dialect: Dialect, id_: str, outcomes: Sequence[RecipientOutcome]) -> tuple[Reply, ...]:
    """The final replies for a mail, each with its id; `outcomes` has one for each recipient, in order."""
    if dialect.reply_per_recipient:
        return tuple(_reply(id_, outcome.failure) for outcome in outcomes)
    failures = [outcome.failure for outcome in outcomes if outcome.failure is not None]
    return (_reply(id_, min(failures, key=lambda failure: not failure.is_transient, default=None)),)


def refuse(id_: str, failure: PermanentFailure) -> Reply:
    """The reply to a mail that is refused before it reaches any destination."""
    return _failed(id_, failure.status, failure.text)


def storage_failure(id_: str, error: OSError) -> Reply:
    """The reply when incoming content cannot be stored here."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _failed(id_, STORAGE_FULL, "not enough storage, try again later")
    return _failed(id_, LOCAL_ERROR, "local error, try again later")


def _reply(id_: str, failure: Failure | None) -> Reply:
    if failure is None:
        return Reply(250, DELIVERED, (f"{id_} accepted",))
    return _failed(id_, failure.status, failure.text)


def _failed(id_: str, status: Status, text: str) -> Reply:
    return Reply(_CODES.get(str(status), 451 if status.class_ == 4 else 550), status, (f"{id_} {text}",))
