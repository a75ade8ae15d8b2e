import json
import re

import pytest

from gateway.cli.keys import KeyPurpose
from gateway.config import BUILT_IN
from gateway.keys import Purpose


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A configuration whose keys are in `keys`, below the current directory."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mailsluice.toml"
    path.write_text(f'[gateway]\nkeys = "keys"\n{BUILT_IN}')
    return path


@pytest.fixture
def keys(mailsluice, config):
    return lambda *arguments: mailsluice("keys", *arguments, "--config", config)


def test_a_key_is_made_listed_and_retired(keys):
    first, second = (keys("new").stdout.strip() for _ in range(2))
    assert re.fullmatch("receipt-[0-9a-f]{8}", first)
    assert keys("new", "stoken").stdout == "stoken-1\n"
    listed = keys("ls").stdout.splitlines()
    assert [line.split()[:2] for line in listed[1:]] == [
        [first, "verifies"],
        [second, "in"],
        ["stoken-1", "in"],
    ]
    outcome = keys("retire", second)
    assert (outcome.exit_code, outcome.stderr) == (0, "")
    assert [line.split()[1] for line in keys("ls").stdout.splitlines()[1:3]] == ["in", "retired"]


def test_the_last_key_that_retires_is_told(keys):
    name = keys("new").stdout.strip()
    outcome = keys("retire", name)
    assert outcome.exit_code == 0
    assert outcome.stderr == "mailsluice: no receipt key is in use now; `mailsluice keys new receipt` makes one\n"


def test_only_public_keys_are_published(keys, tmp_path):
    name = keys("new").stdout.strip()
    keys("new", "maildata")
    published = keys("publish").stdout
    assert [f"receipt-{key['kid']}" for key in json.loads(published)["keys"]] == [name]
    for path in (tmp_path / "keys").iterdir():
        assert json.loads(path.read_text())["secret"] not in published


def test_no_command_prints_a_secret(keys, tmp_path):
    name = keys("new").stdout.strip()
    secret = json.loads((tmp_path / "keys" / f"{name}.json").read_text())["secret"]
    for arguments in (["ls"], ["publish"], ["retire", name]):
        assert secret not in keys(*arguments).output


@pytest.mark.parametrize("arguments", [["ls"], ["publish"], ["retire", "receipt-00000000"]], ids=lambda words: words[0])
def test_a_directory_that_is_not_there_is_told_in_a_sentence(keys, arguments):
    outcome = keys(*arguments)
    assert (outcome.exit_code, outcome.stdout) == (1, "")
    assert (
        outcome.stderr == "mailsluice: keys does not exist; `mailsluice keys new` makes the key directory and a key\n"
    )


def test_loose_permissions_are_told_in_a_sentence(keys, tmp_path):
    keys("new")
    (tmp_path / "keys").chmod(0o755)
    outcome = keys("new")
    assert (outcome.exit_code, outcome.stdout) == (1, "")
    assert "run `chmod 0700 keys`" in outcome.stderr


def test_a_configuration_without_a_key_directory_is_told(mailsluice):
    outcome = mailsluice("keys", "new")
    assert outcome.exit_code == 2
    assert 'write keys = "keys" below [gateway]' in outcome.stderr


def test_an_unknown_purpose_is_refused(keys):
    assert keys("new", "other").exit_code == 2


def test_a_key_can_be_made_for_every_purpose():
    assert [purpose.value for purpose in KeyPurpose] == [purpose.value for purpose in Purpose]
