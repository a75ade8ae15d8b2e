"""The spools of a gateway with several workers: one for each, in one directory, and nothing shared between them.

The first worker's spool is the directory itself, so that a gateway may have more workers from one start to the next,
or fewer: what those hold that are no more is delivered by the first one.
"""

import re
from pathlib import Path

from gateway.spool.lock import SpoolError

__all__ = ["left_spools", "spool_of", "spools_in"]

_NAME = re.compile("worker-([1-9][0-9]*)")


def spool_of(directory: Path, worker: int) -> Path:
    """Where the spool of this worker is; they are counted from 0."""
    return directory / f"worker-{worker}" if worker else directory


def spools_in(directory: Path) -> tuple[Path, ...]:
    """The spools that there are, in the order of the workers. Raises SpoolError where they cannot be looked for."""
    found = (directory, *_of_others(directory).values())
    return tuple(spool for spool in found if (spool / "spool.db").exists())


def left_spools(directory: Path, workers: int) -> tuple[Path, ...]:
    """The spools of workers that were there when there were more than so many. Raises SpoolError."""
    return tuple(spool for worker, spool in _of_others(directory).items() if worker >= workers)


def _of_others(directory: Path) -> dict[int, Path]:
    try:
        named = ((_NAME.fullmatch(path.name), path) for path in directory.iterdir() if path.is_dir())
        return dict(sorted((int(match[1]), path) for match, path in named if match))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SpoolError(f"the spool directory {directory} cannot be read: {error.strerror}") from error
