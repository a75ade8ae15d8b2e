"""Directories whose names are on stable storage as well: a file that is synced is lost with its name all the same."""

import errno
import os
from pathlib import Path

__all__ = ["make_directory", "sync_directory"]


def make_directory(path: Path) -> None:
    """Make `path` where it does not exist, for its owner only, and the ones above it. Raises OSError."""
    if path.is_dir():
        return
    make_directory(path.parent)
    try:
        # Another process may make it at this moment, too.
        path.mkdir(mode=0o700, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from error
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Put the names in `path` on stable storage. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
