"""Shutdown: mail under way is answered, nobody else is kept, and after the deadline everything ends."""

import asyncio
import socket

import pytest
import structlog

from gateway.ingress.acceptor import Acceptor
from gateway.smtp import Limits
from tests.ingress.gateway import ENVELOPE, HELLO, gateway, settings

SHUTTING_DOWN = b"421 4.3.2 shutting down, try again later\r\n"


@pytest.mark.parametrize(
    "said", [b"", HELLO, HELLO + b"BDAT 2\r\n\r\n", HELLO + ENVELOPE + b"RSET\r\n"], ids=["", "EHLO", "stray", "RSET"]
)
async def test_a_client_without_a_transaction_is_told_at_once(tmp_path, said):
    async with gateway(settings(tmp_path)) as running, await running.connect() as client:
        await client.codes(said, count=0 if not said else len(said.splitlines()) - said.count(b"BDAT"))
        await running.listener.stop(seconds=60)
        assert await client.rest() == SHUTTING_DOWN
        assert running.sessions == 0


async def test_a_transaction_under_way_is_finished_then_the_client_is_told(tmp_path):
    async with gateway(settings(tmp_path)) as running, await running.connect() as client:
        await client.codes(HELLO, ENVELOPE, b"DATA\r\n", count=4)
        stopping = asyncio.create_task(running.listener.stop(seconds=60))
        await running.until(lambda: running.session()._draining)
        client.send(b"hello\r\n.\r\n")
        reply, rest = (await client.rest()).split(b"\r\n", 1)
        assert reply.startswith(b"250 2.0.0 ")
        assert rest == SHUTTING_DOWN
        await stopping
        assert running.contents == [b"hello\r\n"]


async def test_a_mail_in_delivery_is_answered(tmp_path):
    async with gateway(settings(tmp_path)) as running, await running.connect() as client:
        running.memory.hold()
        client.send(HELLO, ENVELOPE, b"BDAT 2 LAST\r\n\r\n", ENVELOPE)
        await running.memory.entered.acquire()
        stopping = asyncio.create_task(running.listener.stop(seconds=60))
        await running.until(lambda: running.session()._draining)
        running.memory.release()
        assert await client.codes(count=4) == [250] * 4
        # The next transaction was pipelined, so it is under way as well.
        assert await client.codes(b"RSET\r\n", count=3) == [250] * 3
        assert await client.rest() == SHUTTING_DOWN
        await stopping


async def test_a_transaction_that_outlasts_the_deadline_is_cut(tmp_path, clock):
    async with gateway(settings(tmp_path)) as running, await running.connect() as client:
        await client.codes(HELLO, ENVELOPE, b"DATA\r\n", count=4)
        stopping = asyncio.create_task(running.listener.stop(seconds=5))
        await running.until(lambda: running.session()._draining)
        client.send(b"hello\r\n")
        await clock.advance(6)
        assert await client.rest() == SHUTTING_DOWN
        await stopping
        assert running.mails == []


async def test_a_delivery_that_outlasts_the_deadline_is_cancelled(tmp_path, clock):
    async with gateway(settings(tmp_path)) as running, await running.connect() as client:
        running.memory.hold()
        client.send(HELLO, ENVELOPE, b"BDAT 2 LAST\r\n\r\n")
        await running.memory.entered.acquire()
        assert await client.codes(count=3) == [250] * 3
        stopping = asyncio.create_task(running.listener.stop(seconds=5))
        await running.until(lambda: running.session()._draining)
        await clock.advance(6)
        assert await client.rest() == SHUTTING_DOWN
        await stopping
        assert (running.mails, running.memory.in_flight) == ([], 0)


async def test_a_client_that_reads_nothing_does_not_hold_up_the_end(tmp_path, clock):
    async with gateway(settings(tmp_path, limits=Limits(message_octets=1000, junk=10**9))) as running:
        client = await running.open()
        client.writer.transport.pause_reading()
        client.send(HELLO, b"HELP\r\n" * 100_000)
        await running.until(lambda: running.sessions == 1 and running.session()._output_blocked)
        stopping = asyncio.create_task(running.listener.stop(seconds=30))
        await running.until(lambda: running.session()._draining)
        await clock.advance(31)
        await running.until(lambda: not stopping.done())
        await clock.advance(2)
        await stopping
        assert running.sessions == 0
        client.writer.transport.abort()


async def test_a_client_that_comes_during_the_drain_is_sent_away(tmp_path):
    async with gateway(settings(tmp_path)) as running, await running.connect() as client:
        await client.codes(HELLO, ENVELOPE, count=3)
        port = running.port
        stopping = asyncio.create_task(running.listener.stop(seconds=60))
        await running.until(lambda: running.session()._draining)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        # One whose connection was accepted just before.
        late = socket.create_server(("127.0.0.1", 0))
        running.port = late.getsockname()[1]
        acceptor = Acceptor([late], running.listener._take)
        async with await running.open() as other:
            assert await other.rest() == SHUTTING_DOWN
        acceptor.close()
        client.send(b"QUIT\r\n")
        await stopping


async def test_the_end_comes_within_its_time_also_with_a_client_that_does_not_read(tmp_path, clock):
    async with gateway(settings(tmp_path, limits=Limits(message_octets=1000, junk=10**9))) as running:
        client = await running.open()
        client.writer.transport.pause_reading()
        client.send(HELLO, b"HELP\r\n" * 100_000)
        await running.until(lambda: running.sessions == 1 and running.session()._output_blocked)
        stopping = asyncio.create_task(running.listener.stop(seconds=30))
        await running.until(lambda: running.session()._draining)
        await clock.advance(28.6)
        await clock.advance(1.1)
        async with asyncio.timeout(5):
            await stopping
        client.writer.transport.abort()


async def test_a_second_request_to_stop_makes_it_sooner(tmp_path):
    async with gateway(settings(tmp_path)) as running, await running.connect() as client:
        running.memory.hold()
        client.send(HELLO, ENVELOPE, b"BDAT 2 LAST\r\n\r\n")
        await running.memory.entered.acquire()
        assert await client.codes(count=3) == [250] * 3
        patient = asyncio.create_task(running.listener.stop(seconds=600))
        await running.until(lambda: running.session()._draining)
        async with asyncio.timeout(5):
            await running.listener.stop(seconds=0)
            assert await client.rest() == SHUTTING_DOWN
            await patient
        assert (running.mails, running.memory.in_flight) == ([], 0)


async def test_a_delivery_that_is_cut_off_has_its_line_in_the_log(tmp_path):
    with structlog.testing.capture_logs() as lines:
        async with gateway(settings(tmp_path)) as running, await running.connect() as client:
            running.memory.hold()
            client.send(HELLO, ENVELOPE, b"BDAT 2 LAST\r\n\r\n")
            await running.memory.entered.acquire()
            await running.listener.stop(seconds=0)
    (line,) = (line for line in lines if line["event"] == "mail")
    assert (line["replies"], line["receipts"], line["size"]) == (["421 4.3.2"], {}, 2)
    assert line["recipients"] == ["a@example.org"]
    assert len(line["id"]) == 26
