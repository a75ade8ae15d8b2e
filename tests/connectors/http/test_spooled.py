"""What the engine makes of a consumer's answers, and of none, with mail that the spool is responsible for."""

import time

import pytest

from connectors.http import CONNECTOR
from gateway.connector import STANDARD_WEBHOOKS
from gateway.testing import plain_mail
from tests.connectors.http.consumers import Recorder, connector, listening, read_request, served
from tests.connectors.spooled import spooling
from tests.servers.fault_proxy import FaultProxy, ResetPeer


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "spool"


class Consumer:
    """Answers every request alike, and knows their ids."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.asked: list[str] = []

    async def __call__(self, reader, writer):
        self.asked.append((await read_request(reader))["webhook-id"])
        writer.write(b"HTTP/1.1 " + self.answer + b"\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()


def test_retries_follow_the_schedule_of_standard_webhooks():
    assert CONNECTOR.retries is STANDARD_WEBHOOKS


async def test_a_mail_whose_answer_got_lost_comes_again_under_its_id_as_a_possible_duplicate(folder):
    mail, recorder = plain_mail(), Recorder()
    with served(recorder) as url:
        async with (
            FaultProxy("127.0.0.1", int(url.rpartition(":")[2])) as proxy,
            connector(f"http://127.0.0.1:{proxy.port}") as consumer,
            spooling(folder, CONNECTOR, consumer) as spool,
        ):
            proxy.downstream = (ResetPeer(),)
            await spool.accept(mail)
            await spool.until(lambda: ("waiting", 1) in spool.rows("state, possible_duplicate"))
            first = recorder.received.pop(mail.envelope.id)
            proxy.downstream = ()
            await spool.settled()
    again = recorder.received[mail.envelope.id]
    assert (again["webhook-id"], again.body) == (first["webhook-id"], first.body)


async def test_retry_after_holds_for_the_mail_and_for_the_destination(folder):
    consumer = Consumer(b"429 Too Many Requests\r\nRetry-After: 120")
    first, second = plain_mail(), plain_mail()
    async with (
        listening(consumer) as url,
        connector(url) as open_connector,
        spooling(folder, CONNECTOR, open_connector) as spool,
    ):
        await spool.accept(first)
        await spool.until(lambda: [("waiting", 1)] == spool.rows("state, attempts"))
        ((due,),) = spool.rows("due")
        assert 110 < due - time.time() < 140
        await spool.accept(second)
        await spool.until(lambda: [("waiting", 0), ("waiting", 1)] == spool.rows("state, attempts"))
    assert consumer.asked == [first.envelope.id]


async def test_410_pauses_the_destination_and_keeps_its_mail(folder):
    consumer = Consumer(b"410 Gone")
    first, second = plain_mail(), plain_mail()
    async with (
        listening(consumer) as url,
        connector(url) as open_connector,
        spooling(folder, CONNECTOR, open_connector) as spool,
    ):
        await spool.accept(first)
        await spool.until(lambda: bool(spool.rows("connector", "paused")))
        await spool.accept(second)
        await spool.until(lambda: [("waiting",), ("waiting",)] == spool.rows("state"))
    assert consumer.asked == [first.envelope.id]


@pytest.mark.parametrize("status", [b"400 Bad Request", b"404 Not Found", b"413 Content Too Large"])
async def test_a_refused_mail_is_a_dead_letter_at_once(folder, status):
    consumer = Consumer(status)
    async with (
        listening(consumer) as url,
        connector(url) as open_connector,
        spooling(folder, CONNECTOR, open_connector) as spool,
    ):
        await spool.accept(plain_mail())
        cause = f"HTTP {status[:3].decode()}"
        await spool.until(lambda: [("dead", cause)] == spool.rows("state, cause"))
    assert len(consumer.asked) == 1


async def test_a_redirection_is_tried_again(folder):
    consumer = Consumer(b"307 Moved\r\nLocation: /elsewhere")
    async with (
        listening(consumer) as url,
        connector(url) as open_connector,
        spooling(folder, CONNECTOR, open_connector) as spool,
    ):
        await spool.accept(plain_mail())
        await spool.until(lambda: len(consumer.asked) == 2)
        consumer.answer = b"204 No Content"
        await spool.settled()
