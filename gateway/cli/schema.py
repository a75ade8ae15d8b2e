"""`mailsluice schema`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Schema", "schema"]

_PACKAGE = Path(__file__).parent.parent


class Schema(StrEnum):
    """The schemas that this package ships."""

    ENVELOPE = "envelope"
    ENVELOPE_AVRO = "envelope-avro"
    RECEIPT = "receipt"
    CONFIG = "config"


_FILES = {
    Schema.ENVELOPE: "envelope.v1.schema.json",
    Schema.ENVELOPE_AVRO: "envelope.v1.avsc",
    Schema.RECEIPT: "receipt.v1.schema.json",
    Schema.CONFIG: "config.v1.schema.json",
}


def schema(name: Annotated[Schema, typer.Argument(help="Which one.")] = Schema.ENVELOPE) -> None:
    """Print a schema: JSON Schema 2020-12, or Avro."""
    installed = _PACKAGE / "schemas"
    # A wheel has the schemas inside the package; a checkout has them beside it.
    folder = installed if installed.is_dir() else _PACKAGE.parent / "schemas"
    typer.echo((folder / _FILES[name]).read_text(encoding="utf-8"), nl=False)
