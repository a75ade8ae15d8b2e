"""A spool looked at beside its owner."""

import asyncio
import os
import time
from contextlib import closing

import apsw
import pytest

from gateway.envelope import Content
from gateway.spool import NewDelivery, NewMessage, Settlement, Spool, SpoolError, State, inspection
from gateway.spool.inspection import DamagedRowError, Inspection, Selection
from gateway.spool.inspections import Inspections
from gateway.spool.intervention import resume
from gateway.testing import plain_mail
from tests.cli.spools import Spooled, fill, sample


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "spool"


def listed(spool, **selection):
    return [(each.id, each.connector, each.state) for each in spool.deliveries(Selection(**selection))]


def test_everything_is_listed_once_and_oldest_first_however_many_pages_it_is(folder, monkeypatch):
    monkeypatch.setattr(inspection, "_PAGE", 3)
    mails = [plain_mail() for _ in range(5)]
    fill(folder, *(Spooled(mail=mail, states={"b": State.DEAD, "a": State.WAITING}) for mail in mails))
    expected = [(mail.envelope.id, name, state) for mail in mails for name, state in (("a", "waiting"), ("b", "dead"))]
    with Inspection(folder) as spool:
        assert expected == listed(spool)
        assert spool.count(Selection()) == len(expected)


def test_a_delivery_says_everything_that_the_spool_knows_of_it(folder):
    mail = sample("a thousand recipients")
    fill(
        folder,
        Spooled(
            mail=mail,
            states={"hooks": State.DEAD},
            recipients={"hooks": (3, 7)},
            status="5.1.1",
            cause="HTTP 404",
            possible_duplicate=True,
        ),
    )
    with Inspection(folder) as spool:
        (found,) = spool.deliveries(Selection())
    assert (found.id, found.size, found.connector) == (mail.envelope.id, mail.envelope.message.size, "hooks")
    assert (found.state, found.attempts, found.possible_duplicate) == ("dead", 1, True)
    assert (found.status, found.cause, found.problem) == ("5.1.1", "HTTP 404", "")
    assert found.sender == "a@example.net"
    assert ([address.raw for address in found.recipients], found.positions) == (
        ["r3@example.org", "r7@example.org"],
        (3, 7),
    )


def test_each_filter_leaves_what_it_names(folder):
    old, young = plain_mail(), sample("UTF-8 addresses")
    fill(
        folder,
        Spooled(mail=old, states={"a": State.DEAD, "b": State.BEHIND}, age_seconds=1000, status="5.1.1", cause="No"),
        Spooled(mail=young, states={"a": State.WAITING}, age_seconds=10, cause="timed out"),
    )
    now = time.time()
    dead = (old.envelope.id, "a", "dead")
    waiting = (young.envelope.id, "a", "waiting")
    first_of_key = (old.envelope.id, "b", "waiting")
    with Inspection(folder) as spool:
        assert [dead, waiting] == listed(spool, connector="a")
        assert [dead] == listed(spool, states=(State.DEAD,))
        assert [dead, first_of_key] == listed(spool, accepted_before=now - 500)
        assert [waiting] == listed(spool, accepted_since=now - 500)
        assert [waiting] == listed(spool, error="TIMED")
        assert [dead] == listed(spool, error="5.1.1 no")
        assert [waiting] == listed(spool, recipient=lambda address: address.domain.startswith("例"))
        assert [waiting, dead] == listed(spool, ids=(young.envelope.id, old.envelope.id), connector="a")
        assert [] == listed(spool, connector="a", error="%")


def test_an_iteration_holds_up_nothing_and_passes_over_what_is_gone(folder, monkeypatch):
    monkeypatch.setattr(inspection, "_PAGE", 2)
    mails = [plain_mail() for _ in range(3)]

    async def run():
        owner = Spool.open(folder)
        for mail in mails:
            deliveries = (NewDelivery(connector="a", recipients=(0,), attempted=True),)
            await owner.add(NewMessage(mail=mail, deliveries=deliveries, accepted_at=time.time()))
        with Inspection(folder) as spool:
            found = spool.deliveries(Selection())
            first = next(found)
            assert spool.connection.txn_state() == apsw.SQLITE_TXN_NONE
            for number in (first.message + 1, first.message + 2):
                await owner.settle(Settlement(message=number, connector="a", state=State.DELIVERED))
            assert list(found) == []
        await owner.close()

    asyncio.run(run())


