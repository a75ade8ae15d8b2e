"""The composition root: from a configuration to a running gateway, through reloads, and down again.

Nothing is put together anywhere else. What goes up in order (spool, connectors, delivery, listeners) comes down in the
opposite order, also when something on the way up fails: then nothing is left running.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, closing, redirect_stderr
from functools import partial
from pathlib import Path
from typing import Any, TextIO, cast

import structlog

from gateway.app.doors import Doors
from gateway.app.failure import StartError
from gateway.app.generation import Generation, bring_up
from gateway.app.log_lines import LogLines
from gateway.app.orders import Orders, Signals
from gateway.app.places import Places
from gateway.app.process import collect_seldom, event_loop
from gateway.app.share import check_same_process
from gateway.config import Config, ConfigError
from gateway.delivery import Engine
from gateway.spool import Spool, SpoolError
from gateway.spool.of_workers import left_spools

__all__ = ["run", "serve_logging_to"]

# Of the time for draining, what connectors have to close.
_CLOSING_SHARE = 0.2

_log = structlog.get_logger()


def serve_logging_to(
    lines: LogLines, config: Config, reread: Callable[[], Config], orders: Orders, places: Places | None = None
) -> None:
    """As `run`, in an event loop of its own. Ends with `lines` closed."""
    # Nothing waits for a reader of standard error, whoever writes to it.
    with (
        closing(lines),
        redirect_stderr(cast("TextIO", lines)),
        asyncio.Runner(loop_factory=event_loop()) as runner,
    ):
        runner.run(run(config, reread, orders, places))


async def run(
    config: Config, reread: Callable[[], Config], orders: Orders | None = None, places: Places | None = None
) -> None:
    """Bring the gateway up, report that, and take it down again when it is told to end.

    It may be told to take the configuration again, whole or not at all. Orders come by signals where no others are
    given. `places` has the addresses where other processes listen too. Raises StartError.
    """
    orders = orders or Signals()
    async with AsyncExitStack() as running:
        spool = _spool(config.gateway.spool)
        running.push_async_callback(spool.close)
        engine = Engine(spool)
        engines = [engine]
        for path in _left_spools(config):
            if left := await _left_spool(path):
                running.push_async_callback(left.close)
                engines.append(Engine(left))
        generation = await bring_up(config, engine)
        gateway = _Gateway(engines, Doors(config), generation)
        running.push_async_callback(gateway.drain, orders)
        orders.take()
        lines = await gateway.start(places)
        collect_seldom()
        orders.report(lines, is_first=True)
        async with asyncio.TaskGroup() as tasks:
            reloading = tasks.create_task(gateway.reload_whenever(orders, reread))
            await orders.end()
            # Also in the middle of one: a connector that takes its time to open is no reason to take longer to end.
            reloading.cancel()
        _log.info("stopping", grace_seconds=gateway.generation.config.gateway.drain_seconds)
    _log.info("stopped")


class _Gateway:
    """The parts that run, and the configuration that they run by. Mail is accepted into the first engine's spool."""

    def __init__(self, engines: Sequence[Engine], doors: Doors, generation: Generation) -> None:
        self._engines = tuple(engines)
        self._doors = doors
        self.generation = generation
        self._ending: set[asyncio.Task[None]] = set()

    async def start(self, places: Places | None) -> Sequence[str]:
        """Deliver and accept mail; a line for each address."""
        try:
            for engine in self._engines:
                await engine.start()
                await engine.assign(self.generation.destinations, self.generation.notices)
        except OSError as error:
            raise StartError(f"the spool does not work: {error}") from error
        try:
            opening = await self._doors.prepare(self.generation.config, self.generation.routes, places)
            return self._doors.take(opening).opened
        finally:
            if places is not None:
                places.close(but=Places({}))

    async def reload_whenever(self, orders: Orders, reread: Callable[[], Config]) -> None:
        """Take the new configuration, or keep the old one and say why; again and again."""
        while True:
            places = await orders.renewal()
            lines: Sequence[str] = ()
            cause = ""
            try:
                lines = await self._reload(reread(), places, orders)
            except (ConfigError, StartError) as error:
                cause = str(error)
            finally:
                if places is not None:
                    places.close(but=Places({}))
            orders.report(lines, cause=cause)

    async def _reload(self, config: Config, places: Places | None, orders: Orders) -> Sequence[str]:
        old = self.generation
        seconds = old.config.gateway.drain_seconds
        check_same_process(old.config, config)
        async with AsyncExitStack() as unwanted:
            new = await bring_up(config, self._engines[0])
            unwanted.push_async_exit(partial(self._give_up, new))
            opening = await self._doors.prepare(config, new.routes, places)
            unwanted.push_async_callback(opening.close)
            await orders.agreement()
            # From here on nothing can fail.
            unwanted.pop_all()
        change = self._doors.take(opening)
        self.generation = new
        self._in_background(self._hand_over(old, new))
        for listener in change.closed:
            self._in_background(listener.stop(seconds=seconds))
        return change.opened

    async def _give_up(self, new: Generation, kind: type[BaseException] | None, *_: object) -> None:
        closing = self._in_background(new.close(seconds=self.generation.config.gateway.drain_seconds))
        # The end does not wait for what was never used.
        if kind is not asyncio.CancelledError:
            await closing

    async def drain(self, orders: Orders) -> None:
        """Let mail under way end in the configured time; a second order ends the patience."""
        seconds = self.generation.config.gateway.drain_seconds
        closing_seconds = seconds * _CLOSING_SHARE
        draining = asyncio.ensure_future(self._end_mail(seconds - closing_seconds))
        impatient = asyncio.ensure_future(orders.end())
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
            for engine in self._engines:
                ending.create_task(engine.stop(seconds=seconds))

    async def _hand_over(self, old: Generation, new: Generation) -> None:
        async with asyncio.TaskGroup() as assigning:
            for engine in self._engines:
                assigning.create_task(_assign(engine, new))
        await old.retire(seconds=old.config.gateway.drain_seconds)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        return task


def _spool(directory: Path) -> Spool:
    try:
        return Spool.open(directory)
    except SpoolError as error:
        raise StartError(str(error)) from error


def _left_spools(config: Config) -> tuple[Path, ...]:
    try:
        return left_spools(config.gateway.spool, config.gateway.workers)
    except SpoolError as error:
        raise StartError(str(error)) from error


async def _left_spool(path: Path) -> Spool | None:
    """The spool that a worker has left, where there is anything in it."""
    left = _spool(path)
    try:
        if not await left.is_empty():
            _log.info("the mail of a worker that is no more is delivered from its spool", spool=str(path))
            return left
    except OSError as error:
        await left.close()
        raise StartError(f"the spool {path} does not work: {error}") from error
    await left.close()
    return None


async def _assign(engine: Engine, generation: Generation) -> None:
    try:
        await engine.assign(generation.destinations, generation.notices)
    except OSError as error:
        _log.error("the spool does not work", cause=str(error))
