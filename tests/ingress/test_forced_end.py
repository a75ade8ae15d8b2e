"""What a shutdown that has run out of patience leaves behind: nothing, whatever the sessions were doing."""

import asyncio
import gc
import ssl
import threading
import weakref

import pytest
import structlog
import trustme

from gateway.delivery import Destination, Route, Routes
from gateway.ingress import Listener, ListenerSettings
from gateway.ingress.admission import Admission
from gateway.ingress.connections import Connections
from gateway.ingress.session import Session
from gateway.smtp import SMTP, Limits, Policy, extension_table
from gateway.testing import MemoryConnector
from gateway.turns import turn

_WITHIN_SECONDS = 5.0


def settings(tmp_path, **changed):
    changed.setdefault("extensions", extension_table(Policy(message_octets=10_000_000, starttls="tls" in changed)))
    return ListenerSettings(
        name="mx",
        hostname="mx.example.com",
        dialect=SMTP,
        limits=Limits(message_octets=10_000_000),
        spool=tmp_path,
        **changed,
    )


def routes(connector):
    destination = Destination(connector, name="memory", metadata="preserve", deadline_seconds=60.0, max_in_flight=8)
    return Routes([Route(recipients=("*",), destinations=(destination,))], hostname="mx.example.com")


@pytest.fixture
def tls_context():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("mx.example.com").configure_cert(context)
    return context


async def start(listener):
    ((host, port),) = await listener.listen_tcp("127.0.0.1", 0)
    return await asyncio.open_connection(host, port)


async def stop_at_once(listener):
    async with asyncio.timeout(_WITHIN_SECONDS):
        await listener.stop(seconds=0)


async def test_a_client_that_never_begins_its_handshake_does_not_hold_up_the_end(tmp_path, tls_context):
    listener = Listener(settings(tmp_path, tls=tls_context, implicit_tls=True), routes(MemoryConnector()))
    _, writer = await start(listener)
    await stop_at_once(listener)
    writer.close()


async def test_a_client_that_stops_after_starttls_does_not_hold_up_the_end(tmp_path, tls_context):
    listener = Listener(settings(tmp_path, tls=tls_context), routes(MemoryConnector()))
    reader, writer = await start(listener)
    writer.write(b"EHLO c.example\r\n")
    await reader.readuntil(b"250 HELP\r\n")
    writer.write(b"STARTTLS\r\n")
    await reader.readuntil(b"ready for TLS\r\n")
    await stop_at_once(listener)
    writer.close()


class _Wire(asyncio.Transport):
    """A transport whose other end is the test."""

    def __init__(self):
        super().__init__({"peername": ("192.0.2.1", 1)})
        self.written = b""
        self.closed = False

    def write(self, octets):
        self.written += octets

    def close(self):
        self.closed = True

    def abort(self):
        self.closed = True

    def pause_reading(self): ...

    def resume_reading(self): ...


def connected(tmp_path, connector):
    """One session with its wire, and the connections that it is counted by."""
    admission = Admission(tmp_path, largest_message=1000)
    connections = Connections(admission, maximum=10, maximum_per_client=10)
    session = Session(settings(tmp_path), lambda: routes(connector), connections, admission)
    wire = _Wire()
    session.connection_made(wire)
    return connections, session, wire


async def test_a_delivery_that_has_not_begun_is_ended_too(tmp_path):
    connector = MemoryConnector()
    connector.hold()
    connections, session, wire = connected(tmp_path, connector)
    session.data_received(b"HELO c.example\r\nMAIL FROM:<>\r\nRCPT TO:<a@example.org>\r\nDATA\r\nx\r\n.\r\n")
    # The task of the delivery exists now, and has not made a step.
    session.abort()
    async with asyncio.timeout(_WITHIN_SECONDS):
        await connections.drain(seconds=0)
    assert wire.written.endswith(b"421 4.3.2 shutting down, try again later\r\n")
    assert (connector.in_flight, connector.mails) == (0, {})


async def test_a_client_that_was_lost_during_its_delivery_does_not_hold_up_the_end(tmp_path, monkeypatch):
    connector = MemoryConnector()
    connector.hold()
    connections, session, wire = connected(tmp_path, connector)
    session.data_received(b"HELO c.example\r\nMAIL FROM:<>\r\nRCPT TO:<a@example.org>\r\nDATA\r\nx\r\n.\r\n")
    await connector.entered.acquire()
    session.connection_lost(ConnectionResetError())
    # As a transport of uvloop's is by then.
    monkeypatch.setattr(wire, "write", _raise)
    async with asyncio.timeout(_WITHIN_SECONDS):
        await connections.drain(seconds=0)
    assert (connector.in_flight, connector.mails) == (0, {})


def _raise(_octets):
    raise RuntimeError("unable to perform operation on a closed transport")


