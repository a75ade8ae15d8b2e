"""One configuration in effect: its connectors, open, and the destinations and routes made of them.

A reload makes a new generation beside the old one, and retires the old one when the new one has taken over.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.address import Address
from gateway.app.connectors import build_connectors, close_connectors, destination_of, open_connectors
from gateway.config import Config, TcpBind
from gateway.connector import Connector
from gateway.delivery import Destination, Engine, Notices, Route, Routes
from gateway.relay import RELAY_RETRIES, Relay

__all__ = ["Generation", "bring_up"]

_BOUNCE_SECONDS = 300
_BOUNCES_IN_FLIGHT = 10


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
        await close_connectors(self.connectors, seconds=seconds)


async def bring_up(config: Config, engine: Engine) -> Generation:
    """Open every connector of the configuration. Raises StartError: then nothing is left open."""
    connectors = build_connectors(config.connectors)
    await open_connectors(connectors)
    destinations = {
        name: destination_of(configured, connectors[name]) for name, configured in config.connectors.items()
    }
    bounces = {_bounces(route.bounce_via): route.bounce_via for route in config.routes if route.bounce_via is not None}
    routes = Routes(
        (
            Route(
                recipients=route.recipients,
                destinations=tuple(destinations[name] for name in route.connectors),
                engine=engine if route.accept == "spooled" else None,
                bounce_via=_bounces(route.bounce_via) if route.bounce_via is not None else "",
                referral=route.refer,
                dovecot_form=route.refer_style == "dovecot",
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
