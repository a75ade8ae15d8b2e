"""What an operator changes in a spool, and what its owner makes of it."""

import asyncio
import time

import pytest
from msgspec import structs

from gateway.spool import DeadLetter, NewDelivery, NewMessage, Settlement, Spool, SpoolError, State
from gateway.spool.inspection import Selection
from gateway.spool.inspections import Inspections
from gateway.spool.intervention import remove, resume, retry
from gateway.testing import plain_mail
from tests.cli.spools import Spooled, fill, sample


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "spool"


def settled(folder, **settlement):
    """Have the owner settle a delivery."""

    async def run():
        spool = Spool.open(folder)
        await spool.settle(Settlement(**settlement))
        await spool.close()

    asyncio.run(run())


def claimed(folder, connector, now=None):
    """What the owner would deliver now: ids, attempts, possible duplicates."""

    async def run():
        spool = Spool.open(folder)
        claim = await spool.claim(connector, now=now if now is not None else time.time(), limit=100, octets=1 << 30)
        for entry in claim.entries:
            entry.mail.content.close()
        await spool.close()
        return [(entry.mail.envelope.id, entry.attempts, entry.possible_duplicate) for entry in claim.entries]

    return asyncio.run(run())


def test_dead_letters_and_what_waits_are_due_at_once_with_all_attempts_before_them(folder):
    dead, waiting = plain_mail(), plain_mail()
    fill(
        folder,
        Spooled(mail=waiting, states={"a": State.WAITING}),
        Spooled(mail=dead, states={"a": State.DEAD}, possible_duplicate=True),
    )
    assert claimed(folder, "a") == []
    with Inspections(folder) as spool:
        (outcome,) = retry(spool, spool.deliveries(Selection()))
    assert (outcome.retried, outcome.left, outcome.refused) == (2, 0, ())
    assert claimed(folder, "a") == [(waiting.envelope.id, 1, False), (dead.envelope.id, 1, True)]


def test_what_is_under_way_or_behind_another_is_left_alone(folder):
    fill(
        folder,
        Spooled(mail=plain_mail(), states={"a": State.ATTEMPTED, "b": State.BEHIND}),
        Spooled(mail=plain_mail(), states={"b": State.BEHIND}),
    )
    with Inspections(folder) as spool:
        before = [each for each in spool.deliveries(Selection()) if each.state != "waiting"]
        (outcome,) = retry(spool, before)
        assert (outcome.retried, outcome.left) == (0, 2)
        assert [each for each in spool.deliveries(Selection()) if each.state != "waiting"] == before


def test_what_was_changed_since_it_was_listed_is_left_alone(folder):
    fill(folder, *(Spooled(mail=plain_mail(), states={"a": State.DEAD}) for _ in range(2)))
    with Inspections(folder) as spool:
        gone, attempted = spool.deliveries(Selection())
        settled(folder, message=gone.message, connector="a", state=State.DELIVERED)
        list(retry(spool, (attempted,)))
        assert len(claimed(folder, "a")) == 1
        (outcome,) = retry(spool, (gone, attempted))
        assert (outcome.retried, outcome.left) == (0, 2)
        assert remove(spool, (gone, attempted)) == 0
        assert [each.state for each in spool.deliveries(Selection())] == ["attempted"]


def test_what_is_in_quarantine_comes_back_only_when_it_is_as_it_was_stored(folder):
    mails = [sample("large content in a file") for _ in range(2)]
    fill(folder, *(Spooled(mail=mail, states={"a": State.QUARANTINED}) for mail in mails))
    (folder / "content" / mails[1].envelope.id).write_bytes(b"zeros")
    with Inspections(folder) as spool:
        (outcome,) = retry(spool, spool.deliveries(Selection()))
    ((refused, reason),) = outcome.refused
    assert (outcome.retried, outcome.left, refused.id) == (1, 0, mails[1].envelope.id)
    assert reason == "the content is not the one that was stored: its SHA-256 differs"
    assert claimed(folder, "a") == [(mails[0].envelope.id, 1, False)]


def test_a_retried_delivery_is_due_for_a_gateway_whatever_its_clock_says(folder):
    fill(folder, Spooled(mail=plain_mail(), states={"a": State.DEAD}, age_seconds=60))
    with Inspections(folder) as spool:
        list(retry(spool, spool.deliveries(Selection())))
    assert len(claimed(folder, "a", now=0.0)) == 1


def test_many_are_told_of_in_steps(folder, monkeypatch):
    monkeypatch.setattr("gateway.spool.intervention._AT_ONCE", 2)
    fill(folder, *(Spooled(mail=plain_mail(), states={"a": State.DEAD}) for _ in range(5)))
    with Inspections(folder) as spool:
        assert [each.retried for each in retry(spool, spool.deliveries(Selection()))] == [2, 2, 1]


def test_paused_connectors_are_resumed_once(folder):
    fill(folder, Spooled(mail=plain_mail(), states={"a": State.WAITING}), paused={"a": "410", "b": "410"})
    with Inspections(folder) as spool:
        assert resume(spool, ("a", "c")) == ("a",)
        assert resume(spool, ("a",)) == ()
        assert [each.connector for each in spool.paused()] == ["b"]


