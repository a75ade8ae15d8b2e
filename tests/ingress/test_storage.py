"""Content on its way through the gateway: exact at any size, and a full disk is the client's to try again."""

import hashlib
import io
import random
import re
from pathlib import Path

import pytest

from gateway.ingress import content_builder
from gateway.smtp import Limits
from tests.ingress.gateway import ENVELOPE, HELLO, gateway, settings

MEBIBYTE = 1024 * 1024
LHLO = HELLO.replace(b"EHLO", b"LHLO")
SMALL = b"BDAT 7 LAST\r\nhello\r\n"


def lines(octets: int) -> bytes:
    """So many octets of content, in lines of which some begin with a dot."""
    dice = random.Random(octets)
    text = b"".join(dice.choice((b"", b".", b"..")) + dice.randbytes(30).hex().encode() + b"\r\n" for _ in range(1000))
    return (text * (octets // len(text) + 1))[: octets - 2] + b"\r\n"


def stuffed(content: bytes) -> bytes:
    return (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n"


def bare_line_ends_removed(content: bytes) -> bytes:
    return content[:-3] + b"x\r\n" if content[-3:-2] == b"\r" else content


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.parametrize("size", [0, 1, 4096, 256 * 1024, 256 * 1024 + 1, MEBIBYTE, 9 * MEBIBYTE])
async def test_content_is_exact_by_data_and_by_chunks(tmp_path, size):
    content = bare_line_ends_removed(lines(size)) if size > 2 else b""
    async with gateway(settings(tmp_path)) as running, await running.connect() as client:
        before = open_files()
        assert await client.codes(HELLO, ENVELOPE, b"DATA\r\n", stuffed(content), count=5) == [250, 250, 250, 354, 250]
        middle = size // 3
        chunks = b"BDAT %d\r\n" % middle + content[:middle]
        last = b"BDAT %d LAST\r\n" % (len(content) - middle) + content[middle:]
        assert await client.codes(ENVELOPE, chunks, last, count=4) == [250] * 4
        for mail in running.mails:
            assert mail.content.read() == content
            assert mail.envelope.message.size == len(content)
            assert mail.envelope.message.sha256 == hashlib.sha256(content).hexdigest()
        assert len(running.mails) == 2
        await running.until(lambda: open_files() <= before)


@pytest.fixture
def full_disk(monkeypatch):
    """Every file for content is on a disk that is full."""

    monkeypatch.setattr(content_builder, "_unnamed_file", lambda _: io.FileIO("/dev/full", "r+b"))


@pytest.mark.parametrize("size", [257 * 1024, 300 * 1024, 2 * MEBIBYTE])
async def test_a_full_disk_is_452_and_the_session_goes_on(tmp_path, full_disk, size):
    """Also where the octets that fill it come with the end of the content: nothing shorter is ever delivered."""
    content = b"x" * 998 + b"\r\n"
    content *= size // 1000
    async with gateway(settings(tmp_path)) as running, await running.connect() as client:
        client.send(HELLO, ENVELOPE, b"DATA\r\n", content, b".\r\n", ENVELOPE, SMALL)
        assert await client.codes(count=4) == [250, 250, 250, 354]
        assert "4.3.1" in (await client.reply())[0]
        assert await client.codes(count=3) == [250] * 3
        assert running.contents == [b"hello\r\n"]


async def test_a_full_disk_in_the_last_packet_delivers_nothing(tmp_path, full_disk):
    """One packet both fills the memory and ends the content, so the failure comes when the engine has it whole."""
    async with gateway(settings(tmp_path)) as running, await running.connect() as client:
        assert await client.codes(HELLO, ENVELOPE, b"DATA\r\n", count=4) == [250, 250, 250, 354]
        session = running.session()
        session.data_received(b"x" * 300_000 + b"\r\n.\r\n")
        (reply,) = await client.reply()
        assert re.fullmatch(r"452 4\.3\.1 [0-9A-Z]{26} not enough storage, try again later", reply)
        assert running.mails == []
        assert await client.codes(ENVELOPE, SMALL, count=3) == [250] * 3


async def test_a_full_disk_fails_the_chunk_then_each_one_behind_it(tmp_path, full_disk):
    chunk = b"BDAT 300000\r\n" + b"x" * 300_000
    async with gateway(settings(tmp_path)) as running, await running.connect() as client:
        client.send(HELLO, ENVELOPE, chunk, chunk, b"BMTD 2\r\n\x7f\0", b"BDAT 0 LAST\r\n", ENVELOPE, SMALL)
        codes = await client.codes(count=10)
        # The first chunk may be answered before its octets are written, but it is not the last one.
        assert codes[3:7] in ([452, 503, 503, 503], [250, 452, 503, 503])
        assert codes[:3] + codes[7:] == [250] * 6
        assert running.contents == [b"hello\r\n"]


async def test_a_full_disk_is_told_to_each_recipient_in_lmtp(tmp_path, full_disk):
    recipients = ENVELOPE + b"RCPT TO:<b@example.org>\r\n"
    async with gateway(settings(tmp_path, dialect="lmtp")) as running, await running.connect() as client:
        client.send(LHLO, recipients, b"DATA\r\n", b"x" * 500_000 + b"\r\n.\r\n", b"NOOP\r\n")
        assert await client.codes(count=8) == [250, 250, 250, 250, 354, 452, 452, 250]


async def test_a_spool_that_is_gone_before_a_mail_is_451_at_mail(tmp_path):
    async with gateway(settings(tmp_path / "gone")) as running, await running.connect() as client:
        assert await client.codes(HELLO, b"MAIL FROM:<s@example.net>\r\n", count=2) == [250, 451]


async def test_a_spool_that_goes_during_a_mail_is_451(tmp_path):
    spool = tmp_path / "spool"
    spool.mkdir()
    async with gateway(settings(spool)) as running, await running.connect() as client:
        assert await client.codes(HELLO, ENVELOPE, count=3) == [250] * 3
        spool.rmdir()
        client.send(b"DATA\r\n", b"x" * 500_000 + b"\r\n.\r\n", ENVELOPE, SMALL)
        assert await client.code() == 354
        (reply,) = await client.reply()
        assert re.fullmatch(r"451 4\.3\.0 [0-9A-Z]{26} local error, try again later", reply)
        assert await client.codes(count=3) == [250] * 3


async def test_content_that_is_too_big_leaves_no_file(tmp_path):
    limits = Limits(message_octets=MEBIBYTE)
    async with gateway(settings(tmp_path, limits=limits)) as running, await running.connect() as client:
        before = open_files()
        content = b"x" * (2 * MEBIBYTE) + b"\r\n.\r\n"
        assert await client.codes(HELLO, ENVELOPE, b"DATA\r\n", content, count=5) == [250, 250, 250, 354, 552]
        assert await client.codes(ENVELOPE, SMALL, count=3) == [250] * 3
        await running.until(lambda: open_files() <= before)
