"""The listeners of a running gateway, and how a new configuration changes them: all of it, or nothing."""

import asyncio
import socket
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from gateway import ingress
from gateway.app.failure import StartError
from gateway.app.keys import load_keys
from gateway.app.listeners import listen, listener_settings
from gateway.app.places import Places, address_of, cannot_listen
from gateway.app.process import max_connections, max_content_files
from gateway.config import Config, Listener
from gateway.delivery import Routes
from gateway.ingress import Admission, ListenerSettings
from gateway.keys import KeyRing

__all__ = ["Change", "Doors", "Opening"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a new configuration did: a line for each address that is new, and the listeners that are no more."""

    opened: tuple[str, ...]
    closed: tuple[ingress.Listener, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """All that the listeners of a configuration need, by their addresses: to be taken, or to be closed again.

    `sockets` are those at which the new listeners are still to listen.
    """

    config: Config
    routes: Routes
    settings: Mapping[str, ListenerSettings]
    new: Mapping[str, ingress.Listener]
    sockets: Mapping[str, Sequence[socket.socket]]
    lines: tuple[str, ...]
    unwanted: AsyncExitStack

    async def close(self) -> None:
        """Give it all back."""
        await self.unwanted.aclose()


class Doors:
    """Where mail comes in, by address. All share what the process can take."""

    def __init__(self, config: Config) -> None:
        self._listeners: Mapping[str, ingress.Listener] = {}
        self._admission = Admission(
            config.gateway.spool,
            largest_message=_largest_message(config),
            min_free_percent=_min_free_percent(config),
            max_connections=max_connections(),
            max_files=max_content_files(),
            sharers=config.gateway.workers,
        )

    async def prepare(self, config: Config, routes: Routes, places: Places | None = None) -> Opening:
        """Have everything that `take` needs; whoever is connected notices nothing. Raises StartError.

        With `places` the addresses are shared with other processes, and it is not for this one to say where they are:
        who connects to a new one waits. Without, new addresses are open from now on.
        """
        keys = load_keys(config.gateway)
        settings = {address_of(listener): _settings(listener, config, keys) for listener in config.listeners}
        new: dict[str, ingress.Listener] = {}
        sockets: dict[str, Sequence[socket.socket]] = {}
        lines: list[str] = []
        async with AsyncExitStack() as unwanted:
            for configured in config.listeners:
                address = address_of(configured)
                if address in self._listeners:
                    continue
                new[address] = ingress.Listener(settings[address], routes, self._admission)
                unwanted.push_async_callback(new[address].stop, seconds=0)
                if places is not None:
                    sockets[address] = places.listen(configured)
                    for each in sockets[address]:
                        unwanted.callback(each.close)
                    continue
                lines += [
                    f"{configured.protocol.upper()} on {place} ({configured.name})"
                    for place in await _listen(configured, new[address])
                ]
            return Opening(
                config=config,
                routes=routes,
                settings=settings,
                new=new,
                sockets=sockets,
                lines=tuple(lines),
                unwanted=unwanted.pop_all(),
            )

    def take(self, opening: Opening) -> Change:
        """Have these listeners, and no others; those closed are for the caller to stop.

        One whose address stays keeps its sessions, which end as they began; new ones get what is new.
        """
        config, settings = opening.config, opening.settings
        kept = {address: listener for address, listener in self._listeners.items() if address in settings}
        for address, listener in kept.items():
            listener.replace(settings[address], opening.routes)
        self._admission.replace(largest_message=_largest_message(config), min_free_percent=_min_free_percent(config))
        for address, sockets in opening.sockets.items():
            opening.new[address].listen_at(sockets)
        closed = tuple(listener for address, listener in self._listeners.items() if address not in settings)
        self._listeners = {**kept, **opening.new}
        return Change(opened=opening.lines, closed=closed)

    async def stop(self, *, seconds: float) -> None:
        """Accept nothing more, and let mail that is under way be answered for so long."""
        async with asyncio.TaskGroup() as stopping:
            for listener in self._listeners.values():
                stopping.create_task(listener.stop(seconds=seconds))


def _largest_message(config: Config) -> int:
    return max((listener.max_message_bytes for listener in config.listeners), default=0)


def _min_free_percent(config: Config) -> float:
    # What is not spooled stays no longer than its session.
    spools = any(route.accept == "spooled" for route in config.routes)
    return config.gateway.spool_min_free_percent if spools else 0.0


def _settings(listener: Listener, config: Config, keys: KeyRing) -> ListenerSettings:
    try:
        return listener_settings(listener, config, keys)
    except (OSError, ValueError) as error:
        raise StartError(f'listener "{listener.name}": {error}') from error


async def _listen(configured: Listener, listener: ingress.Listener) -> tuple[str, ...]:
    try:
        return await listen(listener, configured.bind)
    except OSError as error:
        raise cannot_listen(configured, error) from error
