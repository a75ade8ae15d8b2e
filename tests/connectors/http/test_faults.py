"""Faults on the way to a real consumer: what a failure says of the mail is true, and the mail can come again."""

import asyncio
import socket
import threading
from contextlib import asynccontextmanager

import pytest

from gateway.connector import DestinationClosed, Mail, TransientFailure
from gateway.envelope import Content
from gateway.testing import plain_mail
from tests.connectors.http.consumers import (
    Recorder,
    answering,
    connector,
    listening,
    make_connector,
    read_request,
    served,
)
from tests.servers.fault_proxy import Bandwidth, FaultProxy, Latency, LimitData, ResetPeer, Slicer, Timeout

MIB = 1024 * 1024


@pytest.fixture
def recorder():
    return Recorder()


@asynccontextmanager
async def behind_a_proxy(recorder, **settings):
    """A connector to a real server through a proxy, and the proxy."""
    with served(recorder) as url:
        async with (
            FaultProxy("127.0.0.1", int(url.rpartition(":")[2])) as proxy,
            connector(f"http://127.0.0.1:{proxy.port}", **settings) as consumer,
        ):
            yield consumer, proxy


async def failure_of(consumer, mail) -> TransientFailure:
    with pytest.raises(TransientFailure) as caught:
        await consumer.emit(mail)
    return caught.value


@pytest.mark.parametrize(
    "fault",
    [Timeout(), ResetPeer(), LimitData(), ResetPeer(after=20), LimitData(after=20), Latency(30)],
    ids=["swallowed", "reset", "closed", "reset within", "closed within", "late"],
)
async def test_a_mail_whose_answer_got_lost_may_be_stored_and_comes_again_under_its_id(recorder, plain, fault):
    async with behind_a_proxy(recorder, timeout_seconds=3) as (consumer, proxy):
        proxy.downstream = (fault,)
        assert (await failure_of(consumer, plain)).possibly_stored
        first = recorder.received.pop(plain.envelope.id)
        proxy.downstream = ()
        await consumer.emit(plain)
        assert recorder.received[plain.envelope.id].body == first.body


@pytest.mark.parametrize("fault", [ResetPeer(after=MIB), LimitData(after=MIB)], ids=["reset", "closed"])
async def test_a_mail_that_did_not_leave_whole_is_not_stored(recorder, plain, fault):
    mail = Mail(plain.envelope, Content(bytes(32 * MIB)))
    async with behind_a_proxy(recorder, format="raw") as (consumer, proxy):
        proxy.upstream = (fault,)
        failure = await failure_of(consumer, mail)
        assert proxy.struck.is_set()
        assert not failure.possibly_stored
        assert recorder.received == {}
        proxy.upstream = ()
        await consumer.emit(mail)
        assert len(recorder.received[mail.envelope.id].body) == 32 * MIB


async def test_a_mail_that_left_whole_and_never_arrived_may_be_stored_for_all_we_know(recorder, plain):
    async with behind_a_proxy(recorder, timeout_seconds=2) as (consumer, proxy):
        proxy.upstream = (Timeout(after=10),)
        assert (await failure_of(consumer, plain)).possibly_stored
        assert recorder.received == {}


@pytest.mark.parametrize("toxic", [Slicer(3), Bandwidth(200_000), Latency(0.01)], ids=["slices", "narrow", "late"])
async def test_a_poor_link_changes_nothing(recorder, samples, toxic):
    mail = samples["metadata of every type"]
    async with behind_a_proxy(recorder, format="multipart") as (consumer, proxy):
        proxy.upstream = proxy.downstream = (toxic,)
        receipt = await consumer.emit(mail)
    assert receipt.location == {"status": 202, "location": "/mails/1"}
    assert mail.content.read() in recorder.received[mail.envelope.id].body


async def test_content_of_no_octets_leaves_whole(recorder, plain):
    async with behind_a_proxy(recorder, format="raw") as (consumer, _):
        await consumer.emit(Mail(plain.envelope, Content()))
    assert recorder.received[plain.envelope.id].body == b""


async def test_an_answer_that_comes_too_late_is_not_that_to_the_next_mail():
    go_on = asyncio.Event()
    late, next_one = plain_mail(), plain_mail()

    async def answer_with_the_id(reader, writer):
        mail_id = (await read_request(reader))["webhook-id"]
        if mail_id == late.envelope.id:
            await go_on.wait()
        body = b'{"id": "%b"}' % mail_id.encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        writer.write(head + body)
        await writer.drain()

    async with listening(answer_with_the_id) as url, connector(url, timeout_seconds=3, max_connections=1) as consumer:
        assert (await failure_of(consumer, late)).possibly_stored
        go_on.set()
        assert (await consumer.emit(next_one)).location["id"] == next_one.envelope.id


async def test_a_consumer_without_a_connection_to_it_has_nothing(plain):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    for url in (f"http://127.0.0.1:{port}", "http://consumer.invalid/"):
        async with connector(url) as consumer:
            assert not (await failure_of(consumer, plain)).possibly_stored


async def test_a_consumer_that_is_busy_says_when_to_come_again(plain):
    answer = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 120\r\nContent-Length: 0\r\n\r\n"
    async with answering(answer) as url, connector(url) as consumer:
        failure = await failure_of(consumer, plain)
    assert failure.retry_after_seconds == 120
    assert not failure.possibly_stored


async def test_a_consumer_that_is_gone_closes_the_destination(plain):
    async with answering(b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n") as url, connector(url) as consumer:
        with pytest.raises(DestinationClosed, match=r"5\.7\.1"):
            await consumer.emit(plain)


async def test_names_that_resolve_slowly_end_in_time_and_hold_up_nobody_else(plain, monkeypatch):
    resolve, answers = socket.getaddrinfo, threading.Event()

    def slowly(host, *arguments, **options):
        if host == "slow.example":
            answers.wait(10)
            host = "127.0.0.1"
        return resolve(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slowly)
    slow = make_connector("http://slow.example/", timeout_seconds=4)
    await slow.open()
    async with listening(_take) as url, connector(url.replace("127.0.0.1", "localhost"), format="raw") as quick:
        waiting = [asyncio.create_task(failure_of(slow, plain_mail())) for _ in range(64)]
        # Content of this size is read in threads, which names are looked up in too.
        await quick.emit(Mail(plain.envelope, Content(bytes(MIB))))
        assert not any(task.done() for task in waiting)
        failures = await asyncio.gather(*waiting)
    answers.set()
    await slow.close()
    assert {str(failure.status) for failure in failures} == {"4.4.2"}
    assert not any(failure.possibly_stored for failure in failures)


async def _take(reader, writer):
    await read_request(reader)
    writer.write(b"HTTP/1.1 204 Stored\r\n\r\n")
    await writer.drain()
