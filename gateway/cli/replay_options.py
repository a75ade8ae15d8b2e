"""The options of `mailsluice replay` that are more than a word: times, offsets, a rate, other recipients."""

import re
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from gateway.cli.spool_selection import fail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.cli.rewriting import Rewriting
    from gateway.connector import Offsets

__all__ = ["read_ids", "read_offsets", "read_rate", "read_rewriting", "read_since", "read_until"]

# Each with the time for which it stands.
_TIMES = (
    ("%Y-%m-%d", timedelta(days=1)),
    ("%Y-%m-%dT%H:%M", timedelta(minutes=1)),
    ("%Y-%m-%dT%H:%M:%S", timedelta(seconds=1)),
)
_OFFSETS = re.compile(r"([0-9]{1,9})(?::([0-9]{0,18})-([0-9]{0,18}))?")
_RATE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)/s")
_ID = re.compile("[0-9A-HJKMNP-TV-Z]{1,26}")


def read_since(text: str | None) -> str:
    """The first moment that is meant, as envelopes write it; "" for any. Ends the command for what is no time."""
    return _written(_period("--since", text)[0]) if text else ""


def read_until(text: str | None) -> str:
    """The last moment that is meant: the end of the day, minute or second."""
    if not text:
        return ""
    begin, duration = _period("--until", text)
    return _written(begin + (duration - timedelta(microseconds=1)))


def _period(option: str, text: str) -> tuple[datetime, timedelta]:
    for form, duration in _TIMES:
        with suppress(ValueError):
            return datetime.strptime(f"{text.removesuffix('Z')}+0000", f"{form}%z"), duration
    return fail(
        f"{option} {text!r} is no time; write it in UTC, as 2026-11-21, 2026-11-21T10:30 or 2026-11-21T10:30:15",
        status=2,
    )


def _written(moment: datetime) -> str:
    return f"{moment.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def read_offsets(texts: "Sequence[str]") -> "tuple[Offsets, ...]":
    """Ranges of partitions, each partition once."""
    from gateway.connector import Offsets

    ranges = []
    for text in texts:
        match = _OFFSETS.fullmatch(text)
        if match is None:
            fail(
                f"--offsets {text!r} is no range; write PARTITION:FIRST-LAST, as in 3:1042-2000, 3:1042- or 3",
                status=2,
            )
        partition, first, last = match.groups()
        found = Offsets(partition=int(partition), first=int(first) if first else None, last=int(last) if last else None)
        if found.first is not None and found.last is not None and found.first > found.last:
            fail(f"--offsets {text!r} ends before it begins", status=2)
        ranges.append(found)
    if len({each.partition for each in ranges}) < len(ranges):
        fail("--offsets names a partition twice; give each of them one range", status=2)
    return tuple(ranges)


def read_rate(text: str | None) -> float | None:
    """Mails a second; None for as many as the destination takes."""
    if text is None:
        return None
    match = _RATE.fullmatch(text)
    if match is None or not float(match[1]):
        fail(f"--rate {text!r} is no rate; write how many mails a second, as in 50/s or 0.5/s", status=2)
    return float(match[1])


def read_ids(texts: "Sequence[str]") -> tuple[str, ...]:
    """Ids, or the beginnings of them. Crockford's alphabet is the same in lower case."""
    for text in texts:
        if not _ID.fullmatch(text.upper()):
            fail(f"{text!r} is no id; an id has 26 digits and letters, and its beginning is enough", status=2)
    return tuple(text.upper() for text in texts)


def read_rewriting(texts: "Sequence[str]", *, hostname: str) -> "Rewriting | None":
    """Who gets the mails in the place of their recipients; an address alone stands in for everybody."""
    if not texts:
        return None
    from gateway.address import AddressSyntaxError, parse_path
    from gateway.cli.rewriting import Rewriting
    from gateway.delivery import PatternError, parse_pattern

    rules = []
    for text in texts:
        # A local-part may have an equals sign in it, and then the pattern is what stands before the last one.
        pattern, _, address = text.rpartition("=")
        try:
            parse_pattern(pattern or "*")
            found = parse_path(address.encode(), utf8=True)
        except PatternError as error:
            fail(f"--rewrite-recipient {text!r}: {error}", status=2)
        except (AddressSyntaxError, UnicodeEncodeError) as error:
            fail(f"--rewrite-recipient {text!r}: {error}; write PATTERN=ADDRESS, or ADDRESS for everybody", status=2)
        if not found.domain:
            fail(f"--rewrite-recipient {text!r} has no whole address; write user@example.org", status=2)
        rules.append((pattern or "*", found))
    return Rewriting(rules=tuple(rules), hostname=hostname)
