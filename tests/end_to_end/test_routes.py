"""Several destinations for one mail, and several recipients with different ones: who is told what."""

import pytest

from gateway.codec import json_v1
from tests.end_to_end import tables
from tests.end_to_end.archives import only, stored
from tests.end_to_end.wire import Wire, deliver

MAIL = b"From: ann@example.net\r\nSubject: hello\r\n\r\nto all\r\n"
TO_ALL = "all@example.org"


@pytest.fixture
def fan_out(start_gateway, consumer, kafka, topic):
    """A gateway whose one route has an archive, a topic and a consumer."""
    return start_gateway(
        tables.directory()
        + tables.kafka(kafka, topic)
        + tables.http(consumer.url)
        + tables.route("archive", "events", "consumer")
    )


async def test_a_mail_is_accepted_when_all_destinations_have_it(fan_out, consumer, kafka, topic):
    (reply,) = deliver(fan_out.addresses["smtp"], MAIL, TO_ALL)
    mail = only(fan_out.folder / "mail")
    (record,) = await kafka.read(topic)
    (request,) = consumer.received
    assert reply == f"250 2.0.0 {mail.envelope.id} accepted"
    assert {mail.envelope.id} == {json_v1.decode(record.value).id, request["webhook-id"]}
    assert (mail.content, json_v1.decode(record.value).message.content, request.body) == (MAIL, MAIL, MAIL)
    assert set(fan_out.record(reply)["receipts"]) == {"archive", "events", "consumer"}


@pytest.mark.parametrize(("status", "code"), [(503, "451 4.3.0"), (422, "550 5.7.1")])
async def test_one_destination_that_fails_is_enough_for_a_refusal(fan_out, consumer, kafka, topic, *, status, code):
    """The others have stored the mail all the same. When the client tries again they get it again, under a new id."""
    consumer.status = status
    (refused,) = deliver(fan_out.addresses["smtp"], MAIL, TO_ALL)
    assert refused.startswith(code)
    outcome = fan_out.record(refused)
    assert set(outcome["receipts"]) == {"archive", "events"}
    assert set(outcome["failures"]) == {"consumer"}
    consumer.status = 200
    (accepted,) = deliver(fan_out.addresses["smtp"], MAIL, TO_ALL)
    ids = [outcome["id"], fan_out.record(accepted)["id"]]
    assert accepted == f"250 2.0.0 {ids[1]} accepted"
    assert [mail.envelope.id for mail in stored(fan_out.folder / "mail")] == ids
    assert [json_v1.decode(record.value).id for record in await kafka.read(topic)] == ids
    assert [request["webhook-id"] for request in consumer.received] == ids


@pytest.fixture
def two_routes(start_gateway, consumer):
    return start_gateway(
        tables.directory()
        + tables.route("archive", recipients="kept@example.org")
        + tables.http(consumer.url)
        + tables.route("consumer", recipients="asked@example.org")
    )


def test_lmtp_answers_for_each_recipient_by_its_route(two_routes, consumer):
    consumer.status = 503
    replies = deliver(
        two_routes.addresses["lmtp"], MAIL, "kept@example.org", "asked@example.org", "kept@example.org", hello="LHLO"
    )
    mail = only(two_routes.folder / "mail")
    assert [reply[:9] for reply in replies] == ["250 2.0.0", "451 4.3.0", "250 2.0.0"]
    assert all(mail.envelope.id in reply for reply in replies)
    # Each destination learns of the recipients that go there, and of no others.
    assert [recipient.address.raw for recipient in mail.envelope.envelope.recipients] == ["kept@example.org"] * 2
    assert consumer.received[0]["mail-rcpt"] == "<asked@example.org>"


def test_smtp_answers_once_for_all_recipients(two_routes, consumer):
    """A failure for one is a failure for all: the client keeps the mail, and sends all of it again."""
    consumer.status = 503
    (reply,) = deliver(two_routes.addresses["smtp"], MAIL, "kept@example.org", "asked@example.org")
    assert reply.startswith("451 4.3.0")
    assert only(two_routes.folder / "mail").content == MAIL


def test_a_temporary_failure_goes_before_a_permanent_one(start_gateway, consumer):
    """The other recipient may still get it, so the client has to come again."""
    consumer.status = 410
    gateway = start_gateway(
        tables.http("http://127.0.0.1:9/", name="nowhere")
        + tables.route("nowhere", recipients="nowhere@example.org")
        + tables.http(consumer.url)
        + tables.route("consumer")
    )
    recipients = ("asked@example.org", "nowhere@example.org")
    assert deliver(gateway.addresses["smtp"], MAIL, *recipients)[0].startswith("451 4.4.1")
    replies = deliver(gateway.addresses["lmtp"], MAIL, *recipients, hello="LHLO")
    assert [reply[:9] for reply in replies] == ["550 5.7.1", "451 4.4.1"]


def test_a_recipient_without_a_route_is_refused_before_the_content(two_routes):
    with Wire(two_routes.addresses["smtp"]) as client:
        client.greet()
        replies = client.begin("nobody@example.com", "kept@example.org", "kept@sub.example.org")
        assert [reply[:9] for reply in replies] == ["550 5.1.1", "250 2.1.5", "550 5.1.1"]
        assert client.data(MAIL).startswith("250 2.0.0")
    assert len(only(two_routes.folder / "mail").envelope.envelope.recipients) == 1
