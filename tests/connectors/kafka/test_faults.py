"""What happens when a real broker is paused, killed, or refuses."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from aiokafka.errors import KafkaError
from msgspec import structs

from connectors.kafka import CONNECTOR
from connectors.kafka.session import Session
from gateway.connector import DeliveryFailure, PermanentFailure, Receipt, TransientFailure
from gateway.envelope import Content, Mail, new_id
from gateway.testing.samples import plain_mail
from tests.connectors.kafka.conftest import settings
from tests.servers.ports import free_port


def can_create_topics(cluster) -> bool:
    try:
        cluster.create_topic(f"after-a-pause-{new_id()}")
    except (AttributeError, KafkaError):  # an AttributeError is how aiokafka says that there is no controller
        return False
    return True


@contextmanager
def paused(cluster) -> Iterator[None]:
    cluster.pause()
    try:
        yield
    finally:
        cluster.resume()
        # A broker that was away is for a moment without its cluster, and the next test needs both.
        deadline = time.monotonic() + 30
        while not can_create_topics(cluster):
            assert time.monotonic() < deadline


def with_content(octets: bytes) -> Mail:
    mail = plain_mail()
    message = structs.replace(mail.envelope.message, size=len(octets))
    return Mail(structs.replace(mail.envelope, message=message), Content(octets))


def to(domain: str) -> Mail:
    mail = plain_mail()
    [recipient] = mail.envelope.envelope.recipients
    address = structs.replace(recipient.address, domain=domain)
    addressed = structs.replace(mail.envelope.envelope, recipients=(structs.replace(recipient, address=address),))
    return Mail(structs.replace(mail.envelope, envelope=addressed), mail.content)


async def outcome(connector, mail) -> Receipt | DeliveryFailure:
    try:
        return await connector.emit(mail)
    except DeliveryFailure as failure:
        return failure


async def outcomes(connector, mails) -> list[Receipt | DeliveryFailure]:
    return await asyncio.gather(*(outcome(connector, mail) for mail in mails))


async def emitted_at_last(connector, mail, seconds=30) -> Receipt:
    """Emit until it succeeds, as a client does that gets 451 again and again."""
    async with asyncio.timeout(seconds):
        while not isinstance(found := await outcome(connector, mail), Receipt):
            assert isinstance(found, TransientFailure)
            await asyncio.sleep(0.1)
    return found


async def until(holds: Callable[[], bool], seconds=30) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110  # what is waited for is another program's doing
            await asyncio.sleep(0.01)


def session_of(connector) -> Session:
    return connector._producer._session


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


async def test_a_broker_that_hangs_is_a_transient_failure_within_the_deadline(kafka, make_topic, start):
    connector = await start(make_topic(), deadline_seconds=3)
    await connector.emit(plain_mail())
    with paused(kafka), at_most(3):
        failures = await outcomes(connector, [plain_mail() for _ in range(50)])
    assert {(type(failure), str(failure.status)) for failure in failures} == {(TransientFailure, "4.4.2")}
    assert {failure.text for failure in failures} == {"the destination did not answer in time, try again later"}


async def test_while_a_broker_hangs_close_returns_at_once_and_leaves_nothing(kafka, make_topic, start):
    before = asyncio.all_tasks()
    connector = await start(make_topic())
    await connector.emit(plain_mail())
    with paused(kafka):
        waiting = [asyncio.create_task(outcome(connector, plain_mail())) for _ in range(50)]
        await until(lambda: len(session_of(connector)._sending) == 50)
        with at_most(2):
            await connector.close()
        found = await asyncio.gather(*waiting)
    assert {type(failure) for failure in found} == {TransientFailure}
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_an_emit_after_close_is_transient_and_opens_nothing(make_topic, start):
    connector = await start(make_topic())
    await connector.emit(plain_mail())
    await connector.close()
    before = asyncio.all_tasks()
    assert isinstance(await outcome(connector, plain_mail()), TransientFailure)
    assert asyncio.all_tasks() == before


async def test_a_large_request_to_a_broker_that_hangs_does_not_hold_up_close(kafka, make_topic, start):
    connector = await start(make_topic(), compression="none", format="raw")
    await connector.emit(plain_mail())
    with paused(kafka):
        mails = [with_content(b"x" * 700_000) for _ in range(20)]
        waiting = [asyncio.create_task(outcome(connector, mail)) for mail in mails]
        await until(lambda: len(session_of(connector)._sending) == 20)
        with at_most(2):
            await connector.close()
        await asyncio.gather(*waiting)


async def test_contents_that_wait_for_a_broker_that_hangs_are_bounded_in_octets(kafka, make_topic, start):
    connector = await start(make_topic(), format="raw")
    mails = [with_content(b"x" * 700_000) for _ in range(200)]
    with paused(kafka):
        emits = [asyncio.create_task(outcome(connector, mail)) for mail in mails]
        await until(lambda: bool(connector._budget._waiting))
        assert len(session_of(connector)._sending) * 700_000 <= 64 * 1024 * 1024
    assert {type(found) for found in await asyncio.gather(*emits)} == {Receipt}


async def test_emits_succeed_again_when_the_broker_goes_on(kafka, make_topic, start):
    topic = make_topic()
    connector = await start(topic, deadline_seconds=2)
    mails = [plain_mail() for _ in range(20)]
    with paused(kafka):
        assert {type(found) for found in await outcomes(connector, mails)} == {TransientFailure}
        # The next emits are to meet a broker that lets nobody in.
        await until(lambda: session_of(connector).has_ended)
        with at_most(2):
            assert {type(found) for found in await outcomes(connector, mails)} == {TransientFailure}
    for mail in mails:
        await emitted_at_last(connector, mail)
    keys = {record.key for record in await kafka.read(topic)}
    assert keys == {mail.envelope.id.encode() for mail in mails}


async def test_a_cancelled_emit_lets_the_others_be(kafka, make_topic, start):
    topic = make_topic()
    connector = await start(topic)
    session = session_of(connector)
    for turns in range(30):
        emit = asyncio.create_task(connector.emit(plain_mail()))
        for _ in range(turns):
            await asyncio.sleep(0)
        emit.cancel()
        await connector.emit(plain_mail())
    assert session_of(connector) is session


async def test_an_emit_cancelled_at_a_broker_that_hangs_is_not_sent_for_ever(kafka, make_topic, start):
    topic = make_topic()
    connector = await start(topic)
    await connector.emit(plain_mail())
    session = session_of(connector)
    with paused(kafka):
        emit = asyncio.create_task(connector.emit(plain_mail()))
        await until(lambda: bool(session._sending))
        emit.cancel()
        with at_most(3):
            await until(lambda: session.has_ended)
            await session.ended()


async def test_every_mail_with_a_receipt_is_there_after_the_broker_was_killed(kafka, make_topic, start):
    topic = make_topic(partitions=3)
    connector = await start(topic, deadline_seconds=5)
    sent = {}

    async def client():
        for _ in range(100):
            mail = plain_mail()
            sent[mail.envelope.id] = await emitted_at_last(connector, mail, 60)

    clients = [asyncio.create_task(client()) for _ in range(10)]
    await until(lambda: len(sent) >= 200)
    await asyncio.to_thread(kafka.kill)
    await asyncio.to_thread(kafka.start)
    await asyncio.gather(*clients)
    stored = {(record.partition, record.offset): record.key for record in await kafka.read(topic)}
    assert len(sent) == 1000
    for id_, receipt in sent.items():
        assert stored[receipt.location["partition"], receipt.location["offset"]] == id_.encode()
    with at_most(2):
        await connector.close()


async def test_a_broker_that_was_down_at_the_start_is_found_when_it_comes(kafka, make_topic, start):
    port = free_port()
    with at_most(2):
        connector = await start(make_topic(), bootstrap_servers=[f"127.0.0.1:{port}"])
    with at_most(1), pytest.raises(TransientFailure, match="ConnectionRefusedError") as caught:
        await connector.emit(plain_mail())
    assert str(caught.value.status) == "4.4.1"

    async def relay(reader, writer):
        host, broker_port = kafka.bootstrap.split(":")
        broker_reader, broker_writer = await asyncio.open_connection(host, int(broker_port))
        await asyncio.gather(copy(reader, broker_writer), copy(broker_reader, writer))

    async def copy(reader, writer):
        while octets := await reader.read(65536):
            writer.write(octets)
        writer.close()

    async with await asyncio.start_server(relay, "127.0.0.1", port):
        await emitted_at_last(connector, plain_mail())


async def test_a_leader_that_dies_costs_time_and_no_mail_where_enough_replicas_are_left(start_kafka, start):
    cluster = start_kafka(nodes=3)
    cluster.create_topic("mail.example.org")
    cluster.create_topic("mail.example.com", config={"min.insync.replicas": "3"})
    patient = await start("mail.{recipient_domain}", cluster=cluster)
    await patient.emit(to("example.com"))
    async with asyncio.TaskGroup() as group:
        emits = [group.create_task(patient.emit(to("example.org"))) for _ in range(100)]
        await until(lambda: len(session_of(patient)._sending) == 100)
        cluster.leader("mail.example.org").kill()
    assert all(emit.result() for emit in emits)

    connector = await start("mail.{recipient_domain}", cluster=cluster, deadline_seconds=4)
    starved = asyncio.create_task(outcome(connector, to("example.com")))
    while not starved.done():
        assert isinstance(await outcome(connector, to("example.org")), Receipt)
    assert isinstance(starved.result(), TransientFailure)
    await until(lambda: session_of(connector).has_ended)
    for _ in range(20):
        assert isinstance(await outcome(connector, to("example.org")), Receipt)


async def test_a_record_that_the_broker_finds_too_large_is_refused_and_its_neighbours_are_not(kafka, make_topic, start):
    topic = make_topic(config={"max.message.bytes": "20000"})
    connector = await start(topic, compression="none")
    for _ in range(3):
        mails = [plain_mail() for _ in range(20)]
        mails[7] = with_content(b"x" * 30_000)
        found = await outcomes(connector, mails)
        assert isinstance(found[7], PermanentFailure)
        assert str(found[7].status) == "5.3.4"
        assert "max.message.bytes" in found[7].cause
        assert {type(each) for each in found[:7] + found[8:]} == {Receipt}
    assert len(await kafka.read(topic)) == 57


async def test_small_mails_are_not_refused_because_their_batch_was_too_large(kafka, make_topic, start):
    topic = make_topic(config={"max.message.bytes": "5000"})
    connector = await start(topic, compression="none", linger_milliseconds=50)
    found = await outcomes(connector, [plain_mail() for _ in range(30)])
    assert {type(each) for each in found} == {Receipt}
    assert len(await kafka.read(topic)) == 30


async def test_a_topic_that_does_not_exist_is_transient_and_the_others_are_served(kafka, make_topic, start):
    name = make_topic()
    kafka.create_topic(f"{name}.a")
    connector = await start(f"{name}.{{recipient_domain}}")

    with at_most(5):
        missing, *others = await outcomes(connector, [to("missing"), *(to("a") for _ in range(20))])
    assert isinstance(missing, TransientFailure)
    assert str(missing.status) == "4.3.5"
    assert f"topic {name}.missing: " in missing.cause
    assert {type(each) for each in others} == {Receipt}
    asked_for = session_of(connector)._producer.client._topics
    assert asked_for == {f"{name}.a"}


async def test_missing_rights_are_told_at_the_start(start_kafka):
    authorizer = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }
    cluster = start_kafka(settings=authorizer)
    cluster.create_topic("mail")
    login = {
        "bootstrap_servers": cluster.tls_bootstrap.split(","),
        "tls": True,
        "tls_ca_file": cluster.ca_file,
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_username": cluster.username,
        "sasl_password": cluster.password,
    }
    connector = CONNECTOR.build(settings(cluster, "mail", **login), {})
    with pytest.raises(PermanentFailure, match="the right"):
        await connector.open()
