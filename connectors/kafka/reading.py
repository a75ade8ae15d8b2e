"""A topic read again: records in every form that this connector writes, each from its headers' `content-type`.

Partitions are read one after another, from where the range begins to where the partition ended at the beginning. No
consumer group is joined, and nothing is committed: the offsets are those of the range and of a replay's journal.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition, errors
from aiokafka.admin import AIOKafkaAdminClient

from connectors.kafka import failures
from connectors.kafka.access import options_of
from connectors.kafka.credentials import read_credentials
from connectors.kafka.record_reading import read_record
from connectors.kafka.settings import KafkaSettings
from gateway.connector import DeliveryFailure, Extent, Fetch, Found, Offsets, SourceError
from gateway.envelope import Content, ContentReference, ulid
from gateway.template import Template

__all__ = ["KafkaSource"]

_OPENING_SECONDS = 30.0
_CLOSING_SECONDS = 5.0
_POLL_MILLISECONDS = 500
# Nothing for so long, although there should be something, is a broker that hangs.
_SILENCE_SECONDS = 60.0
_RECORDS_AT_ONCE = 100
_FETCH_OCTETS = 1024 * 1024
# A record is written after its mail was received; so far the clock may have been set back in between.
_CLOCK_MILLISECONDS = 3_600_000

_ID = re.compile(ulid.PATTERN.encode())


class _Range(NamedTuple):
    """The records of one partition from the offset `first` to before `end`."""

    partition: TopicPartition
    first: int
    end: int


class KafkaSource:
    """Reads the topic of the settings, as the user that writes it."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings

    async def mails(self, extent: Extent, fetch: Fetch) -> AsyncGenerator[Found]:
        """In the order of each partition. Raises SourceError for a topic, partition or offset that is not there."""
        topic = self._topic(extent)
        with_key = extent.key
        async with self._consumer(topic) as (consumer, partitions):
            for each in await _ranges(consumer, topic, partitions, extent):
                async for record in _records(consumer, each):
                    if with_key is not None and record.key != with_key:
                        continue
                    headers = tuple((name, value or b"") for name, value in record.headers)
                    id_ = _id(headers)
                    yield Found(
                        # A topic that was deleted and made again has other mails at the same offsets.
                        place=f"{topic} {record.partition} {record.offset} {id_}".rstrip(),
                        id=id_,
                        held=len(record.value or b""),
                        read=partial(read_record, headers, record.value, fetch),
                    )

    async def content(self, reference: ContentReference) -> Content:
        raise SourceError(f"a topic holds no content that {reference.location} could name")

    async def close(self) -> None:
        """Nothing is open beside the iterations."""

    def _topic(self, extent: Extent) -> str:
        if extent.topic is not None:
            return extent.topic
        topic = Template(self._settings.topic)
        if not topic.is_constant:
            raise SourceError(f"the connector writes to the topics {topic.text}; say which one with --topic")
        return topic.text

    @asynccontextmanager
    async def _consumer(self, topic: str) -> AsyncIterator[tuple[Any, list[int]]]:
        settings = self._settings
        with _translated(f"topic {topic}"):
            options = {
                "bootstrap_servers": list(settings.bootstrap_servers),
                **options_of(settings, read_credentials(settings)),
            }
            async with asyncio.timeout(_OPENING_SECONDS):
                partitions = await _partitions(topic, options)
            consumer = AIOKafkaConsumer(
                enable_auto_commit=False,
                auto_offset_reset="none",
                isolation_level="read_committed",
                max_partition_fetch_bytes=max(_FETCH_OCTETS, settings.max_request_bytes),
                **options,
            )
            try:
                async with asyncio.timeout(_OPENING_SECONDS):
                    await consumer.start()
                    # A task of its that never ran would end `stop` half-way.
                    await asyncio.sleep(0)
                yield consumer, partitions
            finally:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_CLOSING_SECONDS):
                        await consumer.stop()


async def _partitions(topic: str, options: dict[str, Any]) -> list[int]:
    admin = AIOKafkaAdminClient(**options)
    try:
        await admin.start()
        (described,) = await admin.describe_topics([topic])
    finally:
        await admin.close()
    if described["error_code"]:
        raise errors.for_code(described["error_code"])(topic)
    return sorted(each["partition"] for each in described["partitions"])


async def _ranges(consumer: Any, topic: str, partitions: Iterable[int], extent: Extent) -> list[_Range]:
    """What is there now of each partition that is meant. Raises SourceError where less is there than was asked for."""
    wanted = {each.partition: each for each in extent.offsets} or {
        number: Offsets(partition=number) for number in partitions
    }
    missing = sorted(set(wanted) - set(partitions))
    if missing:
        raise SourceError(f"topic {topic} has no partition {missing[0]}; it has {', '.join(map(str, partitions))}")
    places = {number: TopicPartition(topic, number) for number in wanted}
    begins = await consumer.beginning_offsets(list(places.values()))
    ends = await consumer.end_offsets(list(places.values()))
    times: dict[TopicPartition, Any] = {}
    if extent.since:
        moment = max(0, int(datetime.fromisoformat(extent.since).timestamp() * 1000) - _CLOCK_MILLISECONDS)
        times = await consumer.offsets_for_times(dict.fromkeys(places.values(), moment))
    ranges = []
    for number, place in sorted(places.items()):
        begin, end = begins[place], ends[place]
        first, last = wanted[number].first, wanted[number].last
        if first is not None and first < begin:
            raise SourceError(
                f"partition {number} of topic {topic} begins at offset {begin}: what was before has been deleted"
            )
        highest = max(-1 if first is None else first, -1 if last is None else last)
        if highest >= end:
            raise SourceError(f"partition {number} of topic {topic} ends before offset {highest}: its end is {end}")
        start = begin if first is None else first
        if extent.since:
            start = max(start, times[place].offset if times.get(place) else end)
        ranges.append(_Range(place, start, end if last is None else last + 1))
    return ranges


async def _records(consumer: Any, wanted: _Range) -> AsyncGenerator[Any]:
    time = asyncio.get_running_loop().time
    place, position = wanted.partition, wanted.first
    if position >= wanted.end:
        return
    consumer.assign([place])
    consumer.seek(place, position)
    moved = time()
    while position < wanted.end:
        fetched = await consumer.getmany(place, timeout_ms=_POLL_MILLISECONDS, max_records=_RECORDS_AT_ONCE)
        for record in fetched.get(place, ()):
            if record.offset >= wanted.end:
                return
            yield record
        # It moves over what was compacted away, too.
        before, position = position, await consumer.position(place)
        if position > before:
            moved = time()
        elif time() - moved > _SILENCE_SECONDS:
            raise SourceError(f"topic {place.topic}: no record for {_SILENCE_SECONDS:g} s at offset {position}")


def _id(headers: Iterable[tuple[str, bytes]]) -> str:
    """The mail's id; "" for a record that somebody else wrote."""
    value = next((value for name, value in headers if name == "mail-id"), b"")
    return value.decode() if _ID.fullmatch(value) else ""


@contextmanager
def _translated(where: str) -> Iterator[None]:
    try:
        yield
    except DeliveryFailure as failure:
        raise SourceError(f"{where}: {failure.cause}") from failure
    except (errors.KafkaError, OSError) as error:
        raise SourceError(failures.from_error(error, where).cause) from error
