"""The URLs of referrals: what is one, and that what is written is read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.address import parse_path
from gateway.smtp import DIALECTS, LMTP, SMTP, Reply
from gateway.smtp.referral import (
    Referral,
    ReferralSyntaxError,
    dovecot_referral_reply,
    parse_referral,
    read_dovecot_referral,
    referral_in,
    referral_reply,
    with_referral_checked,
)
from gateway.smtp.reply import read_reply

LABEL = st.from_regex(r"[a-z0-9](?:[a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
NAMES = st.builds("{}.{}".format, LABEL, st.from_regex(r"[a-z][a-z0-9]{0,5}", fullmatch=True))
HOSTS = st.one_of(
    NAMES, st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).filter(lambda a: not a.ipv4_mapped).map(str)
)
RECIPIENTS = st.one_of(
    st.just(""),
    st.builds("{}@{}".format, st.from_regex(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,20}", fullmatch=True), NAMES),
    st.builds('"{}"@{}'.format, st.from_regex(r"[ !#-\[\]-~]{1,20}", fullmatch=True), NAMES),
)
REFERRALS = st.builds(
    Referral,
    dialect=st.sampled_from([SMTP, LMTP]),
    host=HOSTS,
    port=st.integers(1, 65535).filter(lambda port: port != 25),
    recipient=RECIPIENTS,
)


@given(REFERRALS)
def test_what_is_written_is_read(referral):
    assert parse_referral(str(referral)) == referral


@given(REFERRALS)
def test_a_client_reads_what_a_server_says(referral):
    reply, _ = read_reply(referral_reply(referral).encode(enhanced=True, structured={"REFERRAL"}))
    reply = with_referral_checked(reply.with_codes_read({"REFERRAL"}), answers_rcpt=True)
    assert (reply.code, referral_in(reply)) == (450, referral)


@given(REFERRALS)
def test_dovecots_form_is_read_as_it_is_written(referral):
    recipient = parse_path(b'"a> b"@example.org', utf8=False)
    reply, _ = read_reply(dovecot_referral_reply(referral, recipient).encode(enhanced=True))
    found = read_dovecot_referral(reply, recipient=recipient.raw, dialect=referral.dialect)
    assert (found.code, referral_in(found)) == (550, referral)


@given(st.text(max_size=80) | st.from_regex(r"(smtp|lmtp)://[ -~]{0,40}/", fullmatch=True))
def test_no_text_does_anything_worse_than_being_none(text):
    try:
        found = parse_referral(text)
    except ReferralSyntaxError:
        return
    assert parse_referral(str(found)) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "backend2:24",
        "lmtp:backend2",
        "lmtp://backend2",
        "lmtp:///",
        "lmtp://backend2:24/x",
        "lmtp://backend2:24/?x",
        "lmtp://backend2:24/#x",
        "lmtp://user:secret@backend2/",
        "lmtp://user@backend2/",
        "lmtp://a@b@backend2/",
        "lmtp://a%40b%0D%0A@backend2/",
        "lmtp://%C3%A9%40example.org@backend2/",
        "lmtp://backend2:25/",
        "smtp://backend2:0/",
        "smtp://backend2:65536/",
        "smtp://[192.0.2.1]/",
        "smtp://[::1%25eth0]/",
        "smtp://2130706433/",
        "smtp://0x7f.1/",
        "smtp://127.0.0.01/",
        "smtp://back end/",
        "smtp://-backend/",
        "smtp://" + "a." * 127 + "b/",
        "smtp://" + "a" * 64 + "/",
        "smtp://" + "a" * 380 + "%40example.org@backend2/",
        "https://backend2/",
        " smtp://backend2/",
        "smtp://backend2/\n",
    ],
)
def test_what_is_no_referral(text):
    with pytest.raises(ReferralSyntaxError) as raised:
        parse_referral(text)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("smtp://backend2/", "backend2", 25),
        ("lmtp://backend2/", "backend2", 24),
        ("LMTP://Backend2.Example.ORG:24/", "backend2.example.org", 24),
        ("smtp://192.0.2.1:587/", "192.0.2.1", 587),
        ("smtp://[2001:DB8:0::5]/", "2001:db8::5", 25),
        ("smtp://[::ffff:192.0.2.1]/", "192.0.2.1", 25),
    ],
)
def test_a_server_has_one_written_form(text, host, port):
    found = parse_referral(text)
    assert (found.server.host, found.server.port) == (host, port)
    assert found.dialect is DIALECTS[text[:4].lower()]


@pytest.mark.parametrize("address", ["é@example.org", "a" * 390 + "@example.org"])
def test_a_recipient_that_would_be_cut_or_altered_is_not_referred_in_dovecots_form(address):
    recipient = parse_path(address.encode(), utf8=True)
    assert dovecot_referral_reply(parse_referral("lmtp://backend2:24/"), recipient) is None


@pytest.mark.parametrize(
    "line",
    [
        "<a@example.org> a@example.org@192.0.2.5:24",
        "<b@example.org> a@example.org@192.0.2.5:24 Referral",
        "<a@example.org> a@example.org@192.0.2.5:25 Referral",
        "<a@example.org> a\x07@192.0.2.5:24 Referral",
        "<a@example.org> a@example.org@192.0.2.5:24 Referral to another",
    ],
)
def test_what_is_not_dovecots_form(line):
    reply, _ = read_reply(f"550 5.2.900 {line}\r\n".encode())
    assert referral_in(read_dovecot_referral(reply, recipient="a@example.org", dialect=LMTP)) is None


@pytest.mark.parametrize("start", ["450 5.2.900", "550 5.2.901", "550-5.2.900 x\r\n550 5.2.900"])
def test_dovecots_form_has_its_numbers_and_one_line(start):
    reply, _ = read_reply(f"{start} <a@example.org> a@example.org@192.0.2.5:24 Referral\r\n".encode())
    assert isinstance(reply, Reply)
    assert referral_in(read_dovecot_referral(reply, recipient="a@example.org", dialect=LMTP)) is None
