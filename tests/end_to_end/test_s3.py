"""Mail to a real S3 server, in both layouts, and as the place for content that is too large for Kafka."""

import hashlib
import io
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway.codec import avro_v1, bmtd, json_v1
from tests.end_to_end import tables
from tests.end_to_end.mails import CONTAINERS, LARGE_MAIL, MAIL, RECEIVED
from tests.end_to_end.wire import deliver


class Bucket:
    """A bucket of the test's own, as a stranger sees it."""

    def __init__(self, server):
        self.name = server.create_bucket()
        self._client = server.client()

    def listed(self):
        return [item["Key"] for item in self._client.list_objects_v2(Bucket=self.name).get("Contents", ())]

    def octets(self, key):
        return self._client.get_object(Bucket=self.name, Key=key)["Body"].read()


@pytest.fixture
def bucket(s3_server):
    return Bucket(s3_server)


@pytest.mark.parametrize(("listener", "hello"), [("smtp", "EHLO"), ("lmtp", "LHLO")])
def test_a_mail_is_three_objects(start_gateway, s3_server, bucket, listener, hello):
    prefix = 'prefix = "mail/{recipient_domain}/"'
    gateway = start_gateway(tables.s3(s3_server, bucket.name, prefix) + tables.route("objects"))
    (reply,) = deliver(gateway.addresses[listener], MAIL, "bob@example.org", hello=hello, containers=CONTAINERS)
    stem = gateway.record(reply)["receipts"]["objects"]["key"].removesuffix(".eml")
    assert sorted(bucket.listed()) == [f"{stem}.bmtd", f"{stem}.eml", f"{stem}.json"]
    envelope = json_v1.decode(bucket.octets(f"{stem}.json"))
    assert reply == f"250 2.0.0 {envelope.id} accepted"
    assert stem == f"mail/example.org/{envelope.received_at[:10].replace('-', '/')}/{envelope.id}"
    assert bucket.octets(f"{stem}.eml") == MAIL
    assert envelope.message.sha256 == hashlib.sha256(MAIL).hexdigest()
    containers = bmtd.decode(bucket.octets(f"{stem}.bmtd"))
    assert containers == envelope.metadata.containers
    assert [(container.type, container.data) for container in containers[1:]] == RECEIVED


def test_many_mails_are_one_file(start_gateway, s3_server, bucket):
    """Mails that come together are one object, and each client has its 250 only when that is committed."""
    batch = ('layout = "batch"', "batch_max_mails = 20", "batch_max_age_seconds = 20.0")
    gateway = start_gateway(tables.s3(s3_server, bucket.name, *batch) + tables.route("objects"))
    address = gateway.addresses["smtp"]
    contents = [MAIL + b"%d\r\n" % number for number in range(20)]

    def send(content):
        (reply,) = deliver(address, content, "bob@example.org", containers=CONTAINERS)
        return reply, bucket.listed()

    with ThreadPoolExecutor(len(contents)) as threads:
        answered = list(threads.map(send, contents))
    (key,) = bucket.listed()
    assert all(seen == [key] for _, seen in answered)
    envelopes = list(avro_v1.read_file(io.BytesIO(bucket.octets(key))))
    for content, (reply, _) in zip(contents, answered, strict=True):
        location = gateway.record(reply)["receipts"]["objects"]
        envelope = envelopes[location["index"]]
        assert location["key"] == key
        assert reply == f"250 2.0.0 {envelope.id} accepted"
        assert envelope.message.content == content
        assert [(container.type, container.data) for container in envelope.metadata.containers[1:]] == RECEIVED


@pytest.mark.parametrize("layout", ["message", "batch"])
def test_a_store_that_hangs_gives_no_250_until_it_goes_on(start_gateway, s3_server, bucket, layout):
    lines = (f'layout = "{layout}"', "deadline_seconds = 5.0", "batch_max_age_seconds = 0.1")
    gateway = start_gateway(tables.s3(s3_server, bucket.name, *lines) + tables.route("objects"))
    address = gateway.addresses["smtp"]
    s3_server.pause()
    try:
        (reply,) = deliver(address, MAIL, "bob@example.org")
    finally:
        s3_server.resume()
    assert reply.startswith("451 4.4.2")
    (reply,) = deliver(address, MAIL, "bob@example.org")
    assert reply.startswith("250")
    assert gateway.record(reply)["receipts"]["objects"]["key"] in bucket.listed()


async def test_content_too_large_for_a_record_lies_in_the_bucket(start_gateway, s3_server, bucket, kafka, topic):
    claim = ("inline_max_bytes = 1000", 'claim_check = "objects"')
    # The table that is referred to stands behind: their order makes no difference.
    gateway = start_gateway(
        tables.kafka(kafka, topic, *claim)
        + tables.s3(s3_server, bucket.name, "multipart_threshold_bytes = 5242880")
        + tables.route("events")
    )
    (reply,) = deliver(gateway.addresses["smtp"], LARGE_MAIL, "bob@example.org", containers=CONTAINERS)
    (record,) = await kafka.read(topic)
    envelope = json_v1.decode(record.value)
    assert reply == f"250 2.0.0 {envelope.id} accepted"
    reference = envelope.message.reference
    assert (reference.connector, reference.type, reference.location["bucket"]) == ("objects", "s3", bucket.name)
    assert bucket.octets(reference.location["key"]) == LARGE_MAIL
    assert [(container.type, container.data) for container in envelope.metadata.containers[1:]] == RECEIVED
