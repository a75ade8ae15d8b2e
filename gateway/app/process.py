"""What the process asks of the system before anything runs in it."""

import asyncio
import os
import resource
from collections.abc import Callable

__all__ = ["allow_connections", "event_loop", "occupy_standard_descriptors"]


def occupy_standard_descriptors() -> None:
    """Let no file take the place of a standard stream that the process was started without.

    It would get what libraries write to standard error: the spool's database, say.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def allow_connections() -> None:
    """Have as many descriptors as the administrator grants: each connection is one.

    The soft limit is 1024 on many systems, for programs that use select(2); the hard limit is what is meant.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def event_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed; None for asyncio's own."""
    try:
        import uvloop  # noqa: PLC0415  # an extra
    except ModuleNotFoundError:
        return None
    return uvloop.new_event_loop
