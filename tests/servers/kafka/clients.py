"""What the tests ask a broker as clients, through aiokafka over the plaintext listener.

All are coroutines; `apart()` runs one where no loop may be assumed, as in a session fixture.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeAlias, TypeVar

from aiokafka import AIOKafkaConsumer, ConsumerRecord
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, for_code

Result = TypeVar("Result")
Record: TypeAlias = ConsumerRecord[bytes | None, bytes | None]

_POLL_SECONDS = 0.02
_LARGEST_RECORD = 64 * 1024 * 1024


def apart(ask: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Run a coroutine to its end in a thread and loop of its own, whether or not the caller is inside a loop."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(lambda: asyncio.run(ask())).result()


async def knows_all_brokers(bootstrap: str, brokers: int) -> bool:
    """Say whether the broker answers and has `brokers` of them, itself included, in its metadata."""
    try:
        async with _admin(bootstrap) as admin:
            cluster = await admin.describe_cluster()
    except KafkaError:
        return False
    return len(cluster["brokers"]) == brokers


async def create_topic(
    bootstraps: list[str], name: str, *, partitions: int, replicas: int, config: Mapping[str, str], seconds: float
) -> None:
    """Create a topic and return once every broker of `bootstraps` knows a leader for each of its partitions."""
    async with asyncio.timeout(seconds):
        async with _admin(bootstraps[0]) as admin:
            created = await admin.create_topics([NewTopic(name, partitions, replicas, topic_configs=dict(config))])
            for _, code, *message in created.topic_errors:
                if code:
                    raise for_code(code)(f"topic {name}: {message}")
        for bootstrap in bootstraps:
            async with _admin(bootstrap) as admin:
                while not _has_leaders(await admin.describe_topics([name]), partitions):  # noqa: ASYNC110  another process
                    await asyncio.sleep(_POLL_SECONDS)


async def leader(bootstrap: str, topic: str, partition: int) -> int:
    """Return the id of the broker that leads a partition."""
    async with _admin(bootstrap) as admin:
        [described] = await admin.describe_topics([topic])
    return int(next(each["leader"] for each in described["partitions"] if each["partition"] == partition))


async def read(bootstrap: str, topic: str, count: int | None, seconds: float) -> list[Record]:
    """Read a topic from its beginning, committed records only, as a consumer that shares nothing with the producer.

    With a `count`, returns once there are that many; a fetch may bring more, and all of it is returned, so that
    duplicates are seen. Without, returns what is there up to the end that the topic has now. Raises `TimeoutError`.
    """
    consumer: AIOKafkaConsumer[bytes | None, bytes | None] = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        max_partition_fetch_bytes=_LARGEST_RECORD,
    )
    records: list[Record] = []
    try:
        async with asyncio.timeout(seconds):
            await consumer.start()
            ends = await consumer.end_offsets(list(consumer.assignment()))
            while True:
                if count is not None and len(records) >= count:
                    break
                if count is None and all([await consumer.position(each) >= end for each, end in ends.items()]):
                    break
                for fetched in (await consumer.getmany(timeout_ms=100)).values():
                    records += fetched
    except TimeoutError as late:
        wanted = "all" if count is None else count
        raise TimeoutError(f"topic {topic}: {len(records)} records, not {wanted}, within {seconds:g} s") from late
    finally:
        await consumer.stop()
    return records


@asynccontextmanager
async def _admin(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=10_000)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


def _has_leaders(topics: list[dict[str, Any]], partitions: int) -> bool:
    [topic] = topics
    led = [partition for partition in topic["partitions"] if not partition["error_code"] and partition["leader"] >= 0]
    return not topic["error_code"] and len(led) == partitions
