"""The queue of one destination: it waits without turning, ends without leaving anything, and outlives what fails."""

import asyncio
import errno
import os

import pytest
from msgspec import structs

from gateway.connector import DestinationClosed, PermanentFailure, RetrySchedule, TransientFailure
from gateway.delivery import queue as module
from gateway.delivery import window
from gateway.envelope import Mail, read_metadata, with_own_trace
from gateway.spool import INLINE_OCTETS, Spool
from gateway.spool import spool as spool_module
from gateway.spool.content_files import ContentFiles
from gateway.status import DESTINATION_UNREACHABLE, MESSAGE_REFUSED
from gateway.testing import MemoryConnector
from tests.delivery.rig import DOWN, NO_NOTICES, Rig, fresh


@pytest.fixture
def rig(tmp_path):
    return Rig(folder=tmp_path / "spool", connectors={"one": MemoryConnector("one"), "two": MemoryConnector("two")})


@pytest.fixture
def turns(monkeypatch):
    """How often the time has been asked for, which each turn of a queue does."""
    asked = []

    def now():
        asked.append(1)
        return clock()

    clock = module.now
    monkeypatch.setattr(module, "now", now)
    return asked


async def quiet(turns):
    before = len(turns)
    await asyncio.sleep(0.1)
    return len(turns) - before < 20


async def test_a_paused_queue_waits_without_turning(rig, turns):
    rig.connectors["one"].failure = DestinationClosed(MESSAGE_REFUSED, "gone")
    async with rig.running() as engine:
        await rig.delivered_one(engine, "two")
        await engine.accept(fresh(), {"one": (0,)})
        await rig.until(lambda: rig.rows("connector", "paused") == [("one",)] and rig.rows("state") == [("waiting",)])
        assert await quiet(turns)


async def test_a_queue_with_a_full_window_waits_without_turning(rig, turns):
    rig.retries = RetrySchedule(delays_seconds=(0.2,), for_ever=True)
    one = rig.connectors["one"]
    async with rig.running(seconds=0.0) as engine:
        await rig.delivered_one(engine, "one")
        one.failure = DOWN
        await engine.accept(fresh(), {"one": (0,)})
        await rig.until(lambda: rig.rows("state") == [("waiting",)])
        one.failure = None
        one.hold()
        for _ in range(rig.max_in_flight):
            await engine.accept(fresh(), {"one": (0,)})
        await rig.until(lambda: one.in_flight == rig.max_in_flight)
        await asyncio.sleep(0.25)  # until the first is due again, and has no place
        assert await quiet(turns)


async def test_what_is_in_memory_is_bounded_whatever_the_window(rig, monkeypatch):
    monkeypatch.setattr(window, "_MAXIMUM_OCTETS", 4 * INLINE_OCTETS)
    rig.max_in_flight = 100
    rig.connectors["one"].hold()
    async with rig.running(seconds=0.0) as engine:
        for _ in range(20):
            await engine.accept(fresh(b"x" * INLINE_OCTETS), {"one": (0,), "two": (0,)})
        await rig.until(lambda: len(rig.connectors["two"].mails) == 20)
        assert rig.connectors["one"].peak_in_flight == 4


async def test_a_stop_waits_for_an_attempt_that_is_being_recorded(rig, monkeypatch):
    recorded, go_on = asyncio.Event(), asyncio.Event()
    add = Spool.add

    async def add_slowly(self, message):
        entries = await add(self, message)
        recorded.set()
        await go_on.wait()
        return entries

    async with rig.running() as engine:
        await rig.delivered_one(engine, "one")
        monkeypatch.setattr(Spool, "add", add_slowly)
        accepting = asyncio.ensure_future(engine.accept(mail := fresh(), {"one": (0,)}))
        await recorded.wait()
        stopping = asyncio.ensure_future(engine.stop(seconds=5))
        await asyncio.sleep(0.05)
        assert not stopping.done()
        go_on.set()
        await accepting
        await stopping
        assert rig.rows() == []
    assert mail.envelope.id in rig.connectors["one"].mails


async def test_mail_that_comes_in_while_its_destination_goes_is_not_stuck(rig, monkeypatch):
    recorded, go_on = asyncio.Event(), asyncio.Event()
    add = Spool.add

    async def add_slowly(self, message):
        entries = await add(self, message)
        recorded.set()
        await go_on.wait()
        return entries

    async with rig.running() as engine:
        await rig.delivered_one(engine, "one")
        monkeypatch.setattr(Spool, "add", add_slowly)
        rig.connectors["one"].failure = DOWN
        accepting = asyncio.ensure_future(engine.accept(mail := fresh(), {"one": (0,)}))
        await recorded.wait()
        two = {"two": rig.destinations["two"]}
        leaving = asyncio.ensure_future(engine.assign(two, NO_NOTICES))
        await asyncio.sleep(0)
        go_on.set()
        assert (await accepting).id == mail.envelope.id
        await engine.assign(two | {"one": rig.destination("one")}, NO_NOTICES)
        await leaving
        rig.connectors["one"].failure = None
        await rig.settled()
    assert mail.envelope.id in rig.connectors["one"].mails


async def test_a_destination_that_a_reload_takes_away_gets_nothing_more_though_the_spool_fails(rig, monkeypatch):
    async def connectors(_):
        raise OSError(errno.EIO, "the disk")

    async with rig.running() as engine:
        monkeypatch.setattr(Spool, "connectors", connectors)
        with pytest.raises(OSError, match="the disk"):
            await engine.assign({"two": rig.destinations["two"]}, NO_NOTICES)
        await engine.accept(fresh(), {"one": (0,), "two": (0,)})
        await rig.until(lambda: rig.rows("connector, attempts") == [("one", 0)])


