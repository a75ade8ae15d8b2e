"""What a client may not do for ever: hold a connection, send without end, refuse to read."""

import asyncio
import socket
from pathlib import Path

import pytest

from gateway.ingress.pace import Pace
from gateway.smtp import Limits
from tests.ingress.gateway import ENVELOPE, HELLO, Client, gateway, settings

MEBIBYTE = 1024 * 1024


def resident_octets() -> int:
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) * 1024


async def test_connections_are_bounded_and_a_place_is_free_again(tmp_path):
    async with gateway(settings(tmp_path, max_connections=2)) as running:
        first, second = await running.connect(), await running.connect()
        async with await running.open() as third:
            assert await third.reply() == ["421 4.3.2 too many connections, try again later"]
            assert await third.rest() == b""
        first.send(b"QUIT\r\n")
        assert await first.rest() == b"221 2.0.0 goodbye\r\n"
        await running.until(lambda: running.sessions == 1)
        async with second, await running.connect() as fourth:
            assert await fourth.codes(HELLO, count=1) == [250]


async def test_connections_of_one_client_are_bounded(tmp_path):
    async with gateway(settings(tmp_path, max_connections_per_client=1)) as running:
        async with await running.connect(), await running.open() as second:
            assert await second.reply() == ["421 4.7.0 too many connections from your address"]
            assert await second.rest() == b""
        await running.all_sessions_end()
        async with await running.connect() as third:
            assert await third.codes(b"NOOP\r\n", count=1) == [250]


async def test_clients_that_come_and_go_leave_nothing(tmp_path):
    async with gateway(settings(tmp_path)) as running:
        clients = [await running.connect() for _ in range(50)]
        assert running.sessions == 50
        for number, client in enumerate(clients):
            if number % 2:
                client.reset()
            else:
                client.writer.close()
        await running.all_sessions_end()
        assert running.listener._connections._per_client == {}


async def test_an_idle_client_is_told_and_let_go(tmp_path, clock):
    async with gateway(settings(tmp_path, idle_seconds=300)) as running, await running.connect() as client:
        await client.codes(HELLO, count=1)
        await clock.advance(299)
        assert await client.codes(b"NOOP\r\n", count=1) == [250]
        await clock.advance(299)
        assert await client.codes(b"NOOP\r\n", count=1) == [250]
        await clock.advance(316)
        assert await client.rest() == b"421 4.4.2 too slow, closing\r\n"


async def test_octets_that_make_no_command_do_not_keep_a_session(tmp_path, clock):
    async with gateway(settings(tmp_path, idle_seconds=300)) as running, await running.connect() as client:
        for _ in range(3):
            client.send(b"N")
            await clock.advance(110)
        assert await client.rest() == b"421 4.4.2 too slow, closing\r\n"


async def test_a_client_that_never_speaks_after_its_handshake_is_let_go(tmp_path, clock, server_tls, client_tls):
    async with gateway(settings(tmp_path, tls=server_tls)) as running, await running.connect() as client:
        assert await client.codes(HELLO, b"STARTTLS\r\n", count=2) == [250, 220]
        await client.start_tls(client_tls)
        await running.until(lambda: running.session()._connection.tls)
        await clock.advance(316)
        assert await client.rest() == b"421 4.4.2 too slow, closing\r\n"


@pytest.mark.parametrize("begin", [b"DATA\r\n", b"BDAT 1000000 LAST\r\n"])
async def test_content_slower_than_the_least_rate_ends_the_session(tmp_path, clock, begin):
    async with gateway(settings(tmp_path, min_octets_per_second=500)) as running, await running.connect() as client:
        replies = 4 if begin.startswith(b"DATA") else 3
        await client.codes(HELLO, ENVELOPE, begin, b"x" * 100, count=replies)
        # A slow start is forgiven; an average below the rate is not.
        await clock.advance(29)
        client.send(b"x" * 100)
        assert running.sessions == 1
        await clock.advance(17)
        assert await client.rest() == b"421 4.4.2 too slow, closing\r\n"
        assert running.mails == []


