"""What an error of the file system means: for a mail, another try; at the start, that nothing can work."""

import errno
from pathlib import Path

from gateway.connector import PermanentFailure, TransientFailure
from gateway.status import LOCAL_ERROR, STORAGE_FULL, UNUSABLE

__all__ = ["from_os_error", "is_full", "unusable"]


def is_full(error: OSError) -> bool:
    """Whether space or quota has run out, which time or a broom may mend."""
    return error.errno in {errno.ENOSPC, errno.EDQUOT}


def from_os_error(error: OSError, *, possibly_stored: bool) -> TransientFailure:
    """The failure of one mail: 4.3.1 when the archive is full, otherwise 4.3.0."""
    status, text = (
        (STORAGE_FULL, "the archive is full, try again later")
        if is_full(error)
        else (LOCAL_ERROR, "the archive cannot be written, try again later")
    )
    return TransientFailure(status, text, cause=str(error), possibly_stored=possibly_stored)


def unusable(path: Path, error: OSError) -> PermanentFailure:
    """The failure of an archive that cannot be opened at `path`."""
    cause = f"{path} cannot hold the archive: {error.strerror}; name a directory that this user may write in"
    return PermanentFailure(UNUSABLE, "the archive cannot be opened", cause=cause)
