"""Mails of the same content share one object, and removing one breaks no other, whoever is at work meanwhile."""

import asyncio
import hashlib
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest
from msgspec import structs

from connectors.s3 import CONNECTOR, collection
from gateway import archive
from gateway.codec import json_v1
from gateway.collection import Collected, CollectingConnector
from gateway.connector import Extent, TransientFailure
from gateway.envelope import Content, Mail, shared_content_key
from gateway.testing import check_connector

SAME = b"Subject: same\r\n\r\nThe same.\r\n"
KEY = shared_content_key(hashlib.sha256(SAME).hexdigest())
CONDEMNED = KEY.replace(".eml", "/condemned")


@pytest.fixture
async def connector(open_connector, shelf):
    return await open_connector(shelf.settings(single_instance=True))


@pytest.fixture(autouse=True)
def requests_are_never_late(monkeypatch):
    monkeypatch.setattr(collection, "_REQUEST_LIFETIME", timedelta(0))


def place_of(mail):
    return f"{mail.envelope.received_at[:10].replace('-', '/')}/{mail.envelope.id}"


def references(shelf):
    return shelf.keys(KEY.replace(".eml", "/refs/"))


def contents(shelf):
    return sorted(item["Key"] for item in listed(shelf) if item["Key"].endswith(".eml"))


def listed(shelf):
    return shelf.client.list_objects_v2(Bucket=shelf.name).get("Contents", ())


async def content_of(shelf, receipt):
    return (await shelf.read_back(receipt)).content.read()


async def collect(connector, times=1):
    """What the last of so many collections removed, without any grace."""
    collected = None
    for _ in range(times):
        collected = await connector.collect(unused_seconds=-5)
    return collected


async def test_the_contract_is_kept(shelf):
    settings = shelf.settings(single_instance=True)
    await check_connector(lambda: CONNECTOR.build(settings, {}), shelf.read_back, max_in_flight=50)


async def test_the_content_is_stored_once_and_every_envelope_refers_to_it(connector, shelf, make_mail):
    mails = [make_mail(SAME), make_mail(SAME)]
    receipts = [await connector.emit(mail) for mail in mails]
    assert contents(shelf) == [KEY]
    for mail, receipt in zip(mails, receipts, strict=True):
        assert receipt.location["key"] == KEY
        assert receipt.location["envelope"] == f"{place_of(mail)}.json"
        reference = json_v1.decode(shelf.octets(receipt.location["envelope"])).message.reference
        assert (reference.connector, reference.type) == ("archive", "s3")
        assert reference.location == {key: value for key, value in receipt.location.items() if key != "envelope"}
        assert await content_of(shelf, receipt) == SAME
    assert {key.split("/refs/")[1].rpartition("/")[0] for key in references(shelf)} == set(map(place_of, mails))


async def test_the_reference_is_stored_first_and_the_envelope_last(connector, requests_of, make_mail):
    requests = requests_of(connector)
    mail = make_mail(SAME)
    await connector.emit(mail)
    await connector.emit(make_mail(SAME))
    reference, looked, found, content, envelope, *again = requests
    assert (reference.operation, reference.key.split("/")[3:5]) == ("PutObject", ["refs", place_of(mail)[:4]])
    assert [(each.operation, each.key) for each in (looked, found, content)] == [
        ("HeadObject", CONDEMNED),
        ("HeadObject", KEY),
        ("PutObject", KEY),
    ]
    assert content.headers["if-none-match"] == "*"
    assert envelope.key == f"{place_of(mail)}.json"
    assert [each.operation for each in again] == ["PutObject", "HeadObject", "HeadObject", "PutObject"]


async def test_nothing_is_shared_beyond_what_the_prefix_expands_to(open_connector, shelf, make_mail):
    connector = await open_connector(shelf.settings(single_instance=True, prefix="{listener}/"))
    for name in ("one", "two"):
        mail = make_mail(SAME)
        transaction = structs.replace(mail.envelope.transaction, listener=name)
        await connector.emit(Mail(structs.replace(mail.envelope, transaction=transaction), mail.content))
    assert contents(shelf) == [f"one/{KEY}", f"two/{KEY}"]


async def test_the_same_mail_again_has_the_same_receipt(connector, make_mail):
    mail = make_mail(SAME)
    assert await connector.emit(mail) == await connector.emit(mail)


async def test_writers_that_meet_store_one_content(connector, shelf, make_mail):
    receipts = await asyncio.gather(*(connector.emit(make_mail(SAME)) for _ in range(12)))
    assert contents(shelf) == [KEY]
    assert {receipt.location["key"] for receipt in receipts} == {KEY}


