"""Bodies: what is read, where, and when no more."""

import asyncio
import threading
import tracemalloc

import pytest

from connectors.http.body import Body, Reading
from gateway.connector import Mail, TransientFailure
from gateway.envelope import BLOCK, Content
from tests.connectors.http.consumers import connector, listening


class Stream(Content):
    """Zeros that are not in memory; tells in which threads it was read and how often. `failing_at` raises there."""

    __slots__ = ("failing_at", "reads", "threads")

    def __init__(self, size: int, *, failing_at: int = -1) -> None:
        super().__init__()
        self.size = size
        self.failing_at = failing_at
        self.reads = 0
        self.threads = set()

    def read_at(self, position, size):
        self.reads += 1
        self.threads.add(threading.current_thread())
        if position == self.failing_at:
            raise OSError("the disk is gone")
        return bytes(max(0, min(size, self.size - position)))


async def read_on(reading: Reading) -> bytes:
    octets = bytearray()
    while block := await reading.next():
        octets += block
    return bytes(octets)


async def whole(body: Body) -> bytes:
    return await read_on(Reading(body))


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK])
async def test_pieces_come_one_after_the_other(size):
    octets = bytes(range(256)) * (size // 256 + 1)
    pieces = (b"a", Content(octets[:size]), b"", octets[:size], b"z")
    body = Body(pieces)
    assert body.size == 2 * size + 2
    assert await whole(body) == b"a" + octets[:size] + octets[:size] + b"z"


async def test_small_content_is_read_where_it_is_needed_and_large_content_in_another_thread():
    small, large = Stream(BLOCK), Stream(BLOCK + 1)
    await whole(Body((small,)))
    await whole(Body((large,)))
    assert small.threads == {threading.current_thread()}
    assert threading.current_thread() not in large.threads


@pytest.mark.parametrize("size", [10, 2 * BLOCK])
async def test_content_that_ends_early_is_an_error_and_no_shorter_body(size):
    body = Body((Stream(size),))
    reading = Reading(body)
    body.pieces[0].size -= 1
    with pytest.raises(OSError, match="shorter than its size"):
        await read_on(reading)


async def drain(reader, writer):
    """Reads a request and answers, without keeping any of it."""
    head = await reader.readuntil(b"\r\n\r\n")
    left = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    while left:
        block = await reader.read(1 << 20)
        if not block:
            return
        left -= len(block)
    writer.write(b"HTTP/1.1 204 Stored\r\nConnection: close\r\n\r\n")
    await writer.drain()


@pytest.mark.parametrize("form", ["raw", "multipart"])
async def test_large_content_is_never_in_memory(form, plain):
    content = Stream(100 * 1024 * 1024)
    async with listening(drain) as url, connector(url, format=form) as consumer:
        await consumer.emit(plain)
        tracemalloc.start()
        try:
            await consumer.emit(Mail(plain.envelope, content))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 8 * 1024 * 1024
    # Once for the signature, once for the consumer.
    assert content.reads <= 2 * (content.size // BLOCK + 1)


@pytest.mark.parametrize("form", ["raw", "multipart", "cloudevents-binary", "cloudevents-structured"])
@pytest.mark.parametrize("size", [100, 4 * BLOCK])
async def test_content_that_cannot_be_read_is_transient(form, size, plain):
    content = Stream(size, failing_at=0)
    async with listening(drain) as url, connector(url, format=form) as consumer:
        with pytest.raises(TransientFailure) as caught:
            await consumer.emit(Mail(plain.envelope, content))
        assert str(caught.value.status) == "4.3.0"
        assert caught.value.cause == "content: the disk is gone"
        await consumer.emit(plain)


@pytest.mark.parametrize("form", ["raw", "multipart"])
async def test_content_that_cannot_be_read_a_second_time_is_transient(form, plain):
    class Vanishing(Stream):
        def read_at(self, position, size):
            self.failing_at = position if self.reads > self.size // BLOCK + 1 else -1
            return super().read_at(position, size)

    async with listening(drain) as url, connector(url, format=form) as consumer:
        with pytest.raises(TransientFailure):
            await consumer.emit(Mail(plain.envelope, Vanishing(8 * BLOCK)))
        await consumer.emit(plain)


@pytest.mark.parametrize("form", ["raw", "multipart"])
async def test_a_cancelled_emit_stops_reading_before_it_ends(form, plain):
    received = asyncio.Event()

    async def read_no_more(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        received.set()
        await asyncio.Event().wait()

    content = Stream(64 * BLOCK)
    async with listening(read_no_more, limit=4096) as url, connector(url, format=form) as consumer:
        emit = asyncio.create_task(consumer.emit(Mail(plain.envelope, content)))
        await received.wait()
        emit.cancel()
        await asyncio.wait([emit])
        reads = content.reads
        await asyncio.sleep(0.05)
        assert content.reads == reads


async def test_a_cancelled_emit_ends_after_the_read_that_is_under_way(plain):
    entered, release = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    class Slow(Stream):
        def read_at(self, position, size):
            if self.reads == self.size // BLOCK:
                # The first read of the second pass, the one that is sent.
                loop.call_soon_threadsafe(entered.set)
                release.wait(5)
            return super().read_at(position, size)

    async with listening(drain) as url, connector(url, format="raw") as consumer:
        emit = asyncio.create_task(consumer.emit(Mail(plain.envelope, Slow(4 * BLOCK))))
        await entered.wait()
        for _ in range(3):
            emit.cancel()
            for _ in range(20):
                await asyncio.sleep(0)
        assert not emit.done()
        release.set()
        await asyncio.wait([emit])
        assert emit.cancelled()


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 13, 21, 34])
async def test_a_cancellation_at_any_point_leaves_a_connector_that_works(turns, plain):
    async with listening(drain) as url, connector(url, format="raw") as consumer:
        emit = asyncio.create_task(consumer.emit(Mail(plain.envelope, Stream(4 * BLOCK))))
        for _ in range(turns):
            await asyncio.sleep(0)
        emit.cancel()
        await asyncio.wait([emit])
        assert (await consumer.emit(plain)).location == {"status": 204}


@pytest.mark.parametrize("form", ["cloudevents-binary", "cloudevents-structured"])
async def test_few_large_mails_are_in_memory_at_once(form, plain):
    open_now = peak = 0
    both = asyncio.Event()

    async def count(reader, writer):
        nonlocal open_now, peak
        open_now += 1
        peak = max(peak, open_now)
        if open_now == 2:
            both.set()
        await both.wait()
        await drain(reader, writer)
        open_now -= 1

    mail = Mail(plain.envelope, Content(bytes(1024 * 1024 + 1)))
    async with listening(count) as url, connector(url, format=form) as consumer:
        await asyncio.gather(*(consumer.emit(mail) for _ in range(6)))
    assert peak == 2
