"""The receipts that a server's replies had, as a table."""

from collections.abc import Iterator, Sequence

from gateway.cli.terminal import printable
from gateway.smtp.client_events import RecipientOutcome

__all__ = ["receipt_lines"]

_WIDEST = 40


def receipt_lines(outcomes: Sequence[RecipientOutcome]) -> Iterator[str]:
    """A line for each recipient and code, below a heading; what stands in brackets is for `verify --receipt`."""
    names = [printable(outcome.recipient.raw) for outcome in outcomes]
    width = min(_WIDEST, max(map(len, ("RECIPIENT", *names))))
    yield f"{'RECIPIENT':{width}}  RECEIPT"
    for name, outcome in zip(names, outcomes, strict=True):
        for receipt in map(str, outcome.reply.codes):
            yield f"{name:{width}}  {receipt}"
        if outcome.reply.is_positive and not outcome.reply.codes:
            yield f"{name:{width}}  none"
