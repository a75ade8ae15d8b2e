"""Replies with response codes: who has not asked for them sees nothing of them."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.smtp import DIALECTS, Limits, Policy, ServerConnection, Waiting, extension_table
from gateway.smtp.events import MailReceived
from gateway.smtp.reply import Reply
from tests.smtp.engine_run import EngineRun
from tests.smtp.test_transcripts import OF_SERVERS, check_mails, whole
from tests.smtp.transcript import Transcript, replies_differ
from tests.smtp.transcript_server import settings_of

# The extension makes MAIL and RCPT longer, so the limits that these show are others.
LENGTHS = ("mail-line-length", "rcpt-line-length")
WITHOUT_CODES = [
    each
    for each in OF_SERVERS
    if each.name not in LENGTHS
    and "structured-replies" not in each.name
    and not {"receipts", "maildata", "stoken", "referral"} & each.settings.keys()
]


@pytest.mark.parametrize("transcript", WITHOUT_CODES, ids=str)
async def test_where_codes_are_offered_and_not_asked_for_every_reply_is_what_it_was(
    transcript: Transcript, tmp_path: Path
):
    run = EngineRun(replace(settings_of(transcript), receipts=True), tmp_path)
    outputs = await run.converse(transcript, whole)
    for segment, output in zip(transcript.segments, outputs, strict=False):
        assert not replies_differ(segment.expected, re.sub(rb"250-XREPLYMETA [A-Z ]+\r\n", b"", output))
    check_mails(transcript, run.recorder)


def said_to(connection: ServerConnection, octets: bytes) -> bytes:
    """What the engine answers, whose owner has a yes for every sender."""
    connection.receive_data(octets)
    while not isinstance(event := connection.next_event(), Waiting):
        if isinstance(event, MailReceived):
            connection.answer(Reply.of(250, "2.1.0", "sender ok"))
    return connection.data_to_send()


def test_codes_whose_names_have_no_room_in_the_hello_are_neither_announced_nor_sent():
    names = ("ID", *(f"A-CONNECTOR-WITH-A-LONG-NAME-{number}" for number in range(1000, 1020)), "LAST")
    connection = ServerConnection(
        DIALECTS["smtp"],
        hostname="mx.example.com",
        extensions=extension_table(Policy(message_octets=1_000_000, reply_codes=True)),
        limits=Limits(message_octets=1_000_000),
    )
    connection.greet(reply_codes=names)
    lines = said_to(connection, b"EHLO client.example.net\r\n").splitlines(keepends=True)
    (line,) = [line for line in lines if b"XREPLYMETA" in line]
    announced = line.decode().split()[1:]
    assert len(line) <= 512
    assert set(announced) < set(names)
    assert {"ID", "LAST"} <= set(announced)
    said_to(connection, b"MAIL FROM:<s@example.net> XREPLYMETA\r\n")
    assert connection.transaction.reply_codes == set(announced)
