"""Directories whose names are on stable storage as well: a file that is synced is lost with its name all the same."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["make_directory", "sync_directory"]

_NOT_SYNCED_BY_US = (errno.EACCES, errno.EPERM, errno.EINVAL, errno.EROFS)


def make_directory(path: Path, *, within: Path | None = None) -> None:
    """Make `path` where it does not exist, for its owner only, and the ones above it. Raises OSError.

    The names of those that exist are synced too: whoever made them may have crashed before they were. Those down to
    `within` are left alone, as their names are known to be synced.
    """
    if path in {within, path.parent}:
        return
    make_directory(path.parent, within=within)
    is_there = path.is_dir()
    try:
        # Opened before anything is made in it.
        with _opened(path.parent) as parent:
            if not is_there:
                # Another process may make it at this moment, too.
                path.mkdir(mode=0o700, exist_ok=True)
            os.fsync(parent)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from error
    except OSError as error:
        # Nobody knows who made a name that exists, so that all up to the root are synced. But one in a directory that
        # we may not read is none of ours, for we make none there; some file systems, squashfs and automounts, have no
        # sync for directories (EINVAL); and on one that an error has made read-only (EROFS) nothing is ours to lose any
        # more. None of this is a reason not to start; any other error is one.
        if not is_there or error.errno not in _NOT_SYNCED_BY_US:
            raise


def sync_directory(path: Path) -> None:
    """Put the names in `path` on stable storage. Raises OSError."""
    with _opened(path) as descriptor:
        os.fsync(descriptor)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
