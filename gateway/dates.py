"""Points in time as envelopes (RFC 3339) and header fields (RFC 5322) write them, in UTC whatever the locale."""

import math
import time
from datetime import datetime
from functools import lru_cache

__all__ = ["date_time", "seconds_of", "timestamp"]

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def timestamp(nanoseconds: int) -> str:
    """Unix time in nanoseconds as RFC 3339 has it, with microseconds: `2026-11-21T23:00:00.500000Z`."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{_second(seconds)}.{rest // 1000:06}Z"


def seconds_of(text: str) -> float:
    """The Unix time of what `timestamp` wrote. Raises ValueError for anything else."""
    return datetime.fromisoformat(text).timestamp()


def date_time(seconds: float) -> str:
    """Unix time as RFC 5322 §3.3 has it: `Sat, 21 Nov 2026 23:00:00 +0000`."""
    return _field_date(math.floor(seconds))


# Of the many mails of one second only the first pays for the calendar.
@lru_cache(maxsize=8)
def _second(seconds: int) -> str:
    t = time.gmtime(seconds)
    return f"{t.tm_year:04}-{t.tm_mon:02}-{t.tm_mday:02}T{t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02}"


@lru_cache(maxsize=8)
def _field_date(seconds: int) -> str:
    t = time.gmtime(seconds)
    day = f"{_DAYS[t.tm_wday]}, {t.tm_mday} {_MONTHS[t.tm_mon - 1]} {t.tm_year}"
    return f"{day} {t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02} +0000"
