"""Running a re-emission in front of an operator: progress, each failure with its id, and what it came to."""

import asyncio
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from functools import partial
from itertools import groupby
from pathlib import Path

import typer
from msgspec import Struct
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from gateway import plugins
from gateway.app import StartError
from gateway.app.logs import log_to
from gateway.app.process import allow_connections
from gateway.cli.journal import Journal
from gateway.cli.reemission import Outcome, Reemission, opened, reemit
from gateway.cli.spool_selection import fail
from gateway.cli.terminal import printable
from gateway.config import ConfiguredConnector
from gateway.spool.inspection import DamagedRowError, Selection, SpooledDelivery
from gateway.spool.inspections import Inspections
from gateway.threads import in_thread

__all__ = ["Tally", "archive_at", "conclude", "run", "spooled", "working"]

# Nobody waits for an answer, so a slow disk may take its time.
_EXPORT_SECONDS = 540.0


class Tally(Struct, kw_only=True):
    """What it came to. `ended` is false where it was interrupted, `given_up` true where the rest was not tried."""

    mails: int = 0
    delivered: int = 0
    failed: int = 0
    octets: int = 0
    removed: int = 0
    ended: bool = False
    given_up: bool = False


def working(total: int | None, what: str) -> Progress:
    """A progress bar on standard error, where somebody watches, with one task; a `total` of None is not known."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    progress.add_task(what, total=total)
    return progress


def run(
    reemissions: AsyncGenerator[Reemission],
    connectors: Mapping[str, ConfiguredConnector],
    name: str,
    *,
    attempts: int,
    total: int | None,
    what: str,
    per_second: float | None = None,
    remove: Callable[[Sequence[SpooledDelivery]], int] | None = None,
    journal: Journal | None = None,
) -> Tally:
    """Emit all to the connector `name` and say on standard error what fails.

    `remove` takes deliveries out of the spool that are delivered now; the `journal` gets the places of mails that were
    acknowledged, before any others are begun. Raises StartError, and what the iterator, `remove` and the journal raise.
    An interruption (SIGINT) ends it in order, and leaves `ended` false.
    """
    tally = Tally()

    async def go() -> None:
        async with opened(connectors, name) as destination, aclosing(reemissions):
            with working(total, what) as progress:
                results = reemit(reemissions, destination, attempts=attempts, per_second=per_second)
                async with aclosing(results):
                    async for outcomes in results:
                        for outcome in outcomes:
                            _count(tally, outcome, progress)
                        if journal is not None and (acknowledged := _acknowledged(outcomes)):
                            await in_thread(partial(_recording, journal, acknowledged))
                        delivered = [each for o in outcomes if not o.failure for each in o.reemission.deliveries]
                        if remove is not None and delivered:
                            tally.removed += await in_thread(partial(_removing, remove, delivered))
            tally.given_up = await _is_left(reemissions)
        tally.ended = True

    allow_connections()
    with closing(log_to(sys.stderr)):
        try:
            asyncio.run(go())
        except KeyboardInterrupt:
            tally.ended = False
    return tally


def conclude(tally: Tally, *, interrupted: str) -> None:
    """End the command with status 1 where something is left to be done; `interrupted` says what another run does."""
    if not tally.ended:
        fail(f"interrupted; the same command again {interrupted}", status=1)
    if tally.given_up:
        fail(
            "the rest was not tried, for nothing is taken there; see the failures above, and give the command again",
            status=1,
        )
    if tally.failed:
        raise typer.Exit(1)


async def spooled(inspection: Inspections, selection: Selection, *, whole: bool) -> AsyncGenerator[Reemission]:
    """The mails of the deliveries that are meant, each once: `whole`, or with the recipients of these deliveries."""
    reemissions = _spooled(inspection, selection, whole=whole)
    while (reemission := await in_thread(lambda _: next(reemissions, None))) is not None:
        yield reemission


def archive_at(path: Path) -> ConfiguredConnector:
    """The connector for an archive at `path`. Raises StartError where it is not installed."""
    try:
        found = plugins.find("directory")
    except (LookupError, plugins.ConnectorUnavailableError) as error:
        raise StartError(f"the directory connector, which writes archives, cannot be used: {error}") from error
    settings = found.settings(name="export", type="directory", path=path, deadline_seconds=_EXPORT_SECONDS)
    return ConfiguredConnector(type=found, settings=settings)


def _spooled(inspection: Inspections, selection: Selection, *, whole: bool) -> Iterator[Reemission]:
    for _, group in groupby(inspection.deliveries(selection), key=lambda delivery: (delivery.spool, delivery.message)):
        deliveries = tuple(group)
        id_ = deliveries[0].id
        place = f"{id_} for {', '.join(sorted(each.connector for each in deliveries))}"
        # A whole message needs nothing of a delivery but the message's id.
        problem = "" if whole and id_ else next((each.problem for each in deliveries if each.problem), "")
        if problem:
            yield Reemission(id=id_, place=place, problem=problem, deliveries=deliveries)
            continue
        try:
            mail = inspection.mail(id_)
        except DamagedRowError as error:
            yield Reemission(id=id_, place=place, problem=str(error), deliveries=deliveries)
            continue
        # What is gone was delivered since it was listed.
        if mail is not None:
            if not whole:
                mail = mail.for_recipients(sorted({place for each in deliveries for place in each.positions}))
            yield Reemission(id=id_, place=place, mail=mail, deliveries=deliveries)


def _acknowledged(outcomes: Sequence[Outcome]) -> list[tuple[str, tuple[int, ...]]]:
    return [(each.reemission.place, each.refused) for each in outcomes if not each.failure or each.refused]


def _recording(journal: Journal, acknowledged: Sequence[tuple[str, tuple[int, ...]]], _: threading.Event) -> None:
    journal.record(acknowledged)


def _removing(
    remove: Callable[[Sequence[SpooledDelivery]], int], deliveries: Sequence[SpooledDelivery], _: threading.Event
) -> int:
    return remove(deliveries)


async def _is_left(reemissions: AsyncGenerator[Reemission]) -> bool:
    rest = await anext(reemissions, None)
    if rest is not None and rest.mail is not None:
        rest.mail.content.close()
    return rest is not None


def _count(tally: Tally, outcome: Outcome, progress: Progress) -> None:
    tally.mails += 1
    tally.octets += outcome.octets
    if outcome.failure:
        tally.failed += 1
        progress.console.print(
            printable(f"mailsluice: {outcome.reemission.id}: {outcome.failure}"),
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    else:
        tally.delivered += 1
    progress.advance(progress.task_ids[0], max(1, len(outcome.reemission.deliveries)))
