"""A spool belongs to one process. The lock is the kernel's (flock), on an open file: a dead process holds none."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

__all__ = ["SpoolError", "lock"]


class SpoolError(Exception):
    """The spool cannot be used. The text is one sentence for the operator."""


def lock(directory: Path) -> int:
    """Take the spool in `directory` for this process, and return the descriptor that holds it. Raises SpoolError."""
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        # What the file says is for people; the lock itself is not in it.
        owner = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise SpoolError(
            f"the spool {directory} belongs to another running mailsluice (process {owner or 'unknown'}); "
            "stop that one, or give this one a `spool` of its own"
        ) from error
    except OSError as error:
        os.close(descriptor)
        raise SpoolError(
            f"the spool {directory} cannot be locked ({error.strerror}); put it on a local file system"
        ) from error
    # Only people read it, and a full disk must not keep the gateway from delivering what is in the spool.
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
    return descriptor
