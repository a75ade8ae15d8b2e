"""Three brokers of which one dies or hangs, or too few keep up: mails go on, or wait, and none is lost."""

import asyncio
from collections import Counter
from collections.abc import Iterator

import pytest

from gateway.connector import Receipt, TransientFailure
from gateway.testing.samples import plain_mail
from tests.conftest import _starting
from tests.connectors.kafka.outcomes import emitted_at_last, outcome, session_of, to, until
from tests.servers.kafka import KafkaCluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[KafkaCluster]:
    """Three brokers for the tests of this module."""
    with _starting(KafkaCluster) as start:
        yield start(nodes=3)


@pytest.fixture
def three(cluster) -> Iterator[KafkaCluster]:
    """All three brokers; those that the test takes away come back after it."""
    yield cluster
    cluster.start()


async def test_a_leader_that_dies_costs_time_and_no_mail_where_enough_replicas_are_left(three, start):
    three.create_topic("mail.example.org")
    three.create_topic("mail.example.com", config={"min.insync.replicas": "3"})
    patient = await start("mail.{recipient_domain}", cluster=three)
    await patient.emit(to("example.com"))
    async with asyncio.TaskGroup() as group:
        emits = [group.create_task(patient.emit(to("example.org"))) for _ in range(100)]
        await until(lambda: len(session_of(patient)._sending) == 100)
        three.leader("mail.example.org").kill()
    assert all(emit.result() for emit in emits)

    connector = await start("mail.{recipient_domain}", cluster=three, deadline_seconds=4)
    starved = asyncio.create_task(outcome(connector, to("example.com")))
    while not starved.done():
        assert isinstance(await outcome(connector, to("example.org")), Receipt)
    assert isinstance(starved.result(), TransientFailure)
    assert "NotEnoughReplicas" in starved.result().cause
    await until(lambda: session_of(connector).has_ended)
    for _ in range(20):
        assert isinstance(await outcome(connector, to("example.org")), Receipt)
    held = to("example.com")
    refused = await outcome(connector, held)
    assert isinstance(refused, TransientFailure)
    assert not refused.possibly_stored
    assert "NotEnoughReplicasError" in refused.cause

    await asyncio.to_thread(three.start)
    await emitted_at_last(connector, held)
    assert [record.key for record in await three.read("mail.example.com")].count(held.envelope.id.encode()) == 1
    stored = Counter(record.key.decode() for record in await three.read("mail.example.org"))
    assert {stored[emit.result().id] for emit in emits} == {1}


async def test_a_leader_that_hangs_loses_no_mail_and_what_comes_twice_was_told(three, start):
    three.create_topic("hanging")
    connector = await start("hanging", cluster=three, deadline_seconds=6)
    await connector.emit(plain_mail())
    in_doubt, sent = set(), {}

    async def client():
        for _ in range(20):
            mail = plain_mail()
            async with asyncio.timeout(60):
                while not isinstance(found := await outcome(connector, mail), Receipt):
                    assert isinstance(found, TransientFailure)
                    if found.possibly_stored:
                        in_doubt.add(mail.envelope.id)
                    await asyncio.sleep(0.1)
            sent[mail.envelope.id] = found.location["offset"]

    leader = await asyncio.to_thread(three.leader, "hanging")
    clients = [asyncio.create_task(client()) for _ in range(20)]
    await until(lambda: len(sent) > 100)
    leader.pause()
    try:
        await asyncio.gather(*clients)
    finally:
        leader.resume()
    assert len(sent) == 400
    at = {}
    async with asyncio.timeout(30):
        # The one that hung takes itself for the leader until it has heard of the new one, and shows what it had then.
        while not at.keys() >= set(sent.values()):
            at = {record.offset: record.key.decode() for record in await three.read("hanging")}
    assert all(at[offset] == id_ for id_, offset in sent.items())
    assert {id_ for id_, times in Counter(at.values()).items() if times > 1} <= in_doubt
