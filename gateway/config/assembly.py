"""From the parsed document to the whole configuration: each table by itself, then what the tables say together.

Every fault is found in one go. What tables say together is judged on the document as it stands, so that a fault in one
table does not bring forth others elsewhere.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import to_json

from gateway import plugins
from gateway.config.lines import KeyPath
from gateway.config.model import Gateway, Listener, Route
from gateway.config.sentences import Fault, did_you_mean, faults
from gateway.config.values import TcpBind, UnixBind, parse_bind
from gateway.connector import ConnectorSettings, ConnectorType
from gateway.delivery import PatternError, covering, parse_pattern

__all__ = ["Config", "ConfiguredConnector", "assemble"]

_SECTIONS = ("gateway", "listener", "connector", "route")

_WAYS = ("delivered", "spooled")

Table = Mapping[str, Any]
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfiguredConnector:
    """One `[[connector]]`: its type, and the settings that the type's own class has read."""

    type: ConnectorType[Any]
    settings: ConnectorSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A configuration in which nothing is wrong. Connectors have their names; each stands behind those it refers to.

    `digest` is that of the document that it was read from: who has another one has read another document.
    """

    gateway: Gateway
    listeners: tuple[Listener, ...]
    connectors: Mapping[str, ConfiguredConnector]
    routes: tuple[Route, ...]
    digest: str = ""


def assemble(document: Table) -> Config | tuple[Fault, ...]:
    """The configuration that a TOML document says, or everything that is wrong with it."""
    found = list(_shape(document))
    listener_tables, connector_tables, route_tables = (_tables(document, section) for section in _SECTIONS[1:])
    general = document.get("gateway", {})
    gateway = _read(Gateway, general if isinstance(general, dict) else {}, ("gateway",), found)
    listeners = [_read(Listener, table, ("listener", i), found) for i, table in enumerate(listener_tables)]
    connectors = [_read_connector(table, ("connector", i), found) for i, table in enumerate(connector_tables)]
    routes = [_read(Route, table, ("route", i), found) for i, table in enumerate(route_tables)]
    found += _repeated_names("listener", listener_tables)
    found += _repeated_names("connector", connector_tables)
    found += _repeated_binds(listener_tables)
    found += _passwords_in_clear(listener_tables)
    found += _recipients_taken_earlier(route_tables)
    found += _unknown_destinations(route_tables, connector_tables)
    found += _both_ways(route_tables)
    found += _idle_bounces(route_tables)
    found += _leading_nowhere(route_tables, listener_tables)
    found += _idle_tokens(listener_tables, connector_tables, general)
    found += _unusable_references(connectors, connector_tables)
    if found or gateway is None:
        return tuple(found)
    return Config(
        gateway=gateway,
        listeners=tuple(filter(None, listeners)),
        connectors=_in_building_order(filter(None, connectors)),
        routes=tuple(filter(None, routes)),
    )


def _shape(document: Table) -> Iterator[Fault]:
    for key, value in document.items():
        if key not in _SECTIONS:
            yield Fault((key,), f"is not a section{did_you_mean(key, _SECTIONS)}")
        elif key == "gateway" and not isinstance(value, dict):
            yield Fault((key,), "must be a table; write [gateway]")
        elif key != "gateway" and not (isinstance(value, list) and all(isinstance(table, dict) for table in value)):
            yield Fault((key,), f"must be an array of tables; write [[{key}]], with two brackets, above each one")
    for section in _SECTIONS[1:]:
        if not document.get(section, [{}]) or section not in document:
            yield Fault((section,), f"is missing; write at least one [[{section}]]")


def _tables(document: Table, section: str) -> list[Table]:
    value = document.get(section)
    return value if isinstance(value, list) and all(isinstance(table, dict) for table in value) else []


def _read(model: type[Model], table: Table, path: KeyPath, found: list[Fault]) -> Model | None:
    try:
        # Read as JSON, pydantic takes arrays for tuples and texts for paths, and otherwise converts nothing.
        return model.model_validate_json(to_json(table), strict=True)
    except ValidationError as error:
        found += faults(error, table, model, path)
        return None


def _read_connector(table: Table, path: KeyPath, found: list[Fault]) -> ConfiguredConnector | None:
    connector_type = _connector_type(table.get("type"), (*path, "type"), found)
    if connector_type is None:
        # Of the other keys nothing is known; what every connector has is judged all the same.
        common = {key: value for key, value in table.items() if key in ConnectorSettings.model_fields}
        _read(ConnectorSettings, common, path, found)
        return None
    settings = _read(connector_type.settings, table, path, found)
    return ConfiguredConnector(type=connector_type, settings=settings) if settings else None


def _connector_type(name: object, path: KeyPath, found: list[Fault]) -> ConnectorType[Any] | None:
    if not isinstance(name, str):
        return None
    try:
        return plugins.find(name)
    except LookupError:
        found.append(Fault(path, f'"{name}" is not installed{did_you_mean(name, plugins.installed())}'))
    except plugins.ConnectorUnavailableError as error:
        found.append(Fault(path, str(error)))
    return None


def _repeated_names(section: str, tables: list[Table]) -> Iterator[Fault]:
    names: set[object] = set()
    for index, table in enumerate(tables):
        name = table.get("name")
        if isinstance(name, str) and name in names:
            yield Fault((section, index, "name"), f'another {section} is named "{name}"; names must differ')
        elif isinstance(name, str):
            names.add(name)


def _repeated_binds(tables: list[Table]) -> Iterator[Fault]:
    binds: set[TcpBind | UnixBind] = set()
    for index, table in enumerate(tables):
        try:
            bind = parse_bind(table.get("bind"))
        except ValueError:
            continue
        # Of port 0 there are as many as one likes: the system chooses.
        if isinstance(bind, TcpBind) and bind.port == 0:
            continue
        if bind in binds:
            yield Fault(("listener", index, "bind"), f"another listener has {bind}; addresses must differ")
        binds.add(bind)


def _passwords_in_clear(listeners: list[Table]) -> Iterator[Fault]:
    for index, table in enumerate(listeners):
        authentication = table.get("authentication")
        if isinstance(authentication, dict) and not authentication.get("allow_without_tls") and "tls" not in table:
            yield Fault(
                ("listener", index, "authentication"),
                "AUTH is offered under TLS only; add [listener.tls], or set allow_without_tls = true",
            )


def _recipients_taken_earlier(routes: list[Table]) -> Iterator[Fault]:
    earlier: dict[object, str] = {}
    for index, table in enumerate(routes):
        patterns = table.get("recipients")
        own: dict[object, str] = {}
        for position, pattern in enumerate(patterns if isinstance(patterns, list) else ()):
            try:
                key = parse_pattern(pattern if isinstance(pattern, str) else "")
            except PatternError:
                continue
            own[key] = pattern
            if wider := next((earlier[other] for other in covering(key) if other in earlier), ""):
                yield Fault(
                    ("route", index, "recipients", position),
                    f'"{pattern}" is never reached: an earlier route takes "{wider}", and the first match counts',
                )
        earlier |= own


def _unknown_destinations(routes: list[Table], connectors: list[Table]) -> Iterator[Fault]:
    names = {name for table in connectors if isinstance(name := table.get("name"), str)}
    for index, table in enumerate(routes):
        wanted = table.get("connectors")
        for position, name in enumerate(wanted if isinstance(wanted, list) else ()):
            if isinstance(name, str) and name not in names:
                yield Fault(
                    ("route", index, "connectors", position),
                    f'no connector is named "{name}"{did_you_mean(name, names)}',
                )


def _both_ways(routes: list[Table]) -> Iterator[Fault]:
    # A mail to recipients of both would reach the connector twice, under one id, each time for some of them.
    ways: dict[str, object] = {}
    for index, table in enumerate(routes):
        wanted = table.get("connectors")
        way = table.get("accept", "delivered")
        for position, name in enumerate(wanted if isinstance(wanted, list) and way in _WAYS else ()):
            if isinstance(name, str) and ways.setdefault(name, way) != way:
                yield Fault(
                    ("route", index, "connectors", position),
                    f'"{name}" is in an earlier route with accept = "{ways[name]}", and a connector gets its mail one '
                    "way; write the same here, or give this route a connector of its own",
                )


def _idle_bounces(routes: list[Table]) -> Iterator[Fault]:
    for index, table in enumerate(routes):
        if "bounce_via" in table and table.get("accept", "delivered") == "delivered":
            yield Fault(
                ("route", index, "bounce_via"),
                'is for accept = "spooled", and clients of this route get every refusal themselves; leave it out',
            )


def _leading_nowhere(routes: list[Table], listeners: list[Table]) -> Iterator[Fault]:
    asked = (table.get("reply_metadata") for table in listeners)
    refers = any(isinstance(each, dict) and each.get("referral") for each in asked)
    for index, table in enumerate(routes):
        if "refer" not in table and "connectors" not in table:
            text = "is missing; name connectors that get the mail, or set refer to the server that takes it"
            yield Fault(("route", index, "connectors"), text)
        if "refer" in table and not refers:
            text = "is for clients that may be referred; name their networks in reply_metadata.referral of a listener"
            yield Fault(("route", index, "refer"), text)
            refers = True  # to say it once is enough
        if "refer_style" in table and "refer" not in table:
            yield Fault(("route", index, "refer_style"), "is for routes with refer; leave it out")


def _idle_tokens(listeners: list[Table], connectors: list[Table], general: object) -> Iterator[Fault]:
    has_keys = isinstance(general, dict) and "keys" in general
    shares = any(table.get("single_instance") is True for table in connectors)
    for index, table in enumerate(listeners):
        asked = table.get("reply_metadata")
        if isinstance(asked, dict) and asked.get("maildata"):
            path = ("listener", index, "reply_metadata", "maildata")
            if not has_keys:
                yield Fault(path, "needs a key; set `keys` in [gateway], and run `mailsluice keys new maildata`")
            if not shares:
                yield Fault(path, "is about content that is stored once; no connector has single_instance = true")
        if isinstance(asked, dict) and asked.get("stoken"):
            path = ("listener", index, "reply_metadata", "stoken")
            if not has_keys:
                yield Fault(path, "needs a key; set `keys` in [gateway], and run `mailsluice keys new stoken`")
            if table.get("protocol") != "lmtp" or "tls" not in table or "authentication" not in table:
                text = 'is for submission by LMTP; it needs protocol = "lmtp", and the tables tls and authentication'
                yield Fault(path, text)


def _unusable_references(connectors: list[ConfiguredConnector | None], tables: list[Table]) -> Iterator[Fault]:
    names = {name for table in tables if isinstance(name := table.get("name"), str)}
    references = {c.settings.name: c.settings.references() for c in connectors if c}
    for index, (connector, table) in enumerate(zip(connectors, tables, strict=True)):
        for name in connector.settings.references() if connector else ():
            # The key that holds the reference is the connector's own affair; its value is what we know.
            key = next((key for key, value in table.items() if key != "name" and value == name), "")
            path = ("connector", index, key) if key else ("connector", index)
            if name not in names:
                yield Fault(path, f'no connector is named "{name}"{did_you_mean(name, names)}')
            elif connector and connector.settings.name in _reachable(name, references):
                yield Fault(path, f'"{name}" leads back to this connector; references must not go in a circle')


def _reachable(name: str, references: Mapping[str, tuple[str, ...]]) -> set[str]:
    reached: set[str] = set()
    ahead = [name]
    while ahead:
        name = ahead.pop()
        if name not in reached:
            reached.add(name)
            ahead.extend(references.get(name, ()))
    return reached


def _in_building_order(connectors: Iterable[ConfiguredConnector]) -> dict[str, ConfiguredConnector]:
    by_name = {connector.settings.name: connector for connector in connectors}
    order = TopologicalSorter({name: connector.settings.references() for name, connector in by_name.items()})
    return {name: by_name[name] for name in order.static_order()}
