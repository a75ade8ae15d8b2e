"""A damaged spool: everything that can be read is delivered, the rest is kept, and the gateway stays up."""

import asyncio
import os
import random
import shutil
import sqlite3
import threading
import time
from pathlib import Path

import apsw
import pytest
import structlog

from gateway.spool import Spool, State, salvage
from gateway.spool import spool as spool_module
from gateway.spool.inspection import Inspection, Selection
from tests.spool.spools import LARGE, claimed, drained, mail_of, new, opened, rows, settled

PAGE = 4096
COUNT = 300


def zero(file, size, dice):
    for _ in range(5):
        file.seek(PAGE * dice.randrange(1, size // PAGE))
        file.write(bytes(PAGE))


def zero_the_tail(file, size, dice):
    file.seek(size // 2)
    file.write(bytes(size - size // 2))


def cut(file, size, dice):
    file.truncate(size // 2 + 100)


def tear(file, size, dice):
    for page in dice.sample(pages(file, size, inner=False), 5):
        file.seek(PAGE * page + PAGE // 2)
        file.write(dice.randbytes(PAGE // 2))


def tear_an_inner_page(file, size, dice):
    """With it goes all that only it leads to, perhaps everything."""
    file.seek(PAGE * dice.choice(pages(file, size, inner=True)) + PAGE // 2)
    file.write(dice.randbytes(PAGE // 2))


def pages(file, size, *, inner):
    """The pages of the B-trees that lead to others (https://sqlite.org/fileformat.html §1.6), or all the others."""
    found = []
    for page in range(1, size // PAGE):
        file.seek(PAGE * page)
        if (file.read(1) in (b"\x02", b"\x05")) == inner:
            found.append(page)
    return found


def flip_bits(file, size, dice):
    for _ in range(30):
        place = dice.randrange(PAGE, size)
        file.seek(place)
        octet = file.read(1)[0]
        file.seek(place)
        file.write(bytes([octet ^ 1 << dice.randrange(8)]))


def scribble_on_the_first_page(file, size, dice):
    file.write(dice.randbytes(PAGE))


def add_garbage(file, size, dice):
    file.seek(size)
    file.write(dice.randbytes(10 * PAGE + 7))


LEAST = {
    zero: 0.8,
    zero_the_tail: 0.3,
    cut: 0.3,
    tear: 0.8,
    tear_an_inner_page: 0.0,
    flip_bits: 0.7,
    scribble_on_the_first_page: 1.0,
    add_garbage: 1.0,
}


async def checked(spool):
    """After the check of the whole database, by itself: what `recover` begins has no end that could be waited for."""
    await spool.recover(time.time())
    spool._upkeep.cancel()
    await asyncio.wait([spool._upkeep])
    await spool._check()


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("damage", LEAST, ids=lambda damage: damage.__name__)
async def test_what_can_be_read_of_a_damaged_database_is_delivered(tmp_path, damage, seed):
    dice = random.Random(seed)
    mails = [mail_of(dice.randbytes(dice.choice([10, 3000, 20_000]))) for _ in range(COUNT)]
    mails.append(mail_of(dice.randbytes(LARGE)))
    async with opened(tmp_path) as spool:
        await asyncio.gather(*[spool.add(new(mail)) for mail in mails])
    database = tmp_path / "spool.db"
    with database.open("r+b") as file:
        damage(file, database.stat().st_size, dice)
    async with opened(tmp_path) as spool:
        await checked(spool)
        found = await drained(spool)
        sent = {mail.envelope.id: mail.content.read() for mail in mails}
        assert found.items() <= sent.items()
        assert len(found) >= LEAST[damage] * COUNT
        # And it is a spool like any other.
        after = mail_of(b"after")
        await spool.add(new(after))
        assert await drained(spool) == {after.envelope.id: b"after"}
    # Nothing that is not delivered has gone without a trace.
    left = rows(tmp_path, "SELECT state FROM delivery")
    assert {state for (state,) in left} <= {State.QUARANTINED}, rows(tmp_path, "SELECT * FROM delivery")
    aside = list(tmp_path.glob("quarantine/*/damaged.db"))
    assert len(found) + len(left) == len(mails) or aside
    assert rows(tmp_path, "PRAGMA integrity_check") == [("ok",)]


async def test_damage_that_is_met_while_running_stops_nothing(tmp_path):
    mails = [mail_of(os.urandom(5000)) for _ in range(100)]
    async with opened(tmp_path) as spool:
        await asyncio.gather(*[spool.add(new(mail)) for mail in mails])
    async with opened(tmp_path) as spool:
        database = tmp_path / "spool.db"
        with database.open("r+b") as file:
            file.seek(database.stat().st_size // 2)
            file.write(os.urandom(20 * PAGE))
        with structlog.testing.capture_logs() as lines:
            await checked(spool)
            found = await drained(spool)
            await spool.add(new())
            assert len(await drained(spool)) == 1
    alarms = [line for line in lines if line["log_level"] == "error" and line["event"].startswith("alarm: a damaged")]
    assert [alarm["complete"] for alarm in alarms] == [False]
    assert len(found) > 60


async def test_damage_that_was_replaced_while_the_check_ran_is_not_replaced_again(tmp_path, monkeypatch):
    replaced = threading.Event()
    checks = iter(["what was there before", ""])

    def find_damage(_path, _abandoned):
        assert replaced.wait(20)
        return next(checks)

    monkeypatch.setattr(spool_module, "find_damage", find_damage)
    met = iter([apsw.CorruptError("met")])

    def meet(_connection):
        for error in met:
            raise error

    async with opened(tmp_path) as spool:
        mail = mail_of(b"hello")
        await spool.add(new(mail))
        with structlog.testing.capture_logs() as lines:
            check = asyncio.create_task(spool._check())
            await spool._writer.run(meet)
            replaced.set()
            await check
        assert next(checks, "no more") == "no more"
        assert sum("what can be read is carried over" in line["event"] for line in lines) == 1
        assert await drained(spool) == {mail.envelope.id: b"hello"}


async def test_damage_that_is_being_replaced_while_the_check_ends_is_not_replaced_again(tmp_path, monkeypatch):
    replacing, is_checked = threading.Event(), threading.Event()
    replace = salvage.salvage

    def hold_and_replace(directory):
        replacing.set()
        assert is_checked.wait(20)
        replace(directory)

    def find_damage(_path, _abandoned):
        assert replacing.wait(20)
        is_checked.set()
        return "what was there before"

    def meet(_connection):
        if not replacing.is_set():
            raise apsw.CorruptError("met")

    monkeypatch.setattr(salvage, "salvage", hold_and_replace)
    monkeypatch.setattr(spool_module, "find_damage", find_damage)
    async with opened(tmp_path) as spool:
        with structlog.testing.capture_logs() as lines:
            await asyncio.gather(spool._check(), spool._writer.run(meet))
        assert sum("what can be read is carried over" in line["event"] for line in lines) == 1
        assert not [line for line in lines if line["event"] == "alarm: the spool's database is damaged"]


@pytest.mark.parametrize("what", ["gone", "empty"])
async def test_an_empty_database_beside_content_is_no_new_spool(tmp_path, what):
    """SQLite would begin a new one, and the content would be taken for what a crash has left."""
    mail = mail_of(os.urandom(LARGE))
    async with opened(tmp_path) as spool:
        await spool.add(new(mail))
    (tmp_path / "spool.db").unlink()
    if what == "empty":
        (tmp_path / "spool.db").touch()
    async with opened(tmp_path) as spool:
        await checked(spool)
        await spool.remove_orphans(older_than_seconds=-1)
        await spool.add(new())
        assert len(await drained(spool)) == 1
    (aside,) = tmp_path.glob(f"quarantine/*/content/{mail.envelope.id}")
    assert aside.read_bytes() == mail.content.read()


async def test_a_log_whose_database_is_empty_is_read_all_the_same(tmp_path):
    crashed, left = tmp_path / "crashed", tmp_path / "left"
    async with opened(crashed) as spool:
        mails = [mail_of(b"%d" % number) for number in range(5)]
        for mail in mails:
            await spool.add(new(mail))
        shutil.copytree(crashed, left)
    (left / "spool.db").write_bytes(b"")
    async with opened(left) as spool:
        await checked(spool)
        assert len(await drained(spool)) == 5


async def test_a_log_with_garbage_behind_it_is_read_to_its_end(tmp_path):
    crashed, left = tmp_path / "crashed", tmp_path / "left"
    async with opened(crashed) as spool:
        await spool.add(new())
        shutil.copytree(crashed, left)
    with (left / "spool.db-wal").open("ab") as file:
        file.write(os.urandom(3 * PAGE))
    async with opened(left) as spool:
        await checked(spool)
        assert len(await drained(spool)) == 1
    assert not (left / "quarantine").exists()


@pytest.mark.parametrize("octets", [1, PAGE + 24])
async def test_damage_in_the_middle_of_the_log_hides_nothing_that_was_accepted_behind_it(tmp_path, octets):
    crashed, left = tmp_path / "crashed", tmp_path / "left"
    async with opened(crashed) as spool:
        for number in range(20):
            await spool.add(new(mail_of(b"%d" % number)))
        shutil.copytree(crashed, left)
    with (left / "spool.db-wal").open("r+b") as file:
        file.seek(32 + 40 * (PAGE + 24) + 1000 * (octets == 1))
        file.write(bytes(b ^ 0x55 for b in bytes(octets)))
    async with opened(left) as spool:
        await checked(spool)
        found = await drained(spool)
    assert len(found) + len(rows(left, "SELECT * FROM delivery")) >= 20 - 1
    assert b"19" in found.values()
    assert list(left.glob("quarantine/*/damaged.db-wal"))


async def test_the_last_transaction_may_be_cut_off_by_a_crash(tmp_path):
    crashed, left = tmp_path / "crashed", tmp_path / "left"
    async with opened(crashed) as spool:
        for number in range(5):
            await spool.add(new(mail_of(b"%d" % number)))
        last = (crashed / "spool.db-wal").stat().st_size
        await spool.add(new(mail_of(b"not synced")))
        shutil.copytree(crashed, left)
    with (left / "spool.db-wal").open("r+b") as file:
        file.seek(last + 100)
        file.write(b"\xff" * 100)
    async with opened(left) as spool:
        assert len(await drained(spool)) == 5
    assert not (left / "quarantine").exists()


@pytest.mark.parametrize("damage", ["missing", "changed", "empty"])
async def test_damaged_content_puts_its_own_delivery_into_quarantine(tmp_path, damage):
    hurt, whole = mail_of(os.urandom(LARGE)), mail_of(os.urandom(LARGE))
    async with opened(tmp_path) as spool:
        for mail in (hurt, whole):
            await spool.add(new(mail, ordering_key=b"the same"))
        path = tmp_path / "content" / hurt.envelope.id
        {
            "missing": path.unlink,
            "changed": lambda: path.write_bytes(bytes(LARGE)),
            "empty": lambda: path.write_bytes(b""),
        }[damage]()
        claim = await spool.claim("archive", now=time.time(), limit=9, octets=0)
        assert [each.connector for each in claim.damaged] == ["archive"]
        # Not even one of its ordering key waits for it.
        assert await drained(spool) == {whole.envelope.id: whole.content.read()}
    assert rows(tmp_path, "SELECT state FROM delivery") == [("quarantined",)]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE message SET envelope = replace(envelope, 'example', 'exampel')",
        "UPDATE message SET content = zeroblob(length(content))",
        "UPDATE delivery SET recipients = '[0,1]'",
        "UPDATE delivery SET recipients = CAST(x'5BB05D' AS TEXT)",
        "UPDATE message SET id = CAST(x'B030' AS TEXT)",
        "DELETE FROM message",
    ],
)
async def test_a_damaged_row_puts_its_own_delivery_into_quarantine(tmp_path, statement):
    async with opened(tmp_path) as spool:
        await spool.add(new())
        rows(tmp_path, statement)
        await spool.add(new())
        claim = await spool.claim("archive", now=time.time() + 1, limit=9, octets=1 << 20)
        assert (len(claim.entries), len(claim.damaged)) == (1, 1)


# What one bit makes of a text: no UTF-8.
_NO_TEXT = "CAST(x'B030' AS TEXT)"


@pytest.mark.parametrize(
    "statement",
    [
        f"UPDATE delivery SET connector = {_NO_TEXT} WHERE message = 1",
        f"UPDATE delivery SET recipients = {_NO_TEXT} WHERE message = 1",
        f"UPDATE delivery SET state = {_NO_TEXT} WHERE message = 1",
        f"UPDATE delivery SET cause = {_NO_TEXT}, status = {_NO_TEXT} WHERE message = 1",
        f"UPDATE message SET id = {_NO_TEXT} WHERE number = 1",
        "UPDATE delivery SET attempts = 'some' WHERE message = 1",
        "UPDATE delivery SET due = 'soon' WHERE message = 1",
        f"INSERT INTO paused VALUES ({_NO_TEXT}, 'then', {_NO_TEXT})",
    ],
)
async def test_a_row_that_makes_no_sense_stops_nothing_and_is_seen(tmp_path, statement):
    whole = mail_of(b"x")
    async with opened(tmp_path) as spool:
        await spool.add(new())
        await spool.add(new(whole))
        rows(tmp_path, statement)
        await spool.recover(time.time())
        assert await spool.connectors() >= {"archive"}
        assert len(await spool.paused()) == statement.count("paused")
        claim = await spool.claim("archive", now=time.time() + 1, limit=9, octets=1 << 20)
        assert whole.envelope.id in {entry.mail.envelope.id for entry in claim.entries}
        with Inspection(tmp_path) as inspection:
            assert len(list(inspection.deliveries(Selection()))) == 2
            assert inspection.connectors()
            assert len(inspection.paused()) == statement.count("paused")
    # And a damaged database is not the end of what else is in it.
    salvage.salvage(tmp_path)
    async with opened(tmp_path) as spool:
        await spool.recover(time.time())
        assert whole.envelope.id in await drained(spool)


async def test_a_time_that_is_none_is_not_waited_for(tmp_path):
    async with opened(tmp_path) as spool:
        await spool.add(new())
        rows(tmp_path, "UPDATE delivery SET due = 'soon'")
        assert (await spool.claim("archive", now=time.time(), limit=9, octets=0)).next_due is None
        await spool.recover(time.time())
        assert len(await claimed(spool)) == 1


async def test_a_crash_while_a_database_is_replaced_is_made_up_for(tmp_path, monkeypatch):
    """Each step that changes a name may be the last one, also where a clock was wrong when it happened before."""
    (tmp_path / "whole" / "quarantine" / "20380119T031407Z").mkdir(parents=True)
    mails = [mail_of(os.urandom(5000)) for _ in range(20)]
    async with opened(tmp_path / "whole") as spool:
        await asyncio.gather(*[spool.add(new(mail)) for mail in mails])
    with (tmp_path / "whole" / "spool.db").open("r+b") as file:
        file.write(os.urandom(PAGE))
    at, crashed = 0, True
    while crashed:
        at += 1
        directory = tmp_path / str(at)
        shutil.copytree(tmp_path / "whole", directory)
        with monkeypatch.context() as patched:
            crash_at(patched, at)
            try:
                spool = Spool.open(directory)
                crashed = False
            except Crash:
                pass
        if not crashed:
            await spool.close()
        async with opened(directory) as spool:
            await checked(spool)
            assert len(await drained(spool)) == 20
    assert at > 10


class Crash(BaseException):
    """The process is gone."""


def crash_at(patched, at):
    count = 0

    def counting(original):
        def call(*arguments, **options):
            nonlocal count
            count += 1
            if count == at:
                raise Crash
            return original(*arguments, **options)

        return call

    for name in ("rename", "unlink"):
        patched.setattr(Path, name, counting(getattr(Path, name)))
    patched.setattr(salvage, "sync_directory", counting(salvage.sync_directory))
    patched.setattr(salvage, "carry_over", counting(salvage.carry_over))
    patched.setattr(salvage, "open_database", counting(salvage.open_database))


async def test_states_attempts_and_order_are_carried_over(tmp_path):
    async with opened(tmp_path) as spool:
        for number in range(3):
            await spool.add(new(mail_of(b"%d" % number), ordering_key=b"k"))
        await spool.add(new(mail_of(b"dead")))
        entries = {entry.mail.content.read(): entry for entry in await claimed(spool)}
        await spool.settle(settled(entries[b"dead"], State.DEAD, cause="no"))
        await spool.settle(settled(entries[b"0"], State.WAITING, due=5.0, possible_duplicate=True))
        await spool.pause("archive", 7.0, "closed")
    statements = [
        "SELECT message, connector, ordering_key, state, due, attempts, possible_duplicate, cause FROM delivery",
        "SELECT * FROM paused",
        "SELECT number, id, accepted_at FROM message",
    ]
    before = [rows(tmp_path, statement) for statement in statements]
    with (tmp_path / "spool.db").open("r+b") as file:
        file.write(b"SQLite format 4")
    async with opened(tmp_path) as spool:
        assert [rows(tmp_path, statement) for statement in statements] == before
        assert await spool.paused() == {"archive"}


@pytest.mark.parametrize(
    "statement",
    ["UPDATE delivery SET checksum = 'none' WHERE message = 1", "UPDATE message SET size = 'some' WHERE number = 1"],
)
async def test_a_row_that_is_left_behind_is_told_of(tmp_path, statement):
    async with opened(tmp_path) as spool:
        for _ in range(2):
            await spool.add(new())
    rows(tmp_path, statement)
    assert not is_complete(tmp_path)


async def test_a_delivery_of_the_last_message_that_cannot_be_read_is_told_of(tmp_path):
    async with opened(tmp_path) as spool:
        await spool.add(new(None, *(f"connector-{number:03}" for number in range(200))))
    database = tmp_path / "spool.db"
    with database.open("r+b") as file:
        lost = max(
            page
            for page in pages(file, database.stat().st_size, inner=False)
            if b"connector-199[" in page_of(file, page)
        )
        file.seek(PAGE * lost)
        file.write(bytes(PAGE))
    assert not is_complete(tmp_path)
    assert 0 < rows(tmp_path, "SELECT count(*) FROM delivery")[0][0] < 200


def page_of(file, page):
    file.seek(PAGE * page)
    return file.read(PAGE)


def is_complete(directory):
    """Whether it is said that a damaged database was carried over without loss."""
    with structlog.testing.capture_logs() as logs:
        salvage.salvage(directory)
    return logs[-1]["complete"]


def test_the_damaged_database_can_be_looked_at_by_any_sqlite(tmp_path):
    async def life():
        async with opened(tmp_path) as spool:
            await spool.add(new())
        with (tmp_path / "spool.db").open("r+b") as file:
            file.write(b"SQLite format 4")
        async with opened(tmp_path):
            pass

    asyncio.run(life())
    (aside,) = tmp_path.glob("quarantine/*/damaged.db")
    connection = sqlite3.connect(aside)
    assert connection.execute("SELECT count(*) FROM message").fetchall() == [(1,)]
    connection.close()
