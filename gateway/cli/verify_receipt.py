"""What `mailsluice verify --receipt` does: a receipt of a reply, checked against the destination that gave it.

A receipt is confirmed when a configured connector of its type finds a mail where it points, the mail has the id that
stands beside it, and the content there has the SHA-256 that its envelope says.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import NoReturn

import typer

from gateway.app.sources import Sources
from gateway.cli.mail_file import MailFileError, digests
from gateway.cli.terminal import printable
from gateway.config import Config, ConfiguredConnector
from gateway.connector import Found, Mail, SourceError, Spot
from gateway.envelope import Content, ContentReference
from gateway.ingress.receipt_codes import code_name
from gateway.smtp.response_codes import ResponseCode, read_text
from gateway.threads import in_thread

__all__ = ["verify_receipt"]

_ID = "ID"
_ELSEWHERE = {
    "SPOOLED": "only the spool knows whether it still has the mail; `mailsluice spool show` asks it",
    "RECEIPT": "a signed receipt is checked by --token",
}


class _Unconfirmed(Exception):
    """A connector does not confirm the receipt. The text is a clause that says why."""


def verify_receipt(text: str, config: Config, *, file: Path | None) -> None:
    """Print what the destinations say about each receipt in `text`, and whether it is about the mail in `file`.

    Exits with 1 where one is not confirmed, or none could be checked.
    """
    types = {code_name(each.type.name): each.type for each in config.connectors.values()}
    codes = read_text(text.strip(), {_ID, *_ELSEWHERE, *types}).codes
    receipts = [code for code in codes if code.name != _ID]
    if not receipts:
        names = ", ".join(sorted(filter(None, types)))
        _fail(f"this is no receipt of a connector here ({names}); write it as the reply did, [KAFKA mail 3 1042]")
    id_ = next((code.parameters[0] for code in codes if code.name == _ID and code.parameters), "")
    wanted = _digests(file) if file is not None else ()
    checked = 0
    for receipt in receipts:
        if receipt.name in _ELSEWHERE or types[receipt.name].spot is None:
            why = _ELSEWHERE.get(receipt.name, "only its destination knows whether it has the mail")
            typer.echo(f"receipt    {receipt} cannot be checked: {why}")
        else:
            checked += 1
            try:
                said = asyncio.run(_confirmation(receipt, config, id_, wanted))
            except _Unconfirmed as error:
                _fail(f"{receipt} is not confirmed: {error}")
            for line in said:
                typer.echo(printable(line))
    if not checked:
        raise typer.Exit(1)
    typer.echo(
        "file       not compared; name the mail with --file" if file is None else f"file       {file} is this mail"
    )


async def _confirmation(receipt: ResponseCode, config: Config, id_: str, wanted: tuple[str, ...]) -> list[str]:
    """The lines about the mail of this receipt. Raises _Unconfirmed where no connector has it."""
    problems: list[str] = []
    sources = Sources(config.connectors)
    try:
        for connector in config.connectors.values():
            if code_name(connector.type.name) != receipt.name:
                continue
            name = connector.settings.name
            try:
                said = await _ask(receipt, connector, sources, id_, wanted)
            except _Unconfirmed as problem:
                problems.append(f'connector "{name}": {problem}')
            else:
                return [f"receipt    {receipt}", f"held by    {name}", *said]
    finally:
        await sources.close()
    raise _Unconfirmed("; ".join(problems))


async def _ask(
    receipt: ResponseCode, connector: ConfiguredConnector, sources: Sources, id_: str, wanted: tuple[str, ...]
) -> list[str]:
    """What this connector has at the receipt's place. Raises _Unconfirmed where that is not the mail."""
    keys, find = connector.type.coordinates, connector.type.spot
    if find is None or len(receipt.parameters) > len(keys):
        raise _Unconfirmed(f"its receipts have {len(keys)} parameters")
    location = dict.fromkeys(keys, "") | dict(zip(keys, receipt.parameters, strict=False))
    settings = connector.settings
    try:
        spot = find(settings, location)
        source = sources.of(settings.name)
        if spot.extent is None:
            given: dict[str, str | int] = {key: value for key, value in location.items() if value}
            content = await source.content(
                ContentReference(connector=settings.name, type=settings.type, location=given)
            )
            return await in_thread(partial(_about_content, content, wanted))
        async with aclosing(source.mails(spot.extent, sources.fetch)) as found:
            mail = await _pick(found, spot)
        return await in_thread(partial(_about_mail, mail, id_, wanted))
    except (SourceError, ValueError) as error:
        raise _Unconfirmed(str(error)) from None
    except OSError as error:
        raise _Unconfirmed(f"the content cannot be read: {error.strerror or error}") from None


async def _pick(found: AsyncIterator[Found], spot: Spot) -> Mail:
    """The mail at that spot of those that are found, its content for the caller to close. Raises SourceError."""
    index = spot.index
    async for each in found:
        if spot.id and each.id and each.id != spot.id:
            continue
        if index:
            index -= 1
        elif (mail := await each.read(lambda envelope: spot.id in ("", envelope.id))) is not None:
            return mail
    raise SourceError("there is no such mail")


def _about_mail(mail: Mail, id_: str, wanted: tuple[str, ...], _: object) -> list[str]:
    envelope, content = mail.envelope, mail.content
    expected = envelope.message.flattened or envelope.message
    try:
        sha256 = content.sha256()
    finally:
        content.close()
    if id_ not in ("", envelope.id):
        raise _Unconfirmed(f"the mail there has the id {envelope.id}")
    if (content.size, sha256) != (expected.size, expected.sha256):
        raise _Unconfirmed(f"the content there was changed: its SHA-256 is {sha256} instead of {expected.sha256}")
    if wanted and envelope.message.sha256 not in wanted:
        raise _Unconfirmed(f"it is of another mail than the file, with the SHA-256 {envelope.message.sha256}")
    form = ", flattened" if envelope.message.flattened else ""
    return [
        f"mail       {envelope.id}, received {envelope.received_at}",
        f"content    {content.size} octets with the SHA-256 {sha256}{form}, as its envelope says",
    ]


def _about_content(content: Content, wanted: tuple[str, ...], _: object) -> list[str]:
    try:
        sha256 = content.sha256()
    finally:
        content.close()
    if wanted and sha256 not in wanted:
        raise _Unconfirmed(f"it is of another content than the file, with the SHA-256 {sha256}")
    return [f"content    {content.size} octets with the SHA-256 {sha256}, which several mails may share"]


def _digests(file: Path) -> tuple[str, ...]:
    try:
        return digests(file)
    except MailFileError as error:
        _fail(str(error))


def _fail(text: str) -> NoReturn:
    typer.echo(f"mailsluice: {printable(text)}", err=True)
    raise typer.Exit(1)
