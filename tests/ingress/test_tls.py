"""STARTTLS and implicit TLS over a socket: what was said in clear never counts under TLS."""

import asyncio
import ssl
from contextlib import suppress

import pytest

from gateway.ingress.admission import Admission
from tests.ingress.gateway import ENVELOPE, HELLO, Client, gateway, settings

EVIL = b"MAIL FROM:<evil@example.net>\r\n"


async def test_the_envelope_tells_of_the_tls_layer(tmp_path, server_tls, client_tls):
    async with gateway(settings(tmp_path, tls=server_tls)) as running, await running.connect() as client:
        assert await client.codes(HELLO, b"STARTTLS\r\n", count=2) == [250, 220]
        await client.start_tls(client_tls)
        assert await client.codes(HELLO, ENVELOPE, b"BDAT 2 LAST\r\n\r\n", count=4) == [250] * 4
        (mail,) = running.mails
        assert mail.envelope.transaction.protocol == "ESMTPS"
        assert mail.envelope.transaction.tls.version == "TLSv1.3"
        assert mail.envelope.transaction.tls.cipher.startswith("TLS_")


async def test_implicit_tls_begins_before_the_greeting(tmp_path, server_tls, client_tls):
    async with gateway(settings(tmp_path, tls=server_tls, implicit_tls=True)) as running:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", running.port, ssl=client_tls, server_hostname="localhost"
        )
        async with Client(reader, writer) as client:
            assert await client.code() == 220
            lines = (await client.codes(HELLO, count=1), await client.codes(b"STARTTLS\r\n", count=1))
            assert lines == ([250], [502])
            assert await client.codes(ENVELOPE, b"BDAT 2 LAST\r\n\r\n", count=3) == [250] * 3
            assert running.mails[0].envelope.transaction.protocol == "ESMTPS"
            await writer.drain()


@pytest.mark.parametrize("injected", [EVIL, b"\r\n", b"x"])
async def test_octets_in_the_packet_of_starttls_end_the_session(tmp_path, server_tls, injected):
    async with gateway(settings(tmp_path, tls=server_tls)) as running, await running.connect() as client:
        assert await client.codes(HELLO, count=1) == [250]
        client.send(b"STARTTLS\r\n" + injected)
        assert await client.rest() == b"503 5.5.1 nothing may follow STARTTLS before the handshake\r\n"


async def test_octets_that_a_loop_delivers_late_are_not_taken_into_tls(tmp_path, server_tls):
    """Reading was paused by then, but not every event loop keeps to that at once."""
    async with gateway(settings(tmp_path, tls=server_tls)) as running, await running.connect() as client:
        assert await client.codes(HELLO, count=1) == [250]
        session = running.session()
        session.data_received(b"STARTTLS\r\n")
        session.data_received(EVIL)
        assert not (await rest_or_reset(client)).replace(b"220 2.0.0 ready for TLS\r\n", b"")
        await running.all_sessions_end()


async def test_a_client_that_is_gone_with_the_end_of_the_handshake_is_nothing_to_warn_of(
    tmp_path, server_tls, client_tls, caplog
):
    """Its close_notify comes before the session knows that TLS has begun."""
    async with gateway(settings(tmp_path, tls=server_tls)) as running, await running.connect() as client:
        assert await client.codes(HELLO, b"STARTTLS\r\n", count=2) == [250, 220]
        received, to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = client_tls.wrap_bio(received, to_send, server_hostname="localhost")
        shaken = False
        while not shaken:
            with suppress(ssl.SSLWantReadError):
                tls.do_handshake()
                shaken = True
            if not shaken:
                client.send(to_send.read())
                async with asyncio.timeout(10):
                    received.write(await client.reader.read(65536))
        with suppress(ssl.SSLWantReadError):
            tls.unwrap()
        client.send(to_send.read())
        await running.all_sessions_end()
    assert not caplog.records


async def rest_or_reset(client: Client) -> bytes:
    try:
        return await client.rest()
    except ConnectionResetError:
        return b""


async def test_octets_in_the_next_packet_are_taken_for_a_handshake_and_fail(tmp_path, server_tls):
    async with gateway(settings(tmp_path, tls=server_tls)) as running, await running.connect() as client:
        assert await client.codes(HELLO, b"STARTTLS\r\n", count=2) == [250, 220]
        client.send(EVIL)
        assert not (await client.rest()).startswith(b"250")
        await running.all_sessions_end()


async def test_reading_stops_before_the_client_is_told_to_begin_its_handshake(tmp_path, server_tls, client_tls):
    """A busy uvloop reads again before the task that begins the handshake has its first turn."""
    async with gateway(settings(tmp_path, tls=server_tls)) as running, await running.connect() as client:
        assert await client.codes(HELLO, count=1) == [250]
        running.session().data_received(b"STARTTLS\r\n")
        assert not running.session()._transport.is_reading()
        assert await client.code() == 220
        await client.start_tls(client_tls)
        assert await client.codes(HELLO, count=1) == [250]


async def test_octets_injected_before_the_handshake_are_never_answered(tmp_path, server_tls, client_tls):
    async with gateway(settings(tmp_path, tls=server_tls)) as running, await running.connect() as client:
        assert await client.codes(HELLO, b"STARTTLS\r\n", count=2) == [250, 220]
        client.send(EVIL)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await client.start_tls(client_tls)
        await running.all_sessions_end()


