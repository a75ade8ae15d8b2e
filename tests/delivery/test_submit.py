import asyncio
from contextlib import suppress

import pytest
from msgspec import structs

from gateway.address import parse_path
from gateway.connector import PermanentFailure, TransientFailure
from gateway.delivery import Destination, Route, submit
from gateway.envelope import Mail, Recipient
from gateway.status import DESTINATION_UNREACHABLE, MESSAGE_REFUSED
from gateway.testing import MemoryConnector
from gateway.testing.samples import plain_mail


def mail_to(*paths):
    mail = plain_mail()
    recipients = tuple(Recipient(address=parse_path(path.encode(), utf8=True)) for path in paths)
    restricted = structs.replace(mail.envelope.envelope, recipients=recipients)
    return Mail(structs.replace(mail.envelope, envelope=restricted), mail.content)


@pytest.fixture
def connectors():
    return {name: MemoryConnector(name) for name in ("one", "two", "three")}


@pytest.fixture
def route(connectors):
    destinations = {
        name: Destination(connector, name=name, metadata="preserve", deadline_seconds=60, max_in_flight=8)
        for name, connector in connectors.items()
    }

    def make(*names):
        return Route(recipients=("*",), destinations=tuple(destinations[name] for name in names))

    return make


def held(connector, mail):
    return [str(each.address) for each in connector.mails[mail.envelope.id].envelope.envelope.recipients]


def receipts(outcome):
    return [receipt.connector for receipt in outcome.receipts]


async def test_one_recipient_and_one_destination(connectors, route):
    mail = mail_to("a@x")
    (outcome,) = await submit(mail, [route("one")])
    assert receipts(outcome) == ["one"]
    assert (outcome.failures, outcome.failure) == ((), None)
    assert str(outcome.recipient.address) == "a@x"


async def test_outcomes_come_in_the_order_of_the_recipients(route):
    mail = mail_to("a@x", "b@x", "c@x")
    outcomes = await submit(mail, [route("two"), route("one", "three"), route("two", "one")])
    assert [str(outcome.recipient.address) for outcome in outcomes] == ["a@x", "b@x", "c@x"]
    assert list(map(receipts, outcomes)) == [["two"], ["one", "three"], ["two", "one"]]


async def test_a_destination_gets_the_mail_once_with_the_recipients_that_go_there(connectors, route):
    mail = mail_to("a@x", "b@x", "c@x")
    await submit(mail, [route("one"), route("two"), route("one", "two")])
    assert held(connectors["one"], mail) == ["a@x", "c@x"]
    assert held(connectors["two"], mail) == ["b@x", "c@x"]
    assert connectors["three"].mails == {}
    assert connectors["one"].entered._value == 1


async def test_different_routes_to_the_same_destination_are_one_delivery(connectors, route):
    mail = mail_to("a@x", "b@x")
    await submit(mail, [route("one"), route("one")])
    assert held(connectors["one"], mail) == ["a@x", "b@x"]
    assert connectors["one"].entered._value == 1


async def test_destinations_are_tried_at_the_same_time(connectors, route):
    for connector in connectors.values():
        connector.hold()
    submitted = asyncio.create_task(submit(mail_to("a@x"), [route("one", "two", "three")]))
    for connector in connectors.values():
        await connector.entered.acquire()
    for connector in connectors.values():
        connector.release()
    (outcome,) = await submitted
    assert receipts(outcome) == ["one", "two", "three"]


async def test_a_recipient_fails_when_one_of_its_destinations_does(connectors, route):
    connectors["two"].failure = TransientFailure(DESTINATION_UNREACHABLE, "down", cause="10.0.0.1 refused")
    first, second = await submit(mail_to("a@x", "b@x"), [route("one"), route("one", "two")])
    assert first.failure is None
    assert receipts(second) == ["one"]
    assert (second.failure.connector, second.failure.status) == ("two", DESTINATION_UNREACHABLE)
    assert (second.failure.text, second.failure.cause) == ("down", "10.0.0.1 refused")


