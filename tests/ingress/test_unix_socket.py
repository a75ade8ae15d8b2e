"""A listener at a Unix socket: who may come, and whose place it is."""

import asyncio
import errno
import ipaddress
import socket
import stat

import pytest

from gateway.ingress import Listener
from gateway.ingress.reply_metadata import OfferedCodes, ReplyMetadata
from gateway.testing import MemoryConnector
from tests.ingress.gateway import ENVELOPE, Client, routes_to, settings
from tests.ingress.test_behind_proxies import V1

LMTP_MAIL = (
    b"LHLO client.example.net\r\nMAIL FROM:<s@example.net>\r\nRCPT TO:<a@example.org>\r\nRCPT TO:<b@example.org>\r\n"
    b"DATA\r\nhello\r\n.\r\n"
)


def listener(tmp_path, memory=None):
    return Listener(settings(tmp_path, dialect="lmtp"), routes_to(memory or MemoryConnector()))


async def test_lmtp_at_a_unix_socket(tmp_path):
    memory, path = MemoryConnector(), tmp_path / "lmtp.sock"
    running = listener(tmp_path, memory)
    await running.listen_unix(path)
    async with Client(*await asyncio.open_unix_connection(path)) as client:
        assert await client.codes(LMTP_MAIL, count=8) == [220, 250, 250, 250, 250, 354, 250, 250]
        (mail,) = memory.mails.values()
        transaction = mail.envelope.transaction
        assert (transaction.protocol, transaction.client.address, transaction.client.port) == ("LMTP", "unix", 0)
    await running.stop(seconds=5)


async def test_any_local_user_may_connect_and_the_socket_goes_with_the_listener(tmp_path):
    path = tmp_path / "lmtp.sock"
    running = listener(tmp_path)
    await running.listen_unix(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666
    await running.stop(seconds=5)
    assert not path.exists()


async def test_a_socket_that_a_dead_process_left_is_replaced(tmp_path):
    path = tmp_path / "lmtp.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    running = listener(tmp_path)
    await running.listen_unix(path)
    async with Client(*await asyncio.open_unix_connection(path)) as client:
        assert await client.code() == 220
    await running.stop(seconds=5)


async def test_a_socket_in_use_is_left_to_whom_it_belongs(tmp_path):
    path = tmp_path / "lmtp.sock"
    first, second = listener(tmp_path), listener(tmp_path)
    await first.listen_unix(path)
    with pytest.raises(OSError, match="in use") as refused:
        await second.listen_unix(path)
    assert refused.value.errno == errno.EADDRINUSE
    async with Client(*await asyncio.open_unix_connection(path)) as client:
        assert await client.code() == 220
    await second.stop(seconds=5)
    assert path.exists()
    await first.stop(seconds=5)


async def test_a_file_at_the_path_is_not_overwritten(tmp_path):
    path = tmp_path / "lmtp.sock"
    path.write_text("precious")
    with pytest.raises(OSError, match="in use"):
        await listener(tmp_path).listen_unix(path)
    assert path.read_text() == "precious"


async def test_local_clients_are_not_counted_as_one_client(tmp_path):
    path = tmp_path / "lmtp.sock"
    running = Listener(settings(tmp_path, dialect="lmtp", max_connections_per_client=1), routes_to(MemoryConnector()))
    await running.listen_unix(path)
    async with (
        Client(*await asyncio.open_unix_connection(path)) as first,
        Client(*await asyncio.open_unix_connection(path)) as second,
    ):
        assert (await first.code(), await second.code()) == (220, 220)
    await running.stop(seconds=5)


EVERY_ADDRESS = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))


@pytest.mark.parametrize(
    ("networks", "is_theirs"), [((*EVERY_ADDRESS, "unix"), True), (EVERY_ADDRESS, False), ((), False)]
)
async def test_its_clients_are_in_no_network_but_may_be_named_beside_them(tmp_path, networks, is_theirs):
    memory, path = MemoryConnector(), tmp_path / "lmtp.sock"
    codes = ReplyMetadata(offered=(OfferedCodes(names=("ID",), networks=networks),))
    running = Listener(
        settings(
            tmp_path,
            dialect="lmtp",
            policy={"reply_codes": True},
            trusted_networks=networks,
            reply_metadata=codes,
        ),
        routes_to(memory),
    )
    await running.listen_unix(path)
    async with Client(*await asyncio.open_unix_connection(path)) as client:
        client.send(b"LHLO c\r\n" + ENVELOPE + b"BMTD 7\r\n\0\1\\SeenBDAT 2 LAST\r\n\r\n")
        await client.reply()
        assert ("250-XREPLYMETA ID" in await client.reply()) is is_theirs
        assert [await client.code() for _ in range(4)] == [250] * 4
        (mail,) = memory.mails.values()
        assert (mail.envelope.metadata.keywords == ("\\Seen",)) is is_theirs
    await running.stop(seconds=5)


async def test_a_proxy_may_come_by_it(tmp_path):
    memory, path = MemoryConnector(), tmp_path / "lmtp.sock"
    running = Listener(settings(tmp_path, dialect="lmtp", proxy_networks=("unix",)), routes_to(memory))
    await running.listen_unix(path)
    async with Client(*await asyncio.open_unix_connection(path)) as client:
        assert await client.codes(V1 + LMTP_MAIL, count=8) == [220, 250, 250, 250, 250, 354, 250, 250]
        (mail,) = memory.mails.values()
        transaction = mail.envelope.transaction
        assert (transaction.client.address, transaction.proxy.address) == ("198.51.100.7", "unix")
    await running.stop(seconds=5)
