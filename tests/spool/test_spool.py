"""What is put into the spool comes out of it, once, in order where there is one, and stays until it is settled."""

import asyncio
import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import apsw
import pytest

from gateway.spool import DeadLetter, NewDelivery, NewMessage, Notification, Settlement, Spool, SpoolError, State
from gateway.spool.content_files import ContentFiles
from gateway.spool.writer import Writer
from gateway.testing.samples import sample_mails
from tests.spool.spools import LARGE, claimed, drained, mail_of, new, opened, rows, settled

FULL = os.urandom(LARGE)


async def test_every_kind_of_mail_comes_back_as_it_was(tmp_path):
    mails = sample_mails()
    # A connector's form, of which the spool knows nothing.
    del mails["metadata flattened"]
    async with opened(tmp_path / "spool") as spool:
        for mail in mails.values():
            await spool.add(new(mail))
    async with opened(tmp_path / "spool") as spool:
        found = {entry.mail.envelope.id: entry.mail for entry in await claimed(spool)}
    for name, mail in mails.items():
        back = found[mail.envelope.id]
        assert back.content.read() == mail.content.read()
        assert back.envelope == mail.for_recipients((0,)).envelope, name
        back.content.close()
        mail.content.close()


async def test_a_delivery_has_its_own_recipients(tmp_path):
    mails = sample_mails()
    mail = mails["a thousand recipients"]
    mails["large content in a file"].content.close()
    async with opened(tmp_path) as spool:
        await spool.add(new(mail, "one", "two"))
        (entry,) = await claimed(spool, "two")
    assert [recipient.address.local_part for recipient in entry.mail.envelope.envelope.recipients] == ["r0"]
    assert entry.recipients == (0,)


async def test_a_settled_delivery_is_gone_and_takes_the_message_with_it_when_it_is_the_last(tmp_path):
    async with opened(tmp_path) as spool:
        await spool.add(new(mail_of(FULL), "one", "two"))
        for connector, files in (("one", 1), ("two", 0)):
            (entry,) = await claimed(spool, connector)
            assert entry.mail.content.read() == FULL
            entry.mail.content.close()
            await spool.settle(settled(entry))
            assert len(list((tmp_path / "content").iterdir())) == files
    assert rows(tmp_path, "SELECT * FROM message") == rows(tmp_path, "SELECT * FROM delivery") == []


async def test_content_that_was_received_into_a_file_is_not_copied(tmp_path):
    mail = mail_of(FULL, file=tmp_path)
    async with opened(tmp_path) as spool:
        await spool.add(new(mail))
        (entry,) = await claimed(spool)
        assert os.fstat(mail.content.descriptor).st_ino == os.fstat(entry.mail.content.descriptor).st_ino
        entry.mail.content.close()
    mail.content.close()


async def test_the_first_attempt_can_be_recorded_with_the_message(tmp_path):
    async with opened(tmp_path) as spool:
        (entry,) = await spool.add(new(None, attempted=True))
        assert entry.attempts == 1
        assert await claimed(spool) == ()
        await spool.settle(settled(entry))
    assert rows(tmp_path, "SELECT * FROM message") == []


async def test_an_interrupted_attempt_is_made_again_as_a_possible_duplicate(tmp_path):
    async with opened(tmp_path) as spool:
        await spool.add(new())
        (first,) = await claimed(spool)
    async with opened(tmp_path) as spool:
        assert await spool.recover(time.time()) == 1
        (again,) = await claimed(spool)
        assert again.mail.envelope.id == first.mail.envelope.id
        assert (again.attempts, again.possible_duplicate) == (2, True)
    assert not first.possible_duplicate


async def test_a_delivery_that_is_put_off_is_not_due_before_its_time(tmp_path):
    now = time.time()
    async with opened(tmp_path) as spool:
        await spool.add(new())
        (entry,) = await claimed(spool)
        await spool.settle(settled(entry, State.WAITING, due=now + 60, cause="not now"))
        claim = await spool.claim("archive", now=now + 59, limit=1, octets=1)
        assert (claim.entries, claim.next_due) == ((), now + 60)
        assert [each.attempts for each in await claimed(spool, now=now + 60)] == [2]


@pytest.mark.parametrize("days", [-1, 1, -3650, 3650])
async def test_a_clock_that_jumped_holds_no_delivery_for_longer_than_a_schedule(tmp_path, days):
    now = time.time()
    async with opened(tmp_path) as spool:
        await spool.add(new())
        (entry,) = await claimed(spool)
        await spool.settle(settled(entry, State.WAITING, due=now + 60))
    now += days * 86_400
    async with opened(tmp_path) as spool:
        await spool.recover(now)
        assert len(await claimed(spool, now=now + 100_000)) == 1


