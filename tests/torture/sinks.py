"""Destinations outside the gateway, which say what they hold: a directory, an HTTP consumer, a bucket, a topic.

Each has the name by which routes refer to it, the table that configures its connector, and `delivered()`, for the
oracle. What holds of its own, apart from any journal, is in `problems()`: sentences, none when all is well.
"""

import hashlib
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import msgspec

from gateway import archive
from gateway.codec import CodecError, json_v1, raw
from gateway.envelope import Container, Envelope, Origin, encode_container
from tests.end_to_end import tables
from tests.servers.cache import REPOSITORY
from tests.servers.kafka import KafkaCluster
from tests.servers.kafka.clients import apart
from tests.servers.ports import LOOPBACK, accepts, free_port
from tests.servers.processes import ServerProcess
from tests.servers.s3 import S3Server
from tests.torture.journal import Delivered, metadata_digest

__all__ = ["DirectorySink", "HttpSink", "KafkaSink", "S3Sink", "Sink"]

_START_SECONDS = 30.0
_READ_SECONDS = 120.0
_S3_THREADS = 8


class Sink(Protocol):
    """One destination."""

    name: str

    def table(self) -> str:
        """The connector's table of the configuration."""

    def delivered(self) -> list[Delivered]:
        """What it holds, or got: all of it, again at each call."""

    def problems(self) -> list[str]:
        """What is wrong with what it holds, whatever was sent."""


class DirectorySink:
    """An archive at `root`. It keeps a mail once, and says nothing of when.

    Files that belong to no mail are what a kill leaves there, and no problem: nobody was told of them.
    """

    def __init__(self, root: Path, *, name: str = "archive") -> None:
        self.name = name
        self.root = root

    def table(self) -> str:
        return tables.directory(name=self.name, path=str(self.root))

    def delivered(self) -> list[Delivered]:
        if not self.root.exists():
            return []
        return [mail for marker in archive.mails(self.root) if (mail := _archived(marker)) is not None]

    def problems(self) -> list[str]:
        """Mails that `mailsluice verify` would call damaged."""
        if not self.root.exists():
            return []
        damaged = [found for found in archive.verify(self.root) if found.verdict is archive.Verdict.DAMAGED]
        return [f"{self.name}, {found.path}: {problem}" for found in damaged for problem in found.problems]


class HttpSink:
    """A consumer in a process of its own, which writes each POST down before it answers; running on entry."""

    def __init__(self, folder: Path, *, name: str = "consumer") -> None:
        self.name = name
        self._folder = folder
        self._path = name
        self._port = free_port()
        command = ["-m", "tests.torture.http_consumer", str(self._port), str(folder)]
        self.process = ServerProcess(
            "HTTP consumer",
            [sys.executable, *command],
            log=folder / f"{name}.log",
            environment={"PYTHONPATH": str(REPOSITORY)},
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.process.kill()

    def start(self) -> None:
        """Start it, also after `process.kill()`: at the same port, with the same journal."""
        self.process.start(lambda: accepts(self._port), _START_SECONDS)

    def part(self, path: str) -> Self:
        """The same consumer at this path, as a sink that knows of no other; it runs for as long as this one."""
        part = copy(self)
        part._path = path
        return part

    def table(self) -> str:
        url = f"http://{LOOPBACK}:{self._port}/{self._path}"
        return tables.http(url, "header_max_bytes = 65536", name=self.name)

    def delivered(self) -> list[Delivered]:
        journal = self._folder / f"{self._path}.journal"
        if not journal.exists():
            return []
        lines = b",".join(journal.read_bytes().splitlines())
        return msgspec.json.decode(b"[" + lines + b"]", type=list[Delivered])

    def problems(self) -> list[str]:
        return []


class S3Sink:
    """A bucket in the `message` layout. It keeps a mail once."""

    def __init__(self, server: S3Server, *, name: str = "objects") -> None:
        self.name = name
        self._server = server
        self._bucket = server.create_bucket()
        self._client = server.client(max_pool_connections=_S3_THREADS)
        self._prefix = ""

    def part(self, prefix: str) -> Self:
        """The same bucket below this prefix, as a sink that knows of no other."""
        part = copy(self)
        part._prefix = f"{prefix}/"
        return part

    def table(self) -> str:
        return tables.s3(self._server, self._bucket, f'prefix = "{self._prefix}"', name=self.name)

    def delivered(self) -> list[Delivered]:
        envelopes = [key for key in self._keys() if key.endswith(".json")]
        with ThreadPoolExecutor(_S3_THREADS) as threads:
            return list(threads.map(self._delivered, envelopes))

    def problems(self) -> list[str]:
        """Uploads in parts that nobody completed or aborted."""
        uploads = self._client.list_multipart_uploads(Bucket=self._bucket, Prefix=self._prefix).get("Uploads", ())
        return [f"{self.name}: an upload of {upload['Key']} is unfinished" for upload in uploads]

    def _keys(self) -> Iterable[str]:
        for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix):
            for item in page.get("Contents", ()):
                yield item["Key"]

    def _delivered(self, key: str) -> Delivered:
        envelope = json_v1.decode(self._octets(key))
        return _described(envelope, hashlib.sha256(self._octets(f"{key.removesuffix('.json')}.eml")).hexdigest())

    def _octets(self, key: str) -> bytes:
        return self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()


