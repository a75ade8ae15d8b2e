"""`mailsluice replay`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.configuration import ConfigOption, read_configuration
from gateway.cli.replay_options import read_ids, read_offsets, read_rate, read_rewriting, read_since, read_until
from gateway.cli.spool_selection import (
    ConnectorOption,
    ErrorOption,
    NewerOption,
    OlderOption,
    fail,
    read_recipient,
)

if TYPE_CHECKING:
    from gateway.config import Config

__all__ = ["replay"]

_SOURCE = "From where (one of these)"
_S3 = "With --s3"
_KAFKA = "With --kafka"
_DEAD = "With --dead"
_WHICH = "Which mails"
_HOW = "How"


def replay(
    *,
    to: Annotated[str, typer.Option("--to", metavar="CONNECTOR", help="The connector that gets the mail.")],
    config: ConfigOption = None,
    archive: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            exists=True,
            file_okay=False,
            help="An archive that the directory connector wrote.",
            rich_help_panel=_SOURCE,
        ),
    ] = None,
    s3: Annotated[
        str | None,
        typer.Option("--s3", metavar="CONNECTOR", help="The bucket of this s3 connector.", rich_help_panel=_SOURCE),
    ] = None,
    kafka: Annotated[
        str | None,
        typer.Option(
            "--kafka", metavar="CONNECTOR", help="The topic of this kafka connector.", rich_help_panel=_SOURCE
        ),
    ] = None,
    dead: Annotated[
        bool, typer.Option("--dead", help="The dead letters of the spool.", rich_help_panel=_SOURCE)
    ] = False,
    prefix: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Objects whose keys begin with this.", rich_help_panel=_S3),
    ] = None,
    topic: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="This topic, where the connector's is a template.", rich_help_panel=_KAFKA),
    ] = None,
    offsets: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RANGE",
            help="Of one partition, both ends included: 3:1042-2000, 3:1042- or 3. Repeat it for others.",
            rich_help_panel=_KAFKA,
        ),
    ] = None,
    key: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Records with this key.", rich_help_panel=_KAFKA)
    ] = None,
    connector: ConnectorOption = None,
    older_than: OlderOption = None,
    newer_than: NewerOption = None,
    error: ErrorOption = None,
    remove: Annotated[
        bool,
        typer.Option("--remove", help="Take a dead letter out of the spool once it is there.", rich_help_panel=_DEAD),
    ] = False,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Received then (UTC) or later: 2026-11-21, 2026-11-21T10:30 or 2026-11-21T10:30:15.",
            rich_help_panel=_WHICH,
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Received then or earlier; the whole day or minute.", rich_help_panel=_WHICH),
    ] = None,
    recipient: Annotated[
        str | None,
        typer.Option(
            metavar="PATTERN",
            help="To such a recipient: user@example.org, *@example.org or *@*.example.org.",
            rich_help_panel=_WHICH,
        ),
    ] = None,
    ids: Annotated[
        list[str] | None,
        typer.Option("--id", metavar="ID", help="This mail; repeat it for others.", rich_help_panel=_WHICH),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Read and check everything, list it, and send nothing.", rich_help_panel=_HOW),
    ] = False,
    rate: Annotated[
        str | None, typer.Option(metavar="N/s", help="Begin at most so many mails a second.", rich_help_panel=_HOW)
    ] = None,
    journal: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            dir_okay=False,
            help="Record here what was acknowledged, and leave out what is recorded: to go on after a crash.",
            rich_help_panel=_HOW,
        ),
    ] = None,
    rewrite_recipient: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[PATTERN=]ADDRESS",
            help="For a test: ADDRESS instead of the recipients, or of those that match. Nobody else gets anything.",
            rich_help_panel=_HOW,
        ),
    ] = None,
) -> None:
    """Give stored mails to a connector, under their ids and octet for octet as they came in.

    A gateway may run meanwhile. Every content is checked against its digest when it is read, and as it is given away.
    Transient failures are tried again a few times. The ids of what failed are printed, and the exit status is 1; the
    same command does it again, harmlessly for what succeeded, and with --journal only for the rest.
    """
    _require_one_source(archive, s3, kafka, dead)
    _require(s3, "--s3", prefix=prefix)
    _require(kafka, "--kafka", topic=topic, offsets=offsets, key=key)
    _require(dead, "--dead", connector=connector, older_than=older_than, newer_than=newer_than, error=error)
    _require(dead, "--dead", remove=remove)
    if dead and (since or until):
        fail("--since and --until are not for --dead; dead letters have --older-than and --newer-than", status=2)
    if remove and rewrite_recipient:
        fail("--remove would take mail out of the spool that its recipients have not got; leave it out", status=2)
    first, last = read_since(since), read_until(until)
    if last and first > last:
        fail("--since is later than --until; no mail was received then", status=2)
    configuration = read_configuration(config)
    _require_connector(configuration, to)
    for name, type_ in ((s3, "s3"), (kafka, "kafka")):
        if name:
            _require_connector(configuration, name, type_)
    if to in (s3, kafka):
        fail(f'"{to}" is where the mails are; name another connector with --to', status=2)
    from gateway.cli.replay_run import Plan, finish, replay_archive, replay_dead, replay_stored
    from gateway.cli.stored_mails import Choice
    from gateway.connector import Extent

    plan = Plan(
        configuration=configuration,
        to=to,
        rewriting=read_rewriting(rewrite_recipient or (), hostname=configuration.gateway.hostname),
        journal=journal,
        per_second=read_rate(rate),
        dry_run=dry_run,
    )
    if dead:
        options = {"ids": ids, "connector": connector, "older_than": older_than, "newer_than": newer_than}
        finish(replay_dead(plan, remove=remove, **options, recipient=recipient, error=error), plan)
        return
    choice = Choice(
        since=first,
        until=last,
        ids=read_ids(ids or ()),
        recipient=read_recipient(recipient) if recipient else None,
    )
    extent = Extent(
        since=first,
        until=last,
        prefix=prefix,
        topic=topic,
        key=None if key is None else key.encode(errors="surrogateescape"),
        offsets=read_offsets(offsets or ()),
    )
    if archive is not None:
        tally = replay_archive(plan, archive, extent, choice)
    else:
        tally = replay_stored(plan, s3 or kafka or "", extent, choice)
    finish(tally, plan)


def _require_one_source(*given: object) -> None:
    if sum(map(bool, given)) != 1:
        fail("say what to replay: one of --archive DIR, --s3 CONNECTOR, --kafka CONNECTOR and --dead", status=2)


def _require(source: object, name: str, **options: object) -> None:
    for option, value in options.items():
        if value and not source:
            fail(f"--{option.replace('_', '-')} is for {name}", status=2)


def _require_connector(configuration: "Config", name: str, type_: str = "") -> None:
    if name not in configuration.connectors:
        fail(f'no connector is named "{name}"; there are: {", ".join(sorted(configuration.connectors))}', status=2)
    found = configuration.connectors[name].settings.type
    if type_ and found != type_:
        fail(f'the connector "{name}" is of type {found}, and --{type_} takes one of type {type_}', status=2)
