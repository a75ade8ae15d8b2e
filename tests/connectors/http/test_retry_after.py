"""How long a consumer asks to be left alone, whatever it writes."""

import pytest

from connectors.http.retry_after import retry_after_seconds

NOW = 784111777.0  # Sun, 06 Nov 1994 08:49:37 GMT


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        ("00120", 120),
        ("86400", 86400),
        ("86401", 86400),
        ("9" * 60_000, 86400),
        ("Sun, 06 Nov 1994 08:50:37 GMT", 60),
        ("Sunday, 06-Nov-94 08:50:37 GMT", 60),
        ("Sun Nov  6 08:50:37 1994", 60),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0),
        ("Sun, 06 Nov 1994 08:00:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86400),
        ("Thu, 01 Jan 0001 00:00:00 GMT", 0),
    ],
)
def test_seconds_and_dates_are_understood_up_to_a_day(value, seconds):
    assert retry_after_seconds(value, now=NOW) == seconds


@pytest.mark.parametrize(
    "value",
    [
        *(
            "",
            " ",
            "-1",
            "+5",
            "1.5",
            "1e3",
            "0x10",
            "inf",
            "nan",
            "\u0661\u0662",
            "\u00b2",
            "soon",
            "120, 240",
            "1_000",
        ),
        *("Sun, 06 Nov 1994 08:50:37", "Sun, 06 Nov 1994 08:50:37 +0100", "Sun, 66 Nov 1994 08:50:37 GMT"),
        "Sun, 06 Nov 1994 08:50:37 GMT" + " " * 60_000,
        "(" * 60_000,
    ],
    ids=lambda value: value[:20],
)
def test_anything_else_is_as_if_it_were_not_there(value):
    assert retry_after_seconds(value, now=NOW) == 0
