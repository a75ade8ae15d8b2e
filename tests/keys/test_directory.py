"""The key directory: what is made is read again, and what others could have read is refused."""

import json
import os
import stat
import sys

import pytest

from gateway.keys import KeysError, Purpose, create_key, read_keys, retire_key


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "keys"


@pytest.mark.parametrize("purpose", Purpose)
def test_a_key_is_read_as_it_was_made(directory, purpose):
    key = create_key(directory, purpose)
    assert list(read_keys(directory)) == [key]


def test_only_the_owner_has_access(directory):
    key = create_key(directory, Purpose.RECEIPT)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()] == [0o600]
    assert [path.name for path in directory.iterdir()] == [f"{key.name}.json"]


@pytest.mark.parametrize("mode", [0o640, 0o602, 0o604, 0o601])
def test_a_key_that_others_have_access_to_is_refused(directory, mode):
    path = directory / f"{create_key(directory, Purpose.STOKEN).name}.json"
    path.chmod(mode)
    with pytest.raises(KeysError, match=r"others than its owner have access to .*stoken-1\.json; run `chmod 0600"):
        read_keys(directory)


@pytest.mark.parametrize("mode", [0o750, 0o701])
def test_a_directory_that_others_have_access_to_is_refused(directory, mode):
    create_key(directory, Purpose.STOKEN)
    directory.chmod(mode)
    with pytest.raises(KeysError, match="run `chmod 0700"):
        read_keys(directory)
    with pytest.raises(KeysError, match="run `chmod 0700"):
        create_key(directory, Purpose.STOKEN)


def test_the_secret_is_in_no_representation(directory):
    key = create_key(directory, Purpose.MAILDATA)
    assert "secret" not in repr(key)
    assert repr(key.secret) not in repr(key)


def test_the_newest_key_is_in_use_and_the_others_still_verify(directory):
    first, second = (create_key(directory, Purpose.RECEIPT) for _ in range(2))
    ring = read_keys(directory)
    assert ring.in_use(Purpose.RECEIPT) == second
    assert ring.find(Purpose.RECEIPT, first.id) == first
    assert ring.in_use(Purpose.MAILDATA) is None


def test_a_retired_key_is_not_in_use_and_still_verifies(directory):
    first, second = (create_key(directory, Purpose.MAILDATA) for _ in range(2))
    retired = retire_key(directory, second.name)
    ring = read_keys(directory)
    assert retired.retired >= retired.created
    assert ring.in_use(Purpose.MAILDATA) == first
    assert ring.find(Purpose.MAILDATA, second.id) == retired
    assert retire_key(directory, second.name) == retired


def test_a_key_of_one_purpose_is_none_of_another(directory):
    key = create_key(directory, Purpose.MAILDATA)
    assert read_keys(directory).find(Purpose.STOKEN, key.id) is None


def test_numbers_of_symmetric_keys_come_again_as_late_as_can_be(directory):
    keys = [create_key(directory, Purpose.STOKEN) for _ in range(3)]
    assert [key.id for key in keys] == ["1", "2", "3"]
    (directory / "stoken-2.json").unlink()
    assert create_key(directory, Purpose.STOKEN).id == "4"
    last = json.loads((directory / "stoken-4.json").read_text()) | {"id": "255"}
    path = directory / "stoken-255.json"
    path.touch(0o600)
    path.write_text(json.dumps(last))
    assert create_key(directory, Purpose.STOKEN).id == "2"


def test_a_name_that_is_taken_meanwhile_is_left_alone(directory, monkeypatch):
    key = create_key(directory, Purpose.STOKEN)
    read, rings = read_keys, [type(read_keys(directory))()]
    # Another process made the key after this one had looked.
    monkeypatch.setattr("gateway.keys.directory.read_keys", lambda path: rings.pop() if rings else read(path))
    assert create_key(directory, Purpose.STOKEN).id == "2"
    assert read(directory).find(Purpose.STOKEN, "1") == key


@pytest.mark.parametrize(
    "change",
    [
        {"purpose": "other"},
        {"id": "0"},
        {"id": "256"},
        {"id": "01"},
        {"secret": "AAAA"},
        {"secret": "!" * 43},
        {"created": "yesterday"},
        {"more": 1},
        {"id": 1},
    ],
    ids=str,
)
def test_what_is_no_key_is_refused_without_showing_it(directory, change):
    path = directory / f"{create_key(directory, Purpose.STOKEN).name}.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | change))
    with pytest.raises(KeysError, match="is not a key that `mailsluice keys new` made") as refused:
        read_keys(directory)
    assert content["secret"] not in str(refused.value)


def test_a_file_that_does_not_end_is_refused(directory):
    path = directory / f"{create_key(directory, Purpose.STOKEN).name}.json"
    with path.open("a") as file:
        file.write(" " * 5000)
    with pytest.raises(KeysError, match="is not a key"):
        read_keys(directory)


def test_a_key_under_the_name_of_another_is_refused(directory):
    path = directory / f"{create_key(directory, Purpose.STOKEN).name}.json"
    path.rename(directory / "stoken-9.json")
    with pytest.raises(KeysError, match="holds the key stoken-1; give the file that name"):
        read_keys(directory)


def test_the_id_of_a_signing_key_belongs_to_its_secret(directory):
    first, second = (create_key(directory, Purpose.RECEIPT) for _ in range(2))
    path = directory / f"{first.name}.json"
    path.write_text(path.read_text().replace(first.id, second.id))
    with pytest.raises(KeysError, match="is not a key"):
        read_keys(directory)


def test_remains_of_a_crash_and_other_files_are_no_keys(directory):
    key = create_key(directory, Purpose.STOKEN)
    (directory / ".stoken-2.0123").touch(0o600)
    (directory / ".stoken-2.json").touch(0o600)
    (directory / "README").touch()
    assert list(read_keys(directory)) == [key]


def test_what_does_not_exist_is_told_with_the_command_that_makes_it(directory):
    with pytest.raises(KeysError, match="does not exist; `mailsluice keys new`"):
        read_keys(directory)


def test_a_directory_that_cannot_be_used_is_told(directory):
    directory.touch(0o600)
    with pytest.raises(KeysError, match=os.strerror(20)):
        create_key(directory, Purpose.STOKEN)


def test_without_the_library_only_receipts_are_told_to_need_it(directory, monkeypatch):
    create_key(directory, Purpose.RECEIPT)
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric", None)
    with pytest.raises(KeysError, match=r"pip install 'mailsluice\[receipts\]'"):
        read_keys(directory)
    assert create_key(directory.with_name("other"), Purpose.STOKEN).id == "1"


def test_an_unknown_name_is_not_retired(directory):
    create_key(directory, Purpose.STOKEN)
    with pytest.raises(KeysError, match="no key 'stoken-2'; `mailsluice keys ls`"):
        retire_key(directory, "stoken-2")
