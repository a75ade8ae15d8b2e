import json
from datetime import datetime

import pytest
from cloudevents.core.bindings import http, kafka
from msgspec import structs

from gateway.codec import CodecError, cloudevents, json_v1
from tests.codec.examples import VALID, example


@pytest.fixture(params=VALID, ids=lambda path: path.stem)
def envelope(request):
    return example(request.param.stem)


def assert_is(event, envelope):
    """What the SDK of CloudEvents read is the event of this envelope."""
    expected = cloudevents.attributes(envelope)
    found = event.get_attributes()
    assert found.pop("time") == datetime.fromisoformat(expected.pop("time"))
    assert found == expected
    data = event.get_data()
    assert json_v1.decode(json.dumps(data).encode()) == envelope


def test_a_structured_event_is_one(envelope):
    message = http.HTTPMessage({"content-type": "application/cloudevents+json"}, cloudevents.structured(envelope))
    assert_is(http.from_http_event(message), envelope)


def test_a_binary_http_request_is_an_event(envelope):
    headers = cloudevents.http_headers(cloudevents.attributes(envelope))
    assert_is(http.from_http_event(http.HTTPMessage(dict(headers), json_v1.encode(envelope))), envelope)


def test_a_binary_kafka_message_is_an_event(envelope):
    headers = cloudevents.kafka_headers(cloudevents.attributes(envelope))
    assert_is(kafka.from_kafka_event(kafka.KafkaMessage(dict(headers), None, json_v1.encode(envelope))), envelope)


def test_the_headers_are_those_that_the_sdk_writes(envelope):
    attributes = cloudevents.attributes(envelope)
    event = http.from_structured_event(http.HTTPMessage({}, cloudevents.structured(envelope)))
    assert dict(cloudevents.http_headers(attributes)) == http.to_binary_event(event).headers
    assert dict(cloudevents.kafka_headers(attributes)) == kafka.to_binary_event(event).headers


def test_the_attributes_name_the_mail_and_where_it_came_in():
    envelope = example("plain")
    assert cloudevents.attributes(envelope) == {
        "specversion": "1.0",
        "id": envelope.id,
        "source": "//mx.example.org/mx",
        "type": "org.mailsluice.mail.received.v1",
        "time": envelope.received_at,
        "subject": "bob@example.org",
        "datacontenttype": "application/json",
        "dataschema": "urn:mailsluice:schema:envelope:v1",
    }


def test_a_reference_to_the_data_is_an_attribute():
    envelope = example("plain")
    assert cloudevents.attributes(envelope, dataref="s3://mail/a")["dataref"] == "s3://mail/a"
    assert json.loads(cloudevents.structured(envelope, dataref="s3://mail/a"))["dataref"] == "s3://mail/a"


def test_a_source_is_a_uri_whatever_the_listener_is_called():
    envelope = example("plain")
    transaction = structs.replace(envelope.transaction, listener="in side/ü?")
    source = cloudevents.attributes(structs.replace(envelope, transaction=transaction))["source"]
    assert source == "//mx.example.org/in%20side%2F%C3%BC%3F"


def test_an_http_field_has_no_octet_that_could_end_it():
    assert cloudevents.percent_encoded('a b"c%d\r\né~!') == "a%20b%22c%25d%0D%0A%C3%A9~!"


def test_the_envelope_of_a_structured_event_comes_back(sample_envelopes):
    for envelope in sample_envelopes:
        assert cloudevents.read_structured(cloudevents.structured(envelope)) == envelope


@pytest.mark.parametrize("octets", [b"", b"[]", b"{}", b'{"data": {}}', b"\xff"])
def test_what_is_no_event_with_an_envelope_is_refused(octets):
    with pytest.raises(CodecError, match="no event with an envelope"):
        cloudevents.read_structured(octets)
