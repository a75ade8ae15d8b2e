"""The delivery engine with a real spool: each delivery is settled by itself, whatever the others do."""

import asyncio

import pytest
import structlog
from msgspec import structs

from gateway.connector import DestinationClosed, RetrySchedule, TransientFailure
from gateway.delivery import Notices
from gateway.envelope import Mail
from gateway.spool import writer
from gateway.status import DESTINATION_UNREACHABLE, MESSAGE_REFUSED
from gateway.testing import MemoryConnector
from tests.delivery.rig import DOWN, NO_NOTICES, REFUSED, Rig, fresh


class Ordered(MemoryConnector):
    """Keeps the mails of one originator in order."""

    def ordering_key(self, mail):
        return mail.envelope.envelope.mail_from.address.raw.encode()


@pytest.fixture
def rig(tmp_path):
    return Rig(folder=tmp_path / "spool", connectors={"one": MemoryConnector("one"), "two": MemoryConnector("two")})


async def test_what_is_accepted_is_delivered_and_gone_from_the_spool(rig):
    async with rig.running() as engine:
        mail = fresh()
        receipt = await engine.accept(mail, {"one": (0,), "two": (0,)})
        assert (receipt.id, receipt.type) == (mail.envelope.id, "spool")
        await rig.settled()
    assert rig.connectors["one"].mails[mail.envelope.id].content.read() == mail.content.read()
    assert rig.connectors["two"].mails.keys() == {mail.envelope.id}
    assert rig.rows("id", "message") == []


async def test_large_content_goes_by_a_file_that_is_gone_afterwards(rig):
    mail = fresh(b"x" * 200_000)
    async with rig.running() as engine:
        rig.connectors["one"].hold()
        await engine.accept(mail, {"one": (0,)})
        assert [path.name for path in (rig.folder / "content").iterdir()] == [mail.envelope.id]
        rig.connectors["one"].release()
        await rig.until(lambda: not list((rig.folder / "content").iterdir()))
    assert rig.connectors["one"].mails[mail.envelope.id].content.size == 200_000


async def test_a_dead_destination_holds_nothing_back(rig):
    rig.connectors["one"].failure = DOWN
    async with rig.running() as engine:
        mails = [fresh() for _ in range(50)]
        for mail in mails:
            await engine.accept(mail, {"one": (0,), "two": (0,)})
        await rig.until(lambda: [connector for connector, *_ in rig.rows()] == ["one"] * 50)
        assert len(rig.connectors["two"].mails) == 50
        rig.connectors["one"].failure = None
        await rig.settled()
    assert rig.connectors["one"].mails.keys() == {mail.envelope.id for mail in mails}


async def test_a_destination_that_hangs_holds_no_more_than_its_window(rig):
    rig.connectors["one"].hold()
    async with rig.running(seconds=0.0) as engine:
        for _ in range(50):
            await engine.accept(fresh(), {"one": (0,), "two": (0,)})
        await rig.until(lambda: len(rig.connectors["two"].mails) == 50)
        assert rig.connectors["one"].peak_in_flight == rig.max_in_flight
        await rig.until(
            lambda: (
                rig.rows("state, count(*)", "delivery WHERE connector = 'one' GROUP BY state")
                == [("attempted", rig.max_in_flight), ("waiting", 50 - rig.max_in_flight)]
            )
        )


async def test_an_attempt_is_on_disk_before_it_is_made(rig):
    rig.connectors["one"].hold()
    async with rig.running(seconds=0.0) as engine:
        await engine.accept(fresh(), {"one": (0,)})
        await rig.connectors["one"].entered.acquire()
        assert rig.rows() == [("one", "attempted", 1, 0)]


async def test_what_is_refused_for_good_stays_as_a_dead_letter_and_holds_nothing_back(rig):
    rig.connectors["one"].failure = REFUSED
    async with rig.running() as engine:
        await engine.accept(fresh(), {"one": (0,), "two": (0,)})
        await rig.until(lambda: rig.rows() == [("one", "dead", 1, 0)])
        assert rig.rows("status, cause") == [("5.6.0", "no")]
    assert rig.rows("count(*)", "message") == [(1,)]


async def test_retries_that_end_leave_a_dead_letter(rig):
    rig.retries = RetrySchedule(delays_seconds=(0.001, 0.001), for_ever=False)
    rig.connectors["one"].failure = DOWN
    async with rig.running() as engine:
        await engine.accept(fresh(), {"one": (0,)})
        await rig.until(lambda: rig.rows() == [("one", "dead", 3, 0)])


