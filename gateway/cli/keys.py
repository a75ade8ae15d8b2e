"""`mailsluice keys`: the gateway's own keys, made, listed, retired and published."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from gateway.cli.configuration import ConfigOption, read_configuration

__all__ = ["KeyPurpose", "keys"]

keys = typer.Typer(help="Make, list, retire and publish the gateway's own keys.", no_args_is_help=True)


class KeyPurpose(StrEnum):
    """What a key can be made for, as `gateway.keys.Purpose` has it."""

    RECEIPT = "receipt"
    MAILDATA = "maildata"
    STOKEN = "stoken"


@keys.command()
def new(
    purpose: Annotated[KeyPurpose, typer.Argument(help="What the key is for.")] = KeyPurpose.RECEIPT,
    *,
    config: ConfigOption = None,
) -> None:
    """Make a key, which takes the place of the one in use once the gateway gets a SIGHUP."""
    from gateway.keys import Purpose, create_key

    directory = _directory(config)
    with _told():
        typer.echo(create_key(directory, Purpose(purpose)).name)


@keys.command()
def ls(*, config: ConfigOption = None) -> None:
    """List the keys, oldest first: name, whether it is in use, when it was made and retired."""
    from gateway.keys import read_keys

    with _told():
        ring = read_keys(_directory(config))
    typer.echo(f"{'KEY':17} {'STATE':9} {'CREATED':27} RETIRED")
    for key in ring:
        typer.echo(f"{key.name:17} {ring.state_of(key):9} {key.created:27} {key.retired or '-'}")


@keys.command()
def retire(
    name: Annotated[str, typer.Argument(metavar="KEY", help="A key, as `mailsluice keys ls` names it.")],
    *,
    config: ConfigOption = None,
) -> None:
    """Let a key be used for nothing new; what was made with it still verifies. SIGHUP the gateway within a day."""
    from gateway.keys import read_keys, retire_key

    directory = _directory(config)
    with _told():
        key = retire_key(directory, name)
        ring = read_keys(directory)
    typer.echo(f"{key.name} retired {key.retired}")
    if ring.in_use(key.purpose) is None:
        typer.echo(
            f"mailsluice: no {key.purpose} key is in use now; `mailsluice keys new {key.purpose}` makes one", err=True
        )


@keys.command()
def publish(*, config: ConfigOption = None) -> None:
    """Print the public keys that verify receipts, as a JWK set. Keys of other purposes never leave the gateway."""
    from gateway.keys import public_key_set, read_keys

    with _told():
        typer.echo(public_key_set(read_keys(_directory(config))))


def _directory(config: Path | None) -> Path:
    directory = read_configuration(config).gateway.keys
    if directory is None:
        _fail('the configuration names no key directory; write keys = "keys" below [gateway]', status=2)
    return directory


@contextmanager
def _told() -> Iterator[None]:
    from gateway.keys import KeysError

    try:
        yield
    except KeysError as error:
        _fail(str(error), status=1)


def _fail(text: str, *, status: int) -> NoReturn:
    typer.echo(f"mailsluice: {text}", err=True)
    raise typer.Exit(status)
