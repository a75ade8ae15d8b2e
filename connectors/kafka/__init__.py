"""One record per mail, acknowledged by all in-sync replicas before the client reads 250.

| `format` | value | `content-type` |
| --- | --- | --- |
| `cloudevents-json` | the envelope as JSON, content inside; event attributes in `ce_` headers | `application/json` |
| the same, `structured` | one JSON event whose `data` is the envelope | `application/cloudevents+json; charset=UTF-8` |
| `avro` | the envelope as an Avro datum, bare or framed with a registry's schema id | `application/avro` |
| `raw` | the content itself | `message/rfc822` |

In every format the headers `mail-id`, `mail-from` and one `mail-rcpt` per recipient stand beside the value, with the
arguments of MAIL and RCPT; `raw` has the rest of the envelope in headers too, and one `bmtd-0000`, `bmtd-0001`, … per
metadata container: two octets of type, then its data.

Content larger than `inline_max_bytes`, or that makes a record larger than `max_request_bytes`, is first stored by the
connector that `claim_check` names; the record's `message.reference` then says where (in `raw`, whose value is empty
then, the header `mail-reference`). Without a claim check such a mail is refused with 5.3.4.

Nothing else is refused for good. Brokers that are down, hang or lack replicas, a topic that is missing, a right or a
login that is refused: the client gets 451 within `deadline_seconds` and keeps the mail, or it stays in the spool and is
tried again for ever; the log says what to mend. A mail that the brokers may have although they did not say so comes
again under the same id, marked in the spool as a possible duplicate; with the default key it comes into the same
partition, where a consumer finds it by `mail-id`.

A new leader is waited for while any broker answers. Without one for three seconds, mails fail at once, until a broker
lets the gateway in again.

Spooled mails whose records have the same topic and key are sent one at a time, so that a partition holds them in the
order in which they came; the others go side by side. With the default key, with none, or with `{id}` in the topic,
there is no such order. One key for all mail would make one queue of it, which waits for an answer after every mail.

An acknowledgement is worth what the topic's replication is: use three replicas and `min.insync.replicas=2`. The user
needs the rights to describe and write the topics.

`mailsluice replay --kafka` reads records of every one of these forms again, by offsets, by time or by key, and content
that a claim check holds from the connector that holds it; for that the user needs the right to read the topic. Avro is
read by the schema of this version, whatever id frames it. A record that was written with `metadata = "flatten"`, that
another program wrote or that has no value is refused with a sentence. No consumer group is used.
"""

from collections.abc import Mapping

from connectors.kafka.settings import KafkaSettings
from connectors.kafka.verification import spot
from gateway.connector import Connector, ConnectorType, Source

__all__ = ["CONNECTOR", "KafkaSettings"]


def _build(settings: KafkaSettings, connectors: Mapping[str, Connector]) -> Connector:
    # aiokafka takes a while to import; who has no such connector does not wait for it.
    from connectors.kafka.connector import KafkaConnector  # noqa: PLC0415

    return KafkaConnector(settings, connectors[settings.claim_check] if settings.claim_check else None)


def _source(settings: KafkaSettings) -> Source:
    from connectors.kafka.reading import KafkaSource  # noqa: PLC0415  # as above

    return KafkaSource(settings)


CONNECTOR = ConnectorType(
    name="kafka",
    summary="Sends every mail as a record to an Apache Kafka topic.",
    stability="beta",
    settings=KafkaSettings,
    build=_build,
    max_in_flight=1000,
    source=_source,
    coordinates=("topic", "partition", "offset"),
    spot=spot,
)
