"""Each toxic of the fault proxy does what it is for, on a connection to an echo."""

import asyncio
import time
from contextlib import asynccontextmanager

import pytest

from tests.servers.fault_proxy import (
    Bandwidth,
    FaultProxy,
    Latency,
    LimitData,
    ResetPeer,
    Slicer,
    SlowClose,
    Timeout,
    Toxic,
)

OCTETS = bytes(range(256)) * 1024


@pytest.fixture
async def proxy():
    """A proxy in front of a server that says everything again."""

    async def echo(reader, writer):
        try:
            while octets := await reader.read(65536):
                writer.write(octets)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with asyncio.timeout(10), FaultProxy("127.0.0.1", server.sockets[0].getsockname()[1]) as proxy:
        yield proxy
    server.close()


@asynccontextmanager
async def connected(proxy):
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def echoed(proxy, octets):
    """What comes back until the end, and how long that takes."""
    began = time.monotonic()
    async with connected(proxy) as (reader, writer):
        writer.write(octets)
        writer.write_eof()
        return await reader.read(), time.monotonic() - began


@pytest.mark.parametrize("way", ["upstream", "downstream"])
@pytest.mark.parametrize("toxics", [(), (Toxic(),), (Slicer(1000),), (Slicer(1000), Slicer(7)), (LimitData(2**20),)])
async def test_octets_arrive_as_they_were_sent(proxy, way, toxics):
    setattr(proxy, way, toxics)
    found, _ = await echoed(proxy, OCTETS)
    assert found == OCTETS
    assert not proxy.struck.is_set()


@pytest.mark.parametrize("toxic", [Latency(0.1), Bandwidth(10_000), SlowClose(0.1)])
async def test_what_is_slow_takes_its_time(proxy, toxic):
    proxy.downstream = (toxic,)
    found, seconds = await echoed(proxy, OCTETS[:1000])
    assert found == OCTETS[:1000]
    assert seconds >= 0.1


@pytest.mark.parametrize("way", ["upstream", "downstream"])
async def test_a_limit_ends_the_connection_in_order(proxy, way):
    setattr(proxy, way, (LimitData(after=1000),))
    async with connected(proxy) as (reader, writer):
        writer.write(OCTETS[:2000])
        # What had gone upstream before the end is not waited for.
        assert OCTETS[:1000].startswith(found := await reader.read())
        assert way == "upstream" or len(found) == 1000
    assert proxy.struck.is_set()


@pytest.mark.parametrize("way", ["upstream", "downstream"])
async def test_a_reset_is_one(proxy, way):
    setattr(proxy, way, (ResetPeer(after=1000),))
    async with connected(proxy) as (reader, writer):
        writer.write(OCTETS[:2000])
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(2000)


async def test_what_is_swallowed_never_arrives_and_the_connection_stays(proxy):
    proxy.downstream = (Timeout(after=1000),)
    async with connected(proxy) as (reader, writer):
        writer.write(OCTETS[:2000])
        await proxy.struck.wait()
        assert await reader.readexactly(1000) == OCTETS[:1000]
        proxy.downstream = ()
        writer.write(b"again")
        # The rest of the first piece is lost for good.
        assert (await reader.read(2000)).endswith(b"again")


async def test_toxics_hold_for_each_connection_by_itself(proxy):
    proxy.downstream = (LimitData(after=1000),)
    for _ in range(2):
        async with connected(proxy) as (reader, writer):
            writer.write(OCTETS[:1500])
            assert len(await reader.read()) == 1000
    assert proxy.connections == 2


async def test_a_server_that_is_down_is_a_connection_that_ends(proxy):
    proxy._server_address = ("127.0.0.1", 1)
    async with connected(proxy) as (reader, _):
        assert await reader.read() == b""
