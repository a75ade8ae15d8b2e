"""Who tells a running gateway what to do, and hears what came of it: signals and standard error, or a supervisor."""

import asyncio
import signal
import sys
from collections.abc import Sequence
from typing import Protocol

import structlog

from gateway.app.places import Places

__all__ = ["Orders", "Signals", "tell"]

_log = structlog.get_logger()


class Orders(Protocol):
    """What is awaited here is asked for as often as there are orders; each order ends one wait."""

    def take(self) -> None:
        """Take orders from now on, in the event loop that runs."""

    async def end(self) -> None:
        """Return when the gateway is to end; the next one says that it is to end at once."""

    async def renewal(self) -> Places | None:
        """Return when the configuration is to be read again: with the places of its listeners where they are shared."""

    async def agreement(self) -> None:
        """Return when the new configuration, now that all it needs is there, is to take the place of the old one.

        Raises StartError when it is not to.
        """

    def report(self, lines: Sequence[str], *, cause: str = "", is_first: bool = False) -> None:
        """The gateway is ready (`is_first`), has the new configuration, or keeps the old one for a `cause`.

        `lines` say at which new addresses it listens.
        """


class Signals:
    """The signals of a gateway that is one process; it tells whoever reads standard error."""

    def __init__(self) -> None:
        self._ends: asyncio.Queue[int] = asyncio.Queue()
        self._renewal = asyncio.Event()

    def take(self) -> None:
        """SIGTERM and SIGINT end the gateway, SIGHUP has it read its configuration again."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self._renewal.set)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ends.put_nowait, number)

    async def end(self) -> None:
        """Return at the next signal."""
        await self._ends.get()

    async def renewal(self) -> Places | None:
        """Return when there was a signal since the last time."""
        await self._renewal.wait()
        self._renewal.clear()
        return None

    async def agreement(self) -> None:
        """There is nobody to agree with."""

    def report(self, lines: Sequence[str], *, cause: str = "", is_first: bool = False) -> None:
        """Say it on standard error."""
        for line in lines:
            tell(line)
        if is_first:
            tell("mailsluice ready")
        elif cause:
            _log.error("alarm: the configuration was not reloaded; the old one stays", cause=cause)
        else:
            _log.info("configuration reloaded")


def tell(line: str) -> None:
    """Say it to an operator and to scripts that wait for it: no log line."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201  # see above
