"""The composition root: from a configuration to a running gateway, and down again.

Nothing is put together anywhere else. What goes up in order (spool, connectors, listeners) comes down in the opposite
order, also when something on the way up fails: then nothing is left running.
"""

import asyncio
import os
import resource
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, closing, redirect_stderr
from pathlib import Path
from typing import TextIO, cast

import structlog

from gateway import ingress, plugins
from gateway.app.listeners import listen, listener_settings
from gateway.app.logs import log_to
from gateway.config import Config, ConfiguredConnector, Listener
from gateway.connector import Connector, DeliveryFailure
from gateway.delivery import Destination, Route, Routes

__all__ = ["StartError", "build_connectors", "run", "serve"]

_OPENING_SECONDS = 30
_DRAINING_SECONDS = 30
_CLOSING_SECONDS = 10

_log = structlog.get_logger()


class StartError(Exception):
    """The gateway cannot start. The text is one sentence for the operator."""


def serve(config: Config) -> None:
    """Run the gateway until SIGTERM or SIGINT, logging to standard error. Raises StartError."""
    _occupy_standard_descriptors()
    _allow_connections()
    # Nothing waits for a reader of standard error, whoever writes to it.
    with (
        closing(log_to(sys.stderr)) as lines,
        redirect_stderr(cast("TextIO", lines)),
        asyncio.Runner(loop_factory=_event_loop()) as runner,
    ):
        runner.run(run(config))


def _occupy_standard_descriptors() -> None:
    # Where the process was started without standard error, the next file to be opened would take its place, and get
    # what libraries write there: the spool's database, say.
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def _allow_connections() -> None:
    # Each connection is a file descriptor. The soft limit is 1024 on many systems, for the sake of programs that use
    # select(2); the hard limit is what the administrator means.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def build_connectors(config: Config) -> dict[str, Connector]:
    """Every connector by its name, built but not opened. Raises StartError when one lacks its libraries."""
    built: dict[str, Connector] = {}
    for name, configured in config.connectors.items():
        references = {referred: built[referred] for referred in configured.settings.references()}
        try:
            built[name] = plugins.build(configured.type, configured.settings, references)
        except plugins.ConnectorUnavailableError as error:
            raise StartError(f'connector "{name}": {error}') from error
    return built


async def run(config: Config) -> None:
    """Bring the gateway up, say so on standard error, and take it down again after SIGTERM or SIGINT.

    Taking it down lets the transactions in flight end, for 30 seconds at most. Raises StartError.
    """
    connectors = build_connectors(config)
    _prepare_spool(config.gateway.spool)
    stop = asyncio.Event()
    async with AsyncExitStack() as running:
        for name, connector in connectors.items():
            running.push_async_callback(_close, name, connector)
            await _open(name, connector)
        routes = _routes(config, connectors)
        listeners = [(listener, _listener(listener, config, routes)) for listener in config.listeners]
        running.push_async_callback(_drain, [listener for _, listener in listeners])
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        for configured, listener in listeners:
            for address in await _listen(configured, listener):
                _tell(f"{configured.protocol.upper()} on {address} ({configured.name})")
        _tell("mailsluice ready")
        await stop.wait()
        _log.info("stopping", grace_seconds=_DRAINING_SECONDS)
    _log.info("stopped")


def _prepare_spool(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=directory).close()
    except OSError as error:
        raise StartError(f"the spool directory {directory} cannot be written to: {error.strerror}") from error


async def _open(name: str, connector: Connector) -> None:
    try:
        async with asyncio.timeout(_OPENING_SECONDS):
            await connector.open()
    except DeliveryFailure as failure:
        raise StartError(f'connector "{name}" cannot be opened: {failure.cause}') from failure
    except TimeoutError as error:
        raise StartError(f'connector "{name}" did not open within {_OPENING_SECONDS} seconds') from error


async def _close(name: str, connector: Connector) -> None:
    try:
        async with asyncio.timeout(_CLOSING_SECONDS):
            await connector.close()
    except TimeoutError:
        _log.warning("a connector did not close in time", connector=name, seconds=_CLOSING_SECONDS)


def _listener(configured: Listener, config: Config, routes: Routes) -> ingress.Listener:
    try:
        return ingress.Listener(listener_settings(configured, config.gateway), routes)
    except (OSError, ValueError) as error:
        raise StartError(f'listener "{configured.name}": {error}') from error


async def _listen(configured: Listener, listener: ingress.Listener) -> tuple[str, ...]:
    try:
        return await listen(listener, configured.bind)
    except OSError as error:
        # asyncio puts a sentence of its own into strerror; a name that cannot be resolved has no errno of the system.
        reason = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        raise StartError(f'listener "{configured.name}" cannot listen on {configured.bind}: {reason}') from error


async def _drain(listeners: Sequence[ingress.Listener]) -> None:
    async with asyncio.TaskGroup() as stopping:
        for listener in listeners:
            stopping.create_task(listener.stop(seconds=_DRAINING_SECONDS))


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201  # what an operator and a script wait for is no log line


def _routes(config: Config, connectors: Mapping[str, Connector]) -> Routes:
    destinations = {name: _destination(configured, connectors[name]) for name, configured in config.connectors.items()}
    routes = [
        Route(recipients=route.recipients, destinations=tuple(destinations[name] for name in route.connectors))
        for route in config.routes
    ]
    return Routes(routes, hostname=config.gateway.hostname)


def _destination(configured: ConfiguredConnector, connector: Connector) -> Destination:
    settings = configured.settings
    return Destination(
        connector,
        name=settings.name,
        metadata=settings.metadata,
        deadline_seconds=settings.deadline_seconds,
        max_in_flight=configured.type.max_in_flight,
    )


def _event_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415  # an extra
    except ModuleNotFoundError:
        return None
    return uvloop.new_event_loop
