"""A client that goes away: a mail is delivered whole or not at all, and the session is gone."""

import asyncio
import socket

import pytest

from tests.ingress.gateway import ENVELOPE, HELLO, gateway, settings

TRANSACTION = HELLO + ENVELOPE
# What was sent when the connection ends, none of it a whole mail.
UNFINISHED = {
    "in a command": TRANSACTION + b"DAT",
    "in content": TRANSACTION + b"DATA\r\nhello\r\n",
    "before the last line end": TRANSACTION + b"DATA\r\nhello\r\n.\r",
    "in a chunk": TRANSACTION + b"BDAT 10 LAST\r\nhello\r\n",
    "between chunks": TRANSACTION + b"BDAT 7\r\nhello\r\n",
    "in a container": TRANSACTION + b"BMTD 10\r\n\0\1",
    "in content that is in a file by now": TRANSACTION + b"BDAT 1000000 LAST\r\n" + b"x" * 999_999,
}


@pytest.mark.parametrize("how", ["FIN", "RST"])
@pytest.mark.parametrize("where", UNFINISHED)
async def test_an_unfinished_mail_is_not_delivered(tmp_path, where, how):
    async with gateway(settings(tmp_path)) as running:
        client = await running.connect()
        client.send(UNFINISHED[where])
        assert await client.codes(count=3) == [250, 250, 250]
        if how == "RST":
            client.reset()
        else:
            client.writer.close()
        await running.all_sessions_end()
        assert running.mails == []
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", ["FIN", "RST"])
async def test_a_client_that_leaves_between_the_dot_and_the_reply_has_its_mail_delivered(tmp_path, how):
    """It will send the mail again, under another id: no reply is ever a promise broken (RFC 1047)."""
    async with gateway(settings(tmp_path)) as running:
        running.memory.hold()
        client = await running.connect()
        client.send(TRANSACTION, b"DATA\r\nhello\r\n.\r\n")
        await running.memory.entered.acquire()
        if how == "RST":
            client.reset()
        else:
            client.writer.close()
        assert running.sessions == 1
        running.memory.release()
        await running.all_sessions_end()
        assert running.contents == [b"hello\r\n"]


async def test_a_client_that_only_closes_its_side_gets_its_replies(tmp_path):
    async with gateway(settings(tmp_path)) as running:
        running.memory.hold()
        client = await running.connect()
        client.send(TRANSACTION, b"BDAT 7 LAST\r\nhello\r\n", b"NOOP\r\n")
        client.writer.write_eof()
        await running.memory.entered.acquire()
        running.memory.release()
        assert [line[:3] for line in (await client.rest()).splitlines()][-2:] == [b"250", b"250"]
        assert running.contents == [b"hello\r\n"]
        await running.all_sessions_end()


async def test_a_client_that_closes_its_side_without_a_mail_is_let_go(tmp_path):
    async with gateway(settings(tmp_path)) as running:
        client = await running.connect()
        client.writer.write_eof()
        assert await client.rest() == b""
        await running.all_sessions_end()


async def test_the_next_mail_in_a_group_is_not_lost_with_the_client_s_side_closed(tmp_path):
    mail = ENVELOPE + b"BDAT 7 LAST\r\nhello\r\n"
    async with gateway(settings(tmp_path)) as running:
        client = await running.connect()
        client.send(HELLO, mail, mail, mail)
        client.writer.write_eof()
        replies = (await client.rest()).splitlines()
        assert sum(b"accepted" in line for line in replies) == len(running.mails) == 3


async def test_replies_come_as_soon_as_they_are_known(tmp_path):
    """RFC 2920 §3.2: with nothing more to read, the server must not keep replies back."""
    async with gateway(settings(tmp_path)) as running, await running.connect() as client:
        running.memory.hold()
        client.send(TRANSACTION, b"DATA\r\nhello\r\n.\r\n")
        assert await client.codes(count=4) == [250, 250, 250, 354]
        await running.memory.entered.acquire()
        running.memory.release()
        assert await client.code() == 250


async def test_urgent_data_is_nothing_special(tmp_path):
    async with gateway(settings(tmp_path)) as running:
        loop = asyncio.get_running_loop()
        with socket.create_connection(("127.0.0.1", running.port)) as client:
            client.setblocking(False)
            assert (await loop.sock_recv(client, 1000)).startswith(b"220 ")
            client.send(b"N", socket.MSG_OOB)
            client.send(b"NOOP\r\n")
            assert (await loop.sock_recv(client, 1000)).startswith(b"250 ")
