"""The options that say which spool, and which deliveries in it: the same for every command that has them."""

import re
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from gateway.cli.configuration import read_configuration

if TYPE_CHECKING:
    from gateway.address import Address
    from gateway.spool.inspection import Selection
    from gateway.spool.inspections import Inspections

__all__ = [
    "ConnectorOption",
    "DeliveryState",
    "ErrorOption",
    "IdsArgument",
    "NewerOption",
    "OlderOption",
    "RecipientOption",
    "SpoolOption",
    "StateOption",
    "fail",
    "opened_spool",
    "read_recipient",
    "read_selection",
]


class DeliveryState(StrEnum):
    """Where a delivery in the spool stands."""

    WAITING = "waiting"
    BEHIND = "behind"
    ATTEMPTED = "attempted"
    DEAD = "dead"
    QUARANTINED = "quarantined"


_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"([0-9]{1,9})([smhdw])")
_ID = re.compile("[0-9A-HJKMNP-TV-Z]{1,26}")
_FILTERS = "Which deliveries"

IdsArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[ID]...", help="Messages, by their ids or the beginnings of them.")
]
SpoolOption = Annotated[
    Path | None,
    typer.Option(
        "--spool",
        metavar="DIR",
        help="The spool's directory, in place of a configuration.",
        show_default=False,
        # Who may not read it is told so in the same words as with --config.
        readable=False,
    ),
]
ConnectorOption = Annotated[
    str | None, typer.Option("--connector", metavar="NAME", help="For this connector.", rich_help_panel=_FILTERS)
]
StateOption = Annotated[
    list[DeliveryState] | None,
    typer.Option("--state", help="In this state; repeat it for more.", rich_help_panel=_FILTERS),
]
OlderOption = Annotated[
    str | None,
    typer.Option(
        "--older-than", metavar="AGE", help="Accepted longer ago: 90s, 30m, 12h, 5d, 2w.", rich_help_panel=_FILTERS
    ),
]
NewerOption = Annotated[
    str | None,
    typer.Option("--newer-than", metavar="AGE", help="Accepted less long ago.", rich_help_panel=_FILTERS),
]
RecipientOption = Annotated[
    str | None,
    typer.Option(
        "--recipient",
        metavar="PATTERN",
        help="To such a recipient: user@example.org, *@example.org or *@*.example.org.",
        rich_help_panel=_FILTERS,
    ),
]
ErrorOption = Annotated[
    str | None,
    typer.Option("--error", metavar="TEXT", help="With this in the status or the cause.", rich_help_panel=_FILTERS),
]


def fail(sentence: str, *, status: int) -> NoReturn:
    """Say what is wrong, and end."""
    from gateway.cli.terminal import printable

    typer.echo(f"mailsluice: {printable(sentence)}", err=True)
    raise typer.Exit(status)


@contextmanager
def opened_spool(spool: Path | None, config: Path | None) -> Iterator[tuple["Inspections", Collection[str]]]:
    """The spool that the options name, with those of further workers in it, and the configured connectors' names.

    Ends the command where it cannot be opened, and where something goes wrong with it later.
    """
    from gateway.spool import SpoolError
    from gateway.spool.inspections import Inspections

    if spool is not None and config is not None:
        fail("--spool and --config both say which spool; give one of them", status=2)
    known: Collection[str] = ()
    if spool is None:
        configuration = read_configuration(config)
        spool, known = configuration.gateway.spool, configuration.connectors.keys()
    try:
        with Inspections(spool) as inspections:
            yield inspections, known
    except SpoolError as error:
        fail(str(error), status=1)


def read_selection(
    inspection: "Inspections",
    known: Collection[str],
    *,
    ids: Sequence[str] | None = None,
    connector: str | None = None,
    states: Sequence[DeliveryState] | None = None,
    older_than: str | None = None,
    newer_than: str | None = None,
    recipient: str | None = None,
    error: str | None = None,
) -> "Selection":
    """The deliveries that the options mean. Ends the command where one of them means nothing."""
    from gateway.spool import State
    from gateway.spool.inspection import Selection

    now = time.time()
    if connector and connector not in known:
        names = inspection.connectors()
        if connector not in names:
            there = ", ".join(sorted({*names, *known})) or "none"
            fail(f'no connector is named "{connector}"; there are: {there}', status=2)
    return Selection(
        ids=tuple(dict.fromkeys(_whole_id(inspection, beginning) for beginning in ids or ())),
        connector=connector or "",
        states=tuple(State(state) for state in states or ()),
        accepted_before=now - _seconds("--older-than", older_than) if older_than else None,
        accepted_since=now - _seconds("--newer-than", newer_than) if newer_than else None,
        # An argument may be no UTF-8, and is then found nowhere.
        error=(error or "").encode(errors="replace").decode(),
        recipient=read_recipient(recipient) if recipient else None,
    )


def _whole_id(inspection: "Inspections", beginning: str) -> str:
    # Crockford's alphabet is the same in lower case.
    beginning = beginning.upper()
    if not _ID.fullmatch(beginning):
        fail(f"{beginning!r} is no id; an id has 26 digits and letters, and its beginning is enough", status=2)
    found = inspection.ids(beginning)
    if not found:
        fail(f"no message in the spool has the id {beginning}", status=1)
    if len(found) > 1:
        fail(f"more than one message has an id that begins with {beginning}; give more of it", status=1)
    return found[0]


def _seconds(option: str, text: str) -> int:
    match = _DURATION.fullmatch(text)
    if match is None:
        fail(f"{option} {text!r} is no age; write a number and s, m, h, d or w: 90s, 30m, 12h, 5d, 2w", status=2)
    return int(match[1]) * _SECONDS[match[2]]


def read_recipient(pattern: str) -> Callable[["Address"], bool]:
    """Whether an address matches the pattern. Ends the command for what is none."""
    from gateway.delivery import PatternError, covering, parse_pattern

    try:
        wanted = parse_pattern(pattern)
    except PatternError as error:
        fail(str(error), status=2)
    return lambda address: wanted in covering((address.local_part.lower(), address.domain.lower()))
