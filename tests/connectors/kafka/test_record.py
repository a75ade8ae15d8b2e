"""What a record looks like, before anything is sent."""

import json

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka_event
from msgspec import structs

from connectors.kafka.record import Record, RecordLayout
from connectors.kafka.settings import KafkaSettings
from gateway.codec import avro_v1, json_v1, raw
from gateway.envelope import Content, ContentReference, Envelope, Mail, new_id
from gateway.testing import sample_mails


def _in_memory(mail: Mail) -> Mail:
    octets = mail.content.read()
    mail.content.close()
    return Mail(mail.envelope, Content(octets))


MAILS = {name: _in_memory(mail) for name, mail in sample_mails().items()}
FORMATS = [
    {"format": "cloudevents-json"},
    {"format": "cloudevents-json", "content_mode": "structured"},
    {"format": "avro"},
    {"format": "raw"},
]


def layout(**keys) -> RecordLayout:
    table = {"name": "events", "bootstrap_servers": ["k:1"], "topic": "mail", **keys}
    return RecordLayout(KafkaSettings.model_validate(table))


def envelope(**changes) -> Envelope:
    return structs.replace(MAILS["plain"].inline(), **changes)


def received_as(authenticated_as: str) -> Envelope:
    transaction = structs.replace(MAILS["plain"].envelope.transaction, authenticated_as=authenticated_as)
    return envelope(transaction=transaction)


def values(record: Record, name: str) -> list[bytes]:
    return [value for header, value in record.headers if header == name]


@pytest.mark.parametrize("keys", FORMATS, ids=str)
@pytest.mark.parametrize("name", MAILS)
def test_every_format_has_id_originator_and_each_recipient_in_headers(name, keys):
    mail = MAILS[name]
    record = layout(**keys).record(mail.inline())
    assert values(record, "mail-id") == [mail.envelope.id.encode()]
    found, _ = raw.decode(record.headers)
    assert found == mail.envelope.envelope


@pytest.mark.parametrize("name", MAILS)
def test_the_headers_of_every_format_are_those_of_raw(name):
    inline = MAILS[name].inline()
    found = [header for header in layout().record(inline).headers if header[0].startswith("mail-")]
    assert found == [header for header in raw.encode(inline) if header[0] in {"mail-id", "mail-from", "mail-rcpt"}]


@pytest.mark.parametrize("name", MAILS)
def test_the_size_is_never_below_that_of_the_batch_and_little_above(name):
    record = layout(format="raw").record(MAILS[name].inline())
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, 0, 1)
    builder.append(0, None, record.key, record.value, record.headers)
    batch = builder.build()
    assert len(batch) <= record.size <= len(batch) + 60 + 10 * len(record.headers)


@pytest.mark.parametrize("name", MAILS)
def test_a_binary_event_is_one_for_the_cloudevents_sdk(name):
    inline = MAILS[name].inline()
    record = layout().record(inline)
    once = {name: value for name, value in record.headers if not name.startswith("mail-")}
    event = from_kafka_event(KafkaMessage(headers=once, key=record.key, value=record.value))
    assert event.get_id() == inline.id
    assert event.get_datacontenttype() == "application/json"
    assert json_v1.decode(json.dumps(event.get_data()).encode()) == inline


@pytest.mark.parametrize("name", MAILS)
def test_a_structured_event_is_one_for_the_cloudevents_sdk(name):
    inline = MAILS[name].inline()
    record = layout(content_mode="structured").record(inline)
    assert values(record, "content-type") == [b"application/cloudevents+json; charset=UTF-8"]
    message = KafkaMessage(headers=dict(record.headers), key=record.key, value=record.value)
    event = from_kafka_event(message)
    assert event.get_id() == inline.id
    assert json_v1.decode(json.dumps(event.get_data()).encode()) == inline


def test_avro_is_framed_where_there_is_a_schema_id():
    inline = MAILS["plain"].inline()
    assert avro_v1.decode(layout(format="avro").record(inline).value) == inline
    framed = layout(format="avro").record(inline, schema_id=7).value
    assert framed[:5] == b"\0\0\0\0\x07"
    assert avro_v1.decode(framed[5:]) == inline


