from pathlib import Path

import pytest

from gateway.directories import make_directory


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
