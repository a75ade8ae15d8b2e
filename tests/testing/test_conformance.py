import asyncio
from contextlib import suppress

import pytest
from msgspec import structs

from gateway.address import parse_path
from gateway.connector import DeliveryFailure, PermanentFailure, Receipt, Refused, TransientFailure
from gateway.envelope import Content, Mail
from gateway.status import LOCAL_ERROR, MESSAGE_REFUSED, Status
from gateway.testing import MemoryConnector, check_connector, conformance, sample_mails

UNKNOWN = PermanentFailure(Status(5, 1, 1), "no such user")


async def check(make_connector):
    made = []

    def make():
        made.append(make_connector())
        return made[-1]

    async def read_back(receipt):
        return made[-1].mails[receipt.id]

    await check_connector(make, read_back, max_in_flight=20)


async def test_the_memory_connector_keeps_the_contract():
    await check(MemoryConnector)


async def test_the_kit_runs_without_reading_back():
    await check_connector(MemoryConnector)


def test_the_kit_needs_no_test_framework():
    asyncio.run(check(MemoryConnector))


class RefusesEmptyContent(MemoryConnector):
    async def emit(self, mail):
        if not mail.content.size:
            raise PermanentFailure(MESSAGE_REFUSED, "empty")
        return await super().emit(mail)


class LosesARecipient(MemoryConnector):
    async def emit(self, mail):
        envelope = mail.envelope.envelope
        kept = structs.replace(envelope, recipients=envelope.recipients[:500])
        return await super().emit(Mail(structs.replace(mail.envelope, envelope=kept), mail.content))


class RefusesOneOfMany(MemoryConnector):
    async def emit(self, mail):
        receipt = await super().emit(mail)
        many = len(mail.envelope.envelope.recipients) > 1
        return structs.replace(receipt, refused=(Refused(position=0, failure=UNKNOWN),) if many else ())


class RewritesLineEnds(MemoryConnector):
    async def emit(self, mail):
        octets = mail.content.read().replace(b"\r\n", b"\n")
        return await super().emit(Mail(mail.envelope, Content(octets)))


class KeepsTheFirstBlock(MemoryConnector):
    async def emit(self, mail):
        return await super().emit(Mail(mail.envelope, Content(next(mail.content.blocks(), b""))))


class LetsAnyErrorOut(MemoryConnector):
    async def emit(self, mail):
        mail.content.read(1)
        return await super().emit(mail)


class TimesOutByItself(MemoryConnector):
    async def emit(self, mail):
        raise TimeoutError("the library gave up")


class RefusesASecondTime(MemoryConnector):
    async def emit(self, mail):
        if mail.envelope.id in self.mails:
            raise TransientFailure(LOCAL_ERROR, "exists already")
        return await super().emit(mail)


class CannotRunConcurrently(MemoryConnector):
    async def emit(self, mail):
        if self.in_flight:
            raise TransientFailure(LOCAL_ERROR, "busy")
        self.in_flight += 1
        await asyncio.sleep(0)
        self.in_flight -= 1
        return await super().emit(mail)


class BlamesTheMailForeverForALocalError(MemoryConnector):
    async def emit(self, mail):
        try:
            mail.content.read(1)
        except OSError as exc:
            raise PermanentFailure(MESSAGE_REFUSED, "unreadable") from exc
        return await super().emit(mail)


class AnswersWithoutReading(MemoryConnector):
    async def emit(self, mail):
        try:
            return await super().emit(mail)
        except TransientFailure:
            return Receipt(id=mail.envelope.id, connector=self.name, type="memory", location={"key": "none"})


class SaysAPermanentFailureIsTransient(MemoryConnector):
    async def emit(self, mail):
        raise TransientFailure(MESSAGE_REFUSED, "refused")


class LeaksText(MemoryConnector):
    async def emit(self, mail):
        raise TransientFailure(LOCAL_ERROR, "line one\nline two")


class RaisesTheBareBase(MemoryConnector):
    async def emit(self, mail):
        raise DeliveryFailure(LOCAL_ERROR, "neither")


class ForgetsTheId(MemoryConnector):
    async def emit(self, mail):
        return structs.replace(await super().emit(mail), id="")


class SaysNoLocation(MemoryConnector):
    async def emit(self, mail):
        return structs.replace(await super().emit(mail), location={})


class ReturnsNothing(MemoryConnector):
    async def emit(self, mail):
        await super().emit(mail)


class LeavesItsThreadReading(MemoryConnector):
    async def emit(self, mail):
        await asyncio.to_thread(self.read, mail)
        return await super().emit(mail)

    def read(self, mail):
        try:
            mail.content.read()
        except OSError as exc:
            raise TransientFailure(LOCAL_ERROR, "unreadable") from exc


class ReadsInTheBackground(MemoryConnector):
    async def emit(self, mail):
        asyncio.get_running_loop().call_soon(self.read, mail)
        return await super().emit(mail)

    def read(self, mail):
        with suppress(OSError):
            mail.content.read(1)


class RemembersACancelledMailAsTaken(MemoryConnector):
    def __init__(self):
        super().__init__()
        self.seen = set()

    async def emit(self, mail):
        if mail.envelope.id in self.seen:
            raise TransientFailure(LOCAL_ERROR, "already under way")
        self.seen.add(mail.envelope.id)
        await asyncio.sleep(0)
        try:
            return await super().emit(mail)
        finally:
            self.seen.discard(mail.envelope.id)


class Hangs(MemoryConnector):
    async def emit(self, mail):
        await asyncio.Event().wait()


