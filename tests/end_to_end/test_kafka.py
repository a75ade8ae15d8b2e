"""Mail to a real Kafka: what a consumer reads, and what the client is told when the broker does not answer."""

import hashlib
import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka_event
from cloudevents.core.formats.json import JSONFormat

from gateway.codec import avro_v1, json_v1, raw
from tests.end_to_end import tables
from tests.end_to_end.archives import only, stored
from tests.end_to_end.gateway import Gateway
from tests.end_to_end.mails import CONTAINERS, LARGE_MAIL, MAIL, RECEIVED
from tests.end_to_end.wire import Wire, deliver

DEADLINE_SECONDS = 5.0


def read_structured(record):
    return json_v1.decode(json.dumps(json.loads(record.value)["data"]).encode())


FORMATS = {
    "binary": (('format = "cloudevents-json"',), lambda record: json_v1.decode(record.value)),
    "structured": (('format = "cloudevents-json"', 'content_mode = "structured"'), read_structured),
    "avro": (('format = "avro"',), lambda record: avro_v1.decode(record.value)),
}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(("listener", "hello"), [("smtp", "EHLO"), ("lmtp", "LHLO")])
async def test_a_mail_is_a_record_with_all_that_came(start_gateway, kafka, topic, *, form, listener, hello):
    """The broker has it before the client reads 250; recipients that no header names are in it too."""
    lines, decode = FORMATS[form]
    gateway = start_gateway(tables.kafka(kafka, topic, *lines) + tables.route("events"))
    recipients = ("bob@example.org", "bcc@example.org")
    replies = deliver(gateway.addresses[listener], MAIL, *recipients, hello=hello, containers=CONTAINERS)
    (record,) = await kafka.read(topic)
    envelope = decode(record)
    assert replies == [f"250 2.0.0 {envelope.id} accepted"] * (2 if hello == "LHLO" else 1)
    assert gateway.record(replies[0])["receipts"] == {
        "events": {"topic": topic, "partition": record.partition, "offset": record.offset}
    }
    assert record.key == dict(record.headers)["mail-id"] == envelope.id.encode()
    assert envelope.message.content == MAIL
    assert envelope.message.sha256 == hashlib.sha256(MAIL).hexdigest()
    assert [recipient.address.raw for recipient in envelope.envelope.recipients] == list(recipients)
    assert [(container.type, container.data) for container in envelope.metadata.containers[1:]] == RECEIVED


async def test_a_cloudevents_library_reads_the_record(start_gateway, kafka, topic):
    gateway = start_gateway(tables.kafka(kafka, topic) + tables.route("events"))
    (reply,) = deliver(gateway.addresses["smtp"], MAIL, "bob@example.org")
    (record,) = await kafka.read(topic)
    message = KafkaMessage(headers=dict(record.headers), key=record.key, value=record.value)
    event = from_kafka_event(message, JSONFormat())
    assert event.get_id() in reply
    assert event.get_data()["envelope"]["mail_from"]["address"]["raw"] == "sender@example.net"


async def test_a_raw_record_is_the_mail_and_a_header_for_each_fact(start_gateway, kafka, topic):
    gateway = start_gateway(tables.kafka(kafka, topic, 'format = "raw"') + tables.route("events"))
    (reply,) = deliver(gateway.addresses["smtp"], MAIL, "bob@example.org", containers=CONTAINERS)
    (record,) = await kafka.read(topic)
    assert record.value == MAIL
    assert dict(record.headers)["mail-id"].decode() in reply
    envelope, containers = raw.decode(record.headers)
    assert envelope.recipients[0].address.raw == "bob@example.org"
    assert [(container.type, container.data) for container in containers[1:]] == RECEIVED


@pytest.mark.parametrize("form", [*FORMATS, "raw"])
async def test_large_content_is_stored_first_and_the_record_says_where(start_gateway, kafka, topic, form):
    lines, decode = FORMATS.get(form, (('format = "raw"',), None))
    claim = ("inline_max_bytes = 1000", 'claim_check = "archive"')
    gateway = start_gateway(tables.kafka(kafka, topic, *lines, *claim) + tables.directory() + tables.route("events"))
    (reply,) = deliver(gateway.addresses["smtp"], LARGE_MAIL, "bob@example.org", containers=CONTAINERS)
    (record,) = await kafka.read(topic)
    mail = only(gateway.folder / "mail")
    assert reply == f"250 2.0.0 {mail.envelope.id} accepted"
    assert mail.content == LARGE_MAIL
    path = str(mail.marker.with_suffix(".eml").relative_to(gateway.folder / "mail"))
    if decode is None:
        assert record.value == b""
        reference = json.loads(dict(record.headers)["mail-reference"])
        assert reference == {"connector": "archive", "type": "directory", "location": {"path": path}}
    else:
        message = decode(record).message
        assert message.content is None
        assert (message.reference.connector, message.reference.location) == ("archive", {"path": path})
    # What is small enough travels in the record, and is stored nowhere else.
    deliver(gateway.addresses["smtp"], MAIL, "bob@example.org")
    assert len(await kafka.read(topic)) == 2
    assert len(stored(gateway.folder / "mail")) == 1


@pytest.fixture
def hasty(start_gateway, kafka, topic):
    """A gateway that soon gives the broker up; the mail of one recipient goes elsewhere."""
    return start_gateway(
        tables.directory()
        + tables.route("archive", recipients="other@example.org")
        + tables.kafka(kafka, topic, f"deadline_seconds = {DEADLINE_SECONDS}")
        + tables.route("events")
    )


@pytest.fixture
def paused(kafka, hasty):
    """The broker hangs from now on: call it to let it go on."""
    kafka.pause()
    yield kafka.resume
    kafka.resume()


async def test_a_broker_that_hangs_gives_no_250_until_it_goes_on(hasty, paused, kafka, topic):
    """The client gets 451 within the deadline, and other mail does not wait."""
    address = hasty.addresses["smtp"]
    with ThreadPoolExecutor() as threads:
        started = time.monotonic()
        waiting = [threads.submit(deliver, address, MAIL, "bob@example.org") for _ in range(3)]
        assert deliver(address, MAIL, "other@example.org")[0].startswith("250")
        replies = [each.result()[0] for each in waiting]
    assert time.monotonic() - started < DEADLINE_SECONDS + 5
    assert [reply[:9] for reply in replies] == ["451 4.4.2"] * 3
    paused()
    (reply,) = deliver(address, MAIL, "bob@example.org")
    assert reply.startswith("250")
    # A mail that was refused may have reached the broker all the same; its id is there to know it by.
    ids = [dict(record.headers)["mail-id"].decode() for record in await kafka.read(topic)]
    assert hasty.record(reply)["id"] in ids
    assert len(ids) == len(set(ids))


def test_a_broker_that_hangs_does_not_hold_up_the_end(hasty, paused):
    with Wire(hasty.addresses["smtp"]) as client:
        client.greet()
        client.begin("bob@example.org")
        client.send(b"BDAT %d LAST\r\n%b" % (len(MAIL), MAIL))
        started = time.monotonic()
        hasty.terminate()
        assert client.read().startswith("451 4.4.2")
        assert client.read().startswith("421")
    assert hasty.wait() == 0
    assert time.monotonic() - started < DEADLINE_SECONDS + 5


def test_a_topic_that_does_not_exist_is_named_at_the_start(tmp_path, kafka):
    text = tables.LISTENERS + tables.kafka(kafka, "no-such-topic") + tables.route("events")
    with pytest.raises(AssertionError, match=r'connector "events" cannot be opened: .*no-such-topic'):
        Gateway(tmp_path, text).start()
