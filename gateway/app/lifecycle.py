"""The composition root: from a configuration to a running gateway, through reloads, and down again.

Nothing is put together anywhere else. What goes up in order (spool, connectors, delivery, listeners) comes down in the
opposite order, also when something on the way up fails: then nothing is left running.
"""

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, closing, redirect_stderr
from typing import Any, TextIO, cast

import structlog

from gateway.app.doors import Doors
from gateway.app.failure import StartError
from gateway.app.generation import Generation, bring_up
from gateway.app.logs import log_to
from gateway.app.process import allow_connections, event_loop, occupy_standard_descriptors
from gateway.config import Config, ConfigError
from gateway.delivery import Engine
from gateway.spool import Spool, SpoolError

__all__ = ["run", "serve"]

# Of the time for draining, what connectors have to close.
_CLOSING_SHARE = 0.2

_log = structlog.get_logger()


def serve(config: Config, reread: Callable[[], Config]) -> None:
    """Run the gateway until SIGTERM or SIGINT, logging to standard error. Raises StartError.

    `reread` gives the configuration for a SIGHUP, or raises ConfigError.
    """
    occupy_standard_descriptors()
    allow_connections()
    # Nothing waits for a reader of standard error, whoever writes to it.
    with (
        closing(log_to(sys.stderr)) as lines,
        redirect_stderr(cast("TextIO", lines)),
        asyncio.Runner(loop_factory=event_loop()) as runner,
    ):
        runner.run(run(config, reread))


async def run(config: Config, reread: Callable[[], Config]) -> None:
    """Bring the gateway up, say so on standard error, and take it down again after SIGTERM or SIGINT.

    SIGHUP has it take the configuration again, whole or not at all. Raises StartError.
    """
    signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
    reload_wanted = asyncio.Event()
    async with AsyncExitStack() as running:
        spool = _spool(config)
        running.push_async_callback(spool.close)
        engine = Engine(spool)
        generation = await bring_up(config, engine)
        gateway = _Gateway(engine, Doors(config), generation)
        running.push_async_callback(gateway.drain, signals)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, reload_wanted.set)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, signals.put_nowait, number)
        await gateway.start()
        _tell("mailsluice ready")
        async with asyncio.TaskGroup() as tasks:
            reloading = tasks.create_task(gateway.reload_whenever(reload_wanted, reread))
            await signals.get()
            # Also in the middle of one: a connector that takes its time to open is no reason to take longer to end.
            reloading.cancel()
        _log.info("stopping", grace_seconds=gateway.generation.config.gateway.drain_seconds)
    _log.info("stopped")


class _Gateway:
    """The parts that run, and the configuration that they run by."""

    def __init__(self, engine: Engine, doors: Doors, generation: Generation) -> None:
        self._engine = engine
        self._doors = doors
        self.generation = generation
        self._ending: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        try:
            await self._engine.start()
            await self._engine.assign(self.generation.destinations, self.generation.notices)
        except OSError as error:
            raise StartError(f"the spool does not work: {error}") from error
        for line in (await self._doors.open(self.generation.config, self.generation.routes)).opened:
            _tell(line)

    async def reload_whenever(self, wanted: asyncio.Event, reread: Callable[[], Config]) -> None:
        """Take the new configuration, or keep the old one and say why; again and again."""
        while True:
            await wanted.wait()
            wanted.clear()
            try:
                await self._reload(reread())
            except (ConfigError, StartError) as error:
                _log.error("alarm: the configuration was not reloaded; the old one stays", cause=str(error))

    async def _reload(self, config: Config) -> None:
        old = self.generation
        seconds = old.config.gateway.drain_seconds
        if config.gateway.spool != old.config.gateway.spool:
            raise StartError("`gateway.spool` cannot change while the gateway runs; restart it")
        async with AsyncExitStack() as unwanted:
            new = await bring_up(config, self._engine)
            unwanted.push_async_callback(new.close, seconds=seconds)
            change = await self._doors.open(config, new.routes)
            unwanted.pop_all()
        self.generation = new
        self._in_background(self._hand_over(old, new))
        for listener in change.closed:
            self._in_background(listener.stop(seconds=seconds))
        for line in change.opened:
            _tell(line)
        _log.info("configuration reloaded")

    async def drain(self, signals: asyncio.Queue[signal.Signals]) -> None:
        """Let mail under way end in the configured time; a second signal ends the patience."""
        seconds = self.generation.config.gateway.drain_seconds
        closing_seconds = seconds * _CLOSING_SHARE
        draining = asyncio.ensure_future(self._end_mail(seconds - closing_seconds))
        impatient = asyncio.ensure_future(signals.get())
        await asyncio.wait((draining, impatient), return_when=asyncio.FIRST_COMPLETED)
        if not draining.done():
            await self._end_mail(0.0)
        impatient.cancel()
        await draining
        for task in self._ending:
            task.cancel()
        await asyncio.gather(*self._ending, return_exceptions=True)
        await self.generation.close(seconds=closing_seconds)

    async def _end_mail(self, seconds: float) -> None:
        async with asyncio.TaskGroup() as ending:
            ending.create_task(self._doors.stop(seconds=seconds))
            ending.create_task(self._engine.stop(seconds=seconds))

    async def _hand_over(self, old: Generation, new: Generation) -> None:
        try:
            await self._engine.assign(new.destinations, new.notices)
        except OSError as error:
            _log.error("the spool does not work", cause=str(error))
        await old.retire(seconds=old.config.gateway.drain_seconds)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


def _spool(config: Config) -> Spool:
    try:
        return Spool.open(config.gateway.spool)
    except SpoolError as error:
        raise StartError(str(error)) from error


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201  # what an operator and a script wait for is no log line
