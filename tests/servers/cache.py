"""The git-ignored directory in which installed servers stay from one test run to the next."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = REPOSITORY / ".cache"


@contextmanager
def exclusive() -> Iterator[None]:
    """Hold the cache alone: two test runs that start together must not install into each other's files."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
