import hashlib

from hypothesis import given
from hypothesis import strategies as st

from gateway.address import NULL_REVERSE_PATH, parse_path
from gateway.envelope import (
    Action,
    Client,
    Content,
    Disposition,
    Envelope,
    Flattened,
    Mail,
    Message,
    Metadata,
    Recipient,
    Sender,
    Transaction,
    TransactionEnvelope,
    new_id,
    read_headers,
    read_metadata,
    with_own_trace,
)
from gateway.envelope.flatten import flatten, preserve, relay_form
from gateway.envelope.headers import MAXIMUM_OCTETS, field_spans, is_named
from tests.envelope.strategies import containers, octets, paths

# A mail as it came: three containers, then the message of 86 octets.
OWN = (
    b"Received: from msa.example.com (msa.example.com [192.0.2.1])\r\n"
    b"\tby mx.example.org with ESMTP id 01KAJZ5M8QC000000000000001;\r\n\tWed, 20 May 2015 10:00:01 +0000\r\n"
)
TRACE = (
    b"Received: from mua.example.com (mua.example.com [192.0.2.10])\r\n"
    b"\tby msa.example.com with ESMTPSA id Q1;\r\n\tWed, 20 May 2015 10:00:00 +0000\r\n"
)
RECEIVED = [(0, TRACE), (1, b"$Forwarded"), (0x7FFF, b"\0opaque\xff")]
MESSAGE = b"To: Susan@random.com\r\nFrom: Sam@random.com\r\nSubject: This is a bodyless test message\r\n"


def a_mail(content, these, sender=NULL_REVERSE_PATH):
    headers, complete = read_headers(content)
    envelope = Envelope(
        id=new_id(),
        received_at="2015-05-20T10:00:01.000000Z",
        gateway="mx.example.org",
        transaction=Transaction(
            protocol="ESMTP", listener="mx", session="1", client=Client(address="192.0.2.1", port=25025)
        ),
        envelope=TransactionEnvelope(
            mail_from=Sender(address=sender),
            recipients=(Recipient(address=parse_path(b"susan@random.com", utf8=False)),),
        ),
        metadata=read_metadata(these, trusted=False),
        message=Message(
            size=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            headers=headers,
            headers_complete=complete,
        ),
    )
    return Mail(envelope, Content(content))


def flat(content, these, sender=NULL_REVERSE_PATH):
    return flatten(a_mail(content, these, sender)).content.read()


def without_return_paths(block):
    kept, position = b"", 0
    for start, end in field_spans(block, b"return-path"):
        kept += block[position:start]
        position = end
    return kept + block[position:]


def test_the_sample_has_the_lengths_that_its_commands_announce():
    assert [len(data) + 2 for _, data in RECEIVED] == [140, 12, 10]
    assert len(MESSAGE) == 86


def test_a_next_hop_without_the_extension_gets_own_trace_then_received_trace_then_the_content():
    assert relay_form(with_own_trace(OWN, RECEIVED), Content(MESSAGE)).read() == OWN + TRACE + MESSAGE


def test_a_destination_that_flattens_gets_the_same_under_a_return_path():
    sender = parse_path(b"sam@random.com", utf8=False)
    expected = b"Return-Path: <sam@random.com>\r\n" + OWN + TRACE + MESSAGE
    mail = flatten(a_mail(MESSAGE, with_own_trace(OWN, RECEIVED), sender))
    assert mail.content.read() == expected
    assert mail.envelope.message.flattened == Flattened(size=len(expected), sha256=hashlib.sha256(expected).hexdigest())
    assert mail.envelope.metadata == Metadata(
        disposition=(
            Disposition(index=0, type=0, size=len(OWN), action=Action.FLATTENED),
            Disposition(index=1, type=0, size=138, action=Action.FLATTENED),
            Disposition(index=2, type=1, size=10, action=Action.DISCARDED),
            Disposition(index=3, type=0x7FFF, size=8, action=Action.DISCARDED),
        )
    )


def test_a_destination_that_preserves_gets_all_as_it_was():
    mail = a_mail(MESSAGE, with_own_trace(OWN, RECEIVED))
    kept = preserve(mail)
    assert kept.content is mail.content
    assert kept.envelope.message == mail.envelope.message
    assert kept.envelope.metadata.containers == mail.envelope.metadata.containers
    assert kept.envelope.metadata.keywords == ("$Forwarded",)
    assert [done.action for done in kept.envelope.metadata.disposition] == [Action.CARRIED] * 4


