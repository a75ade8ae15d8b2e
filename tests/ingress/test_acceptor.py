"""Connections are accepted while there is anything to accept them with, and nothing goes round in a circle."""

import asyncio
import errno
import os
import socket

import pytest
import structlog

from gateway.ingress.acceptor import Acceptor
from gateway.ingress.admission import Admission
from tests.ingress.gateway import ENVELOPE, HELLO, gateway, settings


class Listening(socket.socket):
    """A listening socket that can fail, and counts how often it is asked."""

    error = 0
    asked = 0

    def accept(self):
        self.asked += 1
        if self.error:
            raise OSError(self.error, os.strerror(self.error))
        return super().accept()


@pytest.fixture
def listening():
    with Listening() as bound:
        bound.bind(("127.0.0.1", 0))
        bound.listen()
        yield bound


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
async def test_without_descriptors_clients_wait_and_the_loop_does_not_turn(listening, error, clock):
    taken = asyncio.Queue()
    acceptor = Acceptor([listening], taken.put_nowait)
    listening.error = error
    with structlog.testing.capture_logs() as lines, socket.create_connection(listening.getsockname()):
        for _ in range(100):
            await asyncio.sleep(0.001)  # a loop that turns has time to
        assert listening.asked == 1
        await clock.advance(1.1)
        await asyncio.sleep(0.01)
        assert listening.asked == 2
        listening.error = 0
        await clock.advance(1.1)
        async with asyncio.timeout(5):
            (await taken.get()).close()
    assert [line["event"] for line in lines] == [
        "connections cannot be accepted now",
        "connections are accepted again",
    ]
    acceptor.close()


async def test_the_end_may_come_while_clients_wait(listening):
    acceptor = Acceptor([listening], lambda connection: connection.close())
    listening.error = errno.EMFILE
    with socket.create_connection(listening.getsockname()):
        async with asyncio.timeout(5):
            while not listening.asked:  # noqa: ASYNC110  # nobody sets an event for a test
                await asyncio.sleep(0)
        acceptor.close()
    assert listening.fileno() == -1


async def test_listeners_share_the_connections_that_there_may_be(tmp_path):
    shared = Admission(tmp_path, largest_message=1000, max_connections=2)
    async with (
        gateway(settings(tmp_path), admission=shared) as one,
        gateway(settings(tmp_path), admission=shared) as other,
    ):
        first, second = await one.connect(), await other.connect()
        for running in (one, other):
            async with await running.open() as third:
                assert await third.rest() == b"421 4.3.2 too many connections, try again later\r\n"
        assert await first.codes(b"QUIT\r\n", count=1) == [221]
        await one.all_sessions_end()
        async with await other.connect() as third:
            assert await third.codes(HELLO, ENVELOPE, b"BDAT 2 LAST\r\n\r\n", count=4) == [250] * 4
        second.writer.close()
        await other.all_sessions_end()
        assert shared._connections == 0


async def test_a_crowd_that_comes_and_goes_leaves_no_connection_counted(tmp_path):
    shared = Admission(tmp_path, largest_message=1000, max_connections=20)
    async with gateway(settings(tmp_path), admission=shared) as running:
        crowd = await asyncio.gather(*(running.open() for _ in range(200)))
        codes = [await client.code() for client in crowd]
        assert (codes.count(220), codes.count(421)) == (20, 180)
        for number, client in enumerate(crowd):
            if number % 2:
                client.reset()
            else:
                client.writer.close()
        await running.until(lambda: shared._connections == 0)
