"""Spools of every format version are read by today's code; what it does not know is refused and never misread."""

import asyncio
import shutil
import signal
import tempfile
import time
from contextlib import closing
from itertools import count
from pathlib import Path

import apsw
import pytest
import structlog

from gateway.spool import SpoolError, database, salvage
from tests.spool.golden import CONTENTS, FOLDER, STATES
from tests.spool.spools import claimed, drained, new, opened, rows, settled
from tests.torture.forked import run
from tests.torture.shim import Action, Faults
from tests.torture.spool_crashes import MEMORY
from tests.torture.spool_life import recover

GOLDEN = sorted(FOLDER.iterdir())


def test_there_is_a_golden_spool_of_every_format():
    assert [golden.name for golden in GOLDEN] == [f"v{number}" for number in range(1, database.FORMAT + 1)]


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: golden.name)
async def test_everything_in_a_golden_spool_is_delivered(tmp_path, golden):
    shutil.copytree(golden, tmp_path / "spool")
    async with opened(tmp_path / "spool") as spool:
        assert await spool.recover(time.time()) == 1
        for connector, contents in CONTENTS.items():
            found, duplicates = [], []
            while entries := await claimed(spool, connector):
                for entry in entries:
                    found.append(entry.mail.content.read())
                    duplicates += [found[-1]] * entry.possible_duplicate
                    entry.mail.content.close()
                    await spool.settle(settled(entry))
            assert sorted(found) == sorted(contents)
            assert [content for content in found if content in {b"first", b"second", b"third"}] == contents[:3] * (
                connector == "archive"
            )
            assert duplicates == [b"interrupted"] * (connector == "archive")
        assert await spool.paused() == {"closed"}
    left = rows(tmp_path / "spool", "SELECT state, content FROM delivery JOIN message ON message = number")
    assert dict(left) == STATES
    assert rows(tmp_path / "spool", "PRAGMA integrity_check") == [("ok",)]


async def test_a_newer_format_is_refused_and_left_as_it_is(tmp_path):
    async with opened(tmp_path) as spool:
        await spool.add(new())
    rows(tmp_path, f"PRAGMA user_version = {database.FORMAT + 1}")
    before = (tmp_path / "spool.db").read_bytes()
    with pytest.raises(SpoolError, match=f"has format {database.FORMAT + 1}, of a newer mailsluice; this one knows"):
        async with opened(tmp_path):
            pass
    with pytest.raises(SpoolError, match="of a newer mailsluice"):
        database.connect(tmp_path / "spool.db")
    assert (tmp_path / "spool.db").read_bytes() == before


async def test_an_older_format_is_brought_up_to_date_by_the_owner_only_and_all_at_once(tmp_path, monkeypatch):
    today, steps = database.FORMAT, database._STEPS
    async with opened(tmp_path) as spool:
        await spool.add(new())
    step = "ALTER TABLE message ADD COLUMN colour TEXT; UPDATE message SET colour = 'red';"
    monkeypatch.setattr(database, "FORMAT", today + 1)
    monkeypatch.setattr(database, "_STEPS", (*steps, step + "SELECT this_fails()"))
    with pytest.raises(SpoolError, match="left by an older version; start the gateway once"):
        database.connect(tmp_path / "spool.db")
    with pytest.raises(SpoolError, match="this_fails"):
        async with opened(tmp_path):
            pass
    assert rows(tmp_path, "PRAGMA user_version") == [(today,)]
    assert "colour" not in str(rows(tmp_path, "SELECT sql FROM sqlite_schema"))
    monkeypatch.setattr(database, "_STEPS", (*steps, step))
    async with opened(tmp_path) as spool:
        assert rows(tmp_path, "SELECT colour FROM message") == [("red",)]
        assert len(await drained(spool)) == 1
    assert rows(tmp_path, "PRAGMA user_version") == [(today + 1,)]


