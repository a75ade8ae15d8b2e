"""Golden cases: each file in `wrong` with the exact text that an operator reads for it."""

from pathlib import Path

import pytest

from gateway.config import ConfigError, load

WRONG = Path(__file__).parent / "wrong"


@pytest.mark.parametrize("case", sorted(path.stem for path in WRONG.glob("*.toml")))
def test_every_fault_is_told_at_once(case, sample_connectors, monkeypatch):
    monkeypatch.chdir(WRONG)
    with pytest.raises(ConfigError) as caught:
        load(Path(f"{case}.toml"))
    assert f"{caught.value}\n" == Path(f"{case}.txt").read_text()


def test_each_expected_text_has_its_file():
    assert {path.stem for path in WRONG.glob("*.txt")} == {path.stem for path in WRONG.glob("*.toml")}


def test_a_secret_is_never_repeated(sample_connectors):
    with pytest.raises(ConfigError) as caught:
        load(WRONG / "connector_settings.toml")
    assert "canary" not in str(caught.value)
    assert "canary" not in repr(caught.value)
    assert "12345678" not in repr(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.toml: cannot be read: No such file or directory"):
        load(tmp_path / "nowhere.toml")