def test_what_is_flattened_already_stays_as_it_is():
    mail = flatten(a_mail(MESSAGE, with_own_trace(OWN, RECEIVED)))
    assert flatten(mail) is mail
    assert preserve(mail) is mail


def test_flattening_twice_from_one_mail_does_not_change_it():
    mail = a_mail(MESSAGE, with_own_trace(OWN, RECEIVED))
    assert flatten(mail).content.read() == flatten(mail).content.read()
    assert mail.content.read() == MESSAGE


@given(containers, octets)
def test_the_relay_form_ends_in_the_content_as_it_came(these, content):
    """Signatures over the content stay valid, and its digest stays that of the envelope."""
    prefix = b"".join(
        data if data.endswith(b"\r\n") or not data else data + b"\r\n"
        for data in (one.data for one in these if one.type == 0)
    )
    assert relay_form(these, Content(content)).read() == prefix + content


@given(containers, octets, paths)
def test_the_flattened_form_is_return_path_and_trace_and_content(these, content, sender):
    """The relay form under an own Return-Path, without the Return-Path fields of others."""
    trace = [one.data for one in these if one.type == 0]
    trace = [data if data.endswith(b"\r\n") or not data else data + b"\r\n" for data in trace]
    expected = b"Return-Path: <%b>\r\n" % sender.raw.encode()
    expected += b"".join(without_return_paths(block) for block in [*trace, content])
    assert flat(content, these, sender) == expected


@given(containers, octets)
def test_the_envelope_describes_the_flattened_form(these, content):
    mail = flatten(a_mail(content, these))
    found = mail.content.read()
    message = mail.envelope.message
    assert (message.size, message.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert message.flattened == Flattened(size=len(found), sha256=hashlib.sha256(found).hexdigest())
    assert (message.headers, message.headers_complete) == read_headers(found)
    assert sum(is_named(header, "return-path") for header in message.headers) == 1


@given(st.integers(0, 3))
def test_a_foreign_return_path_is_removed_wherever_it_stands(position):
    fields = [b"From: a@b\r\n", b"To: c@d\r\n", b"X: y\r\n"]
    foreign = [*fields[:position], b"return-PATH :\r\n <e@f>\r\n", *fields[position:]]
    these = with_own_trace(OWN, [(0, b"Return-Path: <g@h>\r\n" + TRACE)])
    expected = b"Return-Path: <>\r\n" + OWN + TRACE + b"".join(fields) + b"\r\nReturn-Path: body\r\n"
    assert flat(b"".join(foreign) + b"\r\nReturn-Path: body\r\n", these) == expected


def test_a_return_path_beyond_what_is_read_of_a_content_stays():
    content = b"X: " + b"x" * MAXIMUM_OCTETS + b"\r\nReturn-Path: <a@b>\r\n\r\n"
    mail = flatten(a_mail(content, with_own_trace(OWN, [])))
    assert mail.content.read() == b"Return-Path: <>\r\n" + OWN + content
    assert not mail.envelope.message.headers_complete


def test_an_empty_content_becomes_a_header_section():
    assert flat(b"", with_own_trace(OWN, [])) == b"Return-Path: <>\r\n" + OWN


def test_an_address_in_utf8_stays_utf8():
    sender = parse_path("grüße@bücher.example".encode(), utf8=True)
    assert flat(b"", with_own_trace(b"", []), sender) == "Return-Path: <grüße@bücher.example>\r\n".encode()


def test_large_content_is_digested_in_blocks(tmp_path):
    path = tmp_path / "content"
    path.write_bytes(MESSAGE + b"\r\n" + bytes(range(256)) * 10_000)
    mail = a_mail(b"", with_own_trace(OWN, RECEIVED))
    with path.open("rb", buffering=0) as file:
        found = flatten(Mail(mail.envelope, Content(file=file)))
        expected = b"Return-Path: <>\r\n" + OWN + TRACE + path.read_bytes()
        assert found.envelope.message.flattened == Flattened(
            size=len(expected), sha256=hashlib.sha256(expected).hexdigest()
        )
