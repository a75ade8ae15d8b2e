import asyncio
import hashlib

import msgspec
import pytest
import structlog
from msgspec import structs

from gateway.connector import DestinationClosed, PermanentFailure, Refused, TransientFailure
from gateway.delivery import Destination
from gateway.envelope import BLOCK, Action, Content, Mail
from gateway.envelope.metadata import read_metadata, with_own_trace
from gateway.status import DESTINATION_UNRESPONSIVE, LOCAL_ERROR, MESSAGE_REFUSED, STORAGE_FULL
from gateway.testing import MemoryConnector, sample_mails
from gateway.testing.samples import plain_mail

NO = PermanentFailure(MESSAGE_REFUSED, "no")


@pytest.fixture
def connector():
    return MemoryConnector()


def destination(connector, *, metadata="preserve", deadline_seconds=60.0, max_in_flight=8):
    return Destination(
        connector, name="memory", metadata=metadata, deadline_seconds=deadline_seconds, max_in_flight=max_in_flight
    )


@pytest.fixture
def samples():
    mails = sample_mails()
    yield mails
    for mail in mails.values():
        mail.content.close()


async def test_the_receipt_of_the_connector_is_the_answer(connector):
    mail = plain_mail()
    receipt = await destination(connector).deliver(mail)
    assert (receipt.id, receipt.connector) == (mail.envelope.id, "memory")


async def test_preserve_carries_every_container(connector, samples):
    mail = samples["metadata of every type"]
    await destination(connector).deliver(mail)
    metadata = connector.mails[mail.envelope.id].envelope.metadata
    assert metadata.containers == mail.envelope.metadata.containers
    assert {entry.action for entry in metadata.disposition} == {Action.CARRIED}


async def test_flatten_writes_the_trace_into_the_content(connector, samples):
    mail = samples["metadata of every type"]
    await destination(connector, metadata="flatten").deliver(mail)
    held = connector.mails[mail.envelope.id]
    assert held.envelope.metadata.containers == ()
    assert held.content.read().startswith(b"Return-Path: <a@example.net>\r\nReceived: ")
    assert held.envelope.message.flattened.size == held.content.size


async def test_large_content_is_flattened_in_a_thread(connector, samples):
    mail = samples["large content in a file"]
    assert mail.content.size > BLOCK
    await destination(connector, metadata="flatten").deliver(mail)
    held = connector.mails[mail.envelope.id]
    assert held.envelope.message.flattened.sha256 == hashlib.sha256(held.content.read()).hexdigest()


async def test_megabytes_of_trace_fields_are_flattened_in_a_thread(connector):
    mail = plain_mail()
    containers = with_own_trace(b"Received: x\r\n", [(0, b"X-Trace: y\r\n" * BLOCK)])
    metadata = read_metadata(containers, trusted=False)
    mail = Mail(msgspec.structs.replace(mail.envelope, metadata=metadata), mail.content)
    delivery = asyncio.create_task(destination(connector, metadata="flatten").deliver(mail))
    await asyncio.sleep(0)
    assert not connector.mails
    await delivery
    assert connector.mails[mail.envelope.id].content.size > BLOCK


async def test_content_that_cannot_be_read_for_flattening_is_transient(connector, samples):
    mail = samples["large content in a file"]
    mail.content.close()
    with pytest.raises(TransientFailure) as caught:
        await destination(connector, metadata="flatten").deliver(mail)
    assert caught.value.status == LOCAL_ERROR


@pytest.mark.parametrize("failure", [TransientFailure(STORAGE_FULL, "full"), PermanentFailure(MESSAGE_REFUSED, "no")])
async def test_a_failure_of_the_connector_passes_as_it_is(connector, failure):
    connector.failure = failure
    with pytest.raises(type(failure)) as caught:
        await destination(connector).deliver(plain_mail())
    assert caught.value is failure


@pytest.mark.parametrize(
    "bug", [RuntimeError("of /secret/path"), TimeoutError("its own"), KeyError("x"), MemoryError()]
)
async def test_any_other_exception_is_a_transient_failure_and_its_cause_is_logged(connector, bug):
    connector.failure = bug
    with structlog.testing.capture_logs() as logs, pytest.raises(TransientFailure) as caught:
        await destination(connector).deliver(plain_mail())
    assert caught.value.status == LOCAL_ERROR
    assert caught.value.text == "the mail could not be delivered now"
    assert caught.value.cause == repr(bug)
    assert caught.value.__cause__ is bug
    assert [(log["connector"], log["log_level"], log["exc_info"]) for log in logs] == [("memory", "error", bug)]


