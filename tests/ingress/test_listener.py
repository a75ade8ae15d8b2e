"""Where a listener accepts, and from whom."""

import asyncio
import errno
import socket

import pytest

from gateway.ingress import Listener
from gateway.ingress.acceptor import Acceptor
from gateway.ingress.binding import bound_sockets, listening_beside, reserved_sockets
from gateway.smtp import Limits
from gateway.testing import MemoryConnector
from tests.ingress.gateway import ENVELOPE, HELLO, Client, gateway, routes_to, settings

MAIL = HELLO + ENVELOPE + b"BDAT 2 LAST\r\n\r\n"


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
async def test_a_client_of_ipv6_is_named_by_its_address(tmp_path):
    memory = MemoryConnector()
    listener = Listener(settings(tmp_path), routes_to(memory))
    ((host, port),) = await listener.listen_tcp("::1", 0)
    assert host == "::1"
    async with Client(*await asyncio.open_connection("::1", port)) as client:
        assert await client.codes(MAIL, count=5) == [220, 250, 250, 250, 250]
    (mail,) = memory.mails.values()
    assert mail.envelope.transaction.client.address == "::1"
    assert b"([IPv6:::1])" in mail.envelope.metadata.containers[0].data
    await listener.stop(seconds=5)


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
async def test_a_client_of_ipv4_at_a_socket_of_both_is_named_by_its_ipv4_address(tmp_path):
    memory = MemoryConnector()
    listener = Listener(settings(tmp_path), routes_to(memory))
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as bound:
        acceptor = Acceptor([bound], listener._take)
        async with Client(*await asyncio.open_connection("127.0.0.1", bound.getsockname()[1])) as client:
            assert await client.codes(MAIL, count=5) == [220, 250, 250, 250, 250]
        acceptor.close()
    (mail,) = memory.mails.values()
    assert mail.envelope.transaction.client.address == "127.0.0.1"
    await listener.stop(seconds=5)


async def test_a_reply_waits_for_no_acknowledgement_of_the_one_before(tmp_path):
    async with gateway(settings(tmp_path)) as running, await running.connect():
        connection = running.session()._transport.get_extra_info("socket")
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_an_address_in_use_is_an_error(tmp_path):
    async with gateway(settings(tmp_path)) as running:
        second = Listener(settings(tmp_path), running.listener._routes)
        with pytest.raises(OSError, match="in use") as refused:
            await second.listen_tcp("127.0.0.1", running.port)
        assert refused.value.errno == errno.EADDRINUSE
        await second.stop(seconds=5)


async def test_an_address_of_a_family_that_this_machine_lacks_is_left_out_unless_it_is_the_only_one(monkeypatch):
    make = socket.create_server

    def without_ipv6(address, *, family, backlog, reuse_port):
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return make(address, family=family, backlog=backlog, reuse_port=reuse_port)

    monkeypatch.setattr(socket, "create_server", without_ipv6)
    six, four = (socket.AF_INET6, ("::1", 0, 0, 0)), (socket.AF_INET, ("127.0.0.1", 0))
    for bound in bound_sockets([six, four]):
        with bound:
            assert bound.family == socket.AF_INET
    with pytest.raises(OSError, match="not supported"):
        bound_sockets([six])


def test_an_address_is_shared_by_those_who_listen_beside_its_reservation_and_by_nobody_else():
    (reserved,) = reserved_sockets([(socket.AF_INET, ("127.0.0.1", 0))])
    address = reserved.getsockname()
    with reserved, listening_beside(reserved) as one, listening_beside(reserved) as other:
        assert one.getsockname() == other.getsockname() == address
        for take in (bound_sockets, reserved_sockets):
            with pytest.raises(OSError, match="in use"):
                take([(socket.AF_INET, address)])
    # Nobody was ever let in by the reservation itself.
    (again,) = reserved_sockets([(socket.AF_INET, address)])
    with again, pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


async def test_a_slow_reader_gets_everything_in_order(tmp_path):
    limits = Limits(message_octets=1000, junk=10**9)
    count = 60_000
    async with gateway(settings(tmp_path, limits=limits)) as running, await running.open() as client:
        client.writer.transport.pause_reading()
        client.send(b"HELP\r\n" * count, MAIL, b"QUIT\r\n")
        await running.until(lambda: running.sessions == 1 and running.session()._output_blocked)
        client.writer.transport.resume_reading()
        replies = (await client.rest()).splitlines()
        assert replies[-1] == b"221 2.0.0 goodbye"
        assert sum(line.startswith(b"214 ") for line in replies) == count
        assert running.contents == [b"\r\n"]


async def test_new_settings_are_those_of_who_connects_and_new_routes_those_of_mail_that_begins(tmp_path):
    other = MemoryConnector()
    async with gateway(settings(tmp_path)) as running, await running.connect() as old:
        assert await old.codes(HELLO, ENVELOPE, count=3) == [250] * 3
        changed = settings(tmp_path, limits=Limits(message_octets=70_000), max_connections=2)
        running.listener.replace(changed, routes_to(other))
        async with await running.open() as new:
            assert (await new.reply())[0].startswith("220 ")
            new.send(HELLO)
            assert "250-SIZE 70000" in await new.reply()
            assert await new.codes(ENVELOPE, b"BDAT 2 LAST\r\n\r\n", count=3) == [250] * 3
            async with await running.open() as third:
                assert await third.reply() == ["421 4.3.2 too many connections, try again later"]
        # The mail that had begun goes where it was to go, the one after it by the new routes.
        assert await old.codes(b"BDAT 2 LAST\r\n\r\n", ENVELOPE, b"BDAT 2 LAST\r\n\r\n", count=4) == [250] * 4
        assert (len(running.mails), len(other.mails)) == (1, 2)


async def test_fewer_connections_than_there_are_end_none(tmp_path):
    async with gateway(settings(tmp_path)) as running:
        clients = [await running.connect() for _ in range(3)]
        running.listener.replace(settings(tmp_path, max_connections=1), running.listener._routes)
        for client in clients:
            assert await client.codes(MAIL, count=4) == [250] * 4
        async with await running.open() as another:
            assert (await another.reply())[0].startswith("421 ")
