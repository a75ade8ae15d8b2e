"""What became of a mail that was sent to the next server: a verdict for each recipient, and the receipt of them all.

A refusal is the server's word about one recipient (MAIL, RCPT, and in LMTP the end of the content), or about all of
them. Where the connection was lost or given up first, the outcome is a transient failure, which says `possibly_stored`
where the whole mail was sent.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.connector import PermanentFailure, Refused, TransientFailure
from gateway.smtp.client_events import RecipientOutcome, ReplyReceived, SentCommand
from gateway.smtp.referral import ELSEWHERE, Referral, referral_in
from gateway.smtp.reply import Reply
from gateway.status import Status

__all__ = [
    "TOO_MANY_RECIPIENTS",
    "Handover",
    "Referred",
    "Verdict",
    "decisive",
    "printable",
    "refusals",
    "status_of",
    "verdict",
]

TOO_MANY_RECIPIENTS = Status(4, 5, 3)
_OLD_TOO_MANY_RECIPIENTS = Status(5, 5, 3)

Verdict = Reply | TransientFailure | PermanentFailure
"""The positive reply by which the server took the mail for a recipient, or why it did not."""


class Referred(TransientFailure):
    """The server names another one that takes this recipient's mail; who does not go there comes again later."""

    def __init__(self, referral: Referral, *, cause: str) -> None:
        text = "the next mail server does not take this recipient's mail itself"
        super().__init__(ELSEWHERE, text, cause=cause, about_mail=True)
        self.referral = referral


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """One mail in one session. `verdicts` are those of its recipients, in order.

    `carried` says that the containers went as they are, `notifies` that the server took over to notify the originator
    (RFC 3461). Where `answered` is false the server has not said a word about the mail.
    """

    verdicts: tuple[Verdict, ...]
    carried: bool
    notifies: bool
    answered: bool


def verdict(outcome: RecipientOutcome, *, heard: Sequence[ReplyReceived], all_sent: bool) -> Verdict:
    """What the outcome means. `heard` is what came from the server; a reply of no part in it was made up here."""
    reply = outcome.reply
    cause = f"<{outcome.recipient}>: {printable(reply)}"
    if reply.is_positive:
        return reply
    command = next((each.command for each in heard if each.reply is reply), None)
    if (referral := referral_in(reply)) is not None:
        return Referred(referral, cause=f"{cause} ({referral})")
    if command is not None and _says_too_many(command, reply):
        text = "the next mail server takes fewer recipients at once"
        return TransientFailure(TOO_MANY_RECIPIENTS, text, cause=cause, about_mail=True)
    if reply.code >= 500:
        return PermanentFailure(status_of(reply, 5), "the next mail server refuses the mail", cause=cause)
    if command is not None:
        text = "the next mail server asks to come again later"
        # RFC 5321 §3.8: 421 is about the server and not about the mail.
        return TransientFailure(status_of(reply, 4), text, cause=cause, about_mail=reply.code != 421)
    text = "the next mail server did not answer"
    return TransientFailure(status_of(reply, 4), text, cause=cause, possibly_stored=all_sent)


def _says_too_many(command: SentCommand, reply: Reply) -> bool:
    # RFC 5321 §4.5.3.1.10: 552 stood for it once, and is to be read as 452.
    is_said = reply.status in (None, _OLD_TOO_MANY_RECIPIENTS)
    return reply.code == 552 and is_said and command.text.startswith("RCPT ")


def refusals(verdicts: Sequence[Verdict]) -> tuple[Refused, ...]:
    """The recipients without a positive reply. Raises the decisive failure where there is no positive one."""
    refused = tuple(
        Refused(position=position, failure=each)
        for position, each in enumerate(verdicts)
        if not isinstance(each, Reply)
    )
    if len(refused) == len(verdicts):
        raise decisive([each.failure for each in refused])
    return refused


def decisive(failures: Sequence[TransientFailure | PermanentFailure]) -> TransientFailure | PermanentFailure:
    """The failure that stands for all of them.

    One that leaves the outcome open, else a transient one, for then it is worth coming again, else any.
    """
    return min(
        failures,
        key=lambda each: (
            not (isinstance(each, TransientFailure) and each.possibly_stored),
            not isinstance(each, TransientFailure),
        ),
    )


def status_of(reply: Reply, class_: int) -> Status:
    """The enhanced status code of a reply, in that class; `class.0.0` where the server said none."""
    if reply.status is None:
        return Status(class_, 0, 0)
    return Status(class_, reply.status.subject, reply.status.detail)


def printable(reply: Reply) -> str:
    """The reply in one line, for logs and receipts."""
    return "".join(each if each.isprintable() else "?" for each in str(reply))