async def test_a_mail_that_is_being_stored_is_not_delivered_after_the_end(tmp_path):
    connector = MemoryConnector()
    connections, session, wire = connected(tmp_path, connector)
    session.data_received(b"HELO c.example\r\nMAIL FROM:<>\r\nRCPT TO:<a@example.org>\r\nDATA\r\n")
    # Enough to be moved to a file; the end of the mail is in the same octets.
    session.data_received(b"x" * 998 * 300 + b"\r\n.\r\n")
    await asyncio.sleep(0)
    async with asyncio.timeout(_WITHIN_SECONDS):
        await connections.drain(seconds=0)
    assert wire.written.endswith(b"421 4.3.2 shutting down, try again later\r\n")
    assert connector.mails == {}


async def test_a_mail_that_waits_for_its_turn_is_cut_off_and_leaves_nothing_open(tmp_path):
    connector = MemoryConnector()
    connections, session, wire = connected(tmp_path, connector)
    session.data_received(b"HELO c.example\r\nMAIL FROM:<>\r\nRCPT TO:<a@example.org>\r\nDATA\r\n")
    # Enough to be moved to a file.
    session.data_received(b"x" * 998 * 300)
    async with asyncio.timeout(_WITHIN_SECONDS):
        while session._task is not None:  # noqa: ASYNC110  # a thread stores it
            await asyncio.sleep(0)
    others = [asyncio.ensure_future(turn()) for _ in range(1000)]
    await asyncio.sleep(0)
    with structlog.testing.capture_logs() as lines:
        session.data_received(b"\r\n.\r\n")
        await asyncio.sleep(0)
        async with asyncio.timeout(_WITHIN_SECONDS):
            await connections.drain(seconds=0)
    assert wire.written.endswith(b"421 4.3.2 shutting down, try again later\r\n")
    assert [(line["event"], line["replies"]) for line in lines] == [("mail", ["421 4.3.2"])]
    assert connector.mails == {}
    # A file that nobody has closed would be a warning, and so a failure.
    gc.collect()
    await asyncio.gather(*others)


async def test_an_answer_that_comes_with_the_end_is_nobodys(tmp_path):
    """The client has been told 421 in the turn of the loop in which its mail was delivered."""
    connector = MemoryConnector()
    connector.hold()
    connections, session, wire = connected(tmp_path, connector)
    session.data_received(b"HELO c.example\r\nMAIL FROM:<>\r\nRCPT TO:<a@example.org>\r\nDATA\r\nx\r\n.\r\n")
    await connector.entered.acquire()
    with structlog.testing.capture_logs() as lines:
        connector.release()
        session.abort()
        async with asyncio.timeout(_WITHIN_SECONDS):
            await connections.drain(seconds=60)
    assert wire.written.endswith(b"421 4.3.2 shutting down, try again later\r\n")
    assert len(connector.mails) == 1
    assert [line["event"] for line in lines] == ["mail"]


async def test_an_authenticator_that_hangs_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr("gateway.ingress.authentication._SECONDS", 0.05)
    answer = threading.Event()
    extensions = extension_table(
        Policy(message_octets=10_000_000, authentication=True, authentication_without_tls=True)
    )
    listener = Listener(
        settings(tmp_path, extensions=extensions, authenticator=lambda *_: answer.wait()), routes(MemoryConnector())
    )
    reader, writer = await start(listener)
    try:
        writer.write(b"EHLO c.example\r\nAUTH PLAIN AGEAYg==\r\n")
        async with asyncio.timeout(_WITHIN_SECONDS):
            await reader.readuntil(b"250 HELP\r\n")
            assert await reader.readline() == b"454 4.7.0 authentication is not available now\r\n"
    finally:
        answer.set()
        writer.close()
        await stop_at_once(listener)


@pytest.fixture
def no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def sessions_left():
    # By their type: what `isinstance` asks may be a weak reference to something that is gone.
    return [each for each in gc.get_objects() if type(each) is Session]


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("last", [b"QUIT\r\n", b"AUTH PLAIN\r\n", b"DATA\r\nx", b"BDAT 9\r\nx", b"BMTD 9\r\n\0\1x"])
async def test_a_session_that_has_ended_waits_for_no_garbage_collector(tmp_path, last):
    _, session, _ = connected(tmp_path, MemoryConnector())
    session.data_received(b"EHLO c.example\r\nMAIL FROM:<>\r\nRCPT TO:<a@example.org>\r\n" + last)
    session.connection_lost(None)
    here = weakref.ref(session._connection)
    del session
    assert here() is None


@pytest.mark.usefixtures("no_collector")
async def test_a_handshake_that_failed_leaves_nothing_for_the_garbage_collector(tmp_path, tls_context):
    listener = Listener(settings(tmp_path, tls=tls_context, implicit_tls=True), routes(MemoryConnector()))
    reader, writer = await start(listener)
    writer.write(b"EHLO c.example\r\n")
    async with asyncio.timeout(_WITHIN_SECONDS):
        await reader.read()
    writer.close()
    await stop_at_once(listener)
    async with asyncio.timeout(_WITHIN_SECONDS):
        while sessions_left():  # noqa: ASYNC110  # the loop lets go of the last of it in its own time
            await asyncio.sleep(0)
