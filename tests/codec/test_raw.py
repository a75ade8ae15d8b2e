import pytest
from hypothesis import given

from gateway.codec import CodecError, raw
from gateway.envelope import read_metadata
from tests.codec.examples import example
from tests.envelope.strategies import containers, envelopes, paths, transaction_envelopes

SENDABLE = envelopes(transaction_envelopes(paths), containers.map(lambda these: read_metadata(these, trusted=True)))


@given(SENDABLE)
def test_all_that_sending_again_takes_comes_back(envelope):
    assert raw.decode(raw.encode(envelope)) == (envelope.envelope, envelope.metadata.containers)


def test_every_sample_mail_can_be_sent_again(sample_envelopes):
    for envelope in sample_envelopes:
        assert raw.decode(raw.encode(envelope)) == (envelope.envelope, envelope.metadata.containers)


def test_headers_read_like_the_commands_that_brought_the_mail():
    envelope = example("containers-of-every-kind")
    headers = raw.encode(envelope)
    assert [name for name, _ in headers] == [
        "mail-id",
        "mail-received-at",
        "mail-gateway",
        "mail-from",
        "mail-rcpt",
        "mail-protocol",
        "mail-listener",
        "mail-session",
        "mail-client",
        "mail-hello",
        "mail-proxy",
        "mail-tls",
        "mail-authenticated-as",
        "mail-extensions",
        "mail-body",
        "mail-size",
        "mail-sha256",
        "mail-chunks",
        "mail-keyword",
        "mail-keyword",
        "bmtd-0000",
        "bmtd-0001",
        "bmtd-0002",
        "bmtd-0003",
        "bmtd-0004",
    ]
    found = dict(headers)
    assert found["mail-id"] == envelope.id.encode()
    assert found["mail-client"] == b"192.0.2.10 50123"
    assert found["mail-from"] == b"<alice@example.net>"
    assert found["mail-rcpt"] == b"<bob@example.org>"
    assert found["mail-chunks"] == b"100 60"
    assert found["bmtd-0003"] == b"\x7f\xff" + bytes(range(256))


def test_the_null_reverse_path_is_an_empty_path():
    headers = raw.encode(example("null-reverse-path"))
    assert dict(headers)["mail-from"] == b"<>"


def test_addresses_are_utf8():
    headers = raw.encode(example("utf8-addresses"))
    assert dict(headers)["mail-rcpt"] == "<用户@例子.example>".encode()


def test_a_flattened_mail_says_what_became_of_each_container():
    envelope = example("flattened")
    headers = raw.encode(envelope)
    flattened = envelope.message.flattened
    assert dict(headers)["mail-flattened"] == f"{flattened.size} {flattened.sha256}".encode()
    assert [value.split()[3] for name, value in headers if name == "mail-disposition"] == [
        b"flattened",
        b"flattened",
        b"discarded",
    ]
    assert not any(name.startswith("bmtd") for name, _ in headers)


FROM = ("mail-from", b"<a@example.net>")
RCPT = ("mail-rcpt", b"<b@example.org>")


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ([], "one mail-from and at least one mail-rcpt"),
        ([FROM], "one mail-from and at least one mail-rcpt"),
        ([RCPT], "one mail-from and at least one mail-rcpt"),
        ([FROM, FROM, RCPT], "one mail-from and at least one mail-rcpt"),
        ([FROM, ("mail-rcpt", b"b@example.org")], "mail-rcpt does not begin with a path in angle brackets"),
        ([FROM, ("mail-rcpt", b'<"b@example.org>')], "mail-rcpt does not begin with a path in angle brackets"),
        ([FROM, ("mail-rcpt", b"<b b@example.org>")], "mail-rcpt has no address of RFC 5321"),
        ([FROM, ("mail-rcpt", b"<\xff@example.org>")], "mail-rcpt has no address of RFC 5321"),
        ([FROM, RCPT, ("bmtd-0001", b"\0\0")], "bmtd-0001 stands where bmtd-0000 should"),
        ([FROM, RCPT, ("bmtd-0000", b"\0")], "at least the two octets"),
        ([FROM, RCPT, ("bmtd-0000", b"\0\1")], "first container is not the gateway's own trace"),
    ],
)
def test_headers_that_are_not_ours_are_an_error(headers, reason):
    with pytest.raises(CodecError, match=reason):
        raw.decode(headers)


def test_headers_of_other_names_are_left_alone():
    envelope, containers = raw.decode([("x", b"\xff"), FROM, ("mail-size", b"?"), RCPT])
    assert envelope.recipients[0].address.domain == "example.org"
    assert containers == ()