async def test_a_start_that_is_killed_while_it_brings_a_spool_up_to_date_is_made_up_for_by_the_next():
    """At each call that changes a file, half-way through it: those of the migration's commit are among them."""
    deliveries = "SELECT message, connector, recipients, checksum, attempts FROM delivery"
    before, left = rows(FOLDER / "v1", deliveries), []
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder, Faults(Path(folder)) as faults:
        for at in count(1):
            spool = shutil.copytree(FOLDER / "v1", Path(folder) / str(at))
            faults.arm(Action.TORN, at=at)
            status = await asyncio.to_thread(run, recover, str(spool), faults=faults)
            if not faults.faults:
                break
            assert status == -signal.SIGKILL
            left += rows(shutil.copytree(spool, Path(folder) / f"{at}-as-it-was-left"), "PRAGMA user_version")
            async with opened(spool):
                assert rows(spool, deliveries) == before
                assert rows(spool, "PRAGMA user_version") == [(database.FORMAT,)]
    assert (status, {*left}) == (0, {(1,), (database.FORMAT,)})
    assert left.count((1,)) > 5


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: golden.name)
async def test_the_first_page_is_the_same_however_old_the_spool_is(tmp_path, golden):
    """What stands there says where the tables begin; a damaged one is replaced by that of a new spool."""
    shutil.copytree(golden, tmp_path / "old")
    pages = []
    for name in ("old", "new"):
        async with opened(tmp_path / name):
            pass
        pages.append(rows(tmp_path / name, "SELECT type, name, tbl_name, rootpage, sql FROM sqlite_schema"))
    assert pages[0] == pages[1]


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: golden.name)
async def test_a_damaged_first_page_is_replaced_by_one_of_the_same_format(tmp_path, golden):
    shutil.copytree(golden, tmp_path / "spool")
    deliveries = "SELECT message, connector, recipients, checksum, state, attempts FROM delivery"
    before = rows(tmp_path / "spool", deliveries)
    with (tmp_path / "spool" / "spool.db").open("r+b") as file:
        file.write(bytes(database.PAGE_OCTETS))
    async with opened(tmp_path / "spool"):
        assert rows(tmp_path / "spool", deliveries) == before


async def test_damage_that_shows_when_a_format_is_brought_up_to_date_keeps_no_gateway_from_its_mail(tmp_path):
    shutil.copytree(FOLDER / "v1", tmp_path / "spool")
    deliveries = "SELECT message, connector, recipients, checksum, state, attempts FROM delivery"
    before = rows(tmp_path / "spool", deliveries)
    lose_a_value(tmp_path / "spool" / "spool.db")
    with structlog.testing.capture_logs() as logs:
        async with opened(tmp_path / "spool"):
            assert rows(tmp_path / "spool", deliveries) == before
    assert any(line["event"].startswith("alarm: ") for line in logs)


def lose_a_value(path):
    """Make a row of what one bit can make of it: one with nothing in a column that always has something."""
    (wanted,) = (sql for (sql,) in rows(path.parent, "SELECT sql FROM sqlite_schema WHERE name = 'delivery'"))
    for sql, statement in (
        (wanted.replace("status TEXT NOT NULL", "status TEXT"), "SELECT 1"),
        (wanted, "UPDATE delivery SET status = NULL WHERE message = 1"),
    ):
        with closing(apsw.Connection(str(path))) as connection:
            connection.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 0)
            connection.execute(statement)
            connection.execute("PRAGMA writable_schema = ON")
            connection.execute("UPDATE sqlite_schema SET sql = ? WHERE name = 'delivery'", (sql,))


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: golden.name)
async def test_what_can_be_read_of_a_damaged_spool_is_carried_over_however_old_it_is(tmp_path, golden):
    shutil.copytree(golden, tmp_path / "spool")
    deliveries = "SELECT message, connector, recipients, checksum, state, attempts FROM delivery"
    before = rows(tmp_path / "spool", deliveries)
    salvage.salvage(tmp_path / "spool")
    assert rows(tmp_path / "spool", deliveries) == before
    assert before