async def test_mail_that_was_accepted_in_the_future_is_due_now(tmp_path):
    async with opened(tmp_path) as spool:
        for _ in range(2):
            await spool.add(new(ordering_key=b"the same"))
    now = time.time() - 3600
    async with opened(tmp_path) as spool:
        await spool.recover(now)
        for _ in range(2):
            (entry,) = await claimed(spool, now=now)
            await spool.settle(settled(entry))


async def test_what_is_said_twice_counts_once(tmp_path):
    """After a failed commit nobody knows whether it was recorded; a message that came later has nothing to fear."""
    async with opened(tmp_path) as spool:
        await spool.add(new())
        (entry,) = await claimed(spool)
        notice = Notification(message=new(mail_of(FULL), "relay"))
        said = replace_settlement(settled(entry), notice)
        await spool.settle(said)
        await spool.add(new())
        await spool.settle(said)
        assert len(await drained(spool)) == 1
        assert list((await drained(spool, "relay")).values()) == [FULL]


def replace_settlement(settlement, *notifications):
    return settlement.__class__(
        message=settlement.message,
        connector=settlement.connector,
        state=settlement.state,
        attempts=settlement.attempts,
        notifications=notifications,
    )


async def test_what_is_said_late_does_not_meet_the_next_attempt(tmp_path):
    async with opened(tmp_path) as spool:
        await spool.add(new())
        (first,) = await claimed(spool)
        await spool.settle(settled(first, State.WAITING))
        (second,) = await claimed(spool)
        await spool.settle(settled(first, State.DEAD))
        assert rows(tmp_path, "SELECT state FROM delivery") == [("attempted",)]
        await spool.settle(settled(second))


async def test_a_dead_letter_stays_and_nobody_claims_it(tmp_path):
    async with opened(tmp_path) as spool:
        await spool.add(new(mail_of(FULL)))
        (entry,) = await claimed(spool)
        entry.mail.content.close()
        await spool.settle(settled(entry, State.DEAD, status="5.1.1", cause="no such user"))
    async with opened(tmp_path) as spool:
        assert await spool.recover(time.time()) == 0
        assert await claimed(spool, now=time.time() * 2) == ()
    assert rows(tmp_path, "SELECT state, status, cause FROM delivery") == [("dead", "5.1.1", "no such user")]
    assert len(list((tmp_path / "content").iterdir())) == 1


def two_shares(entry, **values):
    """The first recipient has it, the second waits, the third is refused for good."""
    letter = DeadLetter(recipients=(2,), possible_duplicate=False, status="5.1.1", cause="no such user")
    return settled(entry, State.WAITING, recipients=(1,), dead_letter=letter, cause="mailbox full", **values)


def to_three(**values):
    mail = mail_of(b"three").for_recipients((0, 0, 0))
    delivery = NewDelivery(connector="archive", recipients=(0, 1, 2), **values)
    return NewMessage(mail=mail, deliveries=(delivery,), accepted_at=time.time())


SHARES = "SELECT part = 0, recipients, state, attempts, status, cause FROM delivery ORDER BY part"


async def test_recipients_that_are_refused_for_good_are_a_dead_letter_of_their_own_however_often_it_is_said(tmp_path):
    async with opened(tmp_path) as spool:
        await spool.add(to_three())
        (entry,) = await claimed(spool)
        for _ in range(2):
            await spool.settle(two_shares(entry))
        expected = [(1, "[1]", "waiting", 1, "", "mailbox full"), (0, "[2]", "dead", 1, "5.1.1", "no such user")]
        assert rows(tmp_path, SHARES) == expected
        (again,) = await claimed(spool)
        assert (again.recipients, again.attempts, again.part) == ((1,), 2, 0)
        assert len(again.mail.envelope.envelope.recipients) == 1
        # What is said late about an attempt does not meet the one after it.
        await spool.settle(two_shares(entry))
        assert [state for _, _, state, *_ in rows(tmp_path, SHARES)] == ["attempted", "dead"]
        await spool.settle(settled(again))
    assert rows(tmp_path, SHARES) == expected[1:]
    assert rows(tmp_path, "SELECT count(*) FROM message") == [(1,)]


async def test_the_number_of_a_part_is_never_given_again(tmp_path):
    """Or what is said late about one that is gone would be taken for another's."""
    numbers = []
    async with opened(tmp_path) as spool:
        await spool.add(to_three())
        for _ in range(3):
            (entry,) = await claimed(spool)
            await spool.settle(two_shares(entry))
            ((part,),) = rows(tmp_path, "SELECT part FROM delivery WHERE part != 0")
            numbers.append(part)
            await spool.settle(Settlement(message=entry.message, connector="archive", part=part, state=State.DELIVERED))
        await spool.add(new())
    numbers += [number for (number,) in rows(tmp_path, "SELECT number FROM message")]
    assert len(set(numbers)) == len(numbers) == 5


