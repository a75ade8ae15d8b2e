"""The command line: `mailsluice COMMAND`. Each command is a module; what it needs is imported when it runs.

Exit status: 0 done, 1 it failed, 2 the command line or the configuration is wrong and nothing was started.
"""

from typing import Annotated

import typer

from gateway import __version__
from gateway.cli.archive import archive
from gateway.cli.check import check
from gateway.cli.conformance import conformance
from gateway.cli.keys import keys
from gateway.cli.password import password
from gateway.cli.replay import replay
from gateway.cli.schema import schema
from gateway.cli.send import send
from gateway.cli.serve import serve
from gateway.cli.spool import spool
from gateway.cli.verify import verify

__all__ = ["app", "main"]

app = typer.Typer(
    name="mailsluice",
    help="A gateway from mail to event pipelines.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (serve, check, send, replay, schema, verify, conformance, password):
    app.command()(command)
app.add_typer(spool, name="spool")
app.add_typer(keys, name="keys")
app.add_typer(archive, name="archive")


def _print_version(wanted: bool) -> None:  # noqa: FBT001  # typer calls it with the option's value
    if wanted:
        typer.echo(f"mailsluice {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[  # its callback has done everything
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    pass


def main() -> None:
    """The console script."""
    app()
