"""What a replay remembers across crashes."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from gateway.cli.journal import Journal, JournalError

REPLAY = "from the archive old to copy"


def test_what_was_recorded_is_there_again(tmp_path):
    with Journal(tmp_path / "journal", REPLAY) as journal:
        journal.record([("a", ()), ("b", (1, 5))])
        journal.record([("c", (2,)), ("c", ())])
    with Journal(tmp_path / "journal", REPLAY) as journal:
        assert [journal.refused(place) for place in "abcd"] == [(), (1, 5), (), None]


def test_what_was_recorded_outlives_a_kill(tmp_path):
    script = (
        "import os, signal, sys; from pathlib import Path; from gateway.cli.journal import Journal\n"
        f"Journal(Path(sys.argv[1]), {REPLAY!r}).record([('a', ())]); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path / "journal"], check=False, timeout=60)
    with Journal(tmp_path / "journal", REPLAY) as journal:
        assert journal.refused("a") == ()


def test_the_name_of_a_journal_that_was_there_is_synced_too(tmp_path, monkeypatch):
    Journal(tmp_path / "journal", REPLAY).__exit__(None, None, None)
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(Path(f"/proc/self/fd/{descriptor}").readlink()))
    Journal(tmp_path / "journal", REPLAY).__exit__(None, None, None)
    assert tmp_path in synced


def test_a_journal_belongs_to_one_replay(tmp_path):
    Journal(tmp_path / "journal", REPLAY).__exit__(None, None, None)
    with pytest.raises(JournalError, match="that of another replay, from the archive old to copy, and this one is x;"):
        Journal(tmp_path / "journal", "x")


def test_two_replays_do_not_share_a_journal(tmp_path):
    with (
        Journal(tmp_path / "journal", REPLAY),
        pytest.raises(JournalError, match="in use by another replay"),
    ):
        Journal(tmp_path / "journal", REPLAY)


def test_another_file_is_no_journal_and_stays_as_it_is(tmp_path):
    (tmp_path / "text").write_text("this is a text, and a rather long one as such texts go" * 20)
    with closing(sqlite3.connect(tmp_path / "database")) as database:
        database.execute("CREATE TABLE t (a)")
    for name in ("text", "database"):
        before = (tmp_path / name).read_bytes()
        with pytest.raises(JournalError, match="give the name of a new file"):
            Journal(tmp_path / name, REPLAY)
        assert (tmp_path / name).read_bytes() == before


def test_a_journal_that_cannot_be_made_is_said_to_be_so(tmp_path):
    with pytest.raises(JournalError, match="cannot be written: No such file or directory"):
        Journal(tmp_path / "missing/journal", REPLAY)


def test_on_a_full_disk_nobody_is_told_to_begin_anew(tmp_path):
    with Journal(tmp_path / "journal", REPLAY) as journal:
        pages = journal._connection.pragma("page_count")
        journal._connection.pragma("max_page_count", pages)
        with pytest.raises(JournalError, match="is full; mend that and give the command again") as raised:
            journal.record([(f"{number:04}" * 100, ()) for number in range(100)])
    assert "new file" not in str(raised.value)
    (tmp_path / "full").symlink_to("/dev/full")
    with pytest.raises(JournalError, match="cannot be used: ") as raised:
        Journal(tmp_path / "full", REPLAY)
    assert "new file" not in str(raised.value)
