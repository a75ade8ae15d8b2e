"""The benchmark of memory on smaller messages: quick, and still twice as large as the growth that is accepted."""

from tests.bench.memory import ACCEPTED_GROWTH_BYTES, measure


def test_memory_does_not_grow_with_the_message():
    for passage in measure(2 * ACCEPTED_GROWTH_BYTES):
        assert passage.is_intact
        assert passage.growth_bytes < ACCEPTED_GROWTH_BYTES
