"""What arrives in a real broker."""

import asyncio
import json

import pytest
from aiohttp import web
from aiokafka import AIOKafkaConsumer
from msgspec import structs

from connectors.directory import CONNECTOR as DIRECTORY
from connectors.kafka.settings import KafkaSettings
from gateway.codec import avro_v1, json_v1, raw
from gateway.connector import PermanentFailure, TransientFailure
from gateway.envelope import Content, Mail
from gateway.envelope.flatten import flatten, preserve
from gateway.status import MESSAGE_REFUSED, STORAGE_FULL
from gateway.testing import MemoryConnector
from gateway.testing.samples import plain_mail

DECODERS = {"cloudevents-json": json_v1.decode, "avro": avro_v1.decode}


def with_content(octets: bytes) -> Mail:
    mail = plain_mail()
    message = structs.replace(mail.envelope.message, size=len(octets))
    return Mail(structs.replace(mail.envelope, message=message), Content(octets))


async def emit_all(connector, mails) -> list:
    return await asyncio.gather(*(connector.emit(mail) for mail in mails))


@pytest.mark.parametrize("form", DECODERS)
async def test_every_mail_comes_out_as_it_went_in(kafka, make_topic, start, form, mails):
    topic = make_topic()
    connector = await start(topic, format=form)
    receipts = await emit_all(connector, mails.values())
    records = {record.offset: record for record in await kafka.read(topic, len(mails))}
    for receipt, mail in zip(receipts, mails.values(), strict=True):
        assert DECODERS[form](records[receipt.location["offset"]].value) == mail.inline()


async def test_a_structured_event_comes_out_as_it_went_in(kafka, make_topic, start, mails):
    topic = make_topic()
    connector = await start(topic, content_mode="structured")
    mail = mails["metadata of every type"]
    await connector.emit(mail)
    [record] = await kafka.read(topic, 1)
    event = json.loads(record.value)
    assert json_v1.decode(json.dumps(event["data"]).encode()) == mail.inline()
    assert ("content-type", b"application/cloudevents+json; charset=UTF-8") in record.headers


async def test_avro_is_framed_with_the_id_that_the_registry_gave(kafka, make_topic, start, registry_server):
    topic = make_topic()
    connector = await start(topic, format="avro", schema_registry_url=registry_server.url)
    mail = plain_mail()
    await connector.emit(mail)
    await connector.emit(mail)
    for record in await kafka.read(topic, 2):
        schema_id, datum = avro_v1.unframe(record.value)
        assert (schema_id, avro_v1.decode(datum)) == (41, mail.inline())
    assert [path for path, _, _ in registry_server.requests] == [f"/api/subjects/{topic}-value/versions"]


async def test_nothing_is_sent_while_the_registry_does_not_take_the_schema(kafka, make_topic, start, registry_server):
    registry_server.answer = web.json_response({"error_code": 409}, status=409)
    topic = make_topic()
    connector = await start(topic, format="avro", schema_registry_url=registry_server.url)
    with pytest.raises(TransientFailure, match="status 409"):
        await connector.emit(plain_mail())
    assert await kafka.read(topic) == []


async def test_a_topic_that_does_not_exist_is_not_registered(make_topic, start, registry_server):
    topic = f"{make_topic()}.{{recipient_domain}}"
    connector = await start(topic, format="avro", schema_registry_url=registry_server.url)
    with pytest.raises(TransientFailure, match="does not exist"):
        await connector.emit(plain_mail())
    assert registry_server.requests == []


async def test_raw_is_the_content_with_envelope_and_containers_in_headers(kafka, make_topic, start, mails):
    topic = make_topic()
    connector = await start(topic, format="raw")
    receipts = await emit_all(connector, mails.values())
    records = {record.offset: record for record in await kafka.read(topic, len(mails))}
    for receipt, mail in zip(receipts, mails.values(), strict=True):
        record = records[receipt.location["offset"]]
        assert record.value == mail.content.read()
        assert raw.decode(record.headers) == (mail.envelope.envelope, mail.envelope.metadata.containers)


async def test_preserved_containers_are_headers_and_flattened_ones_stand_in_the_content(
    kafka, make_topic, start, mails
):
    topic = make_topic()
    connector = await start(topic, format="raw")
    mail = mails["metadata of every type"]
    await connector.emit(preserve(mail))
    await connector.emit(flatten(mail))
    preserved, flattened = await kafka.read(topic, 2)
    assert [name for name, _ in preserved.headers if name.startswith("bmtd-")] == [f"bmtd-{n:04}" for n in range(5)]
    assert preserved.value == mail.content.read()
    assert not [name for name, _ in flattened.headers if name.startswith("bmtd-")]
    assert flattened.value.endswith(mail.content.read())
    assert flattened.value.startswith(b"Return-Path: <")


async def test_the_receipt_says_where_the_record_is(kafka, make_topic, start):
    topic = make_topic(partitions=4)
    connector = await start(topic)
    mails = [plain_mail() for _ in range(20)]
    receipts = await emit_all(connector, mails)
    found = {(record.partition, record.offset): record for record in await kafka.read(topic, 20)}
    for receipt, mail in zip(receipts, mails, strict=True):
        record = found[receipt.location["partition"], receipt.location["offset"]]
        assert record.key == mail.envelope.id.encode()
        assert (receipt.id, receipt.connector, receipt.type) == (mail.envelope.id, "events", "kafka")
        assert receipt.location["topic"] == topic
    assert len({receipt.location["partition"] for receipt in receipts}) > 1


