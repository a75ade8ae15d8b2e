"""Destinations that fail while mail is spooled for them: the client knows nothing of it, and the mail arrives."""

import hashlib
from pathlib import Path

import pytest

from gateway.codec import json_v1
from tests.end_to_end import tables
from tests.end_to_end.mails import CONTAINERS, MAIL
from tests.end_to_end.spools import DELIVERED, PUT_OFF, drained, id_in, listed, retry, wait_until_listed
from tests.end_to_end.wire import Wire, deliver
from tests.torture.journal import metadata_digest
from tests.torture.sinks import HttpSink

TO = "bob@example.org"
MEBIBYTE = 1024 * 1024


@pytest.fixture
def asking(start_gateway, consumer):
    """A gateway that spools for one consumer."""
    return start_gateway(tables.http(consumer.url) + tables.spooled("consumer"))


def test_a_consumer_that_is_down_gets_its_mail_when_it_is_up_though_the_gateway_died_meanwhile(start_gateway, tmp_path):
    with HttpSink(tmp_path) as consumer:
        consumer.process.kill()
        gateway = start_gateway(consumer.table() + tables.spooled("consumer"))
        accepted = [
            id_in(deliver(gateway.addresses["smtp"], MAIL, TO, containers=CONTAINERS)[0]),
            id_in(deliver(gateway.addresses["lmtp"], MAIL, TO, hello="LHLO", containers=CONTAINERS)[0]),
        ]
        gateway.wait_for(PUT_OFF, count=2)
        gateway.kill()
        # First the consumer: a failure that the kill kept out of the spool is tried again at once, and then in minutes.
        consumer.start()
        gateway.start()
        drained(gateway)
        # Five seconds after the first attempt, as the schedule says, and with no help; once, for nothing is unknown.
        assert sorted(mail.mail_id for mail in consumer.delivered()) == sorted(accepted)
        assert {mail.sha256 for mail in consumer.delivered()} == {hashlib.sha256(MAIL).hexdigest()}
        assert {mail.metadata_sha256 for mail in consumer.delivered()} == {metadata_digest(CONTAINERS)}


def test_a_consumer_that_is_gone_is_paused_until_the_operator_says_so(asking, consumer):
    consumer.status = 410
    accepted = [id_in(deliver(asking.addresses["smtp"], MAIL, TO)[0])]
    asking.wait_for("alarm: destination closed")
    # It is said before it is written down.
    wait_until_listed(asking, "paused")
    # More mail is accepted, and none of it is given to the consumer, also after a crash.
    accepted.append(id_in(deliver(asking.addresses["smtp"], MAIL, TO)[0]))
    asking.kill()
    asking.start()
    accepted.append(id_in(deliver(asking.addresses["smtp"], MAIL, TO)[0]))
    assert "consumer" in listed(asking)
    assert len(consumer.received) == 1
    consumer.status = 200
    assert "resumed: consumer" in retry(asking, "--connector", "consumer")
    drained(asking)
    assert sorted({request["webhook-id"] for request in consumer.received[1:]}) == accepted
    assert len(consumer.received) == 1 + len(accepted)


def test_a_consumer_that_asks_for_an_hour_has_it_unless_the_operator_knows_better(asking, consumer):
    consumer.status, consumer.retry_after = 503, "3600"
    id_ = id_in(deliver(asking.addresses["smtp"], MAIL, TO)[0])
    asking.wait_for(PUT_OFF)
    wait_until_listed(asking, " waiting ")
    (record,) = asking.records("put off")
    assert (record["id"], record["delay_seconds"], record["possibly_stored"]) == (id_, 3600, True)
    # What comes now waits too: it is the destination that wants no more.
    other = id_in(deliver(asking.addresses["smtp"], MAIL, TO)[0])
    assert len(consumer.received) == 1
    consumer.status, consumer.retry_after = 200, ""
    assert retry(asking, "--connector", "consumer").startswith("retried: ")
    drained(asking)
    assert sorted(request["webhook-id"] for request in consumer.received) == sorted((id_, id_, other))


def test_an_answer_that_does_not_come_in_time_makes_a_possible_duplicate_under_the_same_id(start_gateway, consumer):
    consumer.may_answer.clear()
    gateway = start_gateway(tables.http(consumer.url, "timeout_seconds = 5.0") + tables.spooled("consumer"))
    id_ = id_in(deliver(gateway.addresses["smtp"], MAIL, TO)[0])
    gateway.wait_for(PUT_OFF)
    consumer.may_answer.set()
    retry(gateway, id_)
    gateway.wait_for(DELIVERED)
    drained(gateway)
    assert [request["webhook-id"] for request in consumer.received] == [id_, id_]
    assert {request.body for request in consumer.received} == {MAIL}
    (delivered,) = gateway.records("delivered")
    assert delivered["possible_duplicate"]


