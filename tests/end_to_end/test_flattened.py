"""`metadata = "flatten"`: trace fields on top of the content, for readers that know nothing of containers."""

import hashlib

from gateway.envelope import Action
from tests.end_to_end import tables
from tests.end_to_end.archives import only
from tests.end_to_end.mails import CONTAINERS, MAIL, TRACE
from tests.end_to_end.wire import deliver

FLATTEN = 'metadata = "flatten"'


def test_an_archive_holds_the_trace_on_top_of_the_content(start_gateway):
    """Our own trace, then the received one; what has no place there is named as discarded."""
    gateway = start_gateway(tables.directory(FLATTEN) + tables.route("archive"))
    deliver(gateway.addresses["lmtp"], MAIL, "bob@example.org", hello="LHLO", containers=CONTAINERS)
    mail = only(gateway.folder / "mail")
    own = own_trace(mail.content, protocol="LMTP", id_=mail.envelope.id)
    message = mail.envelope.message
    assert (message.size, message.sha256) == (len(MAIL), hashlib.sha256(MAIL).hexdigest())
    assert message.flattened.size == len(mail.content)
    assert message.flattened.sha256 == hashlib.sha256(mail.content).hexdigest()
    assert [header.name for header in message.headers[:3]] == ["Return-Path", "Received", "Received"]
    assert not mail.envelope.metadata.containers
    assert not mail.marker.with_suffix(".bmtd").exists()
    assert [(each.type, each.size, each.action) for each in mail.envelope.metadata.disposition] == [
        (0, len(own), Action.FLATTENED),
        (0, len(TRACE), Action.FLATTENED),
        (1, 10, Action.DISCARDED),
        (0x1234, 256, Action.DISCARDED),
    ]


async def test_a_raw_record_has_the_trace_on_top_of_the_content(start_gateway, kafka, topic):
    gateway = start_gateway(tables.kafka(kafka, topic, FLATTEN, 'format = "raw"') + tables.route("events"))
    deliver(gateway.addresses["smtp"], MAIL, "bob@example.org", containers=CONTAINERS)
    (record,) = await kafka.read(topic)
    headers = [(name, value.decode()) for name, value in record.headers]
    own = own_trace(record.value, protocol="ESMTP", id_=dict(headers)["mail-id"])
    assert dict(headers)["mail-sha256"] == hashlib.sha256(MAIL).hexdigest()
    assert dict(headers)["mail-flattened"] == f"{len(record.value)} {hashlib.sha256(record.value).hexdigest()}"
    assert not [name for name, _ in headers if name.startswith("bmtd-")]
    assert [value for name, value in headers if name == "mail-disposition"] == [
        f"0 0 {len(own)} flattened",
        f"1 0 {len(TRACE)} flattened",
        "2 1 10 discarded",
        "3 4660 256 discarded",
    ]


def own_trace(content, *, protocol, id_):
    """The gateway's own Received field, in its place between Return-Path and what was received."""
    return_path, rest = content.split(b"\r\n", 1)
    assert return_path == b"Return-Path: <sender@example.net>"
    assert rest.endswith(TRACE + MAIL)
    own = rest.removesuffix(TRACE + MAIL)
    assert own.startswith(b"Received: from client.example.net ([127.0.0.1])\r\n\tby mx.example.org with ")
    assert f" with {protocol} id {id_}\r\n\tfor <bob@example.org>;\r\n".encode() in own
    return own