def test_a_damaged_envelope_is_a_problem_of_its_own_delivery_only(folder):
    damaged, intact = plain_mail(), plain_mail()
    fill(folder, *(Spooled(mail=mail, states={"a": State.DEAD}) for mail in (damaged, intact)))
    with Inspection(folder) as spool:
        spool.connection.execute(
            "UPDATE message SET envelope = CAST(replace(envelope, 'example', 'exbmple') AS BLOB) WHERE id = ?",
            (damaged.envelope.id,),
        )
        problems = [each.problem for each in spool.deliveries(Selection())]
        assert problems == ["the envelope is not the one that was stored: its checksum differs", ""]
        assert spool.message(damaged.envelope.id).problem == problems[0]
        with pytest.raises(DamagedRowError, match="envelope"):
            spool.mail(damaged.envelope.id)


@pytest.mark.parametrize("name", ["binary content in chunks", "large content in a file", "metadata of every type"])
def test_a_mail_comes_back_whole(folder, name):
    mail = sample(name)
    octets = mail.content.read()
    fill(folder, Spooled(mail=mail, states={"a": State.DEAD}))
    with Inspection(folder) as spool:
        found = spool.mail(mail.envelope.id)
        with closing(found.content):
            assert (found.envelope, found.content.read()) == (mail.envelope, octets)
        assert spool.mail("0" * 26) is None


def test_damaged_or_missing_content_is_said_to_be_so(folder):
    large, small = sample("large content in a file"), plain_mail()
    fill(folder, *(Spooled(mail=mail, states={"a": State.DEAD}) for mail in (large, small)))
    path = folder / "content" / large.envelope.id
    with Inspection(folder) as spool:
        with path.open("r+b") as file:
            file.write(b"f")
        with pytest.raises(DamagedRowError, match="SHA-256"):
            spool.mail(large.envelope.id)
        path.unlink()
        with pytest.raises(DamagedRowError, match="not there"):
            spool.mail(large.envelope.id)
        spool.connection.execute("UPDATE message SET content = x'00' WHERE content IS NOT NULL")
        with pytest.raises(DamagedRowError, match="SHA-256"):
            spool.mail(small.envelope.id)


def test_an_id_from_the_disk_is_no_path(folder):
    mail = sample("large content in a file")
    fill(folder, Spooled(mail=mail, states={"a": State.DEAD}))
    with Inspection(folder) as spool, pytest.raises(SpoolError, match="is none"):
        spool.remove_content("../spool.db")


def test_an_id_is_found_by_its_beginning(folder):
    mails = [plain_mail() for _ in range(2)]
    fill(folder, *(Spooled(mail=mail, states={"a": State.DEAD}) for mail in mails))
    with Inspection(folder) as spool:
        assert spool.ids(mails[0].envelope.id) == (mails[0].envelope.id,)
        assert len(spool.ids(mails[0].envelope.id[:4])) == 2
        assert spool.ids("ZZ") == ()


def test_paused_connectors_are_listed_with_the_cause(folder):
    fill(folder, Spooled(mail=plain_mail(), states={"a": State.WAITING}), paused={"hooks": "HTTP 410"})
    with Inspection(folder) as spool:
        assert [(each.connector, each.cause) for each in spool.paused()] == [("hooks", "HTTP 410")]
        assert spool.connectors() == ("a", "hooks")


def test_what_is_no_usable_spool_is_refused_in_a_sentence(tmp_path, folder):
    with pytest.raises(SpoolError, match=r"^there is no spool in .*nowhere: nothing was ever spooled there$"):
        Inspection(tmp_path / "nowhere")
    fill(folder, Spooled(mail=plain_mail(), states={"a": State.DEAD}))
    with Inspection(folder) as spool:
        spool.connection.execute("PRAGMA user_version = 99")
    with pytest.raises(SpoolError, match="format 99, of a newer mailsluice"):
        Inspection(folder)
    (folder / "spool.db").write_bytes(b"no database " * 1000)
    with pytest.raises(SpoolError, match="is damaged; start the gateway on it"):
        Inspection(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_is_told_to_be_the_gateways(folder):
    fill(folder, Spooled(mail=plain_mail(), states={"a": State.DEAD}))
    os.seteuid(65534)
    try:
        with pytest.raises(SpoolError, match="run the command as the gateway's user"):
            Inspection(folder)
    finally:
        os.seteuid(0)


def test_a_content_of_the_spool_is_read_in_place(folder):
    mail = sample("large content in a file")
    fill(folder, Spooled(mail=mail, states={"a": State.DEAD}))
    with Inspection(folder) as spool:
        content = spool.mail(mail.envelope.id).content
        assert isinstance(content, Content)
        assert content.descriptor is not None
        content.close()


def test_a_database_that_its_owner_has_moved_away_is_not_written_to(folder):
    fill(folder, Spooled(mail=plain_mail(), states={"a": State.DEAD}))
    with Inspections(folder) as spool:
        (folder / "spool.db").rename(folder / "damaged.db")
        with pytest.raises(SpoolError, match="has just replaced its database"):
            resume(spool, ("a",))
