"""What the process asks of the system before anything runs in it."""

import asyncio
import gc
import os
import resource
from collections.abc import Callable

__all__ = [
    "allow_connections",
    "collect_seldom",
    "event_loop",
    "max_connections",
    "max_content_files",
    "occupy_standard_descriptors",
]

_FEWEST_RESERVED = 32
_AS_GOOD_AS_INFINITE = 1 << 20


def occupy_standard_descriptors() -> None:
    """Let no file take the place of a standard stream that the process was started without.

    It would get what libraries write to standard error: the spool's database, say.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def allow_connections() -> None:
    """Have as many descriptors as the administrator grants: each connection needs some.

    The soft limit is 1024 on many systems, for programs that use select(2); the hard limit is what is meant.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def max_connections() -> int:
    """How many connections the descriptors of this process are enough for: two thirds of those that mail may use."""
    return max(1, _for_mail() * 2 // 3)


def max_content_files() -> int:
    """How many large contents may be received at one time, each in a file: the other third."""
    return max(1, _for_mail() // 3)


def _for_mail() -> int:
    # A quarter of all is kept for the rest: the files of the spool and of its mail under delivery, the sockets and
    # files of the connectors, the log. Some 20 are in use before anything happens, so it is 32 at least.
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        limit = _AS_GOOD_AS_INFINITE
    return limit - max(_FEWEST_RESERVED, limit // 4)


def collect_seldom() -> None:
    """Spare the garbage collector what lives as long as the process, and let it come less often.

    Mail and sessions leave no cycles behind; yet with Python's own numbers the collector looks at all that is under way
    after every few mails. Failures of some libraries leave a hundred objects, and perhaps a mail, so it has to come.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)


def event_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed; None for asyncio's own."""
    try:
        import uvloop  # noqa: PLC0415  # an extra
    except ModuleNotFoundError:
        return None
    return uvloop.new_event_loop
