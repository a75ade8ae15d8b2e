"""The reading sides of the connectors of a configuration, each made when somebody asks for it."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from gateway import plugins
from gateway.config import ConfiguredConnector
from gateway.connector import Source, SourceError
from gateway.envelope import Content, ContentReference

__all__ = ["Sources"]

_CLOSING_SECONDS = 10


class Sources:
    """What the configured connectors have stored; `connectors` has them by their names."""

    def __init__(self, connectors: Mapping[str, ConfiguredConnector]) -> None:
        self._connectors = connectors
        self._sources: dict[str, Source] = {}

    def of(self, name: str) -> Source:
        """The source of that connector. Raises SourceError where there is none."""
        if name not in self._sources:
            if name not in self._connectors:
                there = ", ".join(sorted(self._connectors)) or "none"
                raise SourceError(f'no connector is named "{name}"; there are: {there}')
            configured = self._connectors[name]
            try:
                self._sources[name] = plugins.build_source(configured.type, configured.settings)
            except plugins.ConnectorUnavailableError as error:
                raise SourceError(f'connector "{name}": {error}') from error
        return self._sources[name]

    async def fetch(self, reference: ContentReference) -> Content:
        """The content that another connector's envelope refers to, for the caller to close. Raises SourceError."""
        configured = self._connectors.get(reference.connector)
        if configured is None:
            raise SourceError(
                f'the content is with the connector "{reference.connector}" (type {reference.type}), which is not in '
                "the configuration; configure it as it was"
            )
        if configured.settings.type != reference.type:
            raise SourceError(
                f'the content is with the connector "{reference.connector}" of type {reference.type}, but that one is '
                f"of type {configured.settings.type} now; configure it as it was"
            )
        return await self.of(reference.connector).content(reference)

    async def close(self) -> None:
        """Close all that were made, at once, each within a few seconds."""
        async with asyncio.TaskGroup() as closing:
            for source in self._sources.values():
                closing.create_task(_close(source))


async def _close(source: Source) -> None:
    # The command ends now, and what hangs with it.
    with suppress(TimeoutError):
        async with asyncio.timeout(_CLOSING_SECONDS):
            await source.close()
