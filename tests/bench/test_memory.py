"""A short form of the memory benchmark: large content does not stay in memory."""

from tests.bench.memory import measure


def test_a_large_mail_passes_in_little_memory():
    for passage in measure(megabytes=96):
        assert passage.intact
        assert passage.growth_octets < 64 * 1024 * 1024, str(passage)