def test_raw_without_content_is_an_empty_value_and_no_tombstone():
    mail = MAILS["empty content"]
    assert layout(format="raw").record(mail.inline()).value == b""


def test_raw_by_reference_says_where_the_content_lies_and_does_not_pose_as_a_message():
    reference = ContentReference(connector="archive", type="directory", location={"path": "a.eml"})
    record = layout(format="raw").record(MAILS["plain"].by_reference(reference))
    assert record.value == b""
    assert values(record, "content-type") == []
    assert [json.loads(value) for value in values(record, "mail-reference")] == [
        {"connector": "archive", "type": "directory", "location": {"path": "a.eml"}}
    ]


@pytest.mark.parametrize(
    ("template", "authenticated_as", "topic"),
    [
        ("mail", "x", "mail"),
        ("mail.{listener}", "x", "mail.mx"),
        ("{authenticated_as}", "a/b c\r\n\0ü@d", "a_b_c_____d"),
        ("{authenticated_as}", "", "_"),
        ("{authenticated_as}", ".", "_"),
        ("{authenticated_as}", "..", "__"),
        ("{authenticated_as}", "...", "___"),
        ("a.{authenticated_as}", "..", "a..."),
        ("{authenticated_as}", "x" * 300, "x" * 249),
        ("{authenticated_as}", "{id}", "_id_"),
    ],
)
def test_whatever_stands_in_an_address_becomes_a_topic_that_kafka_takes(template, authenticated_as, topic):
    assert layout(topic=template).record(received_as(authenticated_as)).topic == topic


def test_the_key_is_the_id_so_that_a_mail_comes_again_into_the_same_partition():
    assert layout().record(envelope()).key == envelope().id.encode()


def test_a_key_keeps_every_character():
    assert layout(key="{authenticated_as}").record(received_as("ü/\n")).key == "ü/\n".encode()


@pytest.mark.parametrize("template", ["", "{authenticated_as}"])
def test_an_empty_key_is_none(template):
    assert layout(key=template).record(received_as("")).key is None


def test_the_record_is_the_flattened_content_where_delivery_flattened_it():
    mail = MAILS["metadata flattened"]
    assert layout(format="raw").record(mail.inline()).value == mail.content.read()


def test_a_mail_is_not_read_to_be_told_by_reference():
    mail = Mail(MAILS["plain"].envelope, Content(b"not this"))
    reference = ContentReference(connector="c", type="t", location={})
    assert b"bm90IHRoaXM" not in layout().record(mail.by_reference(reference)).value


def test_records_of_one_topic_and_key_stand_in_one_order():
    ordered = layout(topic="mail.{recipient_domain}", key="{authenticated_as}")
    one = ordered.ordering_key(received_as("a@example.net"))
    assert one == ordered.ordering_key(structs.replace(received_as("a@example.net"), id=new_id()))
    assert one != ordered.ordering_key(received_as("b@example.net"))
    elsewhere = layout(topic="other", key="{authenticated_as}")
    assert one != elsewhere.ordering_key(received_as("a@example.net"))


@pytest.mark.parametrize(
    "keys",
    [{}, {"key": ""}, {"key": "{sender}/{id}"}, {"topic": "{id}", "key": "{sender}"}, {"key": "{authenticated_as}"}],
    ids=["default", "no key", "id in the key", "id in the topic", "a key that is empty"],
)
def test_records_that_share_no_key_stand_in_no_order(keys):
    assert layout(**keys).ordering_key(received_as("")) is None


def test_one_key_for_all_is_an_order_of_all():
    assert layout(key="all").ordering_key(envelope()) == b"mail\0all"


def test_an_ordering_key_is_never_longer_than_what_delivery_takes():
    ordered = layout(key="{authenticated_as}")
    found = {ordered.ordering_key(received_as("ü" * 2000 + last)) for last in "ab"}
    assert len(found) == 2
    assert max(map(len, found)) <= 1024