class LeavesATask(MemoryConnector):
    async def open(self):
        self.task = asyncio.create_task(asyncio.Event().wait(), name="the flusher")


class HangsWhenClosed(MemoryConnector):
    async def close(self):
        await asyncio.Event().wait()


class CannotCloseUnopened(MemoryConnector):
    async def open(self):
        self.connection = object()

    async def close(self):
        del self.connection


@pytest.mark.parametrize(
    ("connector", "sentence"),
    [
        (RefusesEmptyContent, "emit.. refused the sample mail 'empty content': 5.6.0 empty"),
        (LosesARecipient, "the envelope of the sample mail 'a thousand recipients' came back changed"),
        (RefusesOneOfMany, "emit.. of the sample mail 'a thousand recipients' refused some of its recipients"),
        (RewritesLineEnds, "the content of the sample mail 'plain' came back changed"),
        (KeepsTheFirstBlock, "the content of the sample mail 'large content in a file' came back changed"),
        (LetsAnyErrorOut, r"raised OSError\('this content cannot be read'\); only a DeliveryFailure may leave it"),
        (TimesOutByItself, r"raised TimeoutError\('the library gave up'\); only a DeliveryFailure may leave it"),
        (RefusesASecondTime, "refused the same mail, emitted again under the same id: 4.3.0 exists already"),
        (CannotRunConcurrently, "refused one of 20 mails emitted at once: 4.3.0 busy"),
        (BlamesTheMailForeverForALocalError, "answered PermanentFailure.* to content that cannot be read"),
        (AnswersWithoutReading, "answered Receipt.* to content that cannot be read"),
        (SaysAPermanentFailureIsTransient, "its status has to begin with 4"),
        (LeaksText, "it has to be one line of printable ASCII"),
        (RaisesTheBareBase, "it may be a TransientFailure or PermanentFailure"),
        (ForgetsTheId, "the receipt of the sample mail 'plain' has the id  instead of"),
        (SaysNoLocation, "the receipt of the sample mail 'plain' does not say where the mail lies"),
        (ReturnsNothing, "returned None instead of a Receipt"),
        (LeavesItsThreadReading, "the content of a mail whose emit was cancelled was read after emit.. had ended"),
        (ReadsInTheBackground, "was read after emit.. had ended"),
        (Hangs, "emit.. of the sample mail 'plain' did not end within 0 seconds"),
        (RemembersACancelledMailAsTaken, "refused a mail whose first emit was cancelled after 1 turns of the loop"),
        (LeavesATask, "close.. returned, but tasks of the connector still run: the flusher"),
        (HangsWhenClosed, "close.. of a connector that was never opened did not end within 0 seconds"),
        (CannotCloseUnopened, "close.. of a connector that was never opened raised AttributeError"),
    ],
)
async def test_a_broken_promise_is_named(connector, sentence, monkeypatch):
    if connector in {Hangs, HangsWhenClosed}:
        monkeypatch.setattr(conformance, "_EMIT_SECONDS", 0.01)
        monkeypatch.setattr(conformance, "_CLOSE_SECONDS", 0.01)
    # None of these lets the event loop wait for a thread, so the grace is for a machine that is busy elsewhere.
    monkeypatch.setattr(conformance, "_GRACE_SECONDS", 60)
    with pytest.raises(AssertionError, match=sentence):
        await check(connector)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()


NOBODY = parse_path(b"nobody@example.org", utf8=False)


class KnowsNobody(MemoryConnector):
    def __init__(self):
        super().__init__()
        self.refused = {NOBODY.raw: UNKNOWN}


class RefusesAllForOne(KnowsNobody):
    async def emit(self, mail):
        if any(each.address == NOBODY for each in mail.envelope.envelope.recipients):
            raise UNKNOWN
        return await super().emit(mail)


class ForgetsWhoWasRefused(KnowsNobody):
    async def emit(self, mail):
        return structs.replace(await super().emit(mail), refused=())


class NamesItOnce(KnowsNobody):
    async def emit(self, mail):
        receipt = await super().emit(mail)
        return structs.replace(receipt, refused=receipt.refused[:1])


class RefusesAllInAReceipt(KnowsNobody):
    async def emit(self, mail):
        try:
            return await super().emit(mail)
        except PermanentFailure:
            self.refused = {}
            return await super().emit(mail)


async def test_a_connector_that_answers_for_each_recipient_keeps_the_contract():
    await check_connector(KnowsNobody, refused=NOBODY)


@pytest.mark.parametrize(
    ("connector", "sentence"),
    [
        (RefusesAllForOne, "whom the destination refuses <nobody@example.org>, raised, though others are to have it"),
        (ForgetsWhoWasRefused, r"says that those at \[\] are refused instead of \[1\]"),
        (NamesItOnce, r"says that those at \[0\] are refused instead of \[0, 2\]"),
        (RefusesAllInAReceipt, "a mail to nobody but <nobody@example.org>.* returned Receipt.* instead of raising"),
    ],
)
async def test_a_wrong_answer_for_one_recipient_is_named(connector, sentence):
    with pytest.raises(AssertionError, match=sentence):
        await check_connector(connector, refused=NOBODY)


def test_sample_mails_are_fresh_each_time():
    first, second = sample_mails(), sample_mails()
    ids = {mail.envelope.id for mail in (*first.values(), *second.values())}
    assert len(ids) == len(first) + len(second)
    for mail in (*first.values(), *second.values()):
        mail.content.close()
