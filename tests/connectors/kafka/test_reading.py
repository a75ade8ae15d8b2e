"""Records of a real broker read again, in every form that the connector writes."""

import asyncio
from contextlib import aclosing

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from connectors.kafka import CONNECTOR
from connectors.kafka.reading import _id
from connectors.kafka.record import RecordLayout
from connectors.kafka.record_reading import read_record
from gateway.codec import avro_v1
from gateway.connector import Extent, Offsets, SourceError
from gateway.envelope import Content
from gateway.testing import MemoryConnector, plain_mail, sample_mails
from tests.connectors.kafka.conftest import settings
from tests.connectors.reading import nothing_elsewhere, read_all, same

FORMS = {
    "binary": {},
    "structured": {"content_mode": "structured"},
    "avro": {"format": "avro"},
    "raw": {"format": "raw"},
}


@pytest.fixture
def samples():
    mails = sample_mails()
    # What comes back flattened is told of above the source.
    mails.pop("metadata flattened").content.close()
    yield mails
    for mail in mails.values():
        mail.content.close()


async def sent(configured, mails, references=None):
    connector = CONNECTOR.build(configured, references or {})
    await connector.open()
    try:
        return [await connector.emit(mail) for mail in mails]
    finally:
        await connector.close()


@pytest.mark.parametrize("form", FORMS)
async def test_every_sample_mail_comes_back_also_from_a_claim_check(kafka, make_topic, samples, form):
    configured = settings(kafka, make_topic(partitions=3), inline_max_bytes=100, claim_check="store", **FORMS[form])
    store = MemoryConnector("store")

    async def fetch(reference):
        assert (reference.connector, reference.type) == ("store", "memory")
        return Content(store.mails[reference.location["key"]].content.read())

    await sent(configured, samples.values(), {"store": store})
    assert store.mails
    found = await read_all(CONNECTOR.source(configured), fetch=fetch)
    assert len(found) == len(samples)
    for mail in samples.values():
        (again,) = (each for each in found if each.envelope.id == mail.envelope.id)
        assert same(again, mail)


async def test_a_place_is_that_of_one_mail_also_where_a_topic_is_made_again(kafka, make_topic):
    configured = settings(kafka, make_topic(partitions=1))
    mail = plain_mail()
    (receipt,) = await sent(configured, [mail])
    found = CONNECTOR.source(configured).mails(Extent(), nothing_elsewhere)
    async with asyncio.timeout(60), aclosing(found):
        (place,) = [each.place async for each in found]
    # The offset begins again with the topic, and another cluster has topics of the same name.
    assert place == f"{receipt.location['topic']} 0 0 {mail.envelope.id}"


async def test_offsets_a_key_and_a_time_choose_records(kafka, make_topic):
    topic = make_topic(partitions=1)
    configured = settings(kafka, topic)
    mails = [plain_mail() for _ in range(4)]
    await sent(configured, mails)

    async def ids(**extent):
        return [mail.envelope.id for mail in await read_all(CONNECTOR.source(configured), Extent(**extent))]

    expected = [mail.envelope.id for mail in mails]
    assert await ids() == expected
    assert await ids(offsets=(Offsets(partition=0, first=1, last=2),)) == expected[1:3]
    assert await ids(offsets=(Offsets(partition=0, first=3),)) == expected[3:]
    assert await ids(offsets=(Offsets(partition=0, last=0),)) == expected[:1]
    assert await ids(key=expected[2].encode()) == [expected[2]]
    assert await ids(since=mails[0].envelope.received_at) == expected
    assert await ids(since="2999-01-01T00:00:00.000000Z") == []
    assert await ids(topic=topic) == expected


async def test_what_is_not_there_is_said_to_be_so(kafka, make_topic):
    topic = make_topic(partitions=1)
    configured = settings(kafka, topic)
    await sent(configured, [plain_mail()])
    for extent, sentence in (
        (Extent(offsets=(Offsets(partition=0, first=0, last=1),)), "ends before offset 1: its end is 1"),
        (Extent(offsets=(Offsets(partition=1),)), "has no partition 1; it has 0"),
        (Extent(topic="no-such-topic"), "topic no-such-topic: .*the topic does not exist"),
    ):
        with pytest.raises(SourceError, match=sentence):
            await read_all(CONNECTOR.source(configured), extent)
    with pytest.raises(SourceError, match="say which one with --topic"):
        await read_all(CONNECTOR.source(settings(kafka, "mail.{listener}")))


async def test_offsets_that_were_deleted_are_said_to_be_so(kafka, make_topic):
    topic = make_topic(partitions=1)
    configured = settings(kafka, topic)
    mails = [plain_mail() for _ in range(3)]
    await sent(configured, mails)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=2)})
    await admin.close()
    (left,) = await read_all(CONNECTOR.source(configured))
    assert left.envelope.id == mails[2].envelope.id
    with pytest.raises(SourceError, match="begins at offset 2: what was before has been deleted"):
        await read_all(CONNECTOR.source(configured), Extent(offsets=(Offsets(partition=0, first=1),)))


@pytest.mark.parametrize(
    ("headers", "value", "sentence"),
    [
        ([], None, "the record has no value"),
        ([], b"x", "its content-type '' is none that the kafka connector writes"),
        ([("content-type", b"application/json")], b"{}", "the record cannot be read: "),
        ([("content-type", b"application/avro")], b"\0\0\0\0", "the record cannot be read: "),
        ([("content-type", b"message/rfc822")], b"x", "there must be one mail-from"),
        ([("mail-reference", b"{}")], b"", "the record cannot be read: "),
    ],
)
async def test_what_is_no_mail_is_refused_with_a_sentence(headers, value, sentence):
    with pytest.raises(SourceError, match=sentence):
        await read_record(headers, value, nothing_elsewhere, lambda _: True)


@pytest.mark.parametrize("value", [b"", b"\x1b[2J", b"\xff", b"1" * 25, b"1" * 27, b"1" * 26 + b"\n", b"U" * 26])
def test_what_is_no_id_is_not_taken_for_one(value):
    assert _id([("mail-id", value)]) == ""
    assert _id([("mail-id", b"1" * 26)]) == "1" * 26


async def test_an_envelope_without_its_content_is_refused(kafka):
    record = RecordLayout(settings(kafka, "mail")).record(plain_mail().envelope)
    with pytest.raises(SourceError, match="neither the content nor a reference"):
        await read_record(record.headers, record.value, nothing_elsewhere, lambda _: True)


async def test_a_framed_datum_is_read_like_a_bare_one(kafka):
    mail = plain_mail()
    record = RecordLayout(settings(kafka, "mail", format="avro")).record(mail.inline(), schema_id=7)
    assert avro_v1.unframe(record.value)[0] == 7
    assert same(await read_record(record.headers, record.value, nothing_elsewhere, lambda _: True), mail)
