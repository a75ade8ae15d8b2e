"""One configuration in effect: its connectors, open, and the destinations and routes made of them.

A reload makes a new generation beside the old one, and retires the old one when the new one has taken over.
"""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

import structlog

from gateway import plugins
from gateway.address import Address
from gateway.app.failure import StartError
from gateway.config import Config, ConfiguredConnector, TcpBind
from gateway.connector import Connector, DeliveryFailure
from gateway.delivery import Destination, Engine, Notices, Route, Routes
from gateway.relay import RELAY_RETRIES, Relay

__all__ = ["Generation", "bring_up", "build_connectors"]

_OPENING_SECONDS = 30
_BOUNCE_SECONDS = 300
_BOUNCES_IN_FLIGHT = 10

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """What a configuration has become. Its listeners are not part of it: they outlive a reload."""

    config: Config
    connectors: Mapping[str, Connector]
    destinations: Mapping[str, Destination]
    routes: Routes
    notices: Notices

    async def retire(self, *, seconds: float) -> None:
        """Let mail that is under way end, for so long, then close the connectors."""
        async with asyncio.TaskGroup() as retiring:
            for destination in self.destinations.values():
                retiring.create_task(destination.retire(seconds=seconds))
        await self.close(seconds=seconds)

    async def close(self, *, seconds: float) -> None:
        """Close the connectors, each for so long at most."""
        async with asyncio.TaskGroup() as closing:
            for name, connector in self.connectors.items():
                closing.create_task(_close(name, connector, seconds))


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


async def bring_up(config: Config, engine: Engine) -> Generation:
    """Open every connector of the configuration. Raises StartError: then nothing is left open."""
    connectors = build_connectors(config)
    async with AsyncExitStack() as opened:
        for name, connector in connectors.items():
            opened.push_async_callback(_close, name, connector, _OPENING_SECONDS)
            await _open(name, connector)
        opened.pop_all()
    destinations = {name: _destination(configured, connectors[name]) for name, configured in config.connectors.items()}
    bounces = {_bounces(route.bounce_via): route.bounce_via for route in config.routes if route.bounce_via is not None}
    routes = Routes(
        (
            Route(
                recipients=route.recipients,
                destinations=tuple(destinations[name] for name in route.connectors),
                engine=engine if route.accept == "spooled" else None,
                bounce_via=_bounces(route.bounce_via) if route.bounce_via is not None else "",
            )
            for route in config.routes
        ),
        hostname=config.gateway.hostname,
    )

    def via(address: Address) -> str:
        route = routes.match(address)
        return route.bounce_via if route is not None else ""

    return Generation(
        config=config,
        connectors=connectors,
        destinations=destinations
        | {name: _bounce_destination(name, server, config.gateway.hostname) for name, server in bounces.items()},
        routes=routes,
        notices=Notices(hostname=config.gateway.hostname, via=via),
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


def _destination(configured: ConfiguredConnector, connector: Connector) -> Destination:
    settings = configured.settings
    return Destination(
        connector,
        name=settings.name,
        metadata=settings.metadata,
        deadline_seconds=settings.deadline_seconds,
        max_in_flight=configured.type.max_in_flight,
        retries=configured.type.retries,
    )


def _bounces(server: TcpBind) -> str:
    # No connector can have a name like this.
    return f"bounce:{server}"


def _bounce_destination(name: str, server: TcpBind, hostname: str) -> Destination:
    return Destination(
        Relay(server, name=name, hostname=hostname, deadline_seconds=_BOUNCE_SECONDS),
        name=name,
        metadata="preserve",
        # Only the relay knows how far it came, so it has to give up first.
        deadline_seconds=_BOUNCE_SECONDS + 10,
        max_in_flight=_BOUNCES_IN_FLIGHT,
        retries=RELAY_RETRIES,
    )