def test_a_gateway_that_dies_before_it_hears_the_answer_gives_the_mail_again_under_its_id(asking, consumer):
    consumer.may_answer.clear()
    id_ = id_in(deliver(asking.addresses["smtp"], MAIL, TO, containers=CONTAINERS)[0])
    assert consumer.has_request.wait(20)
    asking.kill()
    consumer.may_answer.set()
    asking.start()
    asking.wait_for(DELIVERED)
    drained(asking)
    assert [request["webhook-id"] for request in consumer.received] == [id_, id_]
    assert {request.body for request in consumer.received} == {MAIL}
    (delivered,) = asking.records("delivered")
    assert (delivered["id"], delivered["possible_duplicate"]) == (id_, True)


def test_a_refused_mail_stays_for_the_operator_and_goes_when_he_says_so(asking, consumer):
    consumer.status, consumer.text = 422, "no invoice in it"
    id_ = id_in(deliver(asking.addresses["smtp"], MAIL, TO, containers=CONTAINERS)[0])
    asking.wait_for("alarm: dead letter")
    spool = drained(asking)
    assert spool.dead() == {(id_, "consumer")}
    assert id_ in listed(asking)
    consumer.status = 200
    retry(asking, id_)
    asking.wait_for(DELIVERED)
    drained(asking)
    assert [request["webhook-id"] for request in consumer.received] == [id_, id_]
    assert not spool.dead()


def test_a_store_that_is_down_from_the_start_costs_no_250_and_no_memory(start_gateway, start_s3_server):
    server = start_s3_server()
    bucket = server.create_bucket()
    server.stop()
    batch = ('layout = "batch"', "batch_max_age_seconds = 0.1")
    gateway = start_gateway(tables.s3(server, bucket, *batch) + tables.spooled("objects"))
    content = MAIL + bytes(30_000)
    accepted = [_send_many(gateway, content, 50)]
    gateway.wait_for("alarm: destination fails")
    before = _resident(gateway)
    accepted.append(_send_many(gateway, content, 1000))
    assert _resident(gateway) - before < 16 * MEBIBYTE
    server.start()
    spool = drained(gateway)
    assert not spool.dead()
    expected = sorted(id_ for some in accepted for id_ in some)
    # Log lines are written by a thread of their own, a moment after what they tell of.
    gateway.wait_for('"event": "delivered"', count=len(expected))
    assert sorted(record["id"] for record in gateway.records("delivered")) == expected


async def test_a_broker_that_hangs_has_all_of_it_in_order_once_it_goes_on(start_gateway, kafka, topic):
    lines = ('key = "{recipient_domain}"', "deadline_seconds = 1.0")
    gateway = start_gateway(tables.kafka(kafka, topic, *lines) + tables.spooled("events"))
    contents = [MAIL + b"%d\r\n" % number for number in range(30)]
    kafka.pause()
    try:
        accepted = [id_in(deliver(gateway.addresses["smtp"], content, TO)[0]) for content in contents]
        gateway.wait_for(PUT_OFF)
    finally:
        kafka.resume()
    gateway.wait_for(DELIVERED, count=len(contents))
    drained(gateway)
    envelopes = [json_v1.decode(record.value) for record in await kafka.read(topic)]
    # One of them was under way when the broker hung; it may be there twice.
    found = list(dict.fromkeys(envelope.id for envelope in envelopes))
    assert found == accepted
    assert len(envelopes) - len(found) <= len(gateway.records("put off"))
    assert {envelope.id: envelope.message.content for envelope in envelopes} == dict(
        zip(accepted, contents, strict=True)
    )


def _send_many(gateway, content, count):
    """The ids of so many mails, sent over one connection and each waited for."""
    ids = []
    with Wire(gateway.addresses["smtp"]) as client:
        client.greet()
        for _ in range(count):
            client.send(
                b"MAIL FROM:<s@example.net> BODY=BINARYMIME\r\nRCPT TO:<bob@example.org>\r\n"
                b"BDAT %d LAST\r\n%b" % (len(content), content)
            )
            *_, reply = (client.read() for _ in range(3))
            ids.append(id_in(reply))
    return ids


def _resident(gateway):
    fields = (line.split() for line in Path(f"/proc/{gateway.pid}/status").read_text().splitlines())
    return next(int(words[1]) * 1024 for words in fields if words[0] == "VmRSS:")
