"""Files and directories that outlive a power failure.

After a failed fsync Linux takes the lost pages for clean, and a second fsync reports success. So none is repeated: the
file is removed, and the next attempt writes a new one.
"""

import filecmp
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkstemp

from gateway.directories import make_directory, sync_directory

__all__ = ["make_directory", "may_exist", "named", "store", "sync_directory", "written"]


def store(path: Path, blocks: Iterable[bytes]) -> bool:
    """Put a whole, synced file at `path`, for its owner only; a reader sees all of it or no file.

    False where a file of the very same octets lies there already. Raises OSError, FileExistsError where a file of other
    octets lies there; nothing is left behind then. The directory is for the caller to sync, once for several files.
    """
    with written(path, blocks) as temporary:
        return named(temporary, path)


@contextmanager
def written(path: Path, blocks: Iterable[bytes]) -> Iterator[Path]:
    """A synced file of these octets beside `path`, to be given names; its own, a temporary one, is removed."""
    # No NamedTemporaryFile: on a full disk its last flush fails, and the file stays.
    descriptor, temporary = mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(blocks)
            file.flush()
            os.fsync(descriptor)
        yield Path(temporary)
    finally:
        # One that stays is no mail, and no reason to take a mail for failed whose names are made.
        with suppress(OSError):
            Path(temporary).unlink()


def named(temporary: Path, path: Path) -> bool:
    """Give the file at `temporary` the name `path`. False and errors are those of `store`."""
    try:
        # A link fails where a rename would overwrite.
        os.link(temporary, path)
    except FileExistsError:
        if not filecmp.cmp(temporary, path, shallow=False):
            raise
        return False
    return True


def may_exist(path: Path) -> bool:
    """Whether there is something at `path`, or the file system does not say."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        pass
    return True
