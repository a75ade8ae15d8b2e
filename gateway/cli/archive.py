"""`mailsluice archive`: taking mails out of an archive, and freeing the content that they shared."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from gateway.cli.configuration import ConfigOption, read_configuration
from gateway.cli.spool_selection import fail

if TYPE_CHECKING:
    from gateway.collection import CollectingConnector

__all__ = ["archive"]

T = TypeVar("T")

archive = typer.Typer(
    help="Remove mails from the archive of a connector, and content that they shared.", no_args_is_help=True
)

Connector = Annotated[str, typer.Argument(metavar="CONNECTOR", help="The connector whose archive it is.")]


@archive.command()
def remove(
    connector: Connector,
    keys: Annotated[
        list[str],
        typer.Argument(metavar="KEY...", help="The mails, as their files and receipts have it: `YYYY/MM/DD/<id>`."),
    ],
    *,
    config: ConfigOption = None,
) -> None:
    """Remove mails. Content that others share stays; what nobody shares any more, `collect` removes.

    Exits with 1 when one is not there, or could not be removed. A gateway may run meanwhile.
    """

    async def work(opened: "CollectingConnector") -> int:
        missing = 0
        for key in keys:
            if not await opened.remove(key):
                missing += 1
                typer.echo(f"mailsluice: there is no mail {key}", err=True)
        return missing

    missing = _with_connector(config, connector, work)
    typer.echo(f"removed: {len(keys) - missing}")
    if missing:
        raise typer.Exit(1)


@archive.command()
def collect(
    connector: Connector,
    *,
    config: ConfigOption = None,
    unused_hours: Annotated[
        float, typer.Option(min=1, help="Remove what nobody has used for so long.", show_default=True)
    ] = 24,
) -> None:
    """Remove shared content that no mail refers to any more. A gateway may run meanwhile."""

    async def work(opened: "CollectingConnector") -> str:
        collected = await opened.collect(unused_seconds=unused_hours * 3600)
        waiting = f", condemned for the next collection: {collected.condemned}" if collected.condemned else ""
        return f"contents removed: {collected.contents}, octets: {collected.octets}{waiting}"

    typer.echo(_with_connector(config, connector, work))


def _with_connector(config: ConfigOption, name: str, work: "Callable[[CollectingConnector], Awaitable[T]]") -> T:
    import asyncio

    from gateway.app import StartError
    from gateway.app.connectors import build_connectors, close_connectors, open_connectors, with_references
    from gateway.collection import CollectingConnector
    from gateway.connector import DeliveryFailure

    configured = read_configuration(config).connectors
    if name not in configured:
        fail(f'no connector is named "{name}"; there are: {", ".join(sorted(configured))}', status=2)

    async def run() -> T:
        built = build_connectors(with_references(configured, name))
        opened = built[name]
        if not isinstance(opened, CollectingConnector):
            fail(f'the connector "{name}" is no archive: mails can be removed from a directory or a bucket', status=2)
        await open_connectors(built)
        try:
            return await work(opened)
        finally:
            await close_connectors(built, seconds=10)

    try:
        return asyncio.run(run())
    except (StartError, ValueError) as error:
        fail(str(error), status=2)
    except DeliveryFailure as failure:
        fail(f"the archive could not be changed: {failure.cause}", status=1)
