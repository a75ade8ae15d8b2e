"""Mails as records in Apache Kafka.

Each mail is one record, sent by an idempotent producer and acknowledged by all in-sync replicas before the client reads
250; the receipt names topic, partition and offset. A mail whose delivery was cut off may come again: under the same id,
and with the default key in the same partition.
"""

from collections.abc import Mapping

from connectors.kafka.settings import KafkaSettings
from gateway.connector import Connector, ConnectorType

__all__ = ["CONNECTOR", "KafkaSettings"]


def _build(settings: KafkaSettings, connectors: Mapping[str, Connector]) -> Connector:
    # aiokafka takes a while to import; who has no such connector does not wait for it.
    from connectors.kafka.connector import KafkaConnector  # noqa: PLC0415

    return KafkaConnector(settings, connectors[settings.claim_check] if settings.claim_check else None)


CONNECTOR = ConnectorType(
    name="kafka",
    summary="Sends every mail as a record to an Apache Kafka topic.",
    stability="beta",
    settings=KafkaSettings,
    build=_build,
    max_in_flight=1000,
)
