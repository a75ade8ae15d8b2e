import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from msgspec import structs

from gateway.codec import bmtd, json_v1
from gateway.connector import PermanentFailure, TransientFailure
from gateway.envelope import BLOCK, Content, Mail

pytestmark = pytest.mark.usefixtures("either_way")


@pytest.fixture
async def connector(open_connector, shelf):
    return await open_connector(shelf.settings())


def stem_of(mail):
    return f"{mail.envelope.received_at[:10].replace('-', '/')}/{mail.envelope.id}"


async def test_a_mail_is_its_content_its_containers_and_its_envelope(connector, shelf, samples):
    mail = samples["metadata of every type"]
    receipt = await connector.emit(mail)
    stem = stem_of(mail)
    assert sorted(shelf.keys()) == [f"{stem}.bmtd", f"{stem}.eml", f"{stem}.json"]
    assert shelf.octets(f"{stem}.eml") == mail.content.read()
    assert shelf.octets(f"{stem}.bmtd") == bmtd.encode(mail.envelope.metadata.containers)
    assert shelf.octets(f"{stem}.json") == json_v1.encode(mail.envelope)
    head = shelf.head(f"{stem}.eml")
    assert receipt.location == {"bucket": shelf.name, "key": f"{stem}.eml", "etag": head["ETag"].strip('"')}
    assert head["ContentType"] == "message/rfc822"


async def test_the_envelope_is_stored_last(connector, requests_of, samples):
    requests = requests_of(connector)
    await connector.emit(samples["metadata of every type"])
    assert [request.key.rpartition(".")[2] for request in requests] == ["eml", "bmtd", "json"]


async def test_every_request_is_conditional_and_has_its_digest(connector, requests_of, make_mail):
    requests = requests_of(connector)
    await connector.emit(make_mail())
    assert len(requests) == 2
    for request in requests:
        assert request.operation == "PutObject"
        assert request.headers["if-none-match"] == "*"
        assert request.headers["x-amz-checksum-sha256"]
        # Older stores do not know the SDK's own checksums in trailers.
        assert not [name for name in request.headers if "trailer" in name.lower() or "crc" in name.lower()]


async def test_every_request_says_whose_it_is(connector, requests_of, make_mail):
    requests = requests_of(connector)
    await connector.emit(make_mail())
    assert {request.headers["user-agent"].partition("/")[0] for request in requests} == {"Mailsluice"}


async def test_only_a_large_object_waits_for_the_stores_leave(connector, requests_of, make_mail):
    requests = requests_of(connector)
    await connector.emit(make_mail(b"x" * (BLOCK + 1)))
    large, small = requests
    assert large.headers["expect"] == "100-continue"
    assert "expect" not in small.headers


async def test_the_same_mail_again_has_the_same_receipt(connector, shelf, make_mail):
    mail = make_mail()
    first = await connector.emit(mail)
    keys = shelf.keys()
    assert await connector.emit(mail) == first
    assert shelf.keys() == keys


async def test_an_interrupted_mail_is_completed_when_it_comes_again(connector, shelf, make_mail):
    mail = make_mail()
    first = await connector.emit(mail)
    shelf.client.delete_object(Bucket=shelf.name, Key=f"{stem_of(mail)}.json")
    assert await connector.emit(mail) == first
    assert shelf.octets(f"{stem_of(mail)}.json") == json_v1.encode(mail.envelope)


async def test_a_versioned_bucket_gives_the_version(make_shelf, open_connector, make_mail):
    shelf = make_shelf(versioning=True)
    connector = await open_connector(shelf.settings())
    mail = make_mail()
    receipt = await connector.emit(mail)
    assert receipt.location["version"] == shelf.head(receipt.location["key"])["VersionId"]
    assert await connector.emit(mail) == receipt
    versions = shelf.client.list_object_versions(Bucket=shelf.name)["Versions"]
    assert len(versions) == 2


async def test_another_object_under_the_key_is_not_overwritten(connector, shelf, make_mail):
    mail = make_mail()
    key = f"{stem_of(mail)}.eml"
    foreign = b"x" * mail.content.size
    shelf.client.put_object(Bucket=shelf.name, Key=key, Body=foreign)
    with pytest.raises(TransientFailure) as failure:
        await connector.emit(mail)
    assert key in failure.value.cause
    assert key not in failure.value.text
    assert shelf.keys() == [key]
    assert shelf.octets(key) == foreign