async def test_a_recipient_fails_when_one_of_its_destinations_refuses_it_and_only_then(connectors, route):
    """Each destination counts the recipients that it was given; the outcomes are those of the whole mail."""
    connectors["two"].refused = {
        "c@x": PermanentFailure(MESSAGE_REFUSED, "unknown\r\n", cause="550 from the server"),
        "d@x": TransientFailure(DESTINATION_UNREACHABLE, "full"),
    }
    mail = mail_to("a@x", "b@x", "c@x", "d@x")
    outcomes = await submit(mail, [route("one"), route("two"), route("one", "two"), route("two")])
    assert list(map(receipts, outcomes)) == [["one"], ["two"], ["one"], []]
    a, b, c, d = (outcome.failure for outcome in outcomes)
    assert (a, b) == (None, None)
    assert (c.connector, c.status, c.text, c.cause) == ("two", MESSAGE_REFUSED, "unknown??", "550 from the server")
    assert (d.connector, d.is_transient) == ("two", True)
    assert not any(receipt.refused for outcome in outcomes for receipt in outcome.receipts)


async def test_the_text_of_a_failure_cannot_be_a_second_reply(connectors, route):
    connectors["one"].failure = TransientFailure(DESTINATION_UNREACHABLE, "no\r\n250 ok\x00\u2028é" + "x" * 1000)
    (outcome,) = await submit(mail_to("a@x"), [route("one")])
    assert outcome.failure.text == "no??250 ok???" + "x" * 387
    assert outcome.failure.cause == connectors["one"].failure.cause


async def test_a_failure_does_not_stop_the_other_destinations(connectors, route):
    connectors["one"].failure = PermanentFailure(MESSAGE_REFUSED, "no")
    connectors["two"].hold()
    submitted = asyncio.create_task(submit(mail_to("a@x"), [route("one", "two")]))
    await connectors["one"].entered.acquire()
    await connectors["two"].entered.acquire()
    connectors["two"].release()
    (outcome,) = await submitted
    assert receipts(outcome) == ["two"]


async def test_a_transient_failure_is_told_before_a_permanent_one(connectors, route):
    connectors["one"].failure = PermanentFailure(MESSAGE_REFUSED, "no")
    connectors["two"].failure = TransientFailure(DESTINATION_UNREACHABLE, "down")
    connectors["three"].failure = TransientFailure(DESTINATION_UNREACHABLE, "down too")
    (outcome,) = await submit(mail_to("a@x"), [route("one", "two", "three")])
    assert len(outcome.failures) == 3
    assert outcome.failure.connector == "two"


async def test_a_permanent_failure_is_told_when_there_is_no_other(connectors, route):
    connectors["one"].failure = PermanentFailure(MESSAGE_REFUSED, "no")
    (outcome,) = await submit(mail_to("a@x"), [route("one", "two")])
    assert (outcome.failure.text, outcome.failure.is_transient) == ("no", False)


@pytest.mark.parametrize("names", [("one",), ("one", "two", "three")])
async def test_when_cancelled_it_returns_only_after_all_deliveries_have(connectors, route, names):
    ended = []

    class Slow(MemoryConnector):
        async def emit(self, mail):
            try:
                return await super().emit(mail)
            finally:
                await asyncio.sleep(0)
                ended.append(self.name)

    slow = {name: Slow(name) for name in names}
    destinations = tuple(
        Destination(connector, name=name, metadata="preserve", deadline_seconds=60, max_in_flight=8)
        for name, connector in slow.items()
    )
    for connector in slow.values():
        connector.hold()
    submitted = asyncio.create_task(submit(mail_to("a@x"), [Route(recipients=("*",), destinations=destinations)]))
    for connector in slow.values():
        await connector.entered.acquire()
    submitted.cancel()
    with suppress(asyncio.CancelledError):
        await submitted
    assert submitted.cancelled()
    assert sorted(ended) == sorted(names)


async def test_as_many_routes_as_recipients_are_asked_for(route):
    with pytest.raises(ValueError, match="shorter"):
        await submit(mail_to("a@x", "b@x"), [route("one")])
