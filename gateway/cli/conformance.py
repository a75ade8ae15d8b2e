"""`mailsluice conformance`."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from gateway.cli.send import TlsMode

if TYPE_CHECKING:
    from collections.abc import Collection

    from gateway.conformance import Outcome, Target

__all__ = ["conformance"]


class Protocol(StrEnum):
    """What is spoken with the server."""

    SMTP = "smtp"
    LMTP = "lmtp"


def conformance(
    server: Annotated[str, typer.Argument(metavar="HOST:PORT", help="The server, or unix:PATH.")],
    *,
    protocol: Annotated[Protocol, typer.Option(help="What the server speaks.")] = Protocol.SMTP,
    to: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Somebody whom the server takes mail for: some thirty short mails go there. Without this, what needs "
            "a recipient is skipped.",
        ),
    ] = "",
    sender: Annotated[
        str, typer.Option("--from", metavar="ADDRESS", help="The reverse-path. By default the null one.")
    ] = "",
    tls: Annotated[TlsMode, typer.Option(help="When TLS begins.")] = TlsMode.NONE,
    ca_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Trust the certificates in this file (PEM) instead of the system's."),
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Take any certificate from the server.")] = False,
    section: Annotated[
        str,
        typer.Option(
            metavar="TEXT", help="Only what this document or section demands, such as 'RFC 3030' or 'MD00 §3.1'."
        ),
    ] = "",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print every finding as one JSON object on a line, with all that was said.")
    ] = False,
) -> None:
    """Check whether an SMTP or LMTP server keeps the rules of METADATA, chunking, LMTP and the base, by talking to it.

    It sends mail: to --to, and nowhere else. Exit status: 0 when nothing failed, 1 when something did or the server
    cannot be reached, 2 when the command line is wrong.
    """
    import asyncio
    import socket

    from gateway.cli import send_options as options
    from gateway.conformance import REQUIREMENTS, Target, Tls, UnknownSection, Unreachable, select
    from gateway.smtp import DIALECTS

    try:
        where = options.read_server(server, option="HOST:PORT")
        with_tls = options.read_tls(tls, where, ca_file, insecure=insecure)
        addresses = [options.read_reverse_path(sender)]
        addresses += [recipient.address for recipient in options.read_recipients([to] if to else [], None)]
        names = select(REQUIREMENTS, section) if section else None
    except (options.OptionError, UnknownSection) as error:
        _fail(str(error), status=2)
    if not all(address.raw.isascii() for address in addresses):
        _fail("--from and --to: not every server takes other addresses than ASCII ones", status=2)
    target = Target(
        server=where,
        dialect=DIALECTS[protocol],
        hello_name=_hello_name(socket.gethostname()),
        sender=addresses[0].raw,
        recipient=addresses[-1].raw if to else "",
        tls=None
        if with_tls is None
        else Tls(context=with_tls.context, implicit=with_tls.implicit, hostname=with_tls.hostname),
    )
    try:
        outcomes = asyncio.run(_report(target, names, as_json=as_json))
    except Unreachable as error:
        _fail(str(error), status=1)
    except KeyboardInterrupt:
        raise typer.Exit(1) from None
    if any(outcome == "failed" for outcome in outcomes):
        raise typer.Exit(1)


async def _report(target: "Target", names: "Collection[str] | None", *, as_json: bool) -> "list[Outcome]":
    """Print each finding as it is found, and a summary: the outcomes."""
    from collections import Counter

    import msgspec

    from gateway.cli.conformance_report import finding_lines, summary
    from gateway.conformance import examine

    outcomes = []
    async for finding in examine(target, names):
        outcomes.append(finding.outcome)
        for line in [msgspec.json.encode(finding).decode()] if as_json else finding_lines(finding):
            typer.echo(line)
    if not as_json:
        typer.echo(summary(Counter(outcomes)))
    return outcomes


def _hello_name(name: str) -> str:
    from gateway.smtp import grammar

    try:
        return grammar.hello_name(name.encode("ascii"))
    except (UnicodeEncodeError, grammar.CommandSyntaxError):
        return "localhost"


def _fail(sentence: str, *, status: int) -> NoReturn:
    typer.echo(f"mailsluice: {sentence}", err=True)
    raise typer.Exit(status)