class KafkaSink:
    """A topic with one record for each time that a mail was produced."""

    _RECORD_OCTETS = 8 * 1024 * 1024

    def __init__(self, cluster: KafkaCluster, topic: str, *, name: str = "events") -> None:
        self.name = name
        self._cluster = cluster
        self._topic = topic
        cluster.create_topic(topic, config={"max.message.bytes": str(self._RECORD_OCTETS)})

    def table(self) -> str:
        sizes = (f"max_request_bytes = {self._RECORD_OCTETS}", f"inline_max_bytes = {self._RECORD_OCTETS // 2}")
        return tables.kafka(self._cluster, self._topic, 'format = "raw"', *sizes, name=self.name)

    def delivered(self) -> list[Delivered]:
        records = apart(lambda: self._cluster.read(self._topic, timeout=_READ_SECONDS))
        return [self._delivered(record.headers, record.value or b"", record.timestamp / 1000) for record in records]

    def problems(self) -> list[str]:
        return []

    @staticmethod
    def _delivered(headers: Iterable[tuple[str, bytes]], content: bytes, at: float) -> Delivered:
        headers = list(headers)
        envelope, containers = raw.decode(headers)
        return Delivered(
            marker=envelope.mail_from.address.raw.partition("@")[0],
            mail_id=dict(headers)["mail-id"].decode(),
            sha256=hashlib.sha256(content).hexdigest(),
            recipients=tuple(recipient.address.raw for recipient in envelope.recipients),
            # The first is the gateway's own trace.
            metadata_sha256=_metadata(containers[1:]),
            at=at,
        )


def _archived(marker: Path) -> Delivered | None:
    """The mail at `marker`; None for one that cannot be read, which `problems()` tells."""
    try:
        envelope = json_v1.decode(marker.read_bytes())
        with marker.with_suffix(".eml").open("rb") as content:
            sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    except (OSError, CodecError):
        return None
    return _described(envelope, sha256)


def _described(envelope: Envelope, sha256: str) -> Delivered:
    received = [container for container in envelope.metadata.containers if container.origin is Origin.RECEIVED]
    return Delivered(
        marker=envelope.envelope.mail_from.address.raw.partition("@")[0],
        mail_id=envelope.id,
        sha256=sha256,
        recipients=tuple(recipient.address.raw for recipient in envelope.envelope.recipients),
        metadata_sha256=_metadata(received),
    )


def _metadata(containers: Iterable[Container]) -> str:
    return metadata_digest(encode_container(container) for container in containers)