async def test_the_deadline_ends_an_emit_that_hangs(connector):
    connector.hold()
    with pytest.raises(TransientFailure) as caught:
        await destination(connector, deadline_seconds=0.01).deliver(plain_mail())
    assert caught.value.status == DESTINATION_UNRESPONSIVE
    assert caught.value.cause == "no answer within 0.01 seconds"
    assert connector.in_flight == 0


async def test_waiting_for_a_place_counts_against_the_deadline(connector):
    connector.hold()
    busy = destination(connector, max_in_flight=1, deadline_seconds=0.01)
    outcomes = await asyncio.gather(*(busy.deliver(plain_mail()) for _ in range(3)), return_exceptions=True)
    assert {outcome.status for outcome in outcomes} == {DESTINATION_UNRESPONSIVE}
    assert connector.peak_in_flight == 1


async def test_no_more_emits_at_once_than_declared(connector):
    connector.hold()
    bounded = destination(connector, max_in_flight=3)
    deliveries = asyncio.gather(*(bounded.deliver(plain_mail()) for _ in range(20)))
    for _ in range(3):
        await connector.entered.acquire()
    connector.release()
    await deliveries
    assert connector.peak_in_flight == 3
    assert len(connector.mails) == 20


async def test_a_place_is_free_again_after_a_failure(connector):
    narrow = destination(connector, max_in_flight=1)
    connector.failure = TransientFailure(STORAGE_FULL, "full")
    with pytest.raises(TransientFailure):
        await narrow.deliver(plain_mail())
    connector.failure = None
    await narrow.deliver(plain_mail())


async def test_a_cancellation_is_not_swallowed(connector):
    connector.hold()
    delivery = asyncio.create_task(destination(connector).deliver(plain_mail()))
    await connector.entered.acquire()
    delivery.cancel()
    with pytest.raises(asyncio.CancelledError):
        await delivery
    assert connector.in_flight == 0


async def test_a_cancellation_that_nobody_asked_for_is_a_transient_failure():
    class Careless(MemoryConnector):
        async def emit(self, mail):
            answer = asyncio.get_running_loop().create_future()
            answer.cancel()
            return await answer

    with structlog.testing.capture_logs() as logs, pytest.raises(TransientFailure) as caught:
        await destination(Careless()).deliver(plain_mail())
    assert caught.value.status == LOCAL_ERROR
    assert [log["connector"] for log in logs] == ["memory"]


@pytest.mark.parametrize("answer", [None, True, "stored"])
async def test_what_is_no_receipt_does_not_count_as_one(answer):
    class Vague(MemoryConnector):
        async def emit(self, mail):
            return answer

    with structlog.testing.capture_logs() as logs, pytest.raises(TransientFailure) as caught:
        await destination(Vague()).deliver(plain_mail())
    assert caught.value.status == LOCAL_ERROR
    assert [log["connector"] for log in logs] == ["memory"]


@pytest.mark.parametrize(
    "refused",
    [
        [Refused(position=1, failure=NO)],
        [Refused(position=-1, failure=NO)],
        [Refused(position=0, failure=NO)] * 2,
        [Refused(position=0, failure=NO)],
        [Refused(position=0, failure=DestinationClosed(MESSAGE_REFUSED, "gone"))],
        [Refused(position=0, failure=ValueError("no"))],
    ],
    ids=["nobody", "from the end", "twice", "all", "closed", "no failure"],
)
async def test_a_receipt_whose_refusals_make_no_sense_does_not_count_as_one(refused):
    class Vague(MemoryConnector):
        async def emit(self, mail):
            return structs.replace(await super().emit(mail), refused=tuple(refused))

    mail = plain_mail()
    if isinstance(refused[0].failure, DestinationClosed | ValueError):
        mail = mail.for_recipients((0, 0))
    with structlog.testing.capture_logs() as logs, pytest.raises(TransientFailure) as caught:
        await destination(Vague()).deliver(mail)
    assert caught.value.possibly_stored
    assert [log["connector"] for log in logs] == ["memory"]


async def test_a_receipt_that_comes_despite_the_deadline_is_not_thrown_away(connector):
    class Stubborn(MemoryConnector):
        async def emit(self, mail):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return await super().emit(mail)

    receipt = await destination(Stubborn(), deadline_seconds=0.01).deliver(plain_mail())
    assert receipt.connector == "memory"


async def test_flattening_does_not_touch_what_other_destinations_get(connector):
    mail = Mail(plain_mail().envelope, Content(b"Return-Path: <x@y>\r\n\r\n"))
    other = MemoryConnector()
    await destination(connector, metadata="flatten").deliver(mail)
    await destination(other).deliver(mail)
    assert other.mails[mail.envelope.id].content.read() == b"Return-Path: <x@y>\r\n\r\n"
