from importlib.metadata import entry_points
from pathlib import Path

import pytest

from gateway import plugins
from gateway.connector import ENTRY_POINT_GROUP, ConnectorSettings

SITE = Path(__file__).parent / "site"


@pytest.fixture(autouse=True)
def _sample_connectors(monkeypatch):
    monkeypatch.syspath_prepend(SITE)


def test_a_third_party_connector_is_found_by_its_entry_point():
    found = plugins.find("sample")
    assert found.name == "sample"
    settings = found.settings(name="a", type="sample", port=25)
    assert plugins.build(found, settings, {}).settings.port == 25


def test_built_in_connectors_come_by_entry_points_too():
    names = {e.name for e in entry_points(group=ENTRY_POINT_GROUP) if e.dist.name == "mailsluice"}
    assert names == {"directory", "http", "kafka", "s3", "smtp"}
    assert names < set(plugins.installed())


def test_a_connector_that_is_not_installed_is_no_name():
    with pytest.raises(LookupError, match="nowhere"):
        plugins.find("nowhere")


def test_an_extra_that_is_missing_is_named_with_the_command_that_installs_it():
    lazy = plugins.find("lazy")
    with pytest.raises(plugins.ConnectorUnavailableError) as caught:
        plugins.build(lazy, ConnectorSettings(name="a", type="lazy"), {})
    assert str(caught.value) == "the lazy connector needs more packages: pip install 'sample-connectors[lazy]'"


def test_a_library_that_belongs_to_no_extra_is_named_itself():
    with pytest.raises(plugins.ConnectorUnavailableError) as caught:
        plugins.find("eager")
    assert str(caught.value) == (
        "the eager connector needs more packages: "
        "install the Python module a_library_that_is_absent, which sample-connectors uses"
    )


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("broken", "No module named 'sample_connectors.absent'"),
        ("mistyped", "sample_connectors:SampleSettings is no gateway.connector.ConnectorType"),
    ],
)
def test_a_package_with_a_defect_is_not_taken_for_a_missing_extra(name, why):
    with pytest.raises(plugins.ConnectorUnavailableError) as caught:
        plugins.find(name)
    assert str(caught.value) == f"the {name} connector is broken: {why}"


def test_two_packages_with_one_name_are_refused(tmp_path, monkeypatch):
    twin = tmp_path / "twin-1.0.dist-info"
    twin.mkdir()
    (twin / "METADATA").write_text("Metadata-Version: 2.3\nName: twin\nVersion: 1.0\n")
    (twin / "entry_points.txt").write_text(f"[{ENTRY_POINT_GROUP}]\nsample = twin:CONNECTOR\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        plugins.ConnectorUnavailableError, match="installed more than once: sample_connectors:CONNECTOR, twin:CONNECTOR"
    ):
        plugins.find("sample")
