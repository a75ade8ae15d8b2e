"""The connectors of a configuration: built, opened, closed again; and the destinations that bound them."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack

import structlog

from gateway import plugins
from gateway.app.failure import StartError
from gateway.config import ConfiguredConnector
from gateway.connector import Connector, DeliveryFailure
from gateway.delivery import Destination

__all__ = ["build_connectors", "close_connectors", "destination_of", "open_connectors", "with_references"]

_OPENING_SECONDS = 30

_log = structlog.get_logger()


def with_references(configured: Mapping[str, ConfiguredConnector], name: str) -> dict[str, ConfiguredConnector]:
    """The connector `name` and those that it refers to, directly or not; in building order, as `configured` is."""
    needed = {name}
    for each in reversed(tuple(configured)):
        if each in needed:
            needed.update(configured[each].settings.references())
    return {each: connector for each, connector in configured.items() if each in needed}


def build_connectors(configured: Mapping[str, ConfiguredConnector]) -> dict[str, Connector]:
    """Each connector by its name, built but not opened. Raises StartError when one lacks its libraries.

    Those that others refer to come before them, as they do in a configuration.
    """
    built: dict[str, Connector] = {}
    for name, each in configured.items():
        references = {referred: built[referred] for referred in each.settings.references()}
        try:
            built[name] = plugins.build(each.type, each.settings, references)
        except plugins.ConnectorUnavailableError as error:
            raise StartError(f'connector "{name}": {error}') from error
    return built


async def open_connectors(connectors: Mapping[str, Connector]) -> None:
    """Open every connector, in order. Raises StartError: then none is left open."""
    async with AsyncExitStack() as opened:
        for name, connector in connectors.items():
            opened.push_async_callback(_close, name, connector, _OPENING_SECONDS)
            await _open(name, connector)
        opened.pop_all()


async def close_connectors(connectors: Mapping[str, Connector], *, seconds: float) -> None:
    """Close them all at once, each for so long at most."""
    async with asyncio.TaskGroup() as closing:
        for name, connector in connectors.items():
            closing.create_task(_close(name, connector, seconds))


def destination_of(configured: ConfiguredConnector, connector: Connector) -> Destination:
    """The destination that `connector` is, by its settings and its type."""
    settings = configured.settings
    return Destination(
        connector,
        name=settings.name,
        metadata=settings.metadata,
        deadline_seconds=settings.deadline_seconds,
        max_in_flight=configured.type.max_in_flight,
        retries=configured.type.retries,
    )


async def _open(name: str, connector: Connector) -> None:
    try:
        async with asyncio.timeout(_OPENING_SECONDS):
            await connector.open()
    except DeliveryFailure as failure:
        raise StartError(f'connector "{name}" cannot be opened: {failure.cause}') from failure
    except TimeoutError as error:
        raise StartError(f'connector "{name}" did not open within {_OPENING_SECONDS} seconds') from error


async def _close(name: str, connector: Connector, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await connector.close()
    except TimeoutError:
        _log.warning("a connector did not close in time", connector=name, seconds=seconds)
