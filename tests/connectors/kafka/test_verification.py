"""The record that a receipt names."""

import pytest

from connectors.kafka import CONNECTOR, KafkaSettings
from gateway.connector import Extent, Offsets, Spot

SETTINGS = KafkaSettings(name="events", type="kafka", bootstrap_servers=("k:9092",), topic="mail")


def spot(*parameters: str) -> Spot:
    assert CONNECTOR.spot is not None
    return CONNECTOR.spot(SETTINGS, dict(zip(CONNECTOR.coordinates, parameters, strict=True)))


def test_it_is_the_one_record_of_that_offset():
    offsets = Offsets(partition=3, first=1042, last=1042)
    assert spot("mail", "3", "1042") == Spot(extent=Extent(topic="mail", offsets=(offsets,)))


@pytest.mark.parametrize("numbers", [("", "1"), ("1", ""), ("-1", "1"), ("1", "x"), ("\u0663", "1"), ("1", "9" * 20)])
def test_what_is_no_number_is_no_offset(numbers):
    with pytest.raises(ValueError, match="numbers"):
        spot("mail", *numbers)