async def test_large_content_that_cannot_be_opened_now_is_tried_again_without_being_asked(rig, monkeypatch):
    monkeypatch.setattr(spool_module, "_LATER_SECONDS", 0.05)
    failed = []
    open_ = ContentFiles.open

    def open_the_second_time(self, id_):
        if not failed:
            failed.append(id_)
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return open_(self, id_)

    monkeypatch.setattr(ContentFiles, "open", open_the_second_time)
    async with rig.running() as engine:
        await engine.accept(mail := fresh(b"x" * 200_000), {"one": (0,)})
        await rig.settled()
    assert failed == [mail.envelope.id]
    assert mail.envelope.id in rig.connectors["one"].mails


async def test_a_defect_in_a_claim_does_not_end_the_queue(rig, monkeypatch):
    monkeypatch.setattr(module, "_DEFECT_SECONDS", 0.01)
    claim = Spool.claim
    raised = []

    async def claim_the_second_time(self, connector, **rest):
        if not raised:
            raised.append(connector)
            raise RuntimeError("a defect")
        return await claim(self, connector, **rest)

    monkeypatch.setattr(Spool, "claim", claim_the_second_time)
    async with rig.running() as engine:
        await engine.accept(fresh(), {"one": (0,), "two": (0,)})
        await rig.settled()
    assert raised


async def test_a_multitude_that_always_fails_does_not_hold_back_what_comes_after_it(rig):
    class Picky(MemoryConnector):
        async def emit(self, mail):
            if mail.content.size > 20:
                raise DOWN
            return await super().emit(mail)

    rig.connectors["one"] = Picky("one")
    rig.retries = RetrySchedule(delays_seconds=(3600,), for_ever=True)
    async with rig.running() as engine:
        for _ in range(100):
            await engine.accept(fresh(b"Subject: poison\r\n\r\nx\r\n"), {"one": (0,)})
        mail = fresh()
        await engine.accept(mail, {"one": (0,)})
        await rig.until(lambda: mail.envelope.id in rig.connectors["one"].mails)


async def test_a_destination_that_refuses_mail_for_good_is_not_suspected_any_more(rig):
    one = rig.connectors["one"]
    one.failure = DOWN
    async with rig.running() as engine:
        for _ in range(20):
            await engine.accept(fresh(), {"one": (0,)})
        health = engine._queues["one"]._health
        await rig.until(lambda: health.is_suspected)
        one.failure = PermanentFailure(MESSAGE_REFUSED, "no")
        await rig.until(lambda: {state for (state,) in rig.rows("state")} == {"dead"})
        assert not health.is_suspected


async def test_a_destination_that_puts_off_single_mails_is_not_suspected(rig):
    rig.retries = RetrySchedule(delays_seconds=(3600,), for_ever=True)
    for about_mail in (True, False):
        one = rig.connectors["one"] = MemoryConnector("one")
        one.failure = TransientFailure(DESTINATION_UNREACHABLE, "later", about_mail=about_mail)
        async with rig.running() as engine:
            for _ in range(20):
                await engine.accept(fresh(), {"one": (0,)})
                await asyncio.wait_for(one.entered.acquire(), 10)
                if rig.engine._queues["one"]._health.is_suspected:
                    break
            assert engine._queues["one"]._health.is_suspected == (not about_mail)


async def test_a_connector_that_gives_no_ordering_key_costs_the_mail_and_no_place(rig):
    class Confused(MemoryConnector):
        confused = False

        def ordering_key(self, mail):
            if self.confused:
                raise LookupError(mail.envelope.id)
            return b"the same"

    one = rig.connectors["one"] = Confused("one")
    async with rig.running() as engine:
        await rig.delivered_one(engine, "two")
        one.confused = True
        for _ in range(2 * rig.max_in_flight):
            with pytest.raises(LookupError):
                await engine.accept(fresh(), {"two": (0,), "one": (0,)})
        one.confused = False
        await rig.delivered_one(engine, "one")
        await rig.delivered_one(engine, "two")


@pytest.mark.parametrize("cause", ["no text: \udcff", "a nul: \0", "x" * 10_000_000], ids=["surrogate", "nul", "long"])
async def test_whatever_a_connector_gives_as_the_cause_is_kept_and_bounded(rig, cause):
    rig.retries = RetrySchedule(delays_seconds=(0.01,), for_ever=True)
    rig.connectors["one"].failure = TransientFailure(DESTINATION_UNREACHABLE, "down", cause=cause)
    async with rig.running() as engine:
        await engine.accept(fresh(), {"one": (0,)})
        await rig.until(lambda: rig.rows("state, length(CAST(cause AS BLOB)) BETWEEN 8 AND 5000") == [("waiting", 1)])
        rig.connectors["one"].failure = None
        await rig.settled()


async def test_metadata_and_recipients_count_as_memory_too(rig):
    rig.max_in_flight = 1000
    metadata = read_metadata(with_own_trace(b"", ((7, bytes(1024 * 1024)),) * 4), trusted=False)
    one = rig.connectors["one"]
    one.hold()
    async with rig.running(seconds=0.0) as engine:
        for _ in range(8):
            mail = fresh()
            mail = Mail(structs.replace(mail.envelope, metadata=metadata), mail.content)
            await engine.accept(mail, {"one": (0,)})
        await rig.until(lambda: one.in_flight >= 4)
        await engine.accept(fresh(), {"two": (0,)})
        await rig.until(lambda: rig.connectors["two"].mails)
        # Sixteen MiB, and the one that passes them.
        assert one.peak_in_flight <= 5
