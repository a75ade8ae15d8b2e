"""`mailsluice password`."""

import sys
from typing import Annotated

import typer

__all__ = ["password"]


def password(user: Annotated[str, typer.Argument(help="The login name.")]) -> None:
    """Print a line for a listener's password file. The password is asked for, or read as a line from standard input."""
    from gateway.ingress.passwords import hash_password

    if not user or ":" in user or user.startswith("#") or not user.isprintable():
        typer.echo("mailsluice: a login name is printable, has no colon and does not begin with #", err=True)
        raise typer.Exit(2)
    if sys.stdin.isatty():
        secret = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        secret = sys.stdin.readline().removesuffix("\n").removesuffix("\r")
    if not secret:
        typer.echo("mailsluice: the password is empty; give one line on standard input", err=True)
        raise typer.Exit(2)
    typer.echo(f"{user}:{hash_password(secret)}")
