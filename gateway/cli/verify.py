"""`mailsluice verify`."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gateway.archive import Finding

__all__ = ["verify"]


def verify(
    path: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="The archive's directory.")],
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print every finding, of intact mails too, as one JSON object on a line.")
    ] = False,
) -> None:
    """Check the digests of an archive that the directory connector wrote.

    Exits with 1 when a mail is damaged. Files that belong to no accepted mail are named, and are no damage.
    """
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
