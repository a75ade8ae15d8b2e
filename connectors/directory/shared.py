"""Single-instance storage: one file for all mails of the same content, each with a name of its own for it.

The file is at `content/ab/<sha256>.eml`, and `<id>.eml` of each mail is a hard link to it. That name in `content` only
shows where the content can be had: no mail needs it to be read, so nothing breaks a mail but removing its own names,
and the file system counts the references. Nor does `content` have to be synced: the names of a mail keep the file.

An existing file is used only when it has, octet for octet, what was received; reading it costs less than the write and
the sync that it saves. One that has not was damaged since, and loses its name: the next mail gets a new file. Whether
two writers, or a writer and a collection, meet only decides whether two mails share a file, never whether they have it.
"""

import errno
import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import structlog

from connectors.directory import files
from gateway.collection import Collected
from gateway.envelope import shared_content_key

__all__ = ["collect", "store"]

_log = structlog.get_logger(__name__)


def store(root: Path, path: Path, blocks: Callable[[], Iterable[bytes]], sha256: str) -> bool:
    """Put the content with this digest at `path`, by a link where the archive at `root` has it already.

    As `files.store` otherwise. Raises OSError also where the octets do not have the digest.
    """
    entry = root / shared_content_key(sha256)
    if _linked(entry, path, blocks(), sha256):
        return True
    for directory in (entry.parent.parent, entry.parent):
        directory.mkdir(mode=0o700, exist_ok=True)
    with files.written(path, _checked(blocks(), sha256)) as temporary:
        try:
            os.link(temporary, entry)
        except FileExistsError:
            # Another writer was quicker; the second look finds its file.
            return _linked(entry, path, blocks(), sha256) or files.named(temporary, path)
        return files.named(temporary, path)


def collect(root: Path, *, unused_seconds: float) -> Collected:
    """Remove what no mail has a name for, if nothing was done to it for so long. Raises OSError.

    A mail that is being stored is in no danger, however short the time: it has its own name for the file, or makes one.
    """
    contents = octets = 0
    before = time.time() - unused_seconds
    for entry in _entries(root / "content"):
        # Another collection may be at work.
        with suppress(FileNotFoundError):
            status = entry.stat()
            if status.st_nlink == 1 and status.st_ctime <= before:
                entry.unlink()
                contents += 1
                octets += status.st_size
    return Collected(contents=contents, octets=octets)


def _linked(entry: Path, path: Path, blocks: Iterable[bytes], sha256: str) -> bool:
    try:
        os.link(entry, path)
    except (FileNotFoundError, FileExistsError):
        # A mail that came again: what it has is compared with a whole file, as ever.
        return False
    except OSError as error:
        if error.errno != errno.EMLINK:
            raise
        # A file system that counts no further: the file stays with its mails, and the next ones get another.
        entry.unlink(missing_ok=True)
        return False
    is_same = False
    try:
        is_same = _holds(path, blocks)
        if not is_same and _digest(path) == sha256:
            raise _not_what_was_received()
    finally:
        if not is_same:
            path.unlink()
    if not is_same:
        _log.error("a shared content is damaged, and is not used any more; verify the archive", path=str(entry))
        entry.unlink(missing_ok=True)
    return is_same


def _holds(path: Path, blocks: Iterable[bytes]) -> bool:
    with path.open("rb") as file:
        return all(file.read(len(block)) == block for block in blocks) and not file.read(1)


def _checked(blocks: Iterable[bytes], sha256: str) -> Iterator[bytes]:
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(block)
        yield block
    if digest.hexdigest() != sha256:
        raise _not_what_was_received()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _not_what_was_received() -> OSError:
    return OSError(errno.EIO, "the content does not have the digest that its envelope says")


def _entries(content: Path) -> Iterator[Path]:
    if content.is_dir():
        for folder in sorted(content.iterdir()):
            yield from (path for path in folder.iterdir() if path.suffix == ".eml")