async def test_an_object_that_has_no_digest_is_read_and_compared(connector, shelf, make_mail, requests_of):
    mail = make_mail()
    shelf.client.put_object(Bucket=shelf.name, Key=f"{stem_of(mail)}.eml", Body=mail.content.read())
    requests = requests_of(connector)
    receipt = await connector.emit(mail)
    assert [request.operation for request in requests] == ["PutObject", "HeadObject", "GetObject", "PutObject"]
    assert (await shelf.read_back(receipt)).content.read() == mail.content.read()


@pytest.mark.parametrize("size", [100, 1024 * 1024], ids=["at once", "from a file"])
async def test_content_damaged_since_it_was_received_is_not_stored(connector, shelf, make_mail, size):
    mail = make_mail(b"a" * size)
    damaged = Mail(mail.envelope, Content(b"b" + b"a" * (size - 1)))
    with pytest.raises(TransientFailure, match="BadDigest"):
        await connector.emit(damaged)
    assert shelf.keys() == []


async def test_a_flattened_mail_is_checked_against_its_own_digest(connector, shelf, samples):
    mail = samples["metadata flattened"]
    receipt = await connector.emit(mail)
    assert hashlib.sha256(shelf.octets(receipt.location["key"])).hexdigest() == mail.envelope.message.flattened.sha256


async def test_tags_are_set_on_every_object(open_connector, shelf, make_mail):
    connector = await open_connector(shelf.settings(tags={"source": "mail", "cost centre": "a/b = c+d"}))
    await connector.emit(make_mail())
    keys = shelf.keys()
    assert len(keys) == 2
    for key in keys:
        tags = shelf.client.get_object_tagging(Bucket=shelf.name, Key=key)["TagSet"]
        assert {tag["Key"]: tag["Value"] for tag in tags} == {"source": "mail", "cost centre": "a/b = c+d"}


async def test_retention_is_set_on_every_object(make_shelf, open_connector, make_mail):
    shelf = make_shelf(object_lock=True)
    connector = await open_connector(shelf.settings(object_lock_mode="GOVERNANCE", object_lock_days=30))
    # Counted from the storing: a mail that waited long would otherwise be refused, its retention being over.
    await connector.emit(make_mail(received_at="2020-01-01T00:00:00.000000Z"))
    keys = shelf.keys()
    assert len(keys) == 2
    for key in keys:
        retention = shelf.client.get_object_retention(Bucket=shelf.name, Key=key)["Retention"]
        assert retention["Mode"] == "GOVERNANCE"
        days = retention["RetainUntilDate"] - datetime.now(UTC)
        assert days > timedelta(days=29, hours=23)


async def test_encryption_and_storage_class_are_asked_for(open_connector, shelf, make_mail, requests_of):
    connector = await open_connector(
        shelf.settings(sse="aws:kms", kms_key_id="alias/mail", storage_class="STANDARD_IA")
    )
    requests = requests_of(connector)
    await connector.emit(make_mail())
    for request in requests:
        assert request.headers["x-amz-server-side-encryption"] == "aws:kms"
        assert request.headers["x-amz-server-side-encryption-aws-kms-key-id"] == "alias/mail"
        assert request.headers["x-amz-storage-class"] == "STANDARD_IA"


async def test_the_prefix_stands_before_the_date(open_connector, shelf, make_mail):
    connector = await open_connector(shelf.settings(prefix="mail/{recipient_domain}/{year}-"))
    receipt = await connector.emit(make_mail(received_at="2026-11-21T10:00:00.000000Z"))
    assert receipt.location["key"] == f"mail/example.org/2026-2026/11/21/{receipt.id}.eml"


async def test_an_address_too_long_for_a_key_is_refused_for_good(open_connector, shelf, make_mail):
    connector = await open_connector(shelf.settings(prefix="{recipient}/"))
    mail = make_mail()
    recipient = mail.envelope.envelope.recipients[0]
    address = structs.replace(recipient.address, raw="a" * 1200 + "@example.org")
    envelope = structs.replace(mail.envelope.envelope, recipients=(structs.replace(recipient, address=address),))
    with pytest.raises(PermanentFailure, match="too long"):
        await connector.emit(Mail(structs.replace(mail.envelope, envelope=envelope), mail.content))