def test_a_message_goes_with_its_last_delivery_and_its_file_with_it(folder):
    mail = sample("large content in a file")
    fill(folder, Spooled(mail=mail, states={"a": State.DEAD, "b": State.DEAD}))
    path = folder / "content" / mail.envelope.id
    with Inspections(folder) as spool:
        first, last = spool.deliveries(Selection())
        assert remove(spool, (first,)) == 1
        assert path.exists()
        assert spool.message(mail.envelope.id) is not None
        assert remove(spool, (last,)) == 1
        assert not path.exists()
        assert spool.message(mail.envelope.id) is None


def test_a_full_disk_is_said_and_changes_nothing(folder):
    fill(folder, Spooled(mail=plain_mail(), states={"a": State.DEAD}))
    with Inspections(folder) as spool:
        # As many rows as need new pages when they enter an index.
        spool[0].connection.execute(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)"
            " INSERT INTO delivery SELECT message, 'b' || i, part, recipients, checksum, NULL, 'dead', due, attempts,"
            " possible_duplicate, status, cause FROM delivery, n"
        )
        spool[0].connection.pragma("max_page_count", spool[0].connection.pragma("page_count"))
        known = [each for each in spool.deliveries(Selection()) if each.connector != "a"]
        # Their checksums are those of the first.
        known = [structs.replace(each, problem="") for each in known]
        with pytest.raises(SpoolError, match="there is no space left"):
            list(retry(spool, known))
        assert not spool[0].connection.in_transaction


def test_the_parts_of_a_delivery_are_seen_retried_and_removed_each_by_itself(folder):
    mail = plain_mail().for_recipients((0, 0, 0))

    async def run():
        spool = Spool.open(folder)
        delivery = NewDelivery(connector="a", recipients=(0, 1, 2))
        await spool.add(NewMessage(mail=mail, deliveries=(delivery,), accepted_at=time.time()))
        (entry,) = (await spool.claim("a", now=time.time() + 1, limit=1, octets=1 << 30)).entries
        letter = DeadLetter(recipients=(2,), possible_duplicate=False, status="5.1.1", cause="no such user")
        await spool.settle(
            Settlement(
                message=entry.message,
                connector="a",
                state=State.WAITING,
                recipients=(0, 1),
                dead_letter=letter,
                due=1e12,
            )
        )
        await spool.close()

    asyncio.run(run())
    with Inspections(folder) as spool:
        waiting, dead = spool.deliveries(Selection())
        assert [(each.state, each.positions) for each in (waiting, dead)] == [("waiting", (0, 1)), ("dead", (2,))]
        assert spool.count(Selection(states=(State.DEAD,))) == 1
        (retried,) = retry(spool, spool.deliveries(Selection(states=(State.DEAD,))))
        assert retried.retried == 1
        assert [each.due == 0 for each in spool.deliveries(Selection())] == [False, True]
    assert claimed(folder, "a") == [(mail.envelope.id, 1, False)]
    with Inspections(folder) as spool:
        assert remove(spool, [waiting]) == 1
        (left,) = spool.deliveries(Selection())
        assert (left.part, left.state, left.positions) == (dead.part, "attempted", (2,))
        assert remove(spool, [left]) == 1
        assert spool.message(mail.envelope.id) is None


@pytest.fixture
def of_two_workers(folder):
    """Two spools in one directory, each with a dead letter of the same number; their mails."""
    first, second = plain_mail(), plain_mail()
    fill(folder, Spooled(mail=first, states={"a": State.DEAD}))
    fill(folder / "worker-1", Spooled(mail=second, states={"a": State.DEAD}))
    return first, second


def test_the_spools_of_several_workers_are_looked_into_as_one(folder, of_two_workers):
    first, second = (mail.envelope.id for mail in of_two_workers)
    with Inspections(folder) as spools:
        found = list(spools.deliveries(Selection()))
        assert {(each.id, each.message) for each in found} == {(first, 1), (second, 1)}
        assert [each.accepted_at for each in found] == sorted(each.accepted_at for each in found)
        assert spools.count(Selection()) == 2
        in_order = Selection(ids=(second, first))
        assert [each.id for each in spools.deliveries(in_order)] == [second, first]
        assert spools.ids(second) == (second,)
        assert spools.message(second).id == second
        assert spools.mail(second).content.read() == of_two_workers[1].content.read()


def test_what_is_done_to_one_spool_is_done_to_no_other(folder, of_two_workers):
    _, second = of_two_workers
    with Inspections(folder) as spools:
        (outcome,) = retry(spools, spools.deliveries(Selection(ids=(second.envelope.id,))))
        assert outcome.retried == 1
        assert [each.state for each in spools[0].deliveries(Selection())] == [State.DEAD]
        assert [each.state for each in spools[1].deliveries(Selection())] == [State.WAITING]
        (of_second,) = spools[1].deliveries(Selection())
        assert remove(spools, [of_second]) == 1
        assert [spool.count(Selection()) for spool in spools] == [1, 0]


def test_a_connector_that_several_workers_have_paused_is_resumed_in_all_of_them(folder, of_two_workers):
    with Inspections(folder) as spools:
        for spool, since in zip(spools, (2.0, 1.0), strict=True):
            spool.connection.execute("INSERT INTO paused VALUES ('a', ?, 'gone')", (since,))
        assert [(each.connector, each.since) for each in spools.paused()] == [("a", 1.0)]
        assert resume(spools, ["a", "b"]) == ("a",)
        assert spools.paused() == ()
