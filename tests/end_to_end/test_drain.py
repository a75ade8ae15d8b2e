"""SIGTERM while mail is under way in every way that there is, with a destination that hangs: nothing is lost."""

import time
from contextlib import ExitStack

import pytest

from tests.end_to_end import tables
from tests.end_to_end.gateway import Gateway
from tests.end_to_end.mails import MAIL
from tests.end_to_end.spools import drained, id_in
from tests.end_to_end.wire import Wire, deliver
from tests.torture.shim import Action, Faults

TO = "bob@example.org"
# What a loaded machine may need beyond the configured time, to notice and to end.
TOLERANCE_SECONDS = 10.0
SHUTTING_DOWN = "421 4.3.2"


@pytest.fixture
def disk(tmp_path):
    with Faults(tmp_path / "gateway") as faults:
        yield faults


@pytest.fixture
def hanging(tmp_path, consumer, disk):
    """Start a gateway whose only destination takes requests and answers none, with a spooled mail given to it."""
    with ExitStack() as running:

        def start(drain_seconds: int) -> tuple[Gateway, str]:
            consumer.may_answer.clear()
            folder = tmp_path / "gateway"
            folder.mkdir()
            listeners = tables.LISTENERS.replace("[gateway]\n", f"[gateway]\ndrain_seconds = {drain_seconds}\n")
            configuration = listeners + tables.http(consumer.url) + tables.spooled("consumer")
            gateway = running.enter_context(Gateway(folder, configuration, environment=disk.environment()))
            id_ = id_in(deliver(gateway.addresses["smtp"], MAIL, TO)[0])
            assert consumer.has_request.wait(20)
            return gateway, id_

        yield start


class Crowd:
    """A client at each point of a mail."""

    def __init__(self, gateway, stack):
        self._address = gateway.addresses["smtp"]
        self._stack = stack
        self.idle = self._client()
        self.in_data, self.finishes_data = self._in_data(), self._in_data()
        self.in_chunk, self.finishes_chunk = self._in_chunk(), self._in_chunk()

    def after_the_dot(self, disk):
        """One whose mail is on its way to a disk that takes two seconds for it."""
        client = self._in_data()
        calls = disk.calls
        disk.arm(Action.SLOW, at=1)
        client.send(b".\r\n")
        # The row is written, and the sync has not ended.
        while disk.calls == calls:
            time.sleep(0.005)
        return client

    def _client(self):
        client = self._stack.enter_context(Wire(self._address))
        client.greet()
        return client

    def _in_data(self):
        client = self._client()
        client.begin(TO)
        assert client.ask("DATA").startswith("354")
        client.send(MAIL[:-2].replace(b"\r\n.", b"\r\n..") + b"\r\n")
        return client

    def _in_chunk(self):
        client = self._client()
        client.begin(TO, parameters=" BODY=BINARYMIME")
        client.send(b"BDAT %d LAST\r\n%b" % (len(MAIL), MAIL[:20]))
        return client


def test_the_end_comes_in_time_and_loses_nothing_that_got_a_250(hanging, consumer, disk):
    gateway, first = hanging(6)
    with ExitStack() as clients:
        crowd = Crowd(gateway, clients)
        waiting = crowd.after_the_dot(disk)
        began = time.monotonic()
        gateway.terminate()
        gateway.wait_for('"event": "stopping"')
        disk.disarm()
        assert crowd.idle.read().startswith(SHUTTING_DOWN)
        crowd.finishes_data.send(b".\r\n")
        crowd.finishes_chunk.send(MAIL[20:])
        accepted = [first]
        for client in (waiting, crowd.finishes_data, crowd.finishes_chunk):
            accepted.append(id_in(client.read()))
            assert client.read().startswith(SHUTTING_DOWN)
        # Whoever does not finish is told, and still has the mail.
        for client in (crowd.in_data, crowd.in_chunk):
            assert client.read().startswith(SHUTTING_DOWN)
        assert gateway.wait() == 0
        assert time.monotonic() - began < 6 + TOLERANCE_SECONDS, gateway.log
    assert_all_arrive(gateway, consumer, accepted)


def test_a_second_signal_ends_it_at_once_and_loses_nothing_that_got_a_250(hanging, consumer, disk):
    gateway, first = hanging(300)
    with ExitStack() as clients:
        crowd = Crowd(gateway, clients)
        waiting = crowd.after_the_dot(disk)
        gateway.terminate()
        gateway.wait_for('"event": "stopping"')
        began = time.monotonic()
        gateway.terminate()
        disk.disarm()
        for client in (crowd.in_data, crowd.in_chunk, crowd.finishes_data, crowd.finishes_chunk):
            assert client.read().startswith(SHUTTING_DOWN)
        # What was on its way to the disk was accepted, or its client still has it.
        reply = waiting.read()
        assert reply.startswith(("250", SHUTTING_DOWN))
        assert gateway.wait() == 0
        assert time.monotonic() - began < TOLERANCE_SECONDS, gateway.log
    accepted = [first] + ([id_in(reply)] if reply.startswith("250") else [])
    assert_all_arrive(gateway, consumer, accepted)


def assert_all_arrive(gateway, consumer, accepted):
    """After the next start, in time that a schedule does not add to."""
    assert "Traceback" not in gateway.log, gateway.log
    consumer.may_answer.set()
    gateway.start()
    drained(gateway)
    assert gateway.stop() == 0
    arrived = {request["webhook-id"] for request in consumer.received}
    assert arrived >= set(accepted)
    assert {request.body for request in consumer.received} == {MAIL}
