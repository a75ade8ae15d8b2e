"""The page about writing a connector is right: its example works, as it stands there."""

import importlib
import re
import sys
import tomllib
from pathlib import Path

import pytest

from gateway import plugins
from gateway.connector import PermanentFailure

PAGE = (Path(__file__).parents[2] / "docs/connectors/writing.md").read_text()


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The example, installed as a package of somebody else's would be."""
    site = tmp_path / "site"
    site.mkdir()
    source, test = blocks("python")
    entry_points = tomllib.loads(blocks("toml")[0])["project"]["entry-points"]
    ((group, names),) = entry_points.items()
    ((name, target),) = names.items()
    (site / f"{target.partition(':')[0]}.py").write_text(source)
    (site / "its_test.py").write_text(test)
    information = site / "mailsluice_sqlite-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: mailsluice-sqlite\nVersion: 1\n")
    (information / "entry_points.txt").write_text(f"[{group}]\n{name} = {target}\n")
    monkeypatch.syspath_prepend(site)
    yield name
    for module in (target.partition(":")[0], "its_test"):
        sys.modules.pop(module, None)


async def test_the_example_is_found_and_passes_its_own_test(package, tmp_path):
    assert plugins.find(package).name == package
    await importlib.import_module("its_test").test_conformance(tmp_path)


def test_the_example_takes_the_configuration_that_is_shown(package):
    ((table,),) = tomllib.loads(blocks("toml")[1]).values()
    settings = plugins.find(package).settings(**table)
    assert (settings.name, settings.type, str(settings.path)) == ("database", "sqlite", "/srv/mail.sqlite")


async def test_the_example_says_what_is_wrong_with_its_path(package, tmp_path):
    declared = plugins.find(package)
    connector = declared.build(declared.settings(name="database", path=tmp_path), {})
    with pytest.raises(PermanentFailure) as caught:
        await connector.open()
    assert caught.value.cause == f"{tmp_path} cannot be used as a database: unable to open database file"
