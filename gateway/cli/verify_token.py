"""What `mailsluice verify --token` does: a signed receipt, checked with public keys and nothing else."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

if TYPE_CHECKING:
    from gateway.receipts import Claims

__all__ = ["verify_receipt_token"]

_KEY_SET_OCTETS = 1024 * 1024


def verify_receipt_token(token: str, *, key_set: Path, file: Path | None) -> None:
    """Print what the token proves, also whether it is about the content in `file`. Exits with 1 where it is not."""
    from gateway.keys import KeysError, read_key_set
    from gateway.receipts import TokenError, verify_token

    try:
        keys = read_key_set(_octets(key_set))
    except KeysError as error:
        _fail(f"{key_set}: {error}")
    try:
        claims = verify_token(token.strip(), keys)
    except (TokenError, KeysError) as error:
        _fail(str(error))
    for line in _lines(claims):
        typer.echo(line)
    if file is None:
        typer.echo("file       not compared; name the mail with --file")
    else:
        _compare(claims, file)


def _compare(claims: "Claims", file: Path) -> None:
    from gateway.cli.mail_file import MailFileError, digests
    from gateway.cli.terminal import printable

    try:
        found = digests(file)
    except MailFileError as error:
        _fail(str(error))
    if claims.sha256.hex() not in found:
        _fail(f"{file} is not the mail of this receipt: its SHA-256 is {' or, with CRLF, '.join(found)}")
    typer.echo(f"file       {printable(str(file))} is this content")


def _lines(claims: "Claims") -> Iterator[str]:
    from gateway.cli.terminal import json_line, printable
    from gateway.dates import timestamp

    gateway = printable(claims.iss) or f"a name with the SHA-256 {claims.iss256.hex()}"
    location = (
        f"a location with the SHA-256 {claims.at.hex()}" if isinstance(claims.at, bytes) else json_line(claims.at)
    )
    yield "signature  good"
    yield f"mail       {printable(claims.jti)}"
    yield f"gateway    {gateway}"
    yield f"content    {claims.size} octets with the SHA-256 {claims.sha256.hex()}"
    yield f"held by    {printable(claims.to)}, {location}"
    yield f"since      {timestamp(claims.iat * 1_000_000_000)} at the latest"


def _octets(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_KEY_SET_OCTETS)
    except OSError as error:
        _fail(f"{path} cannot be read: {error.strerror}")


def _fail(text: str) -> NoReturn:
    from gateway.cli.terminal import printable

    typer.echo(f"mailsluice: {printable(text)}", err=True)
    raise typer.Exit(1)
