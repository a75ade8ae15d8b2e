"""Mail that is accepted into the spool: it reaches real destinations as it came, under the id of the 250."""

import base64
import hashlib

import pytest

from gateway.codec import bmtd, json_v1
from gateway.envelope import encode_container
from tests.end_to_end import tables
from tests.end_to_end.archives import only
from tests.end_to_end.mails import CONTAINERS, MAIL, RECEIVED
from tests.end_to_end.spools import DELIVERED, PUT_OFF, drained, id_in
from tests.end_to_end.wire import deliver

# In a row of the database, and in a file beside it.
SMALL, LARGE = MAIL, MAIL + b"".join(b".%075d\r\n" % number for number in range(3000))
TO = ("bob@example.org", "bcc@example.org")


@pytest.fixture(scope="module")
def bucket(s3_server):
    return s3_server.create_bucket()


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize(("listener", "hello"), [("smtp", "EHLO"), ("lmtp", "LHLO")])
async def test_every_destination_gets_what_came_under_the_id_of_the_250(
    start_gateway, kafka, topic, consumer, *, s3_server, bucket, content, listener, hello
):
    gateway = start_gateway(
        tables.directory()
        + tables.kafka(kafka, topic)
        + tables.s3(s3_server, bucket)
        + tables.http(consumer.url)
        + tables.spooled("archive", "events", "objects", "consumer")
    )
    replies = deliver(gateway.addresses[listener], content, *TO, hello=hello, containers=CONTAINERS)
    assert len(replies) == (2 if hello == "LHLO" else 1)
    (id_,) = {id_in(reply) for reply in replies}
    gateway.wait_for(DELIVERED, count=4)
    drained(gateway)

    archived = only(gateway.folder / "mail")
    (record,) = await kafka.read(topic)
    (request,) = consumer.received
    (key,) = (each["Key"] for each in _objects(s3_server, bucket) if each["Key"].endswith(f"{id_}.json"))
    envelopes = [archived.envelope, json_v1.decode(record.value), json_v1.decode(_octets(s3_server, bucket, key))]
    for envelope in envelopes:
        assert envelope.id == id_
        assert envelope.message.sha256 == hashlib.sha256(content).hexdigest()
        assert tuple(recipient.address.raw for recipient in envelope.envelope.recipients) == TO
        assert [(container.type, container.data) for container in envelope.metadata.containers[1:]] == RECEIVED
        assert envelope.metadata.containers == envelopes[0].metadata.containers
    stem = key.removesuffix(".json")
    contents = [archived.content, envelopes[1].message.content, _octets(s3_server, bucket, f"{stem}.eml"), request.body]
    assert all(each == content for each in contents)
    assert bmtd.decode(_octets(s3_server, bucket, f"{stem}.bmtd")) == envelopes[0].metadata.containers
    assert request["webhook-id"] == request["mail-id"] == id_
    fields = [base64.b64decode(value) for name, value in request.headers if name.startswith("bmtd-")]
    assert fields == [encode_container(container) for container in envelopes[0].metadata.containers]


def test_a_batch_has_each_spooled_mail_once(start_gateway, s3_server):
    """What is delivered together settles one by one."""
    bucket = s3_server.create_bucket()
    batch = ('layout = "batch"', "batch_max_mails = 20", "batch_max_age_seconds = 1.0")
    gateway = start_gateway(tables.s3(s3_server, bucket, *batch) + tables.spooled("objects"))
    for _ in range(20):
        id_in(deliver(gateway.addresses["smtp"], SMALL, *TO)[0])
    gateway.wait_for(DELIVERED, count=20)
    drained(gateway)
    locations = [record["location"] for record in gateway.records("delivered")]
    assert sorted((location["key"], location["index"]) for location in locations) == sorted(
        {(location["key"], location["index"]) for location in locations}
    )
    assert {location["key"] for location in locations} == {each["Key"] for each in _objects(s3_server, bucket)}


@pytest.fixture
def mixed(start_gateway, consumer):
    """A route that waits for its consumer, and one that does not wait for its archive."""
    return start_gateway(
        tables.http(consumer.url)
        + tables.route("consumer", recipients="asked@example.org")
        + tables.directory()
        + tables.spooled("archive", recipients="kept@example.org")
    )


def test_lmtp_answers_for_each_recipient_as_its_route_says(mixed, consumer):
    consumer.status = 503
    recipients = ("kept@example.org", "asked@example.org", "kept@example.org")
    replies = deliver(mixed.addresses["lmtp"], MAIL, *recipients, hello="LHLO", containers=CONTAINERS)
    assert [reply[:9] for reply in replies] == ["250 2.0.0", "451 4.3.0", "250 2.0.0"]
    id_ = id_in(replies[0])
    assert all(id_ in reply for reply in replies)
    mixed.wait_for(DELIVERED)
    drained(mixed)
    mail = only(mixed.folder / "mail")
    assert (mail.envelope.id, mail.content) == (id_, MAIL)
    assert [recipient.address.raw for recipient in mail.envelope.envelope.recipients] == ["kept@example.org"] * 2
    assert consumer.received[0]["mail-rcpt"] == "<asked@example.org>"
    # The consumer is the client's business, which has been told: nothing of it was spooled.
    assert mixed.stop() == 0
    assert not mixed.records("put off")


def test_smtp_answers_once_and_what_was_spooled_is_delivered_all_the_same(mixed, consumer):
    """A failure for one is a failure for all: the client sends it again, and the archive gets it under both ids."""
    consumer.status = 503
    (refused,) = deliver(mixed.addresses["smtp"], MAIL, "kept@example.org", "asked@example.org")
    assert refused.startswith("451 4.3.0")
    mixed.wait_for(DELIVERED)
    consumer.status = 200
    (accepted,) = deliver(mixed.addresses["smtp"], MAIL, "kept@example.org", "asked@example.org")
    mixed.wait_for(DELIVERED, count=2)
    drained(mixed)
    ids = [request["webhook-id"] for request in consumer.received]
    assert ids[0] in refused
    assert ids[1] == id_in(accepted)
    assert mixed.stop() == 0
    assert [record["id"] for record in mixed.records("delivered")] == ids
    assert PUT_OFF not in mixed.log


def _objects(server, bucket):
    return server.client().list_objects_v2(Bucket=bucket).get("Contents", ())


def _octets(server, bucket, key):
    return server.client().get_object(Bucket=bucket, Key=key)["Body"].read()
