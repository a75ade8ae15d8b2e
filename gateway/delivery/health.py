"""How a destination fares: whether mails fail or the destination does, and how long it is left alone.

A destination that fails again and again is tried with one mail at a time, further and further apart, until it takes
one or refuses it for good. Those are the first and the last that are due in turns, for a great many mails that it
cannot take look like a destination that fails, and are not to hold back what came after them.
"""

import random
import time

from gateway.connector import TransientFailure
from gateway.delivery import records
from gateway.retries import FOR_EVER

__all__ = ["Health"]

# So many failures in a row are the destination's, not the mails'.
_SUSPICIOUS = 8
# A mail is left alone for as long as its destination asks; the destination is asked with another one before.
_LONGEST_REST_SECONDS = 3600.0


class Health:
    """What the attempts at the destination `name` have told about it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._failures = 0
        # How many trials of a destination that is suspected have failed, the one that made it so among them.
        self.trials = 0
        self._rests_until = 0.0

    @property
    def is_suspected(self) -> bool:
        """Whether it is tried with one mail at a time."""
        return self.trials > 0

    @property
    def tries_the_latest(self) -> bool:
        """Whether the next trial is with the last that is due."""
        return self.trials % 2 == 1

    @property
    def rest_seconds(self) -> float:
        """How long it is left alone yet; 0 where it is not."""
        return max(0.0, self._rests_until - time.monotonic())

    def rest(self, seconds: float) -> None:
        """Leave it alone for so long, at least."""
        self._rests_until = max(self._rests_until, time.monotonic() + seconds)

    def end_rest(self) -> None:
        """Somebody may have mended it."""
        self._rests_until = 0.0

    def reset(self) -> None:
        """Begin with good faith."""
        self._failures = self.trials = 0

    def succeeded(self) -> None:
        """It has judged a mail, whether it took, refused or put it off."""
        if self.is_suspected:
            records.trusted(self._name)
        self.reset()

    def failed(self, failure: TransientFailure, trials: int) -> None:
        """Count a failure of an attempt that began after so many trials; what failed together counts once."""
        seconds = min(failure.retry_after_seconds, _LONGEST_REST_SECONDS)
        if trials == self.trials:
            self._failures += 1
            if self._failures >= _SUSPICIOUS:
                if not self.is_suspected:
                    records.suspected(self._name, failure)
                self.trials += 1
                seconds = max(seconds, FOR_EVER.delay_seconds(self.trials, spread=random.random()) or 0.0)  # noqa: S311  # a spread
        self.rest(seconds)
