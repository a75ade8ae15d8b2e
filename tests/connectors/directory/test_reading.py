"""The reading side of an archive, when what is there, or what refers to it, is none of the connector's making."""

import asyncio
import os
from contextlib import closing

import pytest

from connectors.directory import DirectorySettings
from connectors.directory.reading import DirectorySource
from gateway.archive import Verdict, verify
from gateway.connector import SourceError
from gateway.envelope import ContentReference
from gateway.testing import plain_mail
from tests.cli.test_replay import fill_archive
from tests.connectors.reading import read_all


@pytest.fixture
def archive(tmp_path):
    fill_archive(tmp_path, [plain_mail()])
    return tmp_path


def source(path):
    return DirectorySource(DirectorySettings(name="archive", type="directory", path=path))


def make_pipe(path):
    path.unlink()
    os.mkfifo(path)


def make_device(path):
    path.unlink()
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("replace", [make_pipe, make_device])
@pytest.mark.parametrize("suffix", ["json", "bmtd", "eml"])
async def test_what_has_no_end_is_not_read(archive, suffix, replace):
    (path,) = archive.rglob(f"*.{suffix}")
    replace(path)
    with pytest.raises(SourceError, match="it is no regular file"):
        await read_all(source(archive))
    (finding,) = await asyncio.to_thread(lambda: list(verify(archive)))
    assert finding.verdict is Verdict.DAMAGED
    assert "it is no regular file" in finding.problems[0]


def reference(path):
    return ContentReference(connector="archive", type="directory", location={"path": path})


@pytest.mark.parametrize(
    "path",
    [
        "",
        "../../../../etc/passwd.eml",
        "/etc/passwd.eml",
        "2026/11/22/../../../../01KAQ3V4Y2Q1T8Z6H0M5N7P9RB.eml",
        "2026/11/22/01KAQ3V4Y2Q1T8Z6H0M5N7P9RB.json",
        "2026/11/22/01KAQ3V4Y2Q1T8Z6H0M5N7P9RB.eml\n",
        "a\0.eml",
    ],
)
async def test_a_reference_to_anything_but_a_content_is_refused(archive, path):
    with pytest.raises(SourceError, match="names no content of the archive"):
        await source(archive).content(reference(path))


async def test_a_reference_to_a_content_is_followed(archive):
    (path,) = archive.rglob("*.eml")
    with closing(await source(archive).content(reference(str(path.relative_to(archive))))) as content:
        assert content.read() == path.read_bytes()
