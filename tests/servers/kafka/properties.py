"""The text of a broker's `server.properties`: pure, from the values that differ between clusters and nodes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.servers.kafka.certificates import Certificates
from tests.servers.ports import LOOPBACK


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What is one node's own."""

    id: int
    port: int
    tls_port: int
    controller_port: int
    data: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The name and password that all SASL mechanisms accept."""

    username: str
    password: str


def replication(nodes: int) -> int:
    """Return how many copies a cluster of that many nodes keeps of a topic."""
    return min(3, nodes)


def server_properties(
    node: Node,
    nodes: Sequence[Node],
    *,
    certificates: Certificates,
    account: Account,
    settings: Mapping[str, str],
) -> str:
    """Return the properties of one node of a cluster; `settings` are the caller's and come before all others."""
    replicas = replication(len(nodes))
    in_sync = max(1, replicas - 1)
    plain = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    properties = {
        "process.roles": "broker,controller",
        "node.id": node.id,
        "listeners": f"PLAINTEXT://{LOOPBACK}:{node.port},SASL_SSL://{LOOPBACK}:{node.tls_port},"
        f"CONTROLLER://{LOOPBACK}:{node.controller_port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.voters": ",".join(f"{each.id}@{LOOPBACK}:{each.controller_port}" for each in nodes),
        "log.dirs": node.data,
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": certificates.keystore,
        # For callers who ask clients for certificates (`ssl.client.auth`).
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": certificates.ca_file,
        "listener.name.sasl_ssl.plain.sasl.jaas.config": f'{plain} user_{account.username}="{account.password}";',
        # The mechanisms that are offered are those of `sasl.enabled.mechanisms`, above or among the caller's settings.
        "listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config": scram,
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": scram,
        "connection.failed.authentication.delay.ms": 0,
        "auto.create.topics.enable": "false",
        "default.replication.factor": replicas,
        "min.insync.replicas": in_sync,
        # One partition each: with the default of 50 a first consumer group or transaction waits for all of them.
        "offsets.topic.num.partitions": 1,
        "offsets.topic.replication.factor": replicas,
        "transaction.state.log.num.partitions": 1,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.num.partitions": 1,
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync,
        "group.initial.rebalance.delay.ms": 0,
        # For so long after a crash the dead broker keeps its partitions, and keeps its own next life from registering:
        # 9 s by default, which a test that kills a broker would wait for.
        "broker.session.timeout.ms": 2000,
        "broker.heartbeat.interval.ms": 200,
        "log.cleaner.dedupe.buffer.size": 4 * 1024 * 1024,  # the default takes a quarter of our heap
    }
    properties |= settings
    return "".join(f"{name}={value}\n" for name, value in properties.items())
