"""Consumers and networks that misbehave: every exchange ends in time, and nothing counts that is not an answer."""

import asyncio
import gzip
import socket
import threading
import tracemalloc

import pytest

from connectors.http.outcome import ANSWER_LIMIT
from gateway.connector import Mail, PermanentFailure, TransientFailure
from gateway.envelope import Content
from gateway.testing.samples import plain_mail
from tests.connectors.http.consumers import answering, connector, listening, make_connector, read_request

HANGING = {"timeout_seconds": 1}


async def refused(url: str, mail: Mail, **settings) -> TransientFailure:
    async with connector(url, **settings) as consumer:
        with pytest.raises(TransientFailure) as caught:
            await consumer.emit(mail)
    return caught.value


async def hang(reader, writer):
    await reader.read()
    await asyncio.Event().wait()


async def test_a_consumer_that_never_answers_is_given_up_in_time(plain):
    async with listening(hang) as url:
        failure = await refused(url, plain, **HANGING)
    assert str(failure.status) == "4.4.2"
    assert failure.cause == "no complete answer within 1 seconds"


async def test_a_consumer_that_never_accepts_is_given_up_in_time(plain):
    with socket.create_server(("127.0.0.1", 0), backlog=0) as silent:
        port = silent.getsockname()[1]
        # The queue of a listening socket takes one connection, and then connecting hangs.
        with socket.create_connection(("127.0.0.1", port)):
            failure = await refused(f"http://127.0.0.1:{port}", plain, **HANGING)
    assert str(failure.status) == "4.4.2"


async def test_a_consumer_that_never_reads_is_given_up_and_its_mail_is_not_read_on(plain):
    async def never_read(reader, writer):
        reader._transport.pause_reading()
        await asyncio.Event().wait()

    before = threading.active_count()
    mail = Mail(plain.envelope, Content(bytes(32 * 1024 * 1024)))
    async with listening(never_read) as url:
        failure = await refused(url, mail, format="raw", timeout_seconds=0.5)
    assert str(failure.status) == "4.4.2"
    assert not failure.possibly_stored
    assert threading.active_count() <= before + 8


async def test_an_answer_that_trickles_without_end_is_given_up_in_time(plain):
    async def trickle(reader, writer):
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"1\r\nx\r\n")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with listening(trickle) as url:
        failure = await refused(url, plain, **HANGING)
    assert str(failure.status) == "4.4.2"
    assert failure.possibly_stored


async def test_an_answer_that_pours_without_end_counts_by_its_status_and_its_connection_is_closed(plain):
    poured = 0
    closed = asyncio.Event()

    async def pour(reader, writer):
        nonlocal poured
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                writer.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
                await writer.drain()
                poured += 0x10000
        finally:
            closed.set()

    async with listening(pour) as url, connector(url) as consumer:
        assert (await consumer.emit(plain)).location == {"status": 200}
        async with asyncio.timeout(5):
            await closed.wait()
    # What stands in the buffers of two sockets was never read.
    assert poured < 16 * 1024 * 1024


async def test_a_compressed_answer_is_not_unpacked(plain):
    bomb = gzip.compress(bytes(50_000_000))
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n"
    async with answering(head + bomb) as url, connector(url) as consumer:
        await consumer.emit(plain)
        tracemalloc.start()
        try:
            assert (await consumer.emit(plain)).location == {"status": 200}
            assert tracemalloc.get_traced_memory()[1] < 2 * 1024 * 1024
        finally:
            tracemalloc.stop()


async def test_an_answer_in_an_encoding_is_not_looked_into(plain):
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n"
    async with answering(head + b'{"id": 1}') as url, connector(url) as consumer:
        assert (await consumer.emit(plain)).location == {"status": 200}


@pytest.mark.parametrize(
    "value", [b"(" * 8000, b"text/plain" + b";" * 8000, b";", b"\xff/\xff", b"", b'"'], ids=lambda v: v[:12]
)
async def test_no_media_type_is_more_than_a_word_to_compare(value, plain):
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Type: " + value + b"\r\n\r\n"
    async with answering(answer) as url, connector(url) as consumer:
        assert (await consumer.emit(plain)).location == {"status": 200}