async def test_an_unknown_outcome_is_retried_under_the_same_id_and_marked(rig):
    rig.retries = RetrySchedule(delays_seconds=(3600,), for_ever=True)
    rig.connectors["one"].failure = TransientFailure(DESTINATION_UNREACHABLE, "?", possibly_stored=True)
    async with rig.running() as engine:
        await engine.accept(fresh(), {"one": (0,)})
        await rig.until(lambda: rig.rows() == [("one", "waiting", 1, 1)])


async def test_a_destination_that_asks_for_time_gets_it(rig):
    rig.connectors["one"].failure = TransientFailure(DESTINATION_UNREACHABLE, "later", retry_after_seconds=3600)
    async with rig.running() as engine:
        await engine.accept(fresh(), {"one": (0,)})
        await rig.until(lambda: rig.rows("state, attempts") == [("waiting", 1)])
        rig.connectors["one"].failure = None
        await engine.accept(fresh(), {"one": (0,), "two": (0,)})
        await rig.until(lambda: len(rig.connectors["two"].mails) == 1)
        assert rig.connectors["one"].mails == {}


async def test_an_operator_ends_the_time_that_a_destination_asked_for(rig):
    rig.connectors["one"].failure = TransientFailure(DESTINATION_UNREACHABLE, "later", retry_after_seconds=3600)
    async with rig.running() as engine:
        await engine.accept(fresh(), {"one": (0,)})
        await rig.until(lambda: rig.rows("state, attempts") == [("waiting", 1)])
        rig.connectors["one"].failure = None
        rig.ask("UPDATE delivery SET due = 0")
        await rig.settled()
    assert len(rig.connectors["one"].mails) == 1


async def test_a_closed_destination_waits_for_an_operator(rig):
    rig.connectors["one"].failure = DestinationClosed(MESSAGE_REFUSED, "gone")
    async with rig.running() as engine:
        await engine.accept(fresh(), {"one": (0,)})
        await rig.until(lambda: rig.rows("connector", "paused") == [("one",)])
        rig.connectors["one"].failure = None
        await engine.accept(fresh(), {"one": (0,)})
        await rig.until(lambda: [state for (state,) in rig.rows("state")] == ["waiting", "waiting"])
        rig.ask("DELETE FROM paused")
        await rig.settled()
    assert len(rig.connectors["one"].mails) == 2


async def test_a_closed_destination_stays_closed_over_a_restart(rig):
    rig.connectors["one"].failure = DestinationClosed(MESSAGE_REFUSED, "gone")
    async with rig.running() as engine:
        await engine.accept(fresh(), {"one": (0,)})
        await rig.until(lambda: rig.rows("connector", "paused") == [("one",)])
    rig.connectors["one"].failure = None
    with structlog.testing.capture_logs() as logs:
        async with rig.running() as engine:
            await engine.accept(fresh(), {"one": (0,), "two": (0,)})
            await rig.until(lambda: len(rig.connectors["two"].mails) == 1)
    assert rig.connectors["one"].mails == {}
    alarms = [(line["event"], line["connector"]) for line in logs if line["event"].startswith("alarm: ")]
    assert alarms == [("alarm: destination closed; its mail waits until `mailsluice spool retry --connector`", "one")]


async def test_the_log_says_when_a_destination_fails_and_when_it_takes_mail_again(rig):
    rig.connectors["one"].failure = DOWN
    with structlog.testing.capture_logs() as logs:
        async with rig.running() as engine:
            for _ in range(20):
                await engine.accept(fresh(), {"one": (0,)})
            await rig.until(lambda: any(line["event"].startswith("alarm: ") for line in logs))
            rig.connectors["one"].failure = None
            await rig.settled()
    told = [(line["event"], line["connector"]) for line in logs if line["event"] not in {"put off", "delivered"}]
    assert told == [
        ("alarm: destination fails; its mail waits in the spool", "one"),
        ("destination takes mail again", "one"),
    ]


async def test_what_a_stop_interrupts_comes_again_as_a_possible_duplicate(rig):
    rig.connectors["one"].hold()
    async with rig.running(seconds=0.0) as engine:
        await engine.accept(mail := fresh(), {"one": (0,)})
        await rig.connectors["one"].entered.acquire()
    assert rig.rows() == [("one", "waiting", 1, 1)]
    rig.connectors["one"].release()
    async with rig.running():
        await rig.settled()
    assert rig.connectors["one"].mails.keys() == {mail.envelope.id}


async def test_what_has_not_begun_at_a_stop_is_no_possible_duplicate(rig, monkeypatch):
    monkeypatch.setattr("gateway.delivery.queue.turn", asyncio.Event().wait)
    async with rig.running(seconds=0.0) as engine:
        await engine.accept(fresh(), {"one": (0,)})
    assert rig.rows() == [("one", "waiting", 1, 0)]
    assert not rig.connectors["one"].mails


