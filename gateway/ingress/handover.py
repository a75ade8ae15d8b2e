"""A mail that has come in whole, from its transaction to the replies that end it."""

import time
from collections.abc import Collection, Mapping

from gateway.connector import PermanentFailure
from gateway.delivery import RecipientOutcome, submit
from gateway.ingress import records
from gateway.ingress.acknowledge import acknowledge, refuse, storage_failure
from gateway.ingress.reply_metadata import ReplyMetadata
from gateway.ingress.transaction import Transaction
from gateway.smtp import Dialect, Reply
from gateway.turns import turn

__all__ = ["hand_over"]

_NO_METADATA = ReplyMetadata()


async def hand_over(
    transaction: Transaction,
    dialect: Dialect,
    *,
    extensions: tuple[str, ...],
    reply_metadata: ReplyMetadata = _NO_METADATA,
    asked_for: Collection[str] = (),
) -> tuple[Reply, ...]:
    """Deliver the mail and give its final replies: the only place where a mail's 250 is made, from receipts alone.

    `extensions` are the EHLO keywords of the extensions that the transaction used, `asked_for` the names of the
    response codes that the client wants, which `reply_metadata` makes. Nothing of the content is left.
    """
    started = time.monotonic()
    outcomes: tuple[RecipientOutcome, ...] = ()
    hints: Mapping[str, int] = {}
    try:
        # The content of many mails may have come in one turn of the loop.
        await turn()
        mail = await transaction.complete(extensions)
        outcomes = await submit(mail, transaction.routes)
        replies = acknowledge(dialect, transaction.id, outcomes)
        if asked_for:
            each = dialect.reply_per_recipient
            replies = reply_metadata.added_to(replies, transaction, mail, outcomes, asked_for, each=each)
        if transaction.hints:
            hints = reply_metadata.count_hints(transaction, mail)
    except OSError as error:
        records.storage_failed(transaction.id, error)
        replies = _for_all(storage_failure(transaction.id, error), transaction, dialect)
    except PermanentFailure as failure:
        replies = _for_all(refuse(transaction.id, failure), transaction, dialect)
    finally:
        transaction.content.discard()
    records.mail_answered(transaction, outcomes, replies, seconds=time.monotonic() - started, hints=hints)
    return replies


def _for_all(reply: Reply, transaction: Transaction, dialect: Dialect) -> tuple[Reply, ...]:
    return (reply,) * (len(transaction.recipients) if dialect.reply_per_recipient else 1)