@pytest.mark.parametrize(
    ("content_type", "text"),
    [
        ("text/plain", "No"),
        ("TEXT/Plain ; charset=utf-8", "No"),
        ("text/html", "the destination refused the mail (HTTP 410)"),
    ],
)
async def test_the_words_of_a_consumer_that_is_gone_are_the_reply(content_type, text, plain):
    answer = f"HTTP/1.1 410 Gone\r\nContent-Type: {content_type}\r\nContent-Length: 7\r\n\r\nNo\nmore".encode()
    async with answering(answer) as url, connector(url) as consumer:
        with pytest.raises(PermanentFailure) as caught:
            await consumer.emit(plain)
    assert caught.value.text == text


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"y" * 1000) for n in range(1000)) + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"y" * 1_000_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 " + b"y" * 1_000_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 99999 OK\r\n\r\n",
        b"HTTP/9.9\r\n\r\n",
        b"250 2.0.0 this is SMTP\r\n",
        b"\x16\x03\x01\x00\x05this is TLS",
        b"\0" * 100_000,
    ],
    ids=lambda answer: repr(answer[:40]),
)
async def test_what_is_no_answer_in_http_is_no_receipt(answer, plain):
    async with answering(answer) as url:
        failure = await refused(url + "?token=canary", plain)
    assert str(failure.status) == "4.4.2"
    assert "canary" not in str(failure)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 ",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
        b"HTTP/1.1 410 Gone\r\nContent-Length: 5\r\n\r\nabc",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
    ids=repr,
)
async def test_an_answer_that_breaks_off_is_no_answer(answer, plain):
    async with answering(answer) as url:
        failure = await refused(url, plain)
    assert str(failure.status) == "4.4.2"
    assert failure.text == "the connection to the destination broke, try again later"
    assert failure.possibly_stored


async def test_a_reset_instead_of_an_answer_is_transient(plain):
    async def reset(reader, writer):
        await read_request(reader)

    async with listening(reset) as url:
        assert str((await refused(url, plain)).status) == "4.4.2"


