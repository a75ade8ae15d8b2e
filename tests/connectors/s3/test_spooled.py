"""Batches under the delivery engine: every mail of one is settled by itself, in a real store."""

import pytest

from connectors.s3 import CONNECTOR
from tests.connectors.spooled import spooling
from tests.servers.fault_proxy import FaultProxy, ResetPeer


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "spool"


@pytest.fixture
def batches(shelf):
    return shelf.settings(layout="batch", batch_max_age_seconds=0.1)


def stored(shelf, prefix=""):
    """The mails in all batches, by id, with their contents."""
    return [
        (record.id, record.message.content)
        for key in shelf.keys(prefix)
        if key.endswith(".avro")
        for record in shelf.records(key)
    ]


def as_stored(mails):
    return sorted((mail.envelope.id, mail.content.read()) for mail in mails)


async def test_many_spooled_mails_are_few_objects(folder, shelf, batches, open_connector, make_mail):
    mails = [make_mail(b"mail %d" % n) for n in range(60)]
    # They are accepted within one or two of these seconds.
    patient = batches.model_copy(update={"batch_max_age_seconds": 1.0})
    async with spooling(folder, CONNECTOR, await open_connector(patient)) as spool:
        await spool.accept(*mails)
        await spool.settled()
    assert sorted(stored(shelf)) == as_stored(mails)
    assert len(list(shelf.keys(""))) < 10


async def test_a_batch_that_fails_holds_no_other_back_and_is_delivered_later(  # noqa: PLR0917  # fixtures
    folder, shelf, batches, open_connector, make_mail, interfere
):
    connector = await open_connector(batches.model_copy(update={"prefix": "{gateway}/"}))
    bad, good = ([make_mail(b"mail", gateway=name) for _ in range(5)] for name in ("bad", "good"))
    full = True
    interfere(
        connector,
        "PutObject",
        lambda request: (507, "XMinioStorageFull") if full and "/bad/" in request.url else None,
    )
    async with spooling(folder, CONNECTOR, connector) as spool:
        await spool.accept(*bad, *good)
        await spool.until(lambda: len(spool.rows("id", "message")) == len(bad) and len(stored(shelf)) == len(good))
        await spool.until(lambda: [(0,)] * len(bad) == spool.rows("possible_duplicate"))
        full = False
        await spool.settled()
    assert sorted(stored(shelf, "bad/")) == as_stored(bad)
    assert sorted(stored(shelf, "good/")) == as_stored(good)


async def test_a_batch_whose_answer_got_lost_is_delivered_again_and_every_copy_has_its_mails_id(  # noqa: PLR0917  # fixtures
    folder, shelf, batches, open_connector, make_mail, interfere
):
    mails = [make_mail(b"mail %d" % n) for n in range(5)]
    async with FaultProxy("127.0.0.1", int(shelf.server.endpoint_url.rpartition(":")[2])) as proxy:
        endpoint_url = f"http://127.0.0.1:{proxy.port}"
        connector = await open_connector(batches.model_copy(update={"endpoint_url": endpoint_url}))
        lost = True
        interfere(connector, "PutObject", lambda _: setattr(proxy, "downstream", (ResetPeer(),) if lost else ()))
        async with spooling(folder, CONNECTOR, connector) as spool:
            await spool.accept(*mails)
            await spool.until(lambda: [("waiting", 1)] * 5 == spool.rows("state, possible_duplicate"))
            lost = False
            proxy.downstream = ()
            await spool.settled()
        await connector.close()
    assert sorted(set(stored(shelf))) == as_stored(mails)
