"""Which record a receipt names: `[KAFKA topic partition offset]`."""

from collections.abc import Mapping

from connectors.kafka.settings import KafkaSettings
from gateway.connector import Extent, Offsets, Spot

__all__ = ["spot"]


def spot(_: KafkaSettings, location: Mapping[str, str]) -> Spot:
    """The record at the location's offset. Raises ValueError where that is none."""
    partition, offset = location["partition"], location["offset"]
    if not all(number.isascii() and number.isdecimal() and len(number) < 20 for number in (partition, offset)):
        raise ValueError("a partition and an offset are numbers")
    offsets = Offsets(partition=int(partition), first=int(offset), last=int(offset))
    return Spot(extent=Extent(topic=location["topic"], offsets=(offsets,)))
