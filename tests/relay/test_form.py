"""The form in which a mail goes to a server, by what that server offers."""

import hashlib

import pytest
from msgspec import structs

from gateway.address import parse_path
from gateway.connector import PermanentFailure
from gateway.envelope import Content, Mail, Parameter, Recipient, read_metadata, with_own_trace
from gateway.envelope.flatten import flatten, relay_form
from gateway.relay.form import outgoing_mail
from gateway.smtp import LMTP, SMTP
from gateway.testing import plain_mail

EVERYTHING = ("8BITMIME", "SMTPUTF8", "BINARYMIME", "CHUNKING", "METADATA", "DSN", "SIZE")
OWN = b"Received: from client by gw.example.net; Sat, 21 Nov 2026 10:00:00 +0000\r\n"
OTHER = b"Received: from mua by msa; Sat, 21 Nov 2026 09:59:59 +0000\r\nReturn-Path: <other@example.net>\r\nX-One: 1"
RECEIVED = ((0, OTHER), (1, b"\\Flagged $Forwarded"), (0x7FFF, b"\0opaque\xff"))
TEXT = b"From: a@example.net\r\nReturn-Path: <third@example.net>\r\nSubject: x\r\n\r\nHello.\r\n"


def offered(*keywords, **parameters):
    return dict.fromkeys(keywords, ()) | {key: (str(value),) for key, value in parameters.items()}


def mail(octets=TEXT, *, body="7BIT", containers=RECEIVED, sender="a@example.net", to="b@example.org", **parameters):
    template = plain_mail().envelope
    transaction = structs.replace(
        template.envelope,
        mail_from=structs.replace(
            template.envelope.mail_from,
            address=parse_path(sender.encode(), utf8=True),
            parameters=tuple(Parameter(keyword=key, value=value) for key, value in parameters.items()),
        ),
        recipients=(
            Recipient(
                address=parse_path(to.encode(), utf8=True),
                parameters=(
                    Parameter(keyword="NOTIFY", value="SUCCESS"),
                    Parameter(keyword="ORCPT", value="rfc822;B+2Bc@Example.ORG"),
                    Parameter(keyword="XUNKNOWN"),
                ),
            ),
        ),
    )
    envelope = structs.replace(
        template,
        transaction=structs.replace(template.transaction, body=body),
        envelope=transaction,
        metadata=read_metadata(with_own_trace(OWN, containers), trusted=True),
        message=structs.replace(template.message, size=len(octets), sha256=hashlib.sha256(octets).hexdigest()),
    )
    return Mail(envelope, Content(octets))


async def form(given, *keywords, dialect=SMTP, **parameters):
    return await outgoing_mail(given, offered(*keywords, **parameters), dialect)


def octets(outgoing):
    return outgoing.content.read_at(0, outgoing.content.size)


@pytest.mark.parametrize("dialect", [SMTP, LMTP], ids=lambda dialect: dialect.name)
async def test_with_metadata_every_container_goes_as_it_is_and_our_trace_first(dialect):
    outgoing = await form(mail(), *EVERYTHING, dialect=dialect)
    assert outgoing.containers == ((0, OWN), *RECEIVED)
    assert hashlib.sha256(octets(outgoing)).hexdigest() == mail().envelope.message.sha256


@pytest.mark.parametrize("missing", ["METADATA", "CHUNKING"])
async def test_without_it_the_trace_stands_above_the_content(missing):
    outgoing = await form(mail(), *(each for each in EVERYTHING if each != missing))
    assert outgoing.containers == ()
    assert octets(outgoing) == OWN + OTHER + b"\r\n" + TEXT  # A5: the container lacked its last CRLF


async def test_over_lmtp_the_server_writes_the_only_return_path():
    outgoing = await form(mail(), "8BITMIME", dialect=LMTP)
    own = OTHER.replace(b"Return-Path: <other@example.net>\r\n", b"") + b"\r\n"
    text = TEXT.replace(b"Return-Path: <third@example.net>\r\n", b"")
    assert octets(outgoing) == OWN + own + text


@pytest.mark.parametrize("keywords", [EVERYTHING, ("8BITMIME",)], ids=["everything", "little"])
@pytest.mark.parametrize("dialect", [SMTP, LMTP], ids=lambda dialect: dialect.name)
async def test_what_is_flattened_goes_as_it_is_but_for_the_return_path(keywords, dialect):
    flat = flatten(mail())
    outgoing = await form(flat, *keywords, dialect=dialect)
    assert outgoing.containers == ()
    assert b"Return-Path: <a@example.net>\r\n" + octets(outgoing) == flat.content.read()
    assert outgoing.content.size == len(octets(outgoing))


