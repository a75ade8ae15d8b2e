"""A mail that has come in whole, from its transaction to the replies that end it."""

import time
from collections.abc import Mapping
from types import MappingProxyType

from gateway.connector import PermanentFailure
from gateway.delivery import RecipientOutcome, submit
from gateway.ingress import records
from gateway.ingress.acknowledge import acknowledge, refuse, storage_failure
from gateway.ingress.content_tokens import count_hints, with_content_tokens
from gateway.ingress.receipt_codes import Coordinates, signed_receipts, with_receipts
from gateway.ingress.submission import with_submission_tokens
from gateway.ingress.transaction import Transaction
from gateway.maildata import ContentTokens
from gateway.receipts import Signer
from gateway.smtp import Dialect, Reply
from gateway.smtp.extensions import XReplyMeta
from gateway.stoken import SubmissionTokens

__all__ = ["hand_over"]


async def hand_over(
    transaction: Transaction,
    dialect: Dialect,
    *,
    extensions: tuple[str, ...],
    coordinates: Coordinates = MappingProxyType({}),
    signer: Signer | None = None,
    contents: ContentTokens | None = None,
    submission: SubmissionTokens | None = None,
) -> tuple[Reply, ...]:
    """Deliver the mail and give its final replies: the only place where a mail's 250 is made, from receipts alone.

    `extensions` are the EHLO keywords of the extensions that the transaction used; `coordinates` say how receipts are
    written to a client that has asked for them, and `signer` signs them for one that has asked for that;
    `contents` reads and makes tokens about stored content, for one that has asked for those, and `submission` those of
    one that came by a submission token. Nothing of the content is left.
    """
    started = time.monotonic()
    outcomes: tuple[RecipientOutcome, ...] = ()
    hints: Mapping[str, int] = {}
    try:
        mail = await transaction.complete(extensions)
        outcomes = await submit(mail, transaction.routes)
        replies = acknowledge(dialect, transaction.id, outcomes)
        if XReplyMeta.keyword in extensions:
            tokens = signed_receipts(signer, mail.envelope, outcomes) if signer is not None else {}
            replies = with_receipts(
                replies, transaction.id, outcomes, coordinates, tokens, each=dialect.reply_per_recipient
            )
        if contents is not None:
            replies = with_content_tokens(replies, outcomes, contents, mail.envelope, each=dialect.reply_per_recipient)
            hints = count_hints(transaction.hints, contents, mail.envelope)
        if submission is not None:
            replies = with_submission_tokens(replies, submission, transaction.submission_tokens, mail)
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
