"""What became of a mail, for each recipient: values that the ingress turns into replies and a log line."""

from collections import Counter
from collections.abc import Iterable

from msgspec import Struct

from gateway.connector import DeliveryFailure, Receipt
from gateway.envelope import Recipient
from gateway.status import Status

__all__ = ["Failure", "RecipientOutcome", "in_brief"]

_MOST_FAILURES = 5


class Failure(Struct, frozen=True, kw_only=True):
    """One destination does not have the mail. The client may read `text`; `cause` is for the log."""

    connector: str
    status: Status
    text: str
    cause: str

    @property
    def is_transient(self) -> bool:
        """Whether another attempt may succeed."""
        return self.status.class_ == 4


class RecipientOutcome(Struct, frozen=True, kw_only=True):
    """The answer of every destination of one recipient's route: as many receipts and failures as there are."""

    recipient: Recipient
    receipts: tuple[Receipt, ...]
    failures: tuple[Failure, ...]

    @property
    def failure(self) -> Failure | None:
        """What the client is told: a transient failure before a permanent one, for then it is worth coming again."""
        return min(self.failures, key=lambda failure: not failure.is_transient, default=None)


def in_brief(failures: Iterable[Failure | DeliveryFailure]) -> str:
    """What the log says of the failures of several recipients, at least one: how often each, and a few of them."""
    found = Counter(f"{failure.status} {failure.cause}" for failure in failures)
    if len(found) == 1:
        return next(iter(found))
    texts = [f"{text} ({count})" for text, count in found.most_common(_MOST_FAILURES)]
    if more := len(found) - len(texts):
        texts.append(f"and {more} other failures")
    return "; ".join(texts)
