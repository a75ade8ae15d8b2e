"""A real Kafka cluster on loopback, of one node or more, with a plaintext and a SASL_SSL listener on each."""

import base64
import secrets
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Self

from tests.servers.kafka import clients
from tests.servers.kafka.broker import QUICK_START, Broker
from tests.servers.kafka.certificates import make_certificates
from tests.servers.kafka.clients import Record, apart
from tests.servers.kafka.jars import java_command
from tests.servers.kafka.properties import Account, Node, replication, server_properties
from tests.servers.ports import free_port
from tests.servers.processes import make_directory, run_tool


class KafkaCluster:
    """Brokers in KRaft mode, each a controller too, with their data in a temporary directory.

    Entering it starts all of them and returns once each answers and knows the others; leaving it kills them and
    removes the data. In between, `stop()`, `kill()`, `pause()` and `resume()` are for all brokers, and `start()` brings
    back, with the same ports and data, those that do not run; single ones are in `brokers`.

    The SASL_SSL listener (`tls_bootstrap`) is trusted through `ca_file` and takes `username` and `password` by PLAIN
    and by SCRAM-SHA-512; SCRAM-SHA-256 knows them too, where `settings` enable it. It trusts `client_cert_file`, where
    they have it ask. `settings` are broker properties that come before ours. `java_options` favour a fast start; a
    benchmark passes none.
    """

    def __init__(
        self,
        nodes: int = 1,
        settings: Mapping[str, str] | None = None,
        java_options: tuple[str, ...] = QUICK_START,
    ) -> None:
        self._directory = make_directory("kafka")
        certificates = make_certificates(self._directory)
        self._account = Account(username="mailsluice", password=secrets.token_hex(16))
        planned = [
            Node(
                id=number,
                port=free_port(),
                tls_port=free_port(),
                controller_port=free_port(),
                data=self._directory / f"data-{number}",
            )
            for number in range(1, nodes + 1)
        ]
        brokers = []
        for node in planned:
            properties = self._directory / f"{node.id}.properties"
            properties.write_text(
                server_properties(
                    node, planned, certificates=certificates, account=self._account, settings=settings or {}
                )
            )
            brokers.append(Broker(node, properties, java_options))
        self.brokers = tuple(brokers)
        self.ca_file = certificates.ca_file
        self.client_cert_file = certificates.client_cert_file
        self.username = self._account.username
        self.password = self._account.password

    @property
    def bootstrap(self) -> str:
        """The plaintext listeners, as the clients' `bootstrap_servers`."""
        return ",".join(broker.bootstrap for broker in self.brokers)

    @property
    def tls_bootstrap(self) -> str:
        """The SASL_SSL listeners, as the clients' `bootstrap_servers`."""
        return ",".join(broker.tls_bootstrap for broker in self.brokers)

    def __enter__(self) -> Self:
        cluster_id = base64.urlsafe_b64encode(secrets.token_bytes(16)).rstrip(b"=").decode()
        try:
            with ThreadPoolExecutor(max_workers=len(self.brokers)) as threads:
                for formatted in [threads.submit(each.format, cluster_id, self._account) for each in self.brokers]:
                    formatted.result()
            self.start()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close()

    def start(self) -> None:
        """Start every broker that does not run, and return once all answer and know each other."""
        waiting = [broker for broker in self.brokers if not broker.running]
        with ThreadPoolExecutor(max_workers=len(self.brokers)) as threads:
            for started in [threads.submit(each.start, partial(self._answers, each)) for each in waiting]:
                started.result()

    def stop(self) -> None:
        """Shut all brokers down in order."""
        for broker in self.brokers:
            broker.stop()

    def kill(self) -> None:
        """End all brokers as a crash would."""
        for broker in self.brokers:
            broker.kill()

    def pause(self) -> None:
        """Freeze all brokers."""
        for broker in self.brokers:
            broker.pause()

    def resume(self) -> None:
        """Let all brokers go on after `pause()`."""
        for broker in self.brokers:
            broker.resume()

    def create_topic(
        self, name: str, partitions: int = 1, config: Mapping[str, str] | None = None, *, seconds: float = 20
    ) -> None:
        """Create a topic, on three brokers if there are as many, and return once it can be written to."""
        running = [broker.bootstrap for broker in self.brokers if broker.running]
        replicas = replication(len(self.brokers))
        apart(
            lambda: clients.create_topic(
                running, name, partitions=partitions, replicas=replicas, config=config or {}, seconds=seconds
            )
        )

    def run_tool(self, main_class: str, *arguments: str) -> str:
        """Run one of Kafka's own programs against the plaintext listeners, and return what it printed."""
        command = java_command(
            main_class, "--bootstrap-server", self.bootstrap, *arguments, options=("-Xmx128m", *QUICK_START)
        )
        return run_tool(command, seconds=60)

    def leader(self, topic: str, partition: int = 0) -> Broker:
        """Return the broker that leads a partition, for tests that take it away."""
        leader = apart(lambda: clients.leader(self.bootstrap, topic, partition))
        return next(broker for broker in self.brokers if broker.id == leader)

    async def read(
        self,
        topic: str,
        count: int | None = None,
        timeout: float = 20,  # noqa: ASYNC109  a part of the question: the answer says what came by then
    ) -> list[Record]:
        """Read the committed records of a topic from its beginning, by a consumer independent of all else.

        With a `count`, returns once there are that many, or more if duplicates came along; without, what is there now.
        Raises `TimeoutError`.
        """
        return await clients.read(self.bootstrap, topic, count, timeout)

    def _answers(self, broker: Broker) -> bool:
        return broker.accepts() and apart(lambda: clients.knows_all_brokers(broker.bootstrap, len(self.brokers)))

    def _close(self) -> None:
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)
