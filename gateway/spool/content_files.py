"""Content that is too large for a row: one file for each, named after its message.

A file gets its name before its row is committed, and loses it after the row is gone. One without a row is a leftover of
a crash. It is removed once it is older than any delivery to the spool can take (`ORPHAN_SECONDS`).
"""

import hashlib
import io
import os
import time
from contextlib import suppress
from pathlib import Path

from gateway.envelope import Content

__all__ = ["INLINE_OCTETS", "ORPHAN_SECONDS", "ContentFiles", "is_intact"]

INLINE_OCTETS = 64 * 1024
# Between the name and the row lie two syncs. The spool takes no row for a file that is older than half of this.
ORPHAN_SECONDS = 3600.0


class ContentFiles:
    """The files in `directory`, which is made where it does not exist. Everything here blocks and raises OSError."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(mode=0o700, exist_ok=True)

    def store(self, id_: str, content: Content) -> None:
        """Put the content on stable storage under the name `id_`."""
        directory = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if not _link(content, directory, id_):
                _copy(content, self.directory / id_)
            os.fsync(directory)
        except OSError:
            # After a failed sync nobody knows what the file holds, whatever a second one says.
            self.remove(id_)
            raise
        finally:
            os.close(directory)

    def open(self, id_: str) -> Content:
        """The content, for the caller to close."""
        return Content(file=io.FileIO(self.directory / id_))

    def remove(self, id_: str) -> None:
        """Remove the file, if there is one. A failure leaves an orphan, which is removed later."""
        with suppress(OSError):
            (self.directory / id_).unlink()

    def old_names(self) -> tuple[str, ...]:
        """The files that are orphans, unless there is a message of that id.

        Ask for the messages after the files: what has come in between is not listed here.
        """
        oldest = time.time() - ORPHAN_SECONDS
        with os.scandir(self.directory) as files:
            return tuple(file.name for file in files if file.stat(follow_symlinks=False).st_ctime < oldest)


def is_intact(content: Content, sha256: str) -> bool:
    """Whether the octets are those that were received."""
    digest = hashlib.sha256()
    for block in content.blocks():
        digest.update(block)
    return digest.hexdigest() == sha256


def _link(content: Content, directory: int, name: str) -> bool:
    """Give the unnamed file that content was received into its name, so that nothing is copied. False: it has none."""
    descriptor = content.descriptor
    if descriptor is None:
        return False
    os.fsync(descriptor)
    try:
        # Only with a directory's descriptor does Python have the link followed (linkat(2), AT_SYMLINK_FOLLOW).
        os.link(f"/proc/self/fd/{descriptor}", name, dst_dir_fd=directory, follow_symlinks=True)
    except FileExistsError:
        raise
    except OSError:
        return False
    return True


def _copy(content: Content, path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with io.FileIO(descriptor, "wb") as file:
        for block in content.blocks():
            rest = memoryview(block)
            while rest:
                rest = rest[file.write(rest) :]
        os.fsync(descriptor)
