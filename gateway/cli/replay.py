"""`mailsluice replay`."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.configuration import ConfigOption, read_configuration
from gateway.cli.spool_selection import (
    ConnectorOption,
    ErrorOption,
    NewerOption,
    OlderOption,
    RecipientOption,
    fail,
    opened_spool,
    read_selection,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.cli.reemission import Reemission
    from gateway.cli.reemission_run import Tally
    from gateway.config import Config
    from gateway.spool.inspection import SpooledDelivery

__all__ = ["replay"]

_ARCHIVE = "From an archive"
_DEAD = "From the spool"


def replay(
    *,
    to: Annotated[str, typer.Option("--to", metavar="CONNECTOR", help="The connector that gets the mail.")],
    config: ConfigOption = None,
    dead: Annotated[bool, typer.Option("--dead", help="Replay dead letters.", rich_help_panel=_DEAD)] = False,
    remove: Annotated[
        bool,
        typer.Option("--remove", help="Take a dead letter out of the spool once it is there.", rich_help_panel=_DEAD),
    ] = False,
    connector: ConnectorOption = None,
    older_than: OlderOption = None,
    newer_than: NewerOption = None,
    recipient: RecipientOption = None,
    error: ErrorOption = None,
    archive: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            exists=True,
            file_okay=False,
            help="Replay the mails of an archive that the directory connector wrote.",
            rich_help_panel=_ARCHIVE,
        ),
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"], metavar="DATE", help="Received on this day (UTC) or later.", rich_help_panel=_ARCHIVE
        ),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"],
            metavar="DATE",
            help="Received on this day (UTC) or earlier.",
            rich_help_panel=_ARCHIVE,
        ),
    ] = None,
) -> None:
    """Give dead letters, or the mails of an archive, to a connector, under their ids and as they were received.

    A gateway may run meanwhile. Transient failures are tried again a few times. The ids of what failed are printed, and
    the exit status is 1; the same command does it again, harmlessly for what succeeded.
    """
    if dead == (archive is not None):
        fail("say what to replay: either --dead or --archive DIR", status=2)
    if archive is not None and any((remove, connector, older_than, newer_than, recipient, error)):
        fail("with --archive there are --since and --until; everything else is for --dead", status=2)
    if dead and (since or until):
        fail("--since and --until are for --archive; dead letters have --older-than and --newer-than", status=2)
    if since and until and since > until:
        fail("--since is a day after --until; no mail was received then", status=2)
    configuration = read_configuration(config)
    if to not in configuration.connectors:
        fail(f'no connector is named "{to}"; there are: {", ".join(sorted(configuration.connectors))}', status=2)
    if archive is not None:
        _finish(_replay_archive(configuration, to, archive, since, until))
        return
    with opened_spool(configuration.gateway.spool, None) as (inspection, _):
        from msgspec import structs

        from gateway.cli import reemission_run
        from gateway.spool import State, intervention

        selection = read_selection(
            inspection,
            configuration.connectors.keys(),
            connector=connector,
            older_than=older_than,
            newer_than=newer_than,
            recipient=recipient,
            error=error,
        )
        selection = structs.replace(selection, states=(State.DEAD,))
        tally = _run(
            configuration,
            to,
            reemission_run.spooled(inspection, selection, whole=False),
            total=None if recipient else inspection.count(selection),
            take_out=partial(intervention.remove, inspection) if remove else None,
        )
    _finish(tally)


def _replay_archive(
    configuration: "Config", to: str, archive: Path, since: datetime | None, until: datetime | None
) -> "Tally":
    from gateway import archive as archives
    from gateway.cli import reemission_run

    first, last = (f"{day:%Y/%m/%d}" if day else "" for day in (since, until))
    mails = reemission_run.archived(archive, since=first, until=last)
    try:
        # Listing an archive is quick next to reading it.
        total = None if since or until else sum(1 for _ in archives.mails(archive))
        return _run(configuration, to, mails, total=total)
    except OSError as error:
        fail(f"{error.filename or archive} cannot be read: {error.strerror}", status=1)


def _run(
    configuration: "Config",
    to: str,
    reemissions: "Iterator[Reemission]",
    *,
    total: int | None,
    take_out: "Callable[[Sequence[SpooledDelivery]], int] | None" = None,
) -> "Tally":
    from gateway.app import StartError
    from gateway.cli import reemission_run
    from gateway.cli.reemission import ATTEMPTS

    try:
        return reemission_run.run(
            reemissions,
            configuration.connectors,
            to,
            attempts=ATTEMPTS,
            total=total,
            what="Replaying",
            remove=take_out,
        )
    except StartError as error:
        fail(str(error), status=1)


def _finish(tally: "Tally") -> None:
    from gateway.cli import reemission_run

    removed = f", dead letters removed: {tally.removed}" if tally.removed else ""
    typer.echo(
        f"mails: {tally.mails}, delivered: {tally.delivered}, failed: {tally.failed}, octets: {tally.octets}{removed}"
    )
    reemission_run.conclude(tally, interrupted="delivers the rest, and may deliver the same mails twice")
