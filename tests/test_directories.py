import errno
import os
from pathlib import Path

import pytest

from gateway.directories import make_directory


@pytest.fixture
def synced(monkeypatch):
    """The directories that were synced, in order."""
    done = []
    fsync = os.fsync

    def recorded(descriptor):
        fsync(descriptor)
        done.append(Path(f"/proc/self/fd/{descriptor}").readlink())

    monkeypatch.setattr(os, "fsync", recorded)
    return done


def test_a_directory_is_made_with_those_above_it_for_its_owner_only(tmp_path):
    make_directory(tmp_path / "spool" / "worker-1")
    for path in (tmp_path / "spool", tmp_path / "spool" / "worker-1"):
        assert path.stat().st_mode & 0o777 == 0o700


def test_one_that_another_process_makes_at_the_same_moment_is_there(tmp_path, monkeypatch):
    is_dir = Path.is_dir

    def asked_just_before_the_other_made_it(path):
        found = is_dir(path)
        if not found:
            path.mkdir(parents=True)
        return found

    monkeypatch.setattr(Path, "is_dir", asked_just_before_the_other_made_it)
    make_directory(tmp_path / "spool" / "worker-1")
    assert is_dir(tmp_path / "spool" / "worker-1")


@pytest.mark.parametrize("below", ["spool", "spool/worker-1"])
def test_a_file_in_its_place_or_above_it_is_no_directory(tmp_path, below):
    (tmp_path / "spool").touch()
    with pytest.raises(NotADirectoryError):
        make_directory(tmp_path / below)


@pytest.mark.parametrize("exists", [False, True])
def test_all_names_up_to_the_root_are_synced_whoever_made_them(tmp_path, synced, exists):
    path = tmp_path / "spool" / "worker-1"
    if exists:
        path.mkdir(parents=True)
    make_directory(path)
    assert synced == list(reversed(path.parents))


def test_names_above_one_that_is_known_to_be_synced_are_left_alone(tmp_path, synced):
    make_directory(tmp_path / "2026" / "11", within=tmp_path)
    assert synced == [tmp_path, tmp_path / "2026"]


def test_a_sync_that_fails_is_told_also_of_a_name_that_exists(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        make_directory(tmp_path)


@pytest.mark.parametrize(
    ("call", "number"),
    [("open", errno.EACCES), ("fsync", errno.EINVAL), ("fsync", errno.EROFS)],
    ids=["no access", "no syncs", "read-only"],
)
def test_where_names_cannot_be_synced_only_those_that_exist_are_taken(tmp_path, monkeypatch, call, number):
    monkeypatch.setattr(os, call, failing(number))
    make_directory(tmp_path)
    with pytest.raises(OSError, match=os.strerror(number)):
        make_directory(tmp_path / "spool")


def test_nothing_is_made_in_a_directory_that_cannot_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "open", failing(errno.EACCES))
    with pytest.raises(PermissionError):
        make_directory(tmp_path / "spool")
    assert not (tmp_path / "spool").exists()


def failing(number):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    return fail
