"""What happens when a real broker is paused, killed, or refuses."""

import asyncio
import time

import pytest

from gateway.connector import PermanentFailure, Receipt, TransientFailure
from gateway.testing.samples import plain_mail
from tests.connectors.kafka.outcomes import (
    at_most,
    emitted_at_last,
    outcome,
    outcomes,
    paused,
    session_of,
    to,
    until,
    with_content,
)
from tests.servers.ports import free_port


async def test_a_broker_that_hangs_is_a_transient_failure_within_the_deadline(kafka, make_topic, start):
    connector = await start(make_topic(), deadline_seconds=6)
    await connector.emit(plain_mail())
    with paused(kafka), at_most(6):
        failures = await outcomes(connector, [plain_mail() for _ in range(50)])
    assert {(type(failure), str(failure.status)) for failure in failures} == {(TransientFailure, "4.4.2")}
    assert {failure.text for failure in failures} == {"the destination did not answer in time, try again later"}
    assert any(failure.possibly_stored for failure in failures)


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
    connector = await start(topic, deadline_seconds=5)
    mails = [plain_mail() for _ in range(20)]
    with paused(kafka):
        assert {type(found) for found in await outcomes(connector, mails)} == {TransientFailure}
        # The next emits are to meet a broker that lets nobody in.
        await until(lambda: session_of(connector).has_ended)
        with at_most(5):
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


async def test_emits_that_are_cancelled_leave_those_in_their_batch_alone(kafka, make_topic, start, monkeypatch):
    topic = make_topic()
    connector = await start(topic, linger_milliseconds=200)
    await connector.emit(plain_mail())
    session = session_of(connector)
    looked_at = []

    def look_at(settled, end_unless_done=session._end_unless_done):
        end_unless_done(settled)
        looked_at.append(settled)

    monkeypatch.setattr(session, "_end_unless_done", look_at)
    emits = [asyncio.create_task(connector.emit(plain_mail())) for _ in range(20)]
    await until(lambda: len(session._sending) == 20)
    for emit in emits[::2]:
        emit.cancel()
    await until(lambda: len(session._sending) == 10)
    assert {type(found) for found in await asyncio.gather(*emits[1::2])} == {Receipt}
    # When a record has gone on for as long as it may while nobody waits for it.
    await until(lambda: len(looked_at) == 10)
    assert session_of(connector) is session
    assert not session.has_ended
    assert len(await kafka.read(topic, 21)) == 21


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


async def test_a_broker_that_dies_is_named_long_before_the_deadline(kafka, make_topic, start):
    """Nobody is left who could tell of another leader, so there is nothing to wait for."""
    topic = make_topic()
    connector = await start(topic)
    await connector.emit(plain_mail())
    mail = plain_mail()
    await asyncio.to_thread(kafka.kill)
    try:
        with at_most(8):
            failure = await outcome(connector, mail)
        with at_most(1):
            following = await outcome(connector, plain_mail())
    finally:
        await asyncio.to_thread(kafka.start)
    assert isinstance(failure, TransientFailure)
    assert (str(failure.status), failure.possibly_stored) == ("4.4.1", False)
    assert f"no connection to broker {kafka.bootstrap}" in failure.cause
    assert "ConnectionRefusedError" in following.cause
    await emitted_at_last(connector, mail)
    assert [record.key for record in await kafka.read(topic)].count(mail.envelope.id.encode()) == 1


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


async def test_a_topic_that_comes_later_takes_the_mails_that_waited_for_it(kafka, make_topic, start):
    name = make_topic()
    connector = await start(f"{name}.{{recipient_domain}}")
    mail = to("later")
    failure = await outcome(connector, mail)
    assert isinstance(failure, TransientFailure)
    assert not failure.possibly_stored
    await asyncio.to_thread(kafka.create_topic, f"{name}.later")
    await emitted_at_last(connector, mail)
    assert len(await kafka.read(f"{name}.later")) == 1


async def test_mails_beyond_a_quota_of_the_brokers_wait_and_do_not_fail(kafka, make_topic, start):
    topic = make_topic()
    quota = ("--entity-type", "clients", "--entity-name", "mailsluice-over-quota")
    kafka.run_tool("kafka.admin.ConfigCommand", "--alter", *quota, "--add-config", "producer_byte_rate=90000")
    connector = await start(topic, name="over-quota", format="raw", compression="none")
    mails = [with_content(b"x" * 100_000) for _ in range(12)]
    began = time.monotonic()
    assert {type(found) for found in await outcomes(connector, mails)} == {Receipt}
    await connector.emit(plain_mail())
    assert time.monotonic() - began > 0.5
    assert len(await kafka.read(topic)) == 13


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