async def test_content_that_stops_ends_the_session_though_it_was_fast(tmp_path, clock):
    async with gateway(settings(tmp_path)) as running, await running.connect() as client:
        await client.codes(HELLO, ENVELOPE, b"DATA\r\n", count=4)
        client.send(b"x" * 500_000)
        await running.until(lambda: running.transaction().content.size == 500_000)
        await clock.advance(316)
        assert await client.rest() == b"421 4.4.2 too slow, closing\r\n"


async def test_content_at_the_least_rate_is_taken(tmp_path, clock):
    async with gateway(settings(tmp_path, min_octets_per_second=500)) as running, await running.connect() as client:
        assert await client.codes(HELLO, ENVELOPE, b"DATA\r\n", count=4) == [250, 250, 250, 354]
        received = 0
        for _ in range(20):
            client.send(b"x" * 6000 + b"\r\n")
            received += 6002
            await running.until(lambda: running.transaction().content.size >= received - 4)  # noqa: B023  # called here
            await clock.advance(10)
        assert await client.codes(b".\r\n", count=1) == [250]
        assert [len(content) for content in running.contents] == [received]


async def test_time_in_delivery_is_not_the_client_s(tmp_path, clock):
    async with gateway(settings(tmp_path, idle_seconds=10)) as running, await running.connect() as client:
        running.memory.hold()
        client.send(HELLO, ENVELOPE, b"BDAT 2 LAST\r\n\r\n")
        await running.memory.entered.acquire()
        await clock.advance(15)
        running.memory.release()
        assert await client.codes(count=4) == [250] * 4


async def test_octets_that_came_while_content_was_stored_count_for_its_rate(clock):
    late = []
    pace = Pace(idle_seconds=300, min_octets_per_second=500, on_late=lambda: late.append(True))
    pace.await_content(0)
    pace.stop()
    pace.hear(25_000)
    pace.await_content(0)
    await clock.advance(46)
    assert late == []
    await clock.advance(15)
    assert late == [True]
    pace.close()


@pytest.mark.parametrize("behind", [b"", b"HELP\r\n"], ids=["later", "in the packet of its mail"])
async def test_of_a_client_that_does_not_wait_for_its_reply_little_more_is_read(tmp_path, behind):
    limits = Limits(message_octets=1000, junk=10**9)
    async with gateway(settings(tmp_path, limits=limits)) as running, await running.open() as client:
        running.memory.hold()
        client.send(HELLO, ENVELOPE, b"BDAT 0 LAST\r\n", behind)
        await running.memory.entered.acquire()
        client.send(b"HELP\r\n" * 2_000_000)
        session = running.session()
        await running.until(lambda: not session._transport.is_reading())
        assert 0 < len(session._connection._octets) <= 256 * 1024
        running.memory.release()
        assert await client.codes(count=100) == [220, 250, 250, 250, 250, *[214] * 95]


async def test_ten_megabytes_without_a_line_end_take_no_memory(tmp_path):
    async with gateway(settings(tmp_path)) as running, await running.connect() as client:
        before = resident_octets()
        client.send(b"A" * 10 * MEBIBYTE)
        reply = await client.reply()
        assert reply == ["500 5.5.2 line too long"]
        assert resident_octets() - before < 24 * MEBIBYTE  # most of it the client's own
        await running.all_sessions_end()


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (b"BDAT 18446744073709551616\r\n", "501 5.5.4 the chunk size is not a number of octets"),
        (b"BDAT 9223372036854775807 LAST\r\n", "552 5.3.4 message too big"),
        (b"BDAT 99999999999999 LAST\r\n", "552 5.3.4 message too big"),
        (b"BMTD 99999999999999\r\n", "552 5.3.4 message too big"),
        (b"BDAT -1\r\n", "501 5.5.4 the chunk size is not a number of octets"),
        (b"BDAT +5\r\n", "501 5.5.4 the chunk size is not a number of octets"),
        (b"BDAT 5x\r\n", "501 5.5.4 the chunk size is not a number of octets"),
        (b"BMTD 0x10\r\n", "501 5.5.4 the chunk size is not a number of octets"),
    ],
)
async def test_a_chunk_size_beyond_all_bounds_ends_the_session(tmp_path, command, answer):
    async with gateway(settings(tmp_path)) as running, await running.connect() as client:
        assert await client.codes(HELLO, ENVELOPE, count=3) == [250, 250, 250]
        client.send(command, b"QUIT\r\nMAIL FROM:<evil@example.net>\r\n")
        assert await client.rest() == f"{answer}\r\n".encode()
        assert running.mails == []


