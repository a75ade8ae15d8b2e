"""Points in time, as text."""

from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dates import date_time, seconds_of, timestamp

# From the epoch to the end of the year 9999.
nanoseconds = st.integers(0, 253_402_300_799_999_999_999)


def test_a_timestamp_has_microseconds():
    assert timestamp(1_795_302_000_500_000_999) == "2026-11-21T23:00:00.500000Z"


@given(nanoseconds)
def test_a_timestamp_is_read_again(when):
    # A float of these years holds microseconds, not always the last of them.
    assert abs(seconds_of(timestamp(when)) - when / 1e9) < 1e-4


def test_what_is_no_timestamp_is_refused():
    with pytest.raises(ValueError, match="yesterday"):
        seconds_of("yesterday")


@given(nanoseconds)
def test_the_standard_library_reads_a_date_as_the_same_second(when):
    assert parsedate_to_datetime(date_time(when // 10**9)).timestamp() == when // 10**9