async def test_parameters_of_dsn_go_verbatim_to_servers_that_know_them_and_no_others_go():
    given = mail(RET="HDRS", ENVID="Id+2B1", AUTH="<>", SIZE="7", XOTHER="x")
    outgoing = await form(given, *EVERYTHING)
    assert outgoing.parameters == (("RET", "HDRS"), ("ENVID", "Id+2B1"))
    assert outgoing.recipients[0].parameters == (("NOTIFY", "SUCCESS"), ("ORCPT", "rfc822;B+2Bc@Example.ORG"))
    outgoing = await form(given, "8BITMIME")
    assert outgoing.parameters == outgoing.recipients[0].parameters == ()


EIGHT_BIT = b"Subject: x\r\n\r\n\xe9\r\n"


@pytest.mark.parametrize(
    ("given", "keywords", "body"),
    [
        (mail(EIGHT_BIT, body="8BITMIME"), ("8BITMIME",), "8BITMIME"),
        (mail(EIGHT_BIT, body="7BIT"), ("8BITMIME",), "8BITMIME"),
        (mail(containers=((0, b"X-Name: \xc3\xa9\r\n"),)), ("8BITMIME",), "8BITMIME"),
        (mail(containers=((0, b"X-Name: \xc3\xa9\r\n"),)), EVERYTHING, "8BITMIME"),
        (mail(body="8BITMIME"), (), "7BIT"),
        (mail(), ("8BITMIME",), "7BIT"),
        (mail(EIGHT_BIT, body="BINARYMIME"), EVERYTHING, "BINARYMIME"),
        (mail(b"x" * 300_000 + EIGHT_BIT), ("8BITMIME",), "8BITMIME"),
    ],
)
async def test_the_body_type_is_what_the_octets_need(given, keywords, body):
    assert (await form(given, *keywords)).body == body


@pytest.mark.parametrize(
    ("given", "keywords", "status"),
    [
        (mail(EIGHT_BIT, body="8BITMIME"), (), "5.6.3"),
        (mail(EIGHT_BIT), (), "5.6.3"),
        (mail(containers=((0, b"X-Name: \xc3\xa9\r\n"),)), (), "5.6.3"),
        (mail(body="BINARYMIME"), ("8BITMIME", "CHUNKING"), "5.6.3"),
        (mail(body="BINARYMIME"), ("8BITMIME", "BINARYMIME"), "5.6.3"),
        (mail(sender="grüße@example.net", SMTPUTF8=""), ("8BITMIME",), "5.6.7"),
        (mail(to="用户@例子.example", SMTPUTF8=""), ("8BITMIME",), "5.6.7"),
        (mail(EIGHT_BIT, SMTPUTF8=""), ("8BITMIME",), "5.6.9"),
        (mail(b"x" * 300_000 + EIGHT_BIT, SMTPUTF8=""), ("8BITMIME",), "5.6.9"),
    ],
)
async def test_what_a_server_cannot_take_as_it_is_fails_for_good(given, keywords, status):
    with pytest.raises(PermanentFailure) as raised:
        await form(given, *keywords)
    assert str(raised.value.status) == status


async def test_a_mail_that_is_ascii_after_all_needs_no_smtputf8():
    assert ("SMTPUTF8", "") in (await form(mail(SMTPUTF8=""), *EVERYTHING)).parameters
    assert (await form(mail(SMTPUTF8=""), "8BITMIME")).parameters == ()


async def test_containers_count_for_the_servers_limit_and_are_not_shed():
    size = len(TEXT) + sum(2 + len(data) for _, data in ((0, OWN), *RECEIVED))
    assert (await form(mail(), "CHUNKING", "METADATA", SIZE=size)).containers
    for limit in (size - 1, len(TEXT)):
        with pytest.raises(PermanentFailure) as raised:
            await form(mail(), "CHUNKING", "METADATA", SIZE=limit)
        assert str(raised.value.status) == "5.3.4"


@pytest.mark.parametrize("limit", ["0", "", "much", "-1", "٣", "9" * 5000])
async def test_a_limit_that_says_nothing_limits_nothing(limit):
    given = offered("8BITMIME") | {"SIZE": (limit,) if limit else ()}
    assert await outgoing_mail(mail(), given, SMTP)


async def test_an_untouched_content_is_not_copied():
    given = mail()
    assert (await form(given, *EVERYTHING)).content is given.content
    assert relay_form(given.envelope.metadata.containers, given.content).size == (await form(given)).content.size