async def test_thousands_of_chunks_of_one_octet_are_one_mail(tmp_path):
    count = 20_000
    async with gateway(settings(tmp_path)) as running, await running.connect() as client:
        client.send(HELLO, ENVELOPE)
        await client.codes(count=3)
        client.send(b"BDAT 1\r\nx" * (count - 1))
        assert {await client.code() for _ in range(count - 1)} == {250}
        assert await client.codes(b"BDAT 1 LAST\r\nx", count=1) == [250]
        assert running.contents == [b"x" * count]
        assert await client.codes(b"NOOP\r\n", count=1) == [250]


async def test_a_client_that_does_not_read_is_not_read_either(tmp_path, clock):
    limits = Limits(message_octets=1000, junk=10**9, errors=10**9)
    async with gateway(settings(tmp_path, limits=limits)) as running:
        with socket.create_connection(("127.0.0.1", running.port)) as client:
            client.setblocking(False)
            await running.until(lambda: running.sessions == 1)
            before = resident_octets()
            sent = 0
            while True:
                try:
                    sent += client.send(b"HELP\r\n" * 10_000)
                except BlockingIOError:
                    if running.session()._output_blocked:
                        break
                    await asyncio.sleep(0)
                assert sent < 64 * MEBIBYTE, "everything is taken, though no reply is read"
            assert resident_octets() - before < 32 * MEBIBYTE
            async with await running.connect() as other:
                assert await other.codes(b"NOOP\r\n", count=1) == [250]
            # It has had its time for the next command, and then for our last words.
            await clock.advance(316)
            await clock.advance(316)
            await running.all_sessions_end()


async def test_too_many_errors_end_a_session_over_a_socket(tmp_path):
    limits = Limits(message_octets=1000, errors=3)
    async with gateway(settings(tmp_path, limits=limits)) as running, await running.connect() as client:
        client.send(b"FOO\r\n" * 10)
        assert (await client.rest()).splitlines() == [b"500 5.5.1 unknown command"] * 4 + [b"421 4.7.0 too many errors"]


async def test_too_much_junk_ends_a_session_over_a_socket(tmp_path):
    limits = Limits(message_octets=1000, junk=3)
    async with gateway(settings(tmp_path, limits=limits)) as running, await running.connect() as client:
        client.send(b"NOOP\r\n" * 10)
        assert (await client.rest()).splitlines() == [
            *[b"250 2.0.0 OK"] * 3,
            b"421 4.7.0 too many commands without mail",
        ]


async def test_one_session_that_hangs_does_not_disturb_another(tmp_path):
    async with gateway(settings(tmp_path)) as running:
        running.memory.hold()
        stuck: list[Client] = []
        for _ in range(10):
            client = await running.connect()
            client.send(HELLO, ENVELOPE, b"BDAT 2 LAST\r\n\r\n")
            await running.memory.entered.acquire()
            stuck.append(client)
        async with await running.connect() as other:
            assert await other.codes(HELLO, ENVELOPE, b"RSET\r\nNOOP\r\n", count=5) == [250] * 5
        running.memory.release()
        for client in stuck:
            assert await client.codes(count=4) == [250] * 4
            client.writer.close()
