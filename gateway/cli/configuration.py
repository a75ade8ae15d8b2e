"""The `--config` option and what it leads to."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gateway.config import Config

__all__ = ["ConfigOption", "read_configuration"]

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="The configuration, in TOML. By default a built-in one.",
        show_default=False,
    ),
]


def read_configuration(path: Path | None) -> "Config":
    """The configuration at `path`, or the built-in one. Prints everything that is wrong with it and exits with 2."""
    from gateway.config import ConfigError, load

    try:
        return load(path)
    except ConfigError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
