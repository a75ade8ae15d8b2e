"""Where the mail of the crash points goes: a server for all of them, and for each a part of it that it has to itself.

A directory is on the disk that fails. The others are elsewhere, and nothing fails there.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers.kafka import KafkaCluster
from tests.servers.s3 import S3Server
from tests.torture.sinks import DirectorySink, HttpSink, KafkaSink, S3Sink, Sink

__all__ = ["DIRECTORY", "KINDS", "Destination", "Kind"]


@dataclass(frozen=True, slots=True)
class Destination:
    """`part` makes a sink for one place: a directory of its own, whose name no other has, with the disk in `disk`."""

    name: str
    part: Callable[[Path], Sink]


@dataclass(frozen=True, slots=True)
class Kind:
    """`start` starts the server, and `on` makes the destination of one that runs."""

    start: Callable[[], AbstractContextManager[Any]]
    on: Callable[[Any], Destination]


@contextmanager
def _consumer() -> Iterator[HttpSink]:
    with tempfile.TemporaryDirectory(prefix="mailsluice-consumer-") as folder, HttpSink(Path(folder)) as consumer:
        yield consumer


def _paths(consumer: HttpSink) -> Destination:
    return Destination("http", lambda place: consumer.part(place.name))


def _prefixes(server: S3Server) -> Destination:
    bucket = S3Sink(server)
    return Destination("s3", lambda place: bucket.part(place.name))


def _topics(cluster: KafkaCluster) -> Destination:
    return Destination("kafka", lambda place: KafkaSink(cluster, place.name))


DIRECTORY = Destination("directory", lambda place: DirectorySink(place / "disk" / "mail"))

KINDS: Mapping[str, Kind] = {
    "directory": Kind(nullcontext, lambda _: DIRECTORY),
    "http": Kind(_consumer, _paths),
    "s3": Kind(S3Server, _prefixes),
    "kafka": Kind(KafkaCluster, _topics),
}
