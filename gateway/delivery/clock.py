"""Wall-clock time that does not jump: it means something after a restart, and nobody waits for a clock set back."""

import time

__all__ = ["now"]

_STARTED = time.time() - time.monotonic()


def now() -> float:
    """Unix time in seconds, by the clock as it was when the process started."""
    return _STARTED + time.monotonic()
