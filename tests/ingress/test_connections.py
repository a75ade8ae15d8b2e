"""How many sessions there may be, and whose they are."""

import asyncio
import ipaddress

import pytest

from gateway.delivery import Routes
from gateway.ingress import Listener, ListenerSettings
from gateway.ingress.admission import Admission
from gateway.ingress.connections import Connections
from gateway.smtp import SMTP, Limits, Policy, extension_table

_FROM_YOU = b"421 4.7.0 too many connections from your address\r\n"


@pytest.fixture
def connections(tmp_path):
    return Connections(Admission(tmp_path, largest_message=1000), maximum=3, maximum_per_client=1)


def test_each_client_has_places_of_its_own(connections):
    assert connections.admit("first", "192.0.2.1") is None
    assert connections.admit("second", "192.0.2.2") is None
    refusal = connections.admit("third", "192.0.2.1")
    assert refusal.encode(enhanced=True) == _FROM_YOU


def test_a_place_is_free_again_after_release_also_of_one_that_was_refused(connections):
    connections.admit("first", "192.0.2.1")
    connections.admit("second", "192.0.2.1")
    connections.release("second")
    connections.release("first")
    assert connections.admit("third", "192.0.2.1") is None


def test_nobody_has_places_up_to_the_maximum(connections):
    assert [connections.admit(number, "") for number in range(3)] == [None] * 3
    assert connections.admit(3, "").encode(enhanced=True) == b"421 4.3.2 too many connections, try again later\r\n"
    for number in range(4):
        connections.release(number)
    assert connections.admit("next", "") is None


async def test_behind_a_proxy_the_announced_client_is_counted(tmp_path):
    settings = ListenerSettings(
        name="mx",
        hostname="mx.example.com",
        dialect=SMTP,
        extensions=extension_table(Policy(message_octets=100_000)),
        limits=Limits(message_octets=100_000),
        spool=tmp_path,
        proxy_networks=(ipaddress.ip_network("127.0.0.0/8"),),
        max_connections_per_client=1,
    )
    listener = Listener(settings, Routes((), hostname="mx.example.com"))
    ((host, port),) = await listener.listen_tcp("127.0.0.1", 0)
    writers = []

    async def greeting(client):
        reader, writer = await asyncio.open_connection(host, port)
        writers.append(writer)
        writer.write(b"PROXY TCP4 %b 127.0.0.1 40000 25\r\n" % client)
        return await asyncio.wait_for(reader.readline(), 5)

    assert (await greeting(b"192.0.2.1")).startswith(b"220 ")
    assert (await greeting(b"192.0.2.2")).startswith(b"220 ")
    assert await greeting(b"192.0.2.1") == _FROM_YOU
    for writer in writers:
        writer.close()
    await listener.stop(seconds=5)
