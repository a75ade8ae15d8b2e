"""What stands behind some contenders: Kafka, an S3 store, a consumer of webhooks. Each starts when it is needed."""

import sys
from contextlib import ExitStack
from pathlib import Path

from tests.servers.kafka import KafkaCluster
from tests.servers.ports import accepts, free_port
from tests.servers.processes import ServerProcess, make_directory
from tests.servers.s3 import S3Server

__all__ = ["CONTENDERS", "Servers"]

CONTENDERS = Path(__file__).with_name("contenders")
TOPIC = "mail"

_PARTITIONS = 3
_START_SECONDS = 30.0


class Servers:
    """They run until `running` is closed."""

    def __init__(self, running: ExitStack) -> None:
        self._running = running
        self._clusters: dict[int, KafkaCluster] = {}
        self._store: S3Server | None = None
        self._consumer = 0

    def kafka(self, brokers: int) -> KafkaCluster:
        """A cluster with the topic `mail`, replicated on all of its brokers. Raises Unavailable, StartFailed."""
        if brokers not in self._clusters:
            cluster = self._running.enter_context(KafkaCluster(nodes=brokers, java_options=()))
            cluster.create_topic(TOPIC, partitions=_PARTITIONS)
            self._clusters[brokers] = cluster
        return self._clusters[brokers]

    def store(self) -> S3Server:
        """An S3 store. Raises Unavailable, StartFailed."""
        if self._store is None:
            self._store = self._running.enter_context(S3Server())
        return self._store

    def consumer(self) -> str:
        """The URL of a consumer that takes everything. Raises StartFailed."""
        if not self._consumer:
            self._consumer = port = free_port()
            log = make_directory("consumer") / "log"
            options = ("--port", str(port), "--no-access-log", "--log-level", "error", "--app-dir", CONTENDERS)
            server = ServerProcess("the consumer", [sys.executable, "-m", "uvicorn", *options, "consumer:app"], log=log)
            server.start(lambda: accepts(port), _START_SECONDS)
            self._running.callback(server.kill)
        return f"http://127.0.0.1:{self._consumer}"
