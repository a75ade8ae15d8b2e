"""Apache Kafka for the tests: its jars, its brokers, and what the tests ask of them."""

from tests.servers.kafka.clients import Record
from tests.servers.kafka.cluster import KafkaCluster
from tests.servers.kafka.jars import install
from tests.servers.kafka.relay import KafkaRelay, Lost

__all__ = ["KafkaCluster", "KafkaRelay", "Lost", "Record", "install"]
