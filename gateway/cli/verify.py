"""`mailsluice verify`."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.configuration import ConfigOption, read_configuration

if TYPE_CHECKING:
    from gateway.archive import Finding

__all__ = ["verify"]


def verify(
    path: Annotated[
        Path | None, typer.Argument(exists=True, file_okay=False, help="The archive's directory.", show_default=False)
    ] = None,
    *,
    receipt: Annotated[
        str | None,
        typer.Option(
            metavar="CODES",
            help="In place of an archive, receipts as `send --receipts` prints them, [KAFKA mail 3 1042].",
            show_default=False,
        ),
    ] = None,
    config: ConfigOption = None,
    token: Annotated[
        str | None, typer.Option(metavar="TOKEN", help="In place of an archive, a signed receipt.", show_default=False)
    ] = None,
    keys: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            dir_okay=False,
            help="With --token: the gateway's public keys, a JWK set.",
            show_default=False,
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            dir_okay=False,
            help="With --token and --receipt: the content it should be about.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print every finding, of intact mails too, as one JSON object on a line.")
    ] = False,
) -> None:
    """Check the digests of an archive that the directory connector wrote, or a receipt.

    Exits with 1 when a mail is damaged. Files that belong to no accepted mail are named, and are no damage. With
    --receipt the destinations of the configuration are asked for the mail; with --token neither they nor the gateway
    are needed. It exits with 1 when the receipt is not confirmed, or does not prove anything.
    """
    match receipt, token, path:
        case str(), None, None if keys is None and not as_json:
            from gateway.cli.verify_receipt import verify_receipt

            verify_receipt(receipt, read_configuration(config), file=file)
        case None, str(), None if keys is not None and config is None and not as_json:
            from gateway.cli.verify_token import verify_receipt_token

            verify_receipt_token(token, key_set=keys, file=file)
        case None, None, Path() if keys is None and config is None and file is None:
            _verify_archive(path, as_json=as_json)
        case _:
            raise typer.BadParameter(
                "name the directory of an archive, perhaps with --json; or give --receipt with --config, or --token "
                "with --keys, perhaps with --file"
            )


def _verify_archive(path: Path, *, as_json: bool) -> None:
    from rich.console import Console
    from rich.progress import track

    from gateway import archive

    console = Console(highlight=False)
    mails = octets = damaged = 0
    try:
        # Listing an archive is quick next to reading it.
        total = sum(1 for _ in archive.mails(path)) if console.is_terminal else None
        findings = archive.verify(path)
        for finding in track(
            findings, "Verifying", total=total, console=console, transient=True, disable=not console.is_terminal
        ):
            mails += finding.verdict is not archive.Verdict.STRAY
            damaged += finding.verdict is archive.Verdict.DAMAGED
            octets += finding.size
            for line in _lines(finding, as_json=as_json):
                console.out(line)
    except OSError as error:
        typer.echo(f"mailsluice: {error.filename or path} cannot be read: {error.strerror}", err=True)
        raise typer.Exit(1) from error
    if not as_json:
        console.out(f"mails: {mails}, octets: {octets}, damaged: {damaged}")
    if damaged:
        raise typer.Exit(1)


def _lines(finding: "Finding", *, as_json: bool) -> Iterator[str]:
    import msgspec

    shown = msgspec.structs.replace(finding, path=_printable(finding.path))
    if as_json:
        yield msgspec.json.encode(shown).decode()
    else:
        yield from (f"{shown.path}: {problem}" for problem in shown.problems)


def _printable(name: str) -> str:
    # The name of a stray file is anybody's: it must not move the cursor, nor fail to be written.
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in name)
