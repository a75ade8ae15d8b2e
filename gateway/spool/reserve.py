"""Space kept back for a full disk: what makes room there, delivering and settling, has to be recorded first.

While it is in use no mail is taken in.
"""

import errno
import os
import time
from contextlib import suppress
from pathlib import Path

__all__ = ["Reserve"]

# More than the log has in it that is not copied into the database yet.
_OCTETS = 32 * 1024 * 1024
_TRY_AGAIN_SECONDS = 1.0
_NOT_SUPPORTED = (errno.EINVAL, errno.EOPNOTSUPP)


class Reserve:
    """A file at `path` that stands for the space. Where there is no room for it from the beginning, there is none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # Others may look at it; all else is for one thread.
        self.in_use = False
        self._try_again_at = 0.0
        _allocate(path)

    def use(self) -> bool:
        """Give the space to the disk; False where that has been done already."""
        if self.in_use:
            return False
        self.in_use = True
        self.close()
        return True

    def is_whole(self) -> bool:
        """Whether it is kept back, be it from now on. The disk is asked once a second."""
        if self.in_use and time.monotonic() >= self._try_again_at:
            self._try_again_at = time.monotonic() + _TRY_AGAIN_SECONDS
            self.in_use = not _allocate(self._path)
        return not self.in_use

    def close(self) -> None:
        """Nothing is kept back any more."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


def _allocate(path: Path) -> bool:
    """Whether there is nothing left to do: the space is kept back, or this file system keeps none back."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, _OCTETS)
        finally:
            os.close(descriptor)
    except OSError as error:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        return error.errno in _NOT_SUPPORTED
    return True