async def test_removing_a_mail_breaks_no_other_and_the_last_frees_the_content(connector, shelf, make_mail):
    assert isinstance(connector, CollectingConnector)
    mails = [make_mail(SAME) for _ in range(3)]
    receipts = [await connector.emit(mail) for mail in mails]
    for mail in mails[:2]:
        assert await connector.remove(place_of(mail))
        assert await collect(connector, 3) == Collected()
        assert await content_of(shelf, receipts[2]) == SAME
    assert await connector.remove(f"{place_of(mails[2])}.json")
    assert not await connector.remove(place_of(mails[2]))
    assert await collect(connector) == Collected(condemned=1)
    assert shelf.keys() == [KEY, CONDEMNED] or shelf.keys() == [CONDEMNED, KEY]
    assert await collect(connector) == Collected(contents=1, octets=len(SAME))
    assert shelf.keys() == [CONDEMNED]
    assert await collect(connector) == Collected()
    assert shelf.keys() == []


async def test_a_mail_that_comes_while_its_content_is_condemned_keeps_a_copy_of_its_own(connector, shelf, make_mail):
    first = make_mail(SAME)
    await connector.emit(first)
    await connector.remove(place_of(first))
    await collect(connector)
    mail = make_mail(SAME)
    receipt = await connector.emit(mail)
    assert receipt.location["key"] == f"{place_of(mail)}.eml"
    assert references(shelf) == []
    await collect(connector, 3)
    assert await content_of(shelf, receipt) == SAME
    assert (await connector.emit(make_mail(SAME))).location["key"] == KEY


@pytest.fixture
async def collector(open_connector, shelf):
    return await open_connector(shelf.settings(single_instance=True, name="collector"))


@pytest.fixture
def collect_amid(connector, collector, interfere):
    """Have a whole collection run before each request of the connector: to it all but references are a day old."""
    collector_list, loop = collector._bucket.list, asyncio.get_running_loop

    def aged(prefix, permit):
        for item in collector_list(prefix, permit):
            age = timedelta(0) if "/refs/" in item.key else timedelta(days=1)
            yield replace(item, stored_at=item.stored_at - age)

    @contextmanager
    def amid(operation):
        running, is_over = loop(), []

        def collect_now(_request):
            if not is_over:
                asyncio.run_coroutine_threadsafe(collector.collect(unused_seconds=3600), running).result(30)

        interfere(connector, operation, collect_now)
        yield
        is_over.append(True)

    collector._bucket.list = aged
    return amid


@pytest.mark.parametrize("when", [*product(range(3), ["PutObject", "HeadObject"])], ids=str)
async def test_a_collection_at_any_moment_of_a_mail_loses_nothing(connector, shelf, make_mail, collect_amid, when):
    stages, operation = when
    first = make_mail(SAME)
    await connector.emit(first)
    await connector.remove(place_of(first))
    await collect(connector, stages)
    with collect_amid(operation):
        receipt = await connector.emit(make_mail(SAME))
    await collect(connector, 3)
    assert await content_of(shelf, receipt) == SAME
    await connector.remove(receipt.location.get("envelope", receipt.location["key"]))
    await collect(connector, 3)
    assert shelf.keys() == []


async def test_a_reference_stored_after_the_listing_spares_the_content(
    connector, collector, shelf, make_mail, interfere
):
    """A mail that had looked for the mark before there was one is slow to store what it looked for."""
    first = make_mail(SAME)
    await connector.emit(first)
    await connector.remove(place_of(first))
    await collect(collector)
    late = KEY.replace(".eml", f"/refs/{place_of(make_mail(SAME))}/00")

    def refer(request):
        if request.url.endswith("/condemned"):
            shelf.client.put_object(Bucket=shelf.name, Key=late)

    interfere(collector, "PutObject", refer)
    assert await collect(collector) == Collected(condemned=1)
    assert contents(shelf) == [KEY]


async def test_a_mail_that_comes_just_before_the_deletion_is_whole(connector, collector, shelf, make_mail, interfere):
    first = make_mail(SAME)
    await connector.emit(first)
    await connector.remove(place_of(first))
    await collect(collector)
    loop = asyncio.get_running_loop()
    receipts = []

    def emit(request):
        if request.url.endswith(KEY):
            emitted = asyncio.run_coroutine_threadsafe(connector.emit(make_mail(SAME)), loop)
            receipts.append(emitted.result(30))

    interfere(collector, "DeleteObject", emit)
    assert await collect(collector) == Collected(contents=1, octets=len(SAME))
    (receipt,) = receipts
    assert await content_of(shelf, receipt) == SAME


