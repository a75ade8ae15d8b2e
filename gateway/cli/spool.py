"""`mailsluice spool`: what an operator sees of a spool and does to it, whether the gateway runs or not."""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.configuration import ConfigOption
from gateway.cli.spool_selection import (
    ConnectorOption,
    ErrorOption,
    IdsArgument,
    NewerOption,
    OlderOption,
    RecipientOption,
    SpoolOption,
    StateOption,
    fail,
    opened_spool,
    read_selection,
)

__all__ = ["spool"]

spool = typer.Typer(help="See what is in the spool, and let it be tried again.", no_args_is_help=True)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON objects, one on each line.")]


@spool.command()
def ls(
    *,
    config: ConfigOption = None,
    directory: SpoolOption = None,
    connector: ConnectorOption = None,
    state: StateOption = None,
    older_than: OlderOption = None,
    newer_than: NewerOption = None,
    recipient: RecipientOption = None,
    error: ErrorOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the deliveries that wait, and the dead letters: one line for each message and connector."""
    with opened_spool(directory, config) as (inspection, known):
        from gateway.cli import spool_text as text

        selection = read_selection(
            inspection,
            known,
            connector=connector,
            states=state,
            older_than=older_than,
            newer_than=newer_than,
            recipient=recipient,
            error=error,
        )
        now = time.time()
        totals = text.Totals()
        if not as_json:
            typer.echo(text.HEADING)
        for delivery in inspection.deliveries(selection):
            totals.add(delivery)
            line = text.delivery_json(delivery) if as_json else text.delivery_line(delivery, now=now)
            # typer.echo would flush each of a million lines.
            sys.stdout.write(f"{line}\n")
        for paused in inspection.paused():
            typer.echo(text.paused_json(paused) if as_json else text.since(paused))
        if not as_json:
            typer.echo(str(totals))


@spool.command()
def show(
    id_: Annotated[str, typer.Argument(metavar="ID", help="A message, by its id or the beginning of it.")],
    *,
    config: ConfigOption = None,
    directory: SpoolOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show everything about one message, and check that it is as it was received."""
    with opened_spool(directory, config) as (inspection, known):
        from gateway.cli import spool_text as text
        from gateway.spool.inspection import DamagedRowError

        selection = read_selection(inspection, known, ids=[id_])
        (whole_id,) = selection.ids
        message = inspection.message(whole_id)
        if message is None:
            fail(f"the message {whole_id} was delivered just now", status=1)
        deliveries = list(inspection.deliveries(selection))
        problem = ""
        try:
            if mail := inspection.mail(whole_id):
                mail.content.close()
        except DamagedRowError as error:
            problem = str(error)
        if as_json:
            typer.echo(text.message_json(message, deliveries, problem))
        else:
            for line in text.message_lines(message, deliveries, inspection.paused(), problem, now=time.time()):
                typer.echo(line)


@spool.command()
def retry(
    ids: IdsArgument = None,
    *,
    config: ConfigOption = None,
    directory: SpoolOption = None,
    connector: ConnectorOption = None,
    state: StateOption = None,
    older_than: OlderOption = None,
    newer_than: NewerOption = None,
    recipient: RecipientOption = None,
    error: ErrorOption = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All dead letters, all that waits, and all paused connectors.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Let deliveries be tried again now, dead letters among them, with all their attempts before them.

    Of a message that is named, and with --state quarantined, those in quarantine too, where nothing is wrong with them.
    With --connector and with --all, paused connectors get mail again.
    """
    filters = (ids, connector, state, older_than, newer_than, recipient, error)
    if everything == any(filters):
        fail("say what to retry: some ids, some filters, or --all by itself", status=2)
    with opened_spool(directory, config) as (inspection, known):
        from msgspec import structs

        from gateway.cli import spool_text as text
        from gateway.cli.reemission_run import working
        from gateway.cli.terminal import printable
        from gateway.spool import State, intervention

        selection = read_selection(
            inspection,
            known,
            ids=ids,
            connector=connector,
            states=state,
            older_than=older_than,
            newer_than=newer_than,
            recipient=recipient,
            error=error,
        )
        if not selection.states:
            states = (State.DEAD, State.WAITING, *((State.QUARANTINED,) if ids else ()))
            selection = structs.replace(selection, states=states)
        retried = left = refused = 0
        with working(None if recipient else inspection.count(selection), "Retrying") as progress:
            for some in intervention.retry(inspection, inspection.deliveries(selection)):
                retried += some.retried
                left += some.left
                refused += len(some.refused)
                for delivery, problem in some.refused:
                    if as_json:
                        typer.echo(text.refused_json(delivery, problem))
                    sentence = f"{delivery.id} for {delivery.connector} stays as it is: {problem}"
                    progress.console.print(printable(f"mailsluice: {sentence}"), markup=False, soft_wrap=True)
                progress.advance(progress.task_ids[0], some.retried + some.left + len(some.refused))
        names = [each.connector for each in inspection.paused() if everything or each.connector == connector]
        resumed = intervention.resume(inspection, names) if names else ()
        if as_json:
            typer.echo(text.counts_json("retried", retried=retried, left=left, refused=refused))
        else:
            typer.echo(f"retried: {retried}, left as they are: {left + refused}")
        for name in resumed:
            typer.echo(text.resumed_json(name) if as_json else f"resumed: {name}")
    if refused:
        raise typer.Exit(1)


@spool.command()
def export(
    ids: IdsArgument = None,
    *,
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="Where the archive is, or is to be made.")],
    config: ConfigOption = None,
    directory: SpoolOption = None,
    connector: ConnectorOption = None,
    state: StateOption = None,
    older_than: OlderOption = None,
    newer_than: NewerOption = None,
    recipient: RecipientOption = None,
    error: ErrorOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy messages into an archive of .eml, .bmtd and .json files, whole and exact; `mailsluice verify` checks it.

    The spool keeps them. Without ids and filters all of it is copied; a second time changes nothing.
    """
    with opened_spool(directory, config) as (inspection, known):
        from gateway.app import StartError
        from gateway.cli import reemission_run
        from gateway.cli import spool_text as text

        selection = read_selection(
            inspection,
            known,
            ids=ids,
            connector=connector,
            states=state,
            older_than=older_than,
            newer_than=newer_than,
            recipient=recipient,
            error=error,
        )
        try:
            tally = reemission_run.run(
                reemission_run.spooled(inspection, selection, whole=True),
                {"export": reemission_run.archive_at(to)},
                "export",
                attempts=1,
                total=None if recipient else inspection.count(selection),
                what="Exporting",
            )
        except StartError as unavailable:
            fail(str(unavailable), status=1)
    counts = {"messages": tally.mails, "exported": tally.delivered, "failed": tally.failed, "octets": tally.octets}
    if as_json:
        typer.echo(text.counts_json("exported", **counts))
    else:
        typer.echo(", ".join(f"{name}: {count}" for name, count in counts.items()))
    reemission_run.conclude(tally, interrupted="exports the rest")
