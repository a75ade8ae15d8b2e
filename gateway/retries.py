"""When a mail is tried again: the delays between its attempts, and whether they ever end."""

from dataclasses import dataclass

__all__ = ["FOR_EVER", "STANDARD_WEBHOOKS", "RetrySchedule"]

# So that what failed together does not come again together.
_SPREAD = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrySchedule:
    """The delays after the first, the second, … attempt. `for_ever` repeats the last one without end.

    Attempts are counted, not hours: a clock that jumps ends nobody's retries.
    """

    delays_seconds: tuple[float, ...]
    for_ever: bool

    def delay_seconds(self, attempts: int, *, spread: float) -> float | None:
        """How long to wait after so many attempts, the last one just failed; None where that was the last.

        `spread` is a random number from 0 to 1, which adds up to a tenth.
        """
        if attempts > len(self.delays_seconds) and not self.for_ever:
            return None
        return self.delays_seconds[min(attempts, len(self.delays_seconds)) - 1] * (1 + _SPREAD * spread)


FOR_EVER = RetrySchedule(delays_seconds=(1, 2, 4, 8, 16, 32, 60), for_ever=True)

# Standard Webhooks, "Deliverability and reliability": 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h; then once a
# day, the last time five days after the first.
STANDARD_WEBHOOKS = RetrySchedule(
    delays_seconds=(5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400, 86400, 73495), for_ever=False
)
