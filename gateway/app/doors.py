"""The listeners of a running gateway, and how a new configuration changes them: all of it, or nothing."""

import asyncio
from collections.abc import Mapping
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

__all__ = ["Change", "Doors"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a new configuration did: a line for each address that is new, and the listeners that are no more."""

    opened: tuple[str, ...]
    closed: tuple[ingress.Listener, ...]


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

    async def open(self, config: Config, routes: Routes, places: Places | None = None) -> Change:
        """Have the listeners of this configuration, and no others; those closed are for the caller to stop.

        With `places` the addresses are shared with other processes, and it is not for this one to say where they are.
        One whose address stays keeps its sessions, which end as they began; new ones get what is new. Raises
        StartError: then nothing has changed.
        """
        keys = load_keys(config.gateway)
        wanted = {address_of(listener): (listener, _settings(listener, config, keys)) for listener in config.listeners}
        opened: dict[str, ingress.Listener] = {}
        lines: list[str] = []
        try:
            for address, (configured, settings) in wanted.items():
                if address not in self._listeners:
                    opened[address] = ingress.Listener(settings, routes, self._admission)
                    if places is not None:
                        opened[address].listen_at(places.listen(configured))
                        continue
                    lines += [
                        f"{configured.protocol.upper()} on {place} ({configured.name})"
                        for place in await _listen(configured, opened[address])
                    ]
        except BaseException:
            for listener in opened.values():
                await listener.stop(seconds=0)
            raise
        kept = {address: listener for address, listener in self._listeners.items() if address in wanted}
        for address, listener in kept.items():
            listener.replace(wanted[address][1], routes)
        self._admission.replace(largest_message=_largest_message(config), min_free_percent=_min_free_percent(config))
        closed = tuple(listener for address, listener in self._listeners.items() if address not in wanted)
        self._listeners = kept | opened
        return Change(opened=tuple(lines), closed=closed)

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
