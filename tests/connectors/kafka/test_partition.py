"""The partition of a key is that of the Java client's default; aiokafka's own code is the measure."""

import pytest
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.partitioner import murmur2 as reference
from hypothesis import given
from hypothesis import strategies as st

from connectors.kafka.partition import choose_partition, murmur2
from gateway.envelope import new_id


# Of aiokafka's tests and Java's: UtilsTest.testMurmur2.
@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_the_hash_is_the_one_of_java(key, hashed):
    assert murmur2(key) == hashed % 2**32


@given(st.binary(max_size=100))
def test_the_hash_is_the_one_of_aiokafka(key):
    assert murmur2(key) == reference(key)


@given(st.binary(max_size=40), st.sets(st.integers(0, 1000), min_size=1, max_size=100))
def test_a_key_stays_in_its_partition_whatever_is_available(key, partitions):
    every = sorted(partitions)
    expected = DefaultPartitioner()(key, every, every)
    assert choose_partition(key, every, every) == choose_partition(key, every, ()) == expected


def test_ids_are_spread():
    assert {choose_partition(new_id().encode(), range(3), ()) for _ in range(100)} == {0, 1, 2}


def test_without_a_key_any_available_partition_is_taken_and_without_one_of_these_any():
    assert {choose_partition(None, range(4), [1, 3]) for _ in range(100)} == {1, 3}
    assert {choose_partition(None, range(4), ()) for _ in range(200)} == {0, 1, 2, 3}
