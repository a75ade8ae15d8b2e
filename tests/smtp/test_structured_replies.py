"""Replies with response codes: who has not asked for them sees nothing of them."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

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