async def test_those_who_wait_keep_their_place_in_the_order_and_the_dead_letter_holds_back_nobody(tmp_path):
    async with opened(tmp_path) as spool:
        await spool.add(to_three(ordering_key=b"k"))
        await spool.add(new(mail_of(b"next"), ordering_key=b"k"))
        (entry,) = await claimed(spool)
        await spool.settle(two_shares(entry))
        (again,) = await claimed(spool)
        assert again.message == entry.message
        await spool.settle(settled(again))
        (following,) = await claimed(spool)
        assert following.mail.content.read() == b"next"


async def test_mails_of_one_key_come_one_after_another(tmp_path):
    async with opened(tmp_path) as spool:
        mails = [mail_of(b"%d" % number) for number in range(4)]
        for mail in mails:
            await spool.add(new(mail, ordering_key=b"k"))
        await spool.add(new(mail_of(b"another"), ordering_key=b"l"))
        seen = []
        for state in (State.DELIVERED, State.WAITING, State.DEAD, State.DELIVERED, State.DELIVERED):
            entries = {entry.mail.content.read(): entry for entry in await claimed(spool)}
            entries.pop(b"another", None)
            ((content, entry),) = entries.items()
            seen.append(content)
            await spool.settle(settled(entry, state))
    assert seen == [b"0", b"1", b"1", b"2", b"3"]


async def test_a_claim_is_bounded_in_number_and_in_octets(tmp_path):
    async with opened(tmp_path) as spool:
        for _ in range(6):
            await spool.add(new(mail_of(bytes(1000))))
        assert len(await claimed(spool, limit=2)) == 2
        assert len(await claimed(spool, octets=5000)) == 2
        assert len(await claimed(spool, octets=0)) == 1


async def test_orphans_are_removed_by_age_and_never_while_they_are_stored(tmp_path):
    spool_directory, content = tmp_path, tmp_path / "content"
    async with opened(spool_directory) as spool:
        kept = mail_of(FULL)
        await spool.add(new(kept))
        for name in (mail_of(b"").envelope.id, mail_of(b"").envelope.id + ".new"):
            (content / name).write_bytes(b"left by a crash")
        await spool.remove_orphans()
        assert len(list(content.iterdir())) == 3
        # However old the clock makes it look.
        arriving = mail_of(FULL)
        storing = asyncio.create_task(spool.add(new(arriving)))
        while not storing.done():
            await spool.remove_orphans(older_than_seconds=-3600)
        await storing
        await spool.remove_orphans(older_than_seconds=-3600)
        assert {path.name for path in content.iterdir()} == {kept.envelope.id, arriving.envelope.id}
        assert len(await drained(spool)) == 2


async def test_an_id_is_no_path(tmp_path):
    async with opened(tmp_path / "spool") as spool:
        mail = mail_of(FULL)
        object.__setattr__(mail, "envelope", mail.envelope.__class__(**as_fields(mail.envelope) | {"id": "../x"}))
        with pytest.raises(OSError, match="no id"):
            await spool.add(new(mail))
    assert not (tmp_path / "x").exists()


def as_fields(struct):
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


async def test_nobody_else_may_read_it(tmp_path):
    directory = tmp_path / "spool"
    directory.mkdir(mode=0o755)
    previous = os.umask(0)
    try:
        async with opened(directory) as spool:
            mail = mail_of(FULL, file=tmp_path)
            await spool.add(new(mail))
            mail.content.close()
            files = [path for path in directory.rglob("*") if path.is_file()]
            assert {path.name for path in files} > {"lock", "spool.db", "spool.db-wal", "spool.db-shm"}
            assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
            assert stat.S_IMODE((directory / "content").stat().st_mode) == 0o700
    finally:
        os.umask(previous)


async def test_each_start_syncs_names_that_an_earlier_one_may_not_have(tmp_path, monkeypatch):
    directory = tmp_path / "spool"
    await Spool.open(directory).close()
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(Path(f"/proc/self/fd/{descriptor}").readlink()))
    await Spool.open(directory).close()
    # Once for `content`, and once for the database.
    assert synced == [*reversed(directory.parents), directory, directory]


