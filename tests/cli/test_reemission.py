"""Mails given to one connector again: bounded, in order, and each with an outcome."""

import asyncio
import io

import pytest
from msgspec import structs

from gateway.cli import reemission
from gateway.cli.reemission import Reemission, reemit
from gateway.connector import DestinationClosed, PermanentFailure, Refused, RetrySchedule, TransientFailure
from gateway.delivery import Destination
from gateway.envelope import Content
from gateway.status import ADMINISTRATIVE_REFUSAL, DESTINATION_UNREACHABLE, MESSAGE_REFUSED
from gateway.testing import MemoryConnector, plain_mail, sample_mails
from tests.cli.spools import sample

DOWN = TransientFailure(DESTINATION_UNREACHABLE, "down", cause="connection refused")


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Attempts come one after another without a pause."""
    monkeypatch.setattr(reemission, "FOR_EVER", RetrySchedule(delays_seconds=(0.001,), for_ever=True))


class Moody(MemoryConnector):
    """Fails so many times before it takes a mail."""

    failures = 0

    async def emit(self, mail):
        if self.failures:
            self.failures -= 1
            raise DOWN
        return await super().emit(mail)


class Ordered(MemoryConnector):
    """Has one order for all mails, and notes in which they began."""

    def __init__(self):
        super().__init__()
        self.begun = []

    def ordering_key(self, mail):
        return b"all"

    async def emit(self, mail):
        self.begun.append(mail.envelope.id)
        return await super().emit(mail)


def destination(connector, *, max_in_flight=4):
    return Destination(connector, name="memory", metadata="preserve", deadline_seconds=30, max_in_flight=max_in_flight)


async def given(reemissions):
    for each in reemissions:
        yield each


def reemissions(mails):
    return given([Reemission(id=mail.envelope.id, mail=mail) for mail in mails])


async def emit_all(mails, connector, *, attempts=3, per_second=None, **options):
    async with asyncio.timeout(30):
        results = reemit(
            reemissions(mails), destination(connector, **options), attempts=attempts, per_second=per_second
        )
        return [outcome async for some in results for outcome in some]


async def test_mails_arrive_under_their_ids_octet_for_octet_with_all_their_containers():
    mails = sample_mails()
    expected = {mail.envelope.id: (mail.content.read(), mail.envelope.metadata.containers) for mail in mails.values()}
    connector = MemoryConnector()
    outcomes = await emit_all(mails.values(), connector)
    found = {id_: (mail.content.read(), mail.envelope.metadata.containers) for id_, mail in connector.mails.items()}
    assert expected == found
    assert all(not outcome.failure for outcome in outcomes)
    assert sum(outcome.octets for outcome in outcomes) == sum(len(octets) for octets, _ in expected.values())


async def test_no_more_are_under_way_than_the_destination_takes():
    connector = MemoryConnector()
    connector.hold()

    async def release():
        for _ in range(3):
            await connector.entered.acquire()
        connector.release()

    outcomes, _ = await asyncio.gather(
        emit_all([plain_mail() for _ in range(9)], connector, max_in_flight=3), release()
    )
    assert len(outcomes) == 9
    assert connector.peak_in_flight == 3


async def test_mails_of_one_ordering_key_go_one_after_another():
    connector = Ordered()
    mails = [plain_mail() for _ in range(9)]
    await emit_all(mails, connector, max_in_flight=4)
    assert connector.begun == [mail.envelope.id for mail in mails]
    assert connector.peak_in_flight == 1


async def test_a_transient_failure_is_tried_again():
    connector = Moody()
    connector.failures = 2
    (outcome,) = await emit_all([plain_mail()], connector, attempts=3)
    assert outcome.failure == ""


async def test_after_so_many_attempts_a_mail_has_failed_and_the_others_go_on():
    connector = Moody()
    connector.failures = 3
    first, second = plain_mail(), plain_mail()
    failed, delivered = await emit_all([first, second], connector, attempts=3, max_in_flight=1)
    assert (failed.reemission.id, failed.failure) == (first.envelope.id, "4.4.1 connection refused")
    assert (delivered.reemission.id, delivered.failure) == (second.envelope.id, "")


async def test_a_permanent_failure_is_not_tried_again():
    connector = MemoryConnector()
    connector.failure = PermanentFailure(MESSAGE_REFUSED, "no")
    (outcome,) = await emit_all([plain_mail()], connector)
    assert (outcome.failure, connector.entered._value) == ("5.6.0 no", 1)


async def test_a_closed_destination_gets_no_further_mail():
    connector = MemoryConnector()
    connector.failure = DestinationClosed(ADMINISTRATIVE_REFUSAL, "gone")
    outcomes = await emit_all([plain_mail() for _ in range(5)], connector, max_in_flight=1)
    assert len(outcomes) == 1


async def test_a_destination_that_takes_nothing_is_given_up(monkeypatch):
    monkeypatch.setattr(reemission, "_HOPELESS", 3)
    connector = MemoryConnector()
    connector.failure = DOWN
    outcomes = await emit_all([plain_mail() for _ in range(9)], connector, max_in_flight=1)
    assert len(outcomes) == 3


class Choosy(MemoryConnector):
    """Takes a mail for the recipients who are not refused; each refusal is used up by the emit that meets it."""

    def __init__(self, refusals):
        super().__init__()
        self.refusals = refusals
        self.emitted = []

    async def emit(self, mail):
        receipt = await super().emit(mail)
        names = [recipient.address.raw for recipient in mail.envelope.envelope.recipients]
        self.emitted.append(names)
        refused = [
            Refused(position=at, failure=self.refusals[name].pop(0))
            for at, name in enumerate(names)
            if self.refusals.get(name)
        ]
        return structs.replace(receipt, refused=tuple(refused))


async def test_recipients_who_were_refused_are_tried_again_alone_and_told_of():
    mail = sample("a thousand recipients").for_recipients((0, 1, 2))
    never = PermanentFailure(MESSAGE_REFUSED, "no")
    connector = Choosy({"r1@example.org": [DOWN], "r2@example.org": [never, never]})
    (outcome,) = await emit_all([mail], connector)
    assert connector.emitted == [["r0@example.org", "r1@example.org", "r2@example.org"], ["r1@example.org"]]
    assert (outcome.refused, outcome.failure) == ((2,), "<r2@example.org>: 5.6.0 no")
    assert outcome.octets == mail.content.size


async def test_no_more_are_begun_than_the_rate_allows():
    connector = MemoryConnector()
    time = asyncio.get_running_loop().time
    began = time()
    await emit_all([plain_mail() for _ in range(5)], connector, per_second=50)
    assert time() - began >= 4 / 50


async def test_no_more_content_is_under_way_than_memory_has_room_for(monkeypatch):
    monkeypatch.setattr(reemission, "_OCTETS_UNDER_WAY", plain_mail().content.size + 1)
    connector = MemoryConnector()
    connector.hold()

    async def release():
        for _ in range(2):
            await connector.entered.acquire()
        connector.release()

    await asyncio.gather(emit_all([plain_mail() for _ in range(9)], connector), release())
    assert connector.peak_in_flight == 2


async def test_content_that_is_changed_while_it_waits_is_not_taken():
    mail = plain_mail()
    changed = type(mail)(mail.envelope, Content(mail.content.read()[:-1] + b"!"))
    connector = MemoryConnector()
    (outcome,) = await emit_all([changed], connector)
    assert outcome.failure == "4.3.0 [Errno 5] the content was changed since it was checked"
    assert connector.mails == {}


async def test_what_cannot_be_read_has_failed_with_its_reason():
    damaged = Reemission(id="x", problem="the envelope is damaged")
    results = reemit(given([damaged]), destination(MemoryConnector()), attempts=3)
    ((outcome,),) = [some async for some in results]
    assert (outcome.reemission.id, outcome.failure) == ("x", "the envelope is damaged")


async def test_an_interruption_leaves_nothing_open(tmp_path):
    (tmp_path / "content").write_bytes(b"x")
    file = io.FileIO(tmp_path / "content")
    mail = plain_mail()
    mail = type(mail)(mail.envelope, Content(file=file))
    connector = MemoryConnector()
    connector.hold()
    running = asyncio.create_task(emit_all([mail], connector))
    await connector.entered.acquire()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.sleep(0)
    assert (file.closed, connector.in_flight) == (True, 0)
