"""TLS from the first octet, on either event loop: nothing that came early is lost, or taken for what it is not."""

import asyncio
import ipaddress
import socket
import ssl
from contextlib import suppress

import pytest
import trustme
import uvloop

from gateway.delivery import Destination, Route, Routes
from gateway.ingress import Listener, ListenerSettings
from gateway.ingress.handshake import shake_hands
from gateway.smtp import SMTP, Limits, Policy, extension_table
from gateway.testing import MemoryConnector
from tests.ingress.early_tls import EarlyTlsClient

PROXY = b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 465\r\n"


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def runner(request):
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield runner


@pytest.fixture
def authority():
    return trustme.CA()


@pytest.fixture
def settings(authority, tmp_path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("mx.example.com").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")

    def settings(**changed):
        return ListenerSettings(
            name="mx",
            hostname="mx.example.com",
            dialect=SMTP,
            extensions=extension_table(Policy(message_octets=1000)),
            limits=Limits(message_octets=1000),
            spool=tmp_path,
            tls=context,
            implicit_tls=True,
            **changed,
        )

    return settings


async def converse(settings, before):
    """Start a listener, and connect while it does not look; the greeting and the answer to NOOP."""
    destination = Destination(
        MemoryConnector(), name="memory", metadata="preserve", deadline_seconds=60.0, max_in_flight=8
    )
    listener = Listener(
        settings, Routes([Route(recipients=("*",), destinations=(destination,))], hostname="mx.example.com")
    )
    ((host, port),) = await listener.listen_tcp("127.0.0.1", 0)
    try:
        authority = settings.spool / "ca.pem"
        # Not in a thread: the loop runs nothing until all has been sent.
        with EarlyTlsClient((host, port), authority=authority, name="mx.example.com", before=before) as client:
            await asyncio.to_thread(client.shake_hands)
            return await asyncio.to_thread(client.read), await asyncio.to_thread(client.ask, b"NOOP")
    finally:
        await listener.stop(seconds=0)


@pytest.mark.parametrize("before", [b"", PROXY], ids=["", "behind a PROXY header"])
def test_a_hello_that_is_there_before_the_session_is_heard(runner, settings, before):
    networks = (ipaddress.ip_network("127.0.0.0/8"),) if before else ()
    greeting, answer = runner.run(converse(settings(proxy_networks=networks), before))
    assert greeting.startswith(b"220 mx.example.com")
    assert answer.startswith(b"250 ")


def test_octets_in_clear_before_the_handshake_are_no_commands(runner, settings):
    """Whoever is on the way may put them there; they must not come out behind the handshake as the client's own."""
    with pytest.raises((ssl.SSLError, ConnectionError)):
        runner.run(converse(settings(), b"NOOP\r\n"))


class _Clear(asyncio.Protocol):
    """What is given to the protocol is lost to the handshake."""

    def __init__(self):
        self.received = b""

    def data_received(self, octets):
        self.received += octets


async def answer_to_a_hello_that_comes_now(context):
    hello = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), hello, server_hostname="mx.example.com").do_handshake()
    ours, theirs = socket.socketpair()
    theirs.settimeout(5.0)
    transport, protocol = await asyncio.get_running_loop().connect_accepted_socket(_Clear, ours)

    async def begin():
        # The loop sees it before it makes another step.
        theirs.sendall(hello.read())
        await shake_hands(transport, protocol, context, early=b"")

    handshake = asyncio.create_task(begin())
    try:
        return await asyncio.to_thread(theirs.recv, 1), protocol.received
    finally:
        handshake.cancel()
        await asyncio.gather(handshake, return_exceptions=True)
        transport.abort()
        theirs.close()


def test_a_hello_that_comes_as_the_handshake_begins_is_heard(runner, settings):
    answer, lost = runner.run(answer_to_a_hello_that_comes_now(settings().tls))
    # RFC 8446 §5.1: 22 is the type of a record of the handshake.
    assert (answer, lost) == (bytes([22]), b"")