async def test_the_file_shrinks_again_when_a_backlog_is_gone(tmp_path):
    async with opened(tmp_path) as spool:
        await asyncio.gather(*[spool.add(new(mail_of(bytes(60_000)))) for _ in range(500)])
        await drained(spool)
    assert rows(tmp_path, "SELECT count(*) FROM message") == [(0,)]
    async with opened(tmp_path) as spool:
        while (tmp_path / "spool.db").stat().st_size > 20 * 1024 * 1024:
            await spool.paused()
    assert (tmp_path / "spool.db-wal").exists() is False


async def test_a_change_by_another_process_is_noticed_and_ours_is_none(tmp_path):
    async with opened(tmp_path) as spool:
        before = await spool.changes()
        await spool.add(new())
        assert await spool.changes() == before
        rows(tmp_path, "UPDATE delivery SET due = 0")
        assert await spool.changes() != before


async def test_another_process_that_writes_for_long_fails_the_group_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr("gateway.spool.database._BUSY_MILLISECONDS", 50)
    async with opened(tmp_path) as spool:
        other = apsw.Connection(str(tmp_path / "spool.db"))
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OSError, match="another process"):
            await spool.add(new())
        other.execute("COMMIT")
        other.close()
        await spool.add(new())
        assert len(await drained(spool)) == 1


async def test_a_defect_in_one_operation_is_its_own(tmp_path):
    mail = mail_of(b"x")
    async with opened(tmp_path) as spool:
        results = await asyncio.gather(
            spool.add(new(mail)), spool.add(new(mail)), spool.add(new()), return_exceptions=True
        )
        assert [isinstance(each, Exception) for each in results] == [False, True, False]
        assert len(await drained(spool)) == 2


def test_a_second_process_is_told_in_one_sentence_and_a_killed_one_leaves_nothing_to_mend(tmp_path):
    code = "import asyncio, sys\nfrom pathlib import Path\nfrom gateway.spool import Spool\nasync def main():\n"
    code += "    spool = Spool.open(Path(sys.argv[1]))\n    print('open', flush=True)\n    sys.stdin.read()\n"
    code += "asyncio.run(main())\n"
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as other:
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(SpoolError, match=f"belongs to another running mailsluice \\(process {other.pid}\\)"):
            Spool.open(tmp_path)
        other.kill()
    asyncio.run(add_one(tmp_path))


async def add_one(directory):
    async with opened(directory) as spool:
        await spool.add(new())


async def test_a_file_that_is_no_spool_is_left_as_it_is(tmp_path):
    rows(tmp_path, "CREATE TABLE other (x)")
    before = (tmp_path / "spool.db").read_bytes()
    with pytest.raises(SpoolError, match=r"is no spool of mailsluice; move it away"):
        Spool.open(tmp_path)
    assert (tmp_path / "spool.db").read_bytes() == before


async def test_a_directory_that_cannot_be_made_is_said_in_one_sentence(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SpoolError, match="cannot be written to"):
        Spool.open(tmp_path / "file" / "spool")


async def test_a_mail_that_is_stored_while_orphans_are_looked_for_is_none(tmp_path, monkeypatch):
    stored, go_on = threading.Event(), threading.Event()
    store = ContentFiles.store

    def store_and_wait(self, id_, content):
        store(self, id_, content)
        stored.set()
        assert go_on.wait(10)

    monkeypatch.setattr(ContentFiles, "store", store_and_wait)
    async with opened(tmp_path) as spool:
        adding = asyncio.create_task(spool.add(new(mail_of(FULL))))
        await asyncio.to_thread(stored.wait, 10)
        run = Writer.run

        async def run_and_let_go_on(self, operation, **options):
            result = await run(self, operation, **options)
            if not go_on.is_set():
                # Between the messages that are known and the files that are removed.
                go_on.set()
                await adding
            return result

        monkeypatch.setattr(Writer, "run", run_and_let_go_on)
        # As if the clock had jumped: the file is old.
        await spool.remove_orphans(older_than_seconds=-3600)
        assert list((await drained(spool)).values()) == [FULL]


async def test_a_cancelled_add_has_happened_and_is_known(tmp_path):
    async with opened(tmp_path) as spool:
        adding = asyncio.create_task(spool.add(new()))
        await asyncio.sleep(0)
        adding.cancel()
        await asyncio.wait([adding])
        assert len(await drained(spool)) == 1


async def test_what_comes_after_the_end_fails_and_waits_for_nobody(tmp_path):
    async with opened(tmp_path) as spool:
        (entry,) = await spool.add(new(attempted=True))
    async with asyncio.timeout(5):
        with pytest.raises(OSError, match="closed"):
            await spool.add(new())
        with pytest.raises(OSError, match="closed"):
            await spool.settle(settled(entry))
    assert [state for (state,) in rows(tmp_path, "SELECT state FROM delivery")] == [State.ATTEMPTED]
