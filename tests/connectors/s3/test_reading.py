"""A bucket read again: what was emitted comes back, and what is not as it was is refused with a sentence."""

import pytest

from connectors.s3 import CONNECTOR
from gateway.connector import Extent, SourceError
from gateway.envelope import ContentReference
from tests.connectors.reading import emitted, read_all, same

LAYOUTS = {
    "message": {"layout": "message"},
    "shared": {"layout": "message", "single_instance": True},
    "batch": {"layout": "batch", "batch_max_age_seconds": 0.05},
    "deflated": {"layout": "batch", "batch_max_age_seconds": 0.05, "batch_compression": "deflate"},
}


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_every_sample_mail_comes_back(shelf, open_connector, samples, layout):
    settings = shelf.settings(**LAYOUTS[layout])
    await emitted(await open_connector(settings), samples.values())
    found = await read_all(CONNECTOR.source(settings))
    assert {mail.envelope.id for mail in found} == {mail.envelope.id for mail in samples.values()}
    for mail in samples.values():
        (again,) = (each for each in found if each.envelope.id == mail.envelope.id)
        assert same(again, mail)
        again.content.close()


async def test_content_too_large_for_a_batch_comes_back_from_its_own_object(shelf, open_connector, make_mail):
    settings = shelf.settings(layout="batch", batch_max_age_seconds=0.05, batch_max_bytes=1024 * 1024)
    mail = make_mail(b"x" * (1024 * 1024 + 1))
    await emitted(await open_connector(settings), [mail])
    (found,) = await read_all(CONNECTOR.source(settings))
    assert same(found, mail)
    assert found.content.descriptor is not None
    found.content.close()


async def test_a_prefix_and_days_narrow_what_is_read(shelf, open_connector, make_mail):
    settings = shelf.settings(prefix="{recipient_domain}/")
    mails = [make_mail(received_at=f"2026-11-{day}T10:00:00.000000Z") for day in (20, 21, 22)]
    await emitted(await open_connector(settings), mails)
    source = CONNECTOR.source(settings)
    day = Extent(since="2026-11-21T00:00:00.000000Z", until="2026-11-21T23:59:59.999999Z")
    assert [mail.envelope.id for mail in await read_all(source, day)] == [mails[1].envelope.id]
    source = CONNECTOR.source(settings)
    assert len(await read_all(source, Extent(prefix="example.org/2026/11/2"))) == 3
    assert await read_all(CONNECTOR.source(settings), Extent(prefix="example.net/")) == []


async def test_an_envelope_that_is_not_wanted_costs_no_content(shelf, open_connector, make_mail):
    settings = shelf.settings()
    mail = make_mail()
    receipt = await (await open_connector(settings)).emit(mail)
    shelf.client.delete_object(Bucket=shelf.name, Key=receipt.location["key"])
    assert await read_all(CONNECTOR.source(settings), is_wanted=lambda _: False) == []
    with pytest.raises(SourceError, match=r"\.eml cannot be read: "):
        await read_all(CONNECTOR.source(settings))


async def test_changed_containers_are_refused(shelf, open_connector, samples):
    settings = shelf.settings()
    receipt = await (await open_connector(settings)).emit(samples["metadata of every type"])
    key = receipt.location["key"].replace(".eml", ".bmtd")
    shelf.client.put_object(Bucket=shelf.name, Key=key, Body=b"BMTD 2\r\n\0\1")
    with pytest.raises(SourceError, match="are not those of the envelope"):
        await read_all(CONNECTOR.source(settings))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda octets: octets[:-20] + b"!" + octets[-19:], "its SHA-256 does not begin with"),
        (lambda octets: octets[: len(octets) // 2], "its SHA-256 does not begin with"),
    ],
)
async def test_a_changed_batch_is_refused_whole(shelf, open_connector, make_mail, damage, sentence):
    settings = shelf.settings(layout="batch", batch_max_age_seconds=0.05)
    await emitted(await open_connector(settings), [make_mail() for _ in range(3)])
    (key,) = shelf.keys()
    shelf.client.put_object(Bucket=shelf.name, Key=key, Body=damage(shelf.octets(key)))
    with pytest.raises(SourceError, match=sentence):
        await read_all(CONNECTOR.source(settings))


async def test_a_reference_to_another_bucket_is_not_followed(shelf):
    source = CONNECTOR.source(shelf.settings())
    location = {"bucket": "other", "key": "2026/11/21/01JD0000000000000000000000.eml"}
    with pytest.raises(SourceError, match="not one of this connector"):
        await source.content(ContentReference(connector="archive", type="s3", location=location))
    await source.close()


async def test_a_bucket_that_is_not_there_is_named(shelf):
    settings = shelf.settings(bucket="no-such-bucket")
    with pytest.raises(SourceError, match="the bucket no-such-bucket cannot be listed"):
        await read_all(CONNECTOR.source(settings))
