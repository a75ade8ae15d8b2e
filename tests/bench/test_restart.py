"""The benchmark of a start with a full spool, on fewer messages."""

from tests.bench.restart import measure


def test_a_start_does_not_depend_on_how_much_is_spooled(tmp_path):
    start = measure(20_000, tmp_path)
    assert start.is_good, start
    assert start.delivered > 0