async def test_a_handshake_of_garbage_ends_the_session_and_no_other(tmp_path, server_tls):
    listener = settings(tmp_path, tls=server_tls, implicit_tls=True)
    async with gateway(listener) as running:
        for garbage in (b"EHLO client.example.net\r\n", b"\x16\x03\x01\x02\x00\x01", b"\0" * 100_000):
            async with await running.open() as client:
                client.send(garbage)
                client.writer.write_eof()
                await client.rest()
        await running.all_sessions_end()


async def test_a_client_that_leaves_in_its_handshake_leaves_nothing(tmp_path, server_tls):
    async with gateway(settings(tmp_path, tls=server_tls)) as running:
        for end in ("FIN", "RST"):
            client = await running.connect()
            assert await client.codes(HELLO, b"STARTTLS\r\n", count=2) == [250, 220]
            if end == "RST":
                client.reset()
            else:
                client.writer.close()
            await running.all_sessions_end()


class TlsByHand:
    """A client that may end its half of TLS and no more, which asyncio's cannot."""

    def __init__(self, client: Client, context: ssl.SSLContext) -> None:
        self._client = client
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")

    async def begin(self) -> None:
        assert await self._client.codes(HELLO, b"STARTTLS\r\n", count=2) == [250, 220]
        await self._call(self._tls.do_handshake)

    async def send(self, octets: bytes) -> None:
        await self._call(self._tls.write, octets)

    async def read(self) -> bytes:
        return await self._call(self._tls.read)

    def close_half(self, behind: bytes = b"") -> None:
        """Write a close_notify, and octets behind it, and wait for nothing."""
        with suppress(ssl.SSLWantReadError):
            self._tls.unwrap()
        self._client.send(self._outgoing.read(), behind)

    async def _call(self, operation, *arguments):
        while True:
            try:
                result = operation(*arguments)
            except ssl.SSLWantReadError:
                self._client.send(self._outgoing.read())
                async with asyncio.timeout(10):
                    self._incoming.write(await self._client.reader.read(65536))
            else:
                self._client.send(self._outgoing.read())
                return result


async def test_close_notify_inside_a_chunk_ends_the_session_for_good(tmp_path, server_tls, client_tls):
    """What comes behind it in clear is never read as the rest of the chunk, nor as commands."""
    async with gateway(settings(tmp_path, tls=server_tls)) as running, await running.connect() as client:
        tls = TlsByHand(client, client_tls)
        await tls.begin()
        await tls.send(HELLO + ENVELOPE + b"BDAT 10 LAST\r\nhel")
        tls.close_half(b"lo\r\n12345NOOP\r\n")
        await client.rest()
        await running.all_sessions_end()
        assert running.mails == []


async def test_a_client_that_ends_its_half_of_tls_still_gets_the_reply_to_its_mail(tmp_path, server_tls, client_tls):
    async with gateway(settings(tmp_path, tls=server_tls)) as running, await running.connect() as client:
        running.memory.hold()
        tls = TlsByHand(client, client_tls)
        await tls.begin()
        await tls.send(HELLO + ENVELOPE + b"BDAT 0 LAST\r\n")
        await running.memory.entered.acquire()
        tls.close_half()
        async with await running.connect() as another:
            # It is read after the end of the first.
            assert await another.codes(b"NOOP\r\n", count=1) == [250]
        running.memory.release()
        replies = b""
        while b"accepted" not in replies:
            replies += await tls.read()
        await running.all_sessions_end()


async def test_plain_smtp_goes_on_beside_a_failed_handshake(tmp_path, server_tls):
    async with gateway(settings(tmp_path, tls=server_tls)) as running:
        bad, good = await running.connect(), await running.connect()
        assert await bad.codes(HELLO, b"STARTTLS\r\n", count=2) == [250, 220]
        bad.send(b"\x80garbage" * 100)
        assert await good.codes(HELLO, ENVELOPE, b"BDAT 2 LAST\r\n\r\n", count=4) == [250] * 4


async def test_who_is_refused_where_tls_comes_first_reads_nothing_in_clear(tmp_path, server_tls):
    full = Admission(tmp_path, largest_message=1000, max_connections=0)
    listener = settings(tmp_path, tls=server_tls, implicit_tls=True, max_connections=1)
    async with gateway(listener) as running, await running.open(), await running.open() as second:
        assert await second.rest() == b""
    async with gateway(listener, admission=full) as running, await running.open() as client:
        assert await client.rest() == b""


async def test_who_is_cut_off_in_a_handshake_reads_nothing_in_clear(tmp_path, server_tls):
    async with (
        gateway(settings(tmp_path, tls=server_tls, implicit_tls=True)) as running,
        await running.open() as client,
    ):
        await running.until(lambda: running.sessions == 1)
        await running.listener.stop(seconds=0)
        assert not await rest_or_reset(client)
    async with gateway(settings(tmp_path, tls=server_tls)) as running, await running.connect() as client:
        assert await client.codes(HELLO, b"STARTTLS\r\n", count=2) == [250, 220]
        await running.listener.stop(seconds=0)
        assert not await rest_or_reset(client)


async def test_under_tls_the_last_words_are_said(tmp_path, server_tls, client_tls):
    async with gateway(settings(tmp_path, tls=server_tls, implicit_tls=True)) as running:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", running.port, ssl=client_tls, server_hostname="localhost"
        )
        async with Client(reader, writer) as client:
            assert await client.code() == 220
            await running.listener.stop(seconds=5)
            assert await client.rest() == b"421 4.3.2 shutting down, try again later\r\n"