async def test_2xx_before_the_whole_mail_was_sent_is_no_receipt(plain):
    async def answer_early(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        await asyncio.Event().wait()

    mail = Mail(plain.envelope, Content(bytes(32 * 1024 * 1024)))
    async with listening(answer_early) as url:
        failure = await refused(url, mail, format="raw")
    assert failure.cause == "HTTP 200 before the consumer had the whole mail"
    assert failure.possibly_stored


async def test_4xx_before_the_whole_mail_was_sent_is_an_answer(plain):
    async def refuse_early(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 No\r\nContent-Type: text/plain\r\nContent-Length: 7\r\n\r\nToo big")
        await writer.drain()
        await asyncio.Event().wait()

    mail = Mail(plain.envelope, Content(bytes(32 * 1024 * 1024)))
    async with listening(refuse_early) as url, connector(url, format="raw") as consumer:
        with pytest.raises(PermanentFailure, match=r"5\.3\.4 Too big"):
            await consumer.emit(mail)


@pytest.mark.parametrize("gap", ["with the first", "later"])
async def test_a_second_answer_is_never_taken_for_that_to_the_next_mail(gap):
    said_twice = asyncio.Event()
    go_on = asyncio.Event()
    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

    async def answer_twice(reader, writer):
        await read_request(reader)
        if said_twice.is_set():
            writer.write(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
            await reader.read()
        writer.write(ok)
        if gap == "later":
            await go_on.wait()
        writer.write(ok)
        await writer.drain()
        said_twice.set()
        await reader.read()

    async with listening(answer_twice) as url, connector(url) as consumer:
        await consumer.emit(plain_mail())
        go_on.set()
        await said_twice.wait()
        # One turn through the selector brings what has been sent over loopback.
        await asyncio.sleep(0.01)
        with pytest.raises(TransientFailure, match="HTTP 503"):
            await consumer.emit(plain_mail())


async def test_a_redirection_is_not_followed(plain):
    async with listening(hang) as elsewhere:
        answer = f"HTTP/1.1 307 Moved\r\nLocation: {elsewhere}/\r\nContent-Length: 0\r\n\r\n".encode()
        async with answering(answer) as url:
            failure = await refused(url, plain)
    assert str(failure.status) == "4.3.5"


async def test_cookies_are_not_sent_back():
    cookies = []

    async def handle(reader, writer):
        for _ in range(2):
            cookies.append("cookie" in dict((await read_request(reader)).headers))
            writer.write(b"HTTP/1.1 204 Stored\r\nSet-Cookie: a=b\r\n\r\n")

    async with listening(handle) as url, connector(url.replace("127.0.0.1", "localhost")) as consumer:
        for _ in range(2):
            await consumer.emit(plain_mail())
    assert cookies == [False, False]


async def test_no_proxy_of_the_environment_is_asked(plain, monkeypatch):
    async with listening(hang) as proxy, answering(b"HTTP/1.1 204 Stored\r\n\r\n") as url:
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.setenv("HTTP_PROXY", proxy)
        monkeypatch.setenv("ALL_PROXY", proxy)
        async with connector(url, **HANGING) as consumer:
            await consumer.emit(plain)


async def test_a_consumer_that_is_down_is_transient_and_the_log_says_why(plain):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    failure = await refused(f"http://127.0.0.1:{port}/?token=canary", plain)
    assert str(failure.status) == "4.4.1"
    assert failure.text == "the destination cannot be reached, try again later"
    assert "Connect call failed" in failure.cause
    assert "canary" not in str(failure)


async def test_a_name_that_does_not_exist_is_transient_and_the_log_says_why(plain):
    failure = await refused("http://consumer.invalid/", plain)
    assert str(failure.status) == "4.4.1"
    assert failure.cause.startswith("DNS: ")


async def test_a_consumer_that_comes_back_gets_the_next_mail():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    async def take(reader, writer):
        await read_request(reader)
        writer.write(b"HTTP/1.1 204 Stored\r\n\r\n")
        await writer.drain()

    async with connector(f"http://127.0.0.1:{port}") as consumer:
        with pytest.raises(TransientFailure):
            await consumer.emit(plain_mail())
        async with listening(take, port=port):
            await consumer.emit(plain_mail())


async def test_closing_does_not_wait_for_a_consumer_that_hangs(plain):
    entered = asyncio.Event()

    async def hang_when_entered(reader, writer):
        await read_request(reader)
        entered.set()
        await asyncio.Event().wait()

    async with listening(hang_when_entered) as url, connector(url) as consumer:
        emit = asyncio.create_task(consumer.emit(plain))
        await entered.wait()
        async with asyncio.timeout(1):
            await consumer.close()
        with pytest.raises(TransientFailure):
            await emit


async def test_a_connector_that_is_not_open_says_so(plain):
    with pytest.raises(TransientFailure, match="not open"):
        await make_connector("http://127.0.0.1:1").emit(plain)


async def test_a_cancelled_emit_leaves_no_connection_behind(plain):
    entered, closed = asyncio.Event(), asyncio.Event()

    async def wait_for_the_end(reader, writer):
        await read_request(reader)
        entered.set()
        await reader.read()
        closed.set()

    async with listening(wait_for_the_end) as url, connector(url) as consumer:
        emit = asyncio.create_task(consumer.emit(plain))
        await entered.wait()
        emit.cancel()
        await asyncio.wait([emit])
        assert emit.cancelled()
        async with asyncio.timeout(5):
            await closed.wait()


async def test_a_slow_consumer_does_not_hold_up_another(plain):
    async with (
        listening(hang) as slow,
        answering(b"HTTP/1.1 204 Stored\r\n\r\n") as quick,
        connector(slow) as first,
        connector(quick) as second,
    ):
        waiting = asyncio.create_task(first.emit(plain))
        async with asyncio.timeout(2):
            await second.emit(plain)
        assert not waiting.done()
        waiting.cancel()
        await asyncio.wait([waiting])


async def test_an_answer_of_just_the_limit_is_read_whole(plain):
    body = b'{"id": "x"}'.ljust(ANSWER_LIMIT)
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    async with answering(answer) as url, connector(url) as consumer:
        assert (await consumer.emit(plain)).location == {"status": 200, "id": "x"}