async def test_mails_of_one_key_come_in_order_also_when_the_first_fails(rig):
    rig.connectors["one"] = ordered = Ordered("one")
    ordered.failure = DOWN
    async with rig.running() as engine:
        mails = [fresh() for _ in range(20)]
        for mail in mails:
            await engine.accept(mail, {"one": (0,)})
        await rig.until(lambda: rig.rows("max(attempts)")[0][0] > 1)
        ordered.failure = None
        await rig.settled()
    assert list(ordered.mails) == [mail.envelope.id for mail in mails]
    assert ordered.peak_in_flight == 1


async def test_nobody_waits_behind_another_until_it_is_worth_a_commit(rig, monkeypatch):
    monkeypatch.setattr(writer, "_PATIENCE_SECONDS", 60.0)
    rig.connectors["one"] = Ordered("one")
    async with rig.running() as engine:
        for _ in range(5):
            await engine.accept(fresh(), {"one": (0,)})
        await rig.until(lambda: len(rig.connectors["one"].mails) == 5)


async def test_a_dead_letter_does_not_hold_back_its_key(rig):
    rig.connectors["one"] = ordered = Ordered("one")
    ordered.failure = REFUSED
    async with rig.running() as engine:
        await engine.accept(fresh(), {"one": (0,)})
        await rig.until(lambda: rig.rows("state") == [("dead",)])
        ordered.failure = None
        await engine.accept(mail := fresh(), {"one": (0,)})
        await rig.until(lambda: mail.envelope.id in ordered.mails)


async def test_each_destination_gets_its_own_recipients(rig):
    mail = fresh()
    recipient = mail.envelope.envelope.recipients[0]
    transaction = structs.replace(mail.envelope.envelope, recipients=(recipient,) * 3)
    mail = Mail(structs.replace(mail.envelope, envelope=transaction), mail.content)
    async with rig.running() as engine:
        await engine.accept(mail, {"one": (0, 2), "two": (1,)})
        await rig.settled()
    counts = [len(c.mails[mail.envelope.id].envelope.envelope.recipients) for c in rig.connectors.values()]
    assert counts == [2, 1]


async def test_mail_for_a_connector_that_is_gone_waits_for_it(rig):
    two = rig.connectors.pop("two")
    async with rig.running() as engine:
        await engine.accept(mail := fresh(), {"two": (0,)})
    rig.connectors["two"] = two
    async with rig.running():
        await rig.settled()
    assert two.mails.keys() == {mail.envelope.id}


async def test_a_backlog_is_delivered_through_a_bounded_window(rig):
    rig.connectors = {"one": MemoryConnector("one")}
    async with rig.running(seconds=0.0) as engine:
        rig.connectors["one"].hold()
        mails = [fresh() for _ in range(1000)]
        await asyncio.gather(*(engine.accept(mail, {"one": (0,)}) for mail in mails))
        await rig.until(lambda: rig.connectors["one"].in_flight == rig.max_in_flight)
        rig.connectors["one"].release()
        await rig.settled()
    assert len(rig.connectors["one"].mails) == 1000
    assert rig.connectors["one"].peak_in_flight == rig.max_in_flight


async def test_failures_that_come_together_count_as_one(rig):
    rig.max_in_flight = 64
    one = rig.connectors["one"]
    one.hold()
    one.failure = DOWN
    async with rig.running() as engine:
        await asyncio.sleep(0)
        for _ in range(64):
            await engine.accept(fresh(), {"one": (0,)})
        await rig.until(lambda: one.in_flight > 32)
        one.release()
        await rig.until(lambda: one.in_flight == 0)
        one.failure = None
        # Each counted for itself, the destination would be left alone for a minute.
        await rig.settled()
    assert len(one.mails) == 64


async def test_a_defect_in_an_attempt_costs_neither_the_mail_nor_the_queue(rig):
    class Broken(Notices):
        def failed(self, entry, failure):
            raise RuntimeError("a defect")

    rig.connectors["one"].failure = REFUSED
    async with rig.running() as engine:
        await engine.assign(rig.destinations, Broken(hostname="mx.example.org", via=lambda _: ""))
        await engine.accept(fresh(), {"one": (0,)})
        await rig.until(lambda: rig.rows("state, cause") == [("waiting", "RuntimeError('a defect')")])
        rig.connectors["one"].failure = None
        await engine.assign(rig.destinations, NO_NOTICES)
        await engine.accept(mail := fresh(), {"one": (0,)})
        await rig.until(lambda: mail.envelope.id in rig.connectors["one"].mails)
