"""The Retry-After field of an answer (RFC 9110 §10.2.3): how long a consumer asks to be left alone."""

from datetime import UTC, datetime

__all__ = ["retry_after_seconds"]

# A consumer may have any date in its answer, and a mail that waits for one is seen by nobody.
_LONGEST_SECONDS = 24 * 3600.0

# RFC 9110 §5.6.7: the form of today, and two that a recipient has to accept.
_DATES = ("%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y")
_LONGEST_DATE = len("Wednesday, 06-Nov-94 08:49:37 GMT")


def retry_after_seconds(value: str, *, now: float) -> float:
    """The seconds from `now` (Unix time) on that `value` asks for, a day at most.

    0 for a time that is over, and for what is neither a number of seconds nor a date: the schedule then holds alone.
    """
    if value.isascii() and value.isdigit():
        # Python refuses to read a number of thousands of digits.
        return min(float(value), _LONGEST_SECONDS)
    for form in _DATES if len(value) <= _LONGEST_DATE else ():
        try:
            date = datetime.strptime(value, form).replace(tzinfo=UTC)
        except ValueError:
            continue
        return min(max(date.timestamp() - now, 0.0), _LONGEST_SECONDS)
    return 0.0
