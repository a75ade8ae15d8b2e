"""PROXY headers at the beginning of connections, from proxies that are trusted and from anybody else."""

import asyncio
import ipaddress

import pytest

from tests.ingress.gateway import ENVELOPE, HELLO, Client, gateway, settings

TRUSTED = (ipaddress.ip_network("127.0.0.0/8"),)
ELSEWHERE = (ipaddress.ip_network("192.0.2.0/24"),)

V1 = b"PROXY TCP4 198.51.100.7 198.51.100.8 40000 25\r\n"
V1_OF_IPV6 = b"PROXY TCP6 2001:db8::7 2001:db8::8 40000 25\r\n"
V1_UNKNOWN = b"PROXY UNKNOWN ffff:f...f:ffff whatever\r\n"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
ADDRESSES = bytes([198, 51, 100, 7, 198, 51, 100, 8]) + b"\x9c\x40\0\x19"
V2 = SIGNATURE + b"\x21\x11\0\x0c" + ADDRESSES
V2_WITH_TLVS = SIGNATURE + b"\x21\x11\0\x10" + ADDRESSES + b"\x04\0\x01x"
V2_LOCAL = SIGNATURE + b"\x20\0\0\0"
MAIL = HELLO + ENVELOPE + b"BDAT 2 LAST\r\n\r\n"

BAD = {
    "none": HELLO,
    "too long": b"PROXY TCP4 198.51.100.7 198.51.100.8 40000 25" + b" " * 100 + b"\r\n",
    "without an end": b"PROXY " + b"x" * 5000,
    "bare line end": V1.replace(b"\r\n", b"\n"),
    "bad address": b"PROXY TCP4 198.51.100.700 198.51.100.8 40000 25\r\n",
    "bad port": b"PROXY TCP4 198.51.100.7 198.51.100.8 70000 25\r\n",
    "bad family": b"PROXY TCP5 198.51.100.7 198.51.100.8 40000 25\r\n",
    "missing fields": b"PROXY TCP4\r\n",
    "no fields": b"PROXY\r\n",
    "lower case": V1.lower(),
    "bad version": SIGNATURE + b"\x31\x11\0\x0c" + ADDRESSES,
    "bad command": SIGNATURE + b"\x2f\x11\0\x0c" + ADDRESSES,
    "truncated addresses": SIGNATURE + b"\x21\x11\0\x04" + ADDRESSES[:4],
    "bad signature": b"\r\n\r\n\0\r\nQUIX\n" + b"\x21\x11\0\x0c" + ADDRESSES,
}


def behind(tmp_path, networks=TRUSTED, **changed):
    return settings(tmp_path, proxy_networks=networks, **changed)


@pytest.mark.parametrize(
    ("header", "client"),
    [
        (V1, "198.51.100.7"),
        (V1_OF_IPV6, "2001:db8::7"),
        (V2, "198.51.100.7"),
        (V2_WITH_TLVS, "198.51.100.7"),
        (V1_UNKNOWN, ""),
        (V2_LOCAL, ""),
    ],
)
async def test_the_client_is_the_one_that_the_proxy_announces(tmp_path, header, client):
    async with gateway(behind(tmp_path)) as running, await running.open() as connection:
        assert await connection.codes(header, MAIL, count=5) == [220, 250, 250, 250, 250]
        transaction = running.mails[0].envelope.transaction
        if client:
            assert (transaction.client.address, transaction.client.port) == (client, 40000)
            assert transaction.proxy.address == "127.0.0.1"
        else:
            assert (transaction.client.address, transaction.proxy) == ("127.0.0.1", None)


@pytest.mark.parametrize("header", [V1, V2, V2_WITH_TLVS])
async def test_a_header_may_come_octet_by_octet(tmp_path, header):
    async with gateway(behind(tmp_path)) as running, await running.open() as connection:
        await running.until(lambda: running.sessions == 1)
        fed = running.session()._proxy_header
        for position in range(len(header)):
            connection.send(header[position : position + 1])
            # The next octet goes when this one has been read.
            await running.until(fed._arrived.is_set)
            await asyncio.sleep(0)
        assert await connection.codes(MAIL, count=5) == [220, 250, 250, 250, 250]
        assert running.mails[0].envelope.transaction.client.address == "198.51.100.7"


@pytest.mark.parametrize("header", BAD)
async def test_a_bad_header_ends_the_connection_without_a_word(tmp_path, header):
    async with gateway(behind(tmp_path)) as running:
        async with await running.open() as connection:
            connection.send(BAD[header], MAIL)
            connection.writer.write_eof()
            assert await rest_or_reset(connection) == b""
        await running.all_sessions_end()
        assert running.mails == []


async def rest_or_reset(connection: Client) -> bytes:
    try:
        return await connection.rest()
    except ConnectionResetError:
        return b""


async def test_a_proxy_that_leaves_within_its_header_is_let_go(tmp_path):
    async with gateway(behind(tmp_path)) as running:
        for end in ("EOF", "RST"):
            connection = await running.open()
            connection.send(b"PROXY TCP4")
            await running.until(lambda: running.sessions == 1)
            if end == "EOF":
                connection.writer.write_eof()
                assert await rest_or_reset(connection) == b""
            else:
                connection.reset()
            await running.all_sessions_end()


async def test_a_header_that_never_comes_is_not_waited_for(tmp_path, clock):
    async with gateway(behind(tmp_path)) as running, await running.open() as connection:
        connection.send(b"PROXY TCP4")
        await running.until(lambda: running.sessions == 1)
        await clock.advance(11)
        assert await rest_or_reset(connection) == b""


@pytest.mark.parametrize("header", [V1, V2])
async def test_a_header_from_anybody_else_is_no_header(tmp_path, header):
    async with gateway(behind(tmp_path, ELSEWHERE)) as running, await running.open() as connection:
        connection.send(header, MAIL)
        assert (await connection.reply())[0].startswith("220 ")
        assert await connection.code() == 500
        await running.until(lambda: running.sessions == 0 or running.mails != [])
        assert all(mail.envelope.transaction.client.address == "127.0.0.1" for mail in running.mails)


async def test_a_second_header_is_no_header(tmp_path):
    async with gateway(behind(tmp_path)) as running, await running.open() as connection:
        assert await connection.codes(V1, V1.replace(b".7", b".9"), MAIL, count=6) == [220, 500, 250, 250, 250, 250]
        assert running.mails[0].envelope.transaction.client.address == "198.51.100.7"


async def test_trust_is_in_the_announced_client_not_in_the_proxy(tmp_path):
    """A proxy on a trusted network does not make its clients trusted."""
    junk = b"BMTD 7\r\n\0\x01$Junk"
    async with gateway(behind(tmp_path, trusted_networks=TRUSTED)) as running, await running.open() as connection:
        connection.send(V1, HELLO, ENVELOPE, junk, b"BDAT 0 LAST\r\n")
        assert await connection.codes(count=6) == [220, 250, 250, 250, 250, 250]
        assert running.mails[0].envelope.metadata.keywords == ()


async def test_a_header_goes_before_implicit_tls(tmp_path, server_tls, client_tls):
    listener = behind(tmp_path, tls=server_tls, implicit_tls=True)
    async with gateway(listener) as running, await running.open() as connection:
        connection.send(V1)
        await connection.start_tls(client_tls)
        assert await connection.codes(MAIL, count=5) == [220, 250, 250, 250, 250]
        transaction = running.mails[0].envelope.transaction
        assert (transaction.client.address, transaction.protocol) == ("198.51.100.7", "ESMTPS")
