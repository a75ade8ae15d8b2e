import asyncio
import json

import pytest

from connectors.directory import DirectoryConnector, DirectorySettings
from gateway.testing import sample_mails


@pytest.fixture
def archive(tmp_path):
    """An archive of the sample mails."""
    connector = DirectoryConnector(DirectorySettings(name="archive", type="directory", path=tmp_path))

    async def fill():
        await connector.open()
        for mail in sample_mails().values():
            await connector.emit(mail)
            mail.content.close()
        await connector.close()

    asyncio.run(fill())
    return tmp_path


def test_an_intact_archive_is_said_to_be_so(archive, mailsluice):
    outcome = mailsluice("verify", archive)
    assert outcome.exit_code == 0
    octets = sum(path.stat().st_size for path in archive.rglob("*.eml"))
    assert outcome.stdout == f"mails: {len(list(archive.rglob('*.json')))}, octets: {octets}, damaged: 0\n"


def test_damage_is_named_and_exits_with_1(archive, mailsluice):
    content = next(iter(archive.rglob("*.eml")))
    with content.open("ab") as file:
        file.write(b"more")
    outcome = mailsluice("verify", archive)
    assert outcome.exit_code == 1
    first, last = outcome.stdout.splitlines()
    assert first.startswith(f"{content.relative_to(archive).with_suffix('.json')}: the content has ")
    assert last.endswith(", damaged: 1")


def test_a_stray_file_is_named_and_is_no_damage(archive, mailsluice):
    (archive / "bad\nname\udcff").touch()
    outcome = mailsluice("verify", archive)
    assert outcome.exit_code == 0
    assert outcome.stdout.startswith("bad\\nname\\udcff: ")


def test_findings_are_printed_as_json(archive, mailsluice):
    (archive / "\udcff").touch()
    outcome = mailsluice("verify", archive, "--json")
    findings = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert [finding["verdict"] for finding in findings].count("intact") == len(list(archive.rglob("*.json")))
    assert {"path": "\\udcff", "verdict": "stray"}.items() <= findings[-1].items()


@pytest.mark.parametrize("name", ["nowhere", "file"])
def test_what_is_no_directory_is_refused(name, tmp_path, mailsluice):
    (tmp_path / "file").touch()
    assert mailsluice("verify", tmp_path / name).exit_code == 2
