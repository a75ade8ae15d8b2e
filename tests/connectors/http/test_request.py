"""The mapping from mails to requests, in each format, read back by the readers of others."""

import base64
import json
import re
from urllib.parse import unquote_to_bytes

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from msgspec import structs

from connectors.http.request import Request, RequestForm
from gateway.codec import json_v1, raw
from gateway.connector import Mail, PermanentFailure
from gateway.envelope import Content, encode_container
from tests.connectors.http.forms import read_form

FORMATS = ("cloudevents-binary", "cloudevents-structured", "raw", "multipart")
SAMPLES = (
    "plain",
    "header octets that are not UTF-8",
    "null reverse-path, to the postmaster",
    "quoted local-part",
    "local-part that looks like a path",
    "UTF-8 addresses",
    "metadata of every type",
    "empty content",
    "binary content in chunks",
    "large content in a file",
    "a thousand recipients",
    "metadata flattened",
)


def build(mail: Mail, form: str, *, inline_max_bytes=10**9, header_max_bytes=10**6) -> Request:
    kind = RequestForm(format=form, inline_max_bytes=inline_max_bytes, header_max_bytes=header_max_bytes)
    return kind.build(mail)


def octets(request: Request) -> bytes:
    body = b"".join(request.body.blocks())
    assert request.body.size == len(body)
    return body


@pytest.fixture(params=SAMPLES)
def mail(request, samples):
    return samples[request.param]


def test_every_sample_is_asked_about(samples):
    assert set(SAMPLES) == set(samples)


@pytest.mark.parametrize("form", ["cloudevents-binary", "cloudevents-structured"])
def test_the_cloudevents_sdk_reads_the_event_and_the_envelope_in_it(mail, form):
    request = build(mail, form)
    event = from_http_event(HTTPMessage(dict(request.headers), octets(request)))
    assert event.get_id() == mail.envelope.id
    assert event.get_type() == "org.mailsluice.mail.received.v1"
    assert event.get_source() == "//mx.example.org/mx"
    assert event.get_subject() == mail.envelope.envelope.recipients[0].address.raw
    assert event.get_time().isoformat().startswith(mail.envelope.received_at[:19])
    assert event.get_datacontenttype() == "application/json"
    assert json_v1.decode(json.dumps(event.get_data()).encode()) == mail.inline()


def test_raw_has_the_content_as_its_body_and_what_a_replay_needs_in_its_headers(mail):
    request = build(mail, "raw")
    assert octets(request) == mail.content.read()
    headers = dict(request.headers)
    assert headers["content-type"] == "message/rfc822"
    assert len(headers) == len(request.headers), "a name stands twice"
    pairs = []
    for name, value in headers.items():
        elements = value.split(",") if name.startswith(("mail-", "bmtd-")) else []
        decode = base64.b64decode if name.startswith("bmtd-") else unquote_to_bytes
        pairs += [(name, decode(element)) for element in elements]
    assert pairs == raw.encode(mail.envelope)
    envelope, containers = raw.decode(pairs)
    assert envelope == mail.envelope.envelope
    assert containers == mail.envelope.metadata.containers


@pytest.mark.parametrize("form", ["raw", "multipart"])
def test_the_cloudevents_sdk_reads_the_attributes_of_other_bodies_too(mail, form):
    headers = dict(build(mail, form).headers)
    event = from_http_event(HTTPMessage({**headers, "content-type": "text/plain"}, b""))
    assert event.get_id() == mail.envelope.id
    assert event.get_dataschema() is None


async def test_an_independent_reader_of_forms_finds_envelope_content_and_containers(mail):
    request = build(mail, "multipart")
    parts = await read_form(dict(request.headers)["content-type"], octets(request))
    mail_id = mail.envelope.id
    expected = [
        ("envelope", f"{mail_id}.json", "application/json", json_v1.encode(mail.envelope)),
        ("content", f"{mail_id}.eml", "message/rfc822", mail.content.read()),
    ]
    for container in mail.envelope.metadata.containers:
        name = f"bmtd-{container.index:04}"
        expected.append((name, f"{mail_id}.{name}", "application/octet-stream", encode_container(container)))
    assert parts == expected


def test_a_form_has_another_boundary_each_time(plain):
    boundaries = {dict(build(plain, "multipart").headers)["content-type"] for _ in range(10)}
    assert len(boundaries) == 10


def test_raw_and_multipart_do_not_copy_the_content(mail):
    for form in ("raw", "multipart"):
        assert mail.content in build(mail, form).body.pieces


HOSTILE = 'a\r\nX-Injected: 1\r\n\r\n\0\x0b\x1f\x7f\x85\u2028,"%äb '


@pytest.mark.parametrize("form", FORMATS)
def test_no_value_can_break_out_of_its_header(form, plain):
    mail = plain
    address = structs.replace(mail.envelope.envelope.mail_from.address, raw=HOSTILE)
    sender = structs.replace(mail.envelope.envelope.mail_from, address=address)
    recipient = structs.replace(mail.envelope.envelope.recipients[0], address=address)
    hostile = structs.replace(
        mail.envelope,
        gateway=HOSTILE,
        transaction=structs.replace(
            mail.envelope.transaction, hello=HOSTILE, authenticated_as=HOSTILE, listener=HOSTILE, protocol=HOSTILE
        ),
        envelope=structs.replace(mail.envelope.envelope, mail_from=sender, recipients=(recipient, recipient)),
        metadata=structs.replace(mail.envelope.metadata, keywords=(HOSTILE,)),
    )
    for name, value in build(Mail(hostile, mail.content), form).headers:
        assert re.fullmatch(r"[a-z0-9-]+", name)
        # The one space is in `multipart/form-data; boundary=…`.
        assert re.fullmatch(r"[!-~]+( [!-~]+)?", value)
        assert name == "content-type" or " " not in value


@pytest.mark.parametrize("form", ["cloudevents-binary", "cloudevents-structured"])
def test_content_too_large_to_inline_is_refused_for_good_and_the_log_says_what_to_do(form, plain):
    mail = Mail(plain.envelope, Content(b"x" * 1001))
    with pytest.raises(PermanentFailure) as caught:
        build(mail, form, inline_max_bytes=1000)
    assert str(caught.value.status) == "5.3.4"
    assert caught.value.text == "the mail is too big for this destination, which takes 1000 octets"
    assert "inline_max_bytes" in caught.value.cause
    assert "multipart" in caught.value.cause
    build(Mail(mail.envelope, Content(b"x" * 1000)), form, inline_max_bytes=1000)


@pytest.mark.parametrize("form", ["raw", "multipart"])
def test_streamed_content_knows_no_limit(form, plain):
    build(Mail(plain.envelope, Content(b"x" * 1001)), form, inline_max_bytes=1000)


def test_metadata_too_large_for_headers_is_refused_for_good_and_the_log_says_what_to_do(samples):
    mail = samples["a thousand recipients"]
    with pytest.raises(PermanentFailure) as caught:
        build(mail, "raw", header_max_bytes=16384)
    assert str(caught.value.status) == "5.3.4"
    assert "multipart" in caught.value.cause
    for form in ("multipart", "cloudevents-binary", "cloudevents-structured"):
        build(mail, form, header_max_bytes=1024)