async def test_what_a_failed_attempt_left_is_no_reference_and_that_of_a_later_one_is(connector, shelf, make_mail):
    mail = make_mail(SAME)
    await connector.emit(mail)
    shelf.client.delete_object(Bucket=shelf.name, Key=f"{place_of(mail)}.json")
    assert await connector.collect(unused_seconds=3600) == Collected()
    assert len(references(shelf)) == 1
    receipt = await connector.emit(mail)
    await collect(connector, 3)
    assert await content_of(shelf, receipt) == SAME
    shelf.client.delete_object(Bucket=shelf.name, Key=f"{place_of(mail)}.json")
    await collect(connector, 3)
    assert shelf.keys() == []


@pytest.mark.parametrize("damage", [b"x" * len(SAME), SAME[:-1], b""], ids=["changed", "short", "empty"])
async def test_a_damaged_content_is_referred_to_by_no_further_mail(connector, shelf, make_mail, damage):
    await connector.emit(make_mail(SAME))
    shelf.client.put_object(Bucket=shelf.name, Key=KEY, Body=damage)
    mail = make_mail(SAME)
    receipt = await connector.emit(mail)
    assert receipt.location["key"] == f"{place_of(mail)}.eml"
    assert await content_of(shelf, receipt) == SAME
    assert len(references(shelf)) == 1


async def test_content_that_is_not_what_its_envelope_says_is_not_stored_nor_referred_to(connector, shelf, make_mail):
    damaged = Mail(make_mail(SAME).envelope, Content(SAME[:-1] + b"!"))
    with pytest.raises(TransientFailure, match="BadDigest"):
        await connector.emit(damaged)
    assert contents(shelf) == []
    await connector.emit(make_mail(SAME))
    with pytest.raises(TransientFailure, match="does not have the digest"):
        await connector.emit(damaged)
    assert not [key for key in map(str, shelf.keys(place_of(damaged))) if key.endswith(".json")]


async def test_large_content_is_shared_and_not_sent_again(open_connector, shelf, make_mail, requests_of):
    mebibyte = 1024 * 1024
    octets = b"x" * (6 * mebibyte)
    connector = await open_connector(
        shelf.settings(single_instance=True, multipart_threshold_bytes=5 * mebibyte, multipart_part_bytes=5 * mebibyte)
    )
    first = await connector.emit(make_mail(octets))
    requests = requests_of(connector)
    second = await connector.emit(make_mail(octets))
    assert second.location["key"] == first.location["key"]
    assert "UploadPart" not in {request.operation for request in requests}
    assert await content_of(shelf, second) == octets


async def test_one_collection_at_a_time(connector, shelf):
    shelf.client.put_object(Bucket=shelf.name, Key="content/collecting")
    with pytest.raises(TransientFailure, match="another collection is at work"):
        await collect(connector)
    assert shelf.keys() == ["content/collecting"]


@pytest.mark.parametrize("key", ["", "content/ab/x.eml", "2026/11/21", KEY])
async def test_removing_what_is_no_mail_is_refused(connector, key):
    with pytest.raises(ValueError, match="is no mail of an archive"):
        await connector.remove(key)


async def test_the_copy_of_a_bucket_is_an_archive_that_can_be_verified_and_read(connector, shelf, make_mail, tmp_path):
    for _ in range(2):
        await connector.emit(make_mail(SAME))
    await connector.emit(make_mail(b"other"))
    for key in sorted(shelf.keys()):
        path = tmp_path / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(shelf.octets(key))
    assert [finding.verdict for finding in archive.verify(tmp_path)] == [archive.Verdict.INTACT] * 3
    found = []
    for marker in archive.mails(tmp_path):
        mail = archive.read(marker)
        assert mail.envelope.message.reference is None
        found.append(mail.content.read())
        mail.content.close()
    assert sorted(found) == sorted([SAME, SAME, b"other"])
    (tmp_path / KEY).write_bytes(SAME[:-1] + b"!")
    assert [finding.verdict for finding in archive.verify(tmp_path)].count(archive.Verdict.DAMAGED) == 3


async def test_what_is_shared_is_read_again_for_a_replay(connector, shelf, make_mail):
    mails = {mail.envelope.id: mail for mail in (make_mail(SAME), make_mail(SAME), make_mail(b"other"))}
    for mail in mails.values():
        await connector.emit(mail)
    source = CONNECTOR.source(shelf.settings(single_instance=True))
    read = {}
    async for found in source.mails(Extent(), None):
        mail = await found.read(lambda _: True)
        read[found.id] = mail.content.read()
        mail.content.close()
    await source.close()
    assert read == {id_: mail.content.read() for id_, mail in mails.items()}
