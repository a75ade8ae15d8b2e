"""Finding connectors by name: entry points of the group `mailsluice.connectors`. Built-in ones come the same way.

A package is imported only when a configuration names its connector. Libraries that come with an extra may be missing:
that is told with the command that installs them.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from gateway.connector import ENTRY_POINT_GROUP, Connector, ConnectorSettings, ConnectorType, Source

__all__ = ["ConnectorUnavailableError", "build", "build_source", "find", "installed"]


class ConnectorUnavailableError(Exception):
    """A connector cannot be used here. The text says why and what to install."""


def installed() -> tuple[str, ...]:
    """The names of all connector types that are installed, sorted; none of them is imported."""
    return tuple(sorted(entry_points(group=ENTRY_POINT_GROUP).names))


def find(name: str) -> ConnectorType[Any]:
    """The connector type of that name.

    Raises LookupError when there is none, ConnectorUnavailableError when it is installed and yet cannot be used.
    """
    entry_point = _entry_point(name)
    with _explaining(entry_point):
        found = entry_point.load()
    if not isinstance(found, ConnectorType):
        raise ConnectorUnavailableError(
            f"the {name} connector is broken: {entry_point.value} is no gateway.connector.ConnectorType"
        )
    return found


def build(
    connector_type: ConnectorType[Any], settings: ConnectorSettings, references: Mapping[str, Connector]
) -> Connector:
    """The connector with these settings, not opened yet.

    Raises ConnectorUnavailableError when libraries are missing, which a connector imports no earlier than now.
    """
    with _explaining(_entry_point(settings.type)):
        return connector_type.build(settings, references)


def build_source(connector_type: ConnectorType[Any], settings: ConnectorSettings) -> Source:
    """The reading side of the connector with these settings.

    Raises ConnectorUnavailableError when its type has none, and when libraries are missing.
    """
    if connector_type.source is None:
        raise ConnectorUnavailableError(f"what the {connector_type.name} connector has sent cannot be read again")
    with _explaining(_entry_point(settings.type)):
        return connector_type.source(settings)


def _entry_point(name: str) -> EntryPoint:
    # A set, because a package on two entries of the path is found twice.
    found = set(entry_points(group=ENTRY_POINT_GROUP, name=name))
    if not found:
        raise LookupError(name)
    if len(found) > 1:
        values = ", ".join(sorted(entry_point.value for entry_point in found))
        raise ConnectorUnavailableError(
            f"the connector type {name} is installed more than once: {values}; remove all but one"
        )
    return found.pop()


@contextmanager
def _explaining(entry_point: EntryPoint) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing.partition(".")[0] == entry_point.module.partition(".")[0]:
            raise ConnectorUnavailableError(f"the {entry_point.name} connector is broken: {error}") from error
        raise ConnectorUnavailableError(
            f"the {entry_point.name} connector needs more packages: {_remedy(entry_point, missing)}"
        ) from error
    except (ImportError, AttributeError) as error:
        raise ConnectorUnavailableError(f"the {entry_point.name} connector is broken: {error}") from error


def _remedy(entry_point: EntryPoint, missing: str) -> str:
    distribution = entry_point.dist
    if distribution is None:
        return f"install the Python module {missing}"
    # By convention the extra has the name of the connector.
    if entry_point.name in (distribution.metadata.get_all("Provides-Extra") or ()):
        return f"pip install '{distribution.name}[{entry_point.name}]'"
    return f"install the Python module {missing}, which {distribution.name} uses"
