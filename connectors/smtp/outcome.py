"""From what the servers of one mail decided to its receipt; pure."""

from collections.abc import Sequence

from msgspec import Struct

from connectors.smtp.attempt import Outcome
from gateway.connector import Mail, Receipt, TransientFailure
from gateway.relay.handover import Verdict, printable, refusals
from gateway.smtp.reply import Reply
from gateway.sockets import UnixBind

__all__ = ["Part", "about_mail", "receipt"]

_MOST_REPLY = 512


class Part(Struct, frozen=True, kw_only=True):
    """The recipients that went together, by their positions in the mail, and what became of them."""

    positions: tuple[int, ...]
    outcome: Outcome


def about_mail(verdict: Verdict) -> Verdict:
    """The verdict of a server that is one of several: a failure of its is about the mail, not about the others."""
    if not isinstance(verdict, TransientFailure) or verdict.about_mail:
        return verdict
    failure = TransientFailure(
        verdict.status, verdict.text, cause=verdict.cause, possibly_stored=verdict.possibly_stored, about_mail=True
    )
    failure.__cause__ = verdict
    return failure


def receipt(mail: Mail, parts: Sequence[Part], *, connector: str) -> Receipt:
    """The receipt of a mail whose recipients went in those parts. Raises the decisive failure where none was taken."""
    verdicts: dict[int, Verdict] = {}
    for part in parts:
        verdicts.update(zip(part.positions, part.outcome.verdicts, strict=True))
    refused = refusals([verdicts[position] for position in range(len(verdicts))])
    location: dict[str, str | int] = {}
    taken = [part for part in parts if any(isinstance(each, Reply) for each in part.outcome.verdicts)]
    for number, part in enumerate(taken, 1):
        suffix = f"-{number}" if number > 1 else ""
        location |= {f"{key}{suffix}": value for key, value in _location(part.outcome).items()}
    notifying = sorted(
        position
        for part in taken
        for position, each in zip(part.positions, part.outcome.verdicts, strict=True)
        if part.outcome.notifies and isinstance(each, Reply)
    )
    return Receipt(
        id=mail.envelope.id,
        connector=connector,
        type="smtp",
        location=location,
        refused=refused,
        notifying=tuple(notifying),
    )


def _location(outcome: Outcome) -> dict[str, str | int]:
    found: dict[str, str | int] = {}
    if outcome.host is not None:
        server = outcome.host.server
        if isinstance(server, UnixBind):
            found["host"] = str(server)
        else:
            found |= {"host": outcome.host.name, "address": server.host, "port": server.port}
            if found["host"] == found["address"]:
                del found["address"]
    # LMTP has a reply for each recipient, often the same.
    replies = dict.fromkeys(printable(each) for each in outcome.verdicts if isinstance(each, Reply))
    found["reply"] = " | ".join(replies)[:_MOST_REPLY]
    found["metadata"] = "carried" if outcome.carried else "flattened"
    return found
