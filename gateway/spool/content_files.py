"""Content that is too large for a row: one file for each, named after its message.

A file gets its name before its row is committed, and loses it after the row is gone. One without a row is a leftover of
a crash.
"""

import io
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from gateway.directories import make_directory, sync_directory
from gateway.envelope import Content
from gateway.envelope.ulid import PATTERN

__all__ = ["INLINE_OCTETS", "ContentFiles", "id_of"]

INLINE_OCTETS = 64 * 1024

_NAME = re.compile(PATTERN)
_UNFINISHED = ".new"
_AT_ONCE = 500


class ContentFiles:
    """The files in `directory`, which is made where it does not exist. Everything here blocks and raises OSError."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        make_directory(directory, within=directory.parent)

    def store(self, id_: str, content: Content) -> None:
        """Put the content on stable storage under the name `id_`, in place of what an earlier call may have left."""
        path = self._path(id_)
        try:
            if not _link(content, path):
                _copy(content, path)
            sync_directory(self.directory)
        except OSError:
            # After a failed sync nobody knows what the file holds, whatever a second one says.
            self.remove(id_)
            raise

    def open(self, id_: str) -> Content:
        """The content, for the caller to close."""
        return Content(file=io.FileIO(self._path(id_)))

    def remove(self, *ids: str) -> None:
        """Remove the files, where there are any. A failure leaves an orphan, which is removed later."""
        for path in map(self._path, ids):
            for each in (path, _unfinished(path)):
                with suppress(OSError):
                    each.unlink()

    def names_before(self, time: float) -> Iterator[tuple[str, ...]]:
        """The names of files that have not changed since `time` (Unix time), some hundred at once."""
        with os.scandir(self.directory) as files:
            old = (file.name for file in files if _is_older(file, time))
            while some := tuple(islice(old, _AT_ONCE)):
                yield some

    def discard(self, name: str, aside: Path | None) -> None:
        """Remove the file that `names_before` has named, or move it into `aside`."""
        path = self.directory / name
        if aside is None:
            path.unlink(missing_ok=True)
        else:
            make_directory(aside, within=aside.parent)
            path.rename(aside / name)

    def _path(self, id_: str) -> Path:
        # An id comes back from the disk too; whatever it says there, it is no path.
        if not _NAME.fullmatch(id_):
            raise OSError(f"{id_!r} is no id of a message")
        return self.directory / id_


def id_of(name: str) -> str:
    """The id of the message that a file of this name belongs to."""
    return name.removesuffix(_UNFINISHED)


def _is_older(file: os.DirEntry[str], time: float) -> bool:
    try:
        return file.stat(follow_symlinks=False).st_ctime < time
    except FileNotFoundError:
        return False


def _unfinished(path: Path) -> Path:
    return path.with_name(path.name + _UNFINISHED)


def _link(content: Content, path: Path) -> bool:
    """Give the unnamed file that content was received into its name, so that nothing is copied. False: it has none."""
    descriptor = content.descriptor
    if descriptor is None:
        return False
    os.fsync(descriptor)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Only with a directory's descriptor does Python have the link followed (linkat(2), AT_SYMLINK_FOLLOW).
        os.link(f"/proc/self/fd/{descriptor}", path.name, dst_dir_fd=directory, follow_symlinks=True)
    except OSError:
        return False
    finally:
        os.close(directory)
    return True


def _copy(content: Content, path: Path) -> None:
    unfinished = _unfinished(path)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with io.FileIO(descriptor, "wb") as file:
        for block in content.blocks():
            rest = memoryview(block)
            while rest:
                rest = rest[file.write(rest) :]
        os.fsync(descriptor)
    unfinished.replace(path)