async def test_a_mail_that_comes_again_goes_to_the_same_partition(make_topic, start):
    connector = await start(make_topic(partitions=16))
    mail = plain_mail()
    receipts = [await connector.emit(mail) for _ in range(5)]
    assert len({receipt.location["partition"] for receipt in receipts}) == 1


async def test_topic_and_key_follow_their_templates(kafka, make_topic, start):
    name = make_topic()
    kafka.create_topic(f"{name}.example.org")
    connector = await start(f"{name}.{{recipient_domain}}", key="{listener}/{sender}")
    await connector.emit(plain_mail())
    [record] = await kafka.read(f"{name}.example.org", 1)
    assert record.key == b"mx/a@example.net"


@pytest.mark.parametrize("compression", ["none", "gzip", "snappy", "lz4", "zstd"])
async def test_batches_are_compressed_as_asked(kafka, make_topic, start, compression):
    topic = make_topic()
    connector = await start(topic, compression=compression, linger_milliseconds=20)
    mails = [with_content(b"well compressible " * 500) for _ in range(10)]
    await emit_all(connector, mails)
    records = await kafka.read(topic, 10)
    assert sorted(json_v1.decode(record.value).id for record in records) == sorted(mail.envelope.id for mail in mails)
    stored = sum(path.stat().st_size for path in kafka.brokers[0]._node.data.glob(f"{topic}-0/*.log"))
    assert (stored < 20_000) == (compression != "none")


async def test_a_large_mail_without_a_claim_check_is_refused_and_the_next_is_taken(kafka, make_topic, start):
    topic = make_topic()
    connector = await start(topic)
    with pytest.raises(PermanentFailure, match="claim_check") as caught:
        await connector.emit(with_content(b"x" * (700 * 1024 + 1)))
    assert str(caught.value.status) == "5.3.4"
    await connector.emit(plain_mail())
    assert len(await kafka.read(topic)) == 1


@pytest.mark.parametrize("form", ["cloudevents-json", "avro", "raw"])
async def test_the_largest_inline_content_fits_into_what_brokers_take_by_default(make_topic, start, form):
    connector = await start(make_topic(), format=form, compression="none")
    await connector.emit(with_content(b"x" * KafkaSettings.model_fields["inline_max_bytes"].default))


async def test_content_above_the_limit_goes_to_the_claim_check_first(kafka, make_topic, start, tmp_path):
    topic = make_topic()
    archive = DIRECTORY.build(DIRECTORY.settings(name="archive", path=tmp_path), {})
    await archive.open()
    connector = await start(topic, inline_max_bytes=1000, claim_check="archive", connectors={"archive": archive})
    small, large = with_content(b"s" * 1000), with_content(b"l" * 5_000_000)
    await connector.emit(small)
    await connector.emit(large)
    records = await kafka.read(topic, 2)
    inline, referring = (json_v1.decode(record.value) for record in records)
    assert inline == small.inline()
    assert referring.message.content is None
    reference = referring.message.reference
    assert (reference.connector, reference.type) == ("archive", "directory")
    assert (tmp_path / reference.location["path"]).read_bytes() == large.content.read()
    await archive.close()


async def test_a_mail_whose_metadata_swells_the_record_goes_to_the_claim_check_too(kafka, make_topic, start):
    topic = make_topic()
    archive = MemoryConnector("archive")
    options = {"inline_max_bytes": 60_000, "max_request_bytes": 64_000, "claim_check": "archive"}
    connector = await start(topic, connectors={"archive": archive}, **options)
    mail = with_content(b"x" * 59_000)
    await connector.emit(mail)
    [record] = await kafka.read(topic, 1)
    assert json_v1.decode(record.value).message.reference.location == {"key": mail.envelope.id}


async def test_a_record_that_is_too_large_even_without_content_is_refused(make_topic, start, mails):
    archive = MemoryConnector("archive")
    options = {"inline_max_bytes": 0, "max_request_bytes": 4096, "claim_check": "archive"}
    connector = await start(make_topic(), connectors={"archive": archive}, **options)
    with pytest.raises(PermanentFailure, match="without the content"):
        await connector.emit(mails["a thousand recipients"])


@pytest.mark.parametrize(
    "failure",
    [TransientFailure(STORAGE_FULL, "full"), PermanentFailure(MESSAGE_REFUSED, "no")],
    ids=["transient", "permanent"],
)
async def test_a_failure_of_the_claim_check_is_the_failure_of_the_mail(kafka, make_topic, start, failure):
    topic = make_topic()
    archive = MemoryConnector("archive")
    archive.failure = failure
    connector = await start(topic, inline_max_bytes=0, claim_check="archive", connectors={"archive": archive})
    with pytest.raises(type(failure)):
        await connector.emit(plain_mail())
    assert await kafka.read(topic) == []


async def test_a_claim_check_that_may_be_stored_is_no_record_that_may_be(make_topic, start):
    archive = MemoryConnector("archive")
    archive.failure = TransientFailure(STORAGE_FULL, "full", possibly_stored=True, retry_after_seconds=7)
    connector = await start(make_topic(), inline_max_bytes=0, claim_check="archive", connectors={"archive": archive})
    with pytest.raises(TransientFailure, match="claim_check archive: full") as caught:
        await connector.emit(plain_mail())
    assert (caught.value.possibly_stored, caught.value.retry_after_seconds) == (False, 7)


async def test_no_empty_content_makes_a_tombstone(kafka, make_topic, start, mails):
    topic = make_topic(config={"cleanup.policy": "compact"})
    connector = await start(topic, format="raw")
    await connector.emit(mails["empty content"])
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=kafka.bootstrap, auto_offset_reset="earliest")
    async with consumer:
        assert (await consumer.getone()).value == b""
