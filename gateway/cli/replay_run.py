"""A replay as it was asked for: from what is stored, or from the dead letters, into a connector or only onto a list."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, aclosing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import typer
from msgspec import Struct, structs

from gateway import archive as archives
from gateway.app import StartError
from gateway.app.sources import Sources
from gateway.cli import reemission_run
from gateway.cli.journal import Journal, JournalError
from gateway.cli.reemission import ATTEMPTS, Reemission
from gateway.cli.reemission_run import Tally
from gateway.cli.rewriting import Rewriting
from gateway.cli.spool_selection import fail, opened_spool, read_selection
from gateway.cli.stored_mails import Choice, Preparation, prepared, stored
from gateway.cli.terminal import printable
from gateway.config import Config, ConfiguredConnector
from gateway.connector import Extent, SourceError
from gateway.envelope import Mail
from gateway.spool import State, intervention
from gateway.spool.inspection import SpooledDelivery

__all__ = ["Plan", "finish", "replay_archive", "replay_dead", "replay_stored"]

# No connector of a configuration has this name.
_ARCHIVE = "--archive"
_RECIPIENTS_SHOWN = 3


class Plan(Struct, frozen=True, kw_only=True):
    """How to replay, wherever the mails come from. `journal` is the path of one; `per_second` bounds mails begun."""

    configuration: Config
    to: str
    rewriting: Rewriting | None = None
    journal: Path | None = None
    per_second: float | None = None
    dry_run: bool = False


def replay_archive(plan: Plan, path: Path, extent: Extent, choice: Choice) -> Tally:
    """The mails of the archive at `path`. Ends the command where it cannot be read."""
    try:
        connectors = {**plan.configuration.connectors, _ARCHIVE: reemission_run.archive_at(path)}
        # Listing an archive is quick next to reading it.
        total = sum(1 for _ in archives.mails(path)) if choice == Choice() else None
    except OSError as error:
        fail(f"{error.filename or path} cannot be read: {error.strerror}", status=1)
    except StartError as error:
        fail(str(error), status=1)
    with _preparing(plan, f"the archive {path.absolute()}") as preparation:
        mails = _stored_in(connectors, _ARCHIVE, extent, choice, preparation)
        return _run(plan, mails, preparation, total=total)


def replay_stored(plan: Plan, name: str, extent: Extent, choice: Choice) -> Tally:
    """What the connector `name` has stored. Ends the command where that cannot be read."""
    with _preparing(plan, f'the connector "{name}"') as preparation:
        mails = _stored_in(plan.configuration.connectors, name, extent, choice, preparation)
        return _run(plan, mails, preparation, total=None)


def replay_dead(plan: Plan, *, remove: bool, **selected: Any) -> Tally:
    """The dead letters that `selected` means, as `read_selection` takes it. Ends the command for a spool in trouble."""
    spool = plan.configuration.gateway.spool
    with opened_spool(spool, None) as (inspection, _):
        selection = read_selection(inspection, plan.configuration.connectors.keys(), **selected)
        selection = structs.replace(selection, states=(State.DEAD,))
        with _preparing(plan, f"the dead letters of {spool.absolute()}") as preparation:
            return _run(
                plan,
                prepared(reemission_run.spooled(inspection, selection, whole=False), preparation),
                preparation,
                total=None if selection.recipient else inspection.count(selection),
                remove=partial(intervention.remove, inspection) if remove else None,
            )


def finish(tally: Tally, plan: Plan) -> None:
    """Say what it came to, and end the command with status 1 where something is left to be done."""
    done = "can be sent" if plan.dry_run else "delivered"
    removed = f", dead letters removed: {tally.removed}" if tally.removed else ""
    typer.echo(
        f"mails: {tally.mails}, {done}: {tally.delivered}, failed: {tally.failed}, octets: {tally.octets}{removed}"
    )
    repeated = "those that were under way" if plan.journal else "the same mails"
    reemission_run.conclude(tally, interrupted=f"delivers the rest, and may deliver {repeated} twice")


@contextmanager
def _preparing(plan: Plan, where: str) -> Iterator[Preparation]:
    with ExitStack() as held:
        try:
            journal = None
            # Nothing is written where nothing is sent.
            if plan.journal is not None and (plan.journal.exists() or not plan.dry_run):
                to = f"{plan.to} as {plan.rewriting}" if plan.rewriting else plan.to
                journal = held.enter_context(Journal(plan.journal, f"from {where} to {to}"))
            yield Preparation(rewriting=plan.rewriting, journal=journal)
        except (JournalError, SourceError, StartError) as error:
            fail(str(error), status=1)


async def _stored_in(
    connectors: Mapping[str, ConfiguredConnector], name: str, extent: Extent, choice: Choice, preparation: Preparation
) -> AsyncGenerator[Reemission]:
    sources = Sources(connectors)
    try:
        mails = stored(sources.of(name).mails(extent, sources.fetch), choice, preparation)
        async with aclosing(mails):
            async for reemission in mails:
                yield reemission
    finally:
        await sources.close()


def _run(
    plan: Plan,
    mails: AsyncGenerator[Reemission],
    preparation: Preparation,
    *,
    total: int | None,
    remove: Callable[[Sequence[SpooledDelivery]], int] | None = None,
) -> Tally:
    if plan.dry_run:
        return _list(mails)
    return reemission_run.run(
        mails,
        plan.configuration.connectors,
        plan.to,
        attempts=ATTEMPTS,
        total=total,
        what="Replaying",
        per_second=plan.per_second,
        remove=remove,
        journal=preparation.journal,
    )


def _list(mails: AsyncGenerator[Reemission]) -> Tally:
    """Show every mail that would be sent; nothing is."""
    tally = Tally()

    async def go() -> None:
        async with aclosing(mails):
            async for reemission in mails:
                tally.mails += 1
                if reemission.mail is None:
                    tally.failed += 1
                    typer.echo(printable(f"mailsluice: {reemission.id}: {reemission.problem}"), err=True)
                    continue
                reemission.mail.content.close()
                tally.delivered += 1
                tally.octets += reemission.mail.content.size
                typer.echo(printable(_line(reemission.mail)))
        tally.ended = True

    try:
        asyncio.run(go())
    except KeyboardInterrupt:
        tally.ended = False
    return tally


def _line(mail: Mail) -> str:
    envelope = mail.envelope.envelope
    recipients = [f"<{recipient.address.raw}>" for recipient in envelope.recipients]
    more = f" and {len(recipients) - _RECIPIENTS_SHOWN} more" if len(recipients) > _RECIPIENTS_SHOWN else ""
    shown = ", ".join(recipients[:_RECIPIENTS_SHOWN]) + more
    return f"{mail.envelope.id} {mail.content.size} octets from <{envelope.mail_from.address.raw}> to {shown}"
