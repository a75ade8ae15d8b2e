"""Answers that get lost or are errors, between the connector and a real broker: what is stored, and what is told."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from gateway.connector import PermanentFailure, Receipt, TransientFailure
from gateway.testing.samples import plain_mail
from tests.connectors.kafka.outcomes import emitted_at_last, outcome, outcomes, to, until
from tests.servers.kafka import KafkaRelay, Lost

UNKNOWN_TOPIC, NOT_LEADER, TIMED_OUT, TOO_LARGE = 3, 6, 7, 10
NOT_ENOUGH_REPLICAS, NOT_ENOUGH_REPLICAS_AFTER_APPEND, TOPIC_DENIED, STORAGE_ERROR = 19, 20, 29, 56
OUT_OF_ORDER, CLUSTER_DENIED = 45, 31


@pytest.fixture
async def relay(kafka) -> AsyncIterator[KafkaRelay]:
    async with KafkaRelay(kafka.bootstrap) as relay:
        yield relay


@pytest.fixture(autouse=True)
def _without_defects(caplog):
    """What a producer trips over ends it for all that it carries; it is told in the log only."""
    yield
    assert "Unexpected error" not in caplog.text


@pytest.fixture
def through(relay, start):
    """Open a connector that knows the relay only: `await through(topic, **keys)`."""

    async def through(topic, **keys):
        return await start(topic, bootstrap_servers=[relay.bootstrap], **keys)

    return through


@pytest.fixture
def ids(kafka):
    """Count the records of each mail: `await ids(topic)`."""

    async def ids(topic) -> Counter[str]:
        return Counter(record.key.decode() for record in await kafka.read(topic))

    return ids


@pytest.mark.parametrize("lost", Lost)
async def test_an_answer_that_is_lost_costs_no_mail_and_makes_no_duplicate(ids, relay, through, make_topic, lost):
    topic = make_topic()
    connector = await through(topic, deadline_seconds=8)
    await connector.emit(plain_mail())
    relay.fates.append(lost)
    mails = [plain_mail() for _ in range(20)]
    assert {type(found) for found in await outcomes(connector, mails)} == {Receipt}
    assert not relay.fates
    stored = await ids(topic)
    assert {stored[mail.envelope.id] for mail in mails} == {1}


async def test_a_mail_without_any_answer_may_be_stored_and_comes_again_under_its_id(ids, relay, through, make_topic):
    topic = make_topic()
    connector = await through(topic, deadline_seconds=3)
    mail = plain_mail()
    relay.every = Lost.CONNECTION_ENDS
    failure = await outcome(connector, mail)
    assert isinstance(failure, TransientFailure)
    assert failure.possibly_stored
    assert "KafkaConnectionError" in failure.cause
    relay.every = None
    await emitted_at_last(connector, mail)
    assert await ids(topic) == {mail.envelope.id: 2}


@pytest.mark.parametrize(
    "told",
    [
        (UNKNOWN_TOPIC, "4.3.5", "UnknownTopicOrPartitionError", False),
        (NOT_LEADER, "4.4.1", "NotLeaderForPartitionError", True),
        (TIMED_OUT, "4.4.2", "RequestTimedOutError", True),
        (NOT_ENOUGH_REPLICAS, "4.3.0", "NotEnoughReplicasError", False),
        (NOT_ENOUGH_REPLICAS_AFTER_APPEND, "4.3.0", "NotEnoughReplicasAfterAppendError", True),
        (STORAGE_ERROR, "4.3.0", "KafkaStorageError", True),
        (TOPIC_DENIED, "4.3.5", "the rights to describe and write", False),
        (CLUSTER_DENIED, "4.3.5", "IdempotentWrite", False),
        (OUT_OF_ORDER, "4.3.0", "OutOfOrderSequenceNumber", False),
    ],
)
async def test_an_error_that_stays_is_named_and_says_whether_the_mail_may_be_stored(
    ids, relay, through, make_topic, told
):
    code, status, name, possibly_stored = told
    topic = make_topic()
    connector = await through(topic, deadline_seconds=2)
    relay.every = code
    failure = await outcome(connector, plain_mail())
    assert isinstance(failure, TransientFailure)
    assert (str(failure.status), failure.possibly_stored) == (status, possibly_stored)
    assert name in failure.cause
    assert await ids(topic) == {}


async def test_a_refusal_does_not_unsay_that_an_earlier_attempt_may_have_stored_the_mail(
    ids, relay, through, make_topic
):
    topic = make_topic()
    connector = await through(topic, deadline_seconds=3)
    mail = plain_mail()
    relay.fates.append(Lost.CONNECTION_ENDS)
    relay.every = NOT_ENOUGH_REPLICAS
    failure = await outcome(connector, mail)
    assert isinstance(failure, TransientFailure)
    assert failure.possibly_stored
    assert "NotEnoughReplicasError" in failure.cause
    assert await ids(topic) == {mail.envelope.id: 1}


@pytest.mark.parametrize("code", [NOT_LEADER, UNKNOWN_TOPIC, NOT_ENOUGH_REPLICAS, STORAGE_ERROR])
async def test_an_error_that_passes_costs_no_mail(ids, relay, through, make_topic, code):
    topic = make_topic()
    connector = await through(topic)
    relay.fates.extend([code] * 3)
    mails = [plain_mail() for _ in range(20)]
    assert {type(found) for found in await outcomes(connector, mails)} == {Receipt}
    assert await ids(topic) == {mail.envelope.id: 1 for mail in mails}


async def test_what_waits_behind_a_request_without_answer_is_told_that_it_is_not_stored_and_is_not_sent_later(
    ids, relay, through, make_topic
):
    topic = make_topic()
    connector = await through(topic, deadline_seconds=4)
    await connector.emit(plain_mail())
    relay.every = Lost.SILENCE
    produced = relay.produced
    first, second = plain_mail(), plain_mail()
    sending = asyncio.create_task(outcome(connector, first))
    await until(lambda: relay.produced > produced)
    behind = await outcome(connector, second)
    ahead = await sending
    assert (ahead.possibly_stored, behind.possibly_stored) == (True, False)
    assert "has not answered what came before" in behind.cause
    relay.every = None
    last = plain_mail()
    await emitted_at_last(connector, last)
    stored = await ids(topic)
    assert (stored[first.envelope.id], stored[second.envelope.id], stored[last.envelope.id]) == (1, 0, 1)


async def test_a_mail_that_is_given_up_between_two_attempts_leaves_the_others_alone(kafka, relay, through, make_topic):
    name = make_topic()
    for domain in ("first", "second"):
        kafka.create_topic(f"{name}.{domain}")
    connector = await through(f"{name}.{{recipient_domain}}", deadline_seconds=5)
    relay.every = NOT_ENOUGH_REPLICAS
    first = asyncio.create_task(outcome(connector, to("first")))
    # So much later the second one ends, a pause of 0.1 seconds after each of the attempts.
    await until(lambda: relay.produced > 20)
    second = asyncio.create_task(outcome(connector, to("second")))
    await first
    relay.every = None
    assert isinstance(await second, Receipt)


async def test_a_topic_that_vanishes_from_the_metadata_and_comes_back_costs_no_mail(kafka, relay, through, make_topic):
    """Numbers that a producer gives twice would make the brokers drop records as duplicates, with a receipt."""
    topic = make_topic(partitions=3)
    connector = await through(topic, deadline_seconds=2)
    receipts = {}

    async def client():
        for _ in range(30):
            mail = plain_mail()
            receipts[mail.envelope.id] = await emitted_at_last(connector, mail)

    async def trouble():
        for _ in range(4):
            relay.hidden = True
            # An error that makes the client ask for the metadata anew.
            relay.fates.append(NOT_LEADER)
            hid = relay.hid
            await until(lambda hid=hid: relay.hid > hid + 1)
            relay.hidden = False
            produced = relay.produced
            await until(lambda produced=produced: relay.produced > produced + 5)

    async with asyncio.TaskGroup() as group:
        group.create_task(trouble())
        for _ in range(20):
            group.create_task(client())
    records = {(record.partition, record.offset): record.key.decode() for record in await kafka.read(topic)}
    assert len(receipts) == 600
    for id_, receipt in receipts.items():
        assert records[receipt.location["partition"], receipt.location["offset"]] == id_
    assert set(records.values()) == set(receipts)


async def test_a_mail_that_is_too_large_for_the_broker_stops_no_other(ids, relay, through, make_topic):
    topic = make_topic()
    connector = await through(topic)
    relay.fates.extend([TOO_LARGE, TOO_LARGE])
    assert isinstance(await outcome(connector, plain_mail()), PermanentFailure)
    others = [plain_mail() for _ in range(10)]
    assert {type(found) for found in await outcomes(connector, others)} == {Receipt}
    assert await ids(topic) == {mail.envelope.id: 1 for mail in others}
