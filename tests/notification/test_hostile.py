"""Whatever strangers wrote, a notification has its own fields and parts, and no others."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from gateway import notification
from gateway.address import Address
from gateway.envelope import Mail, Parameter, Recipient, Sender, TransactionEnvelope
from gateway.notification.fields import field, final_recipient, seven_bit
from gateway.smtp.grammar import encode_xtext
from tests.notification.mails import HOSTNAME, NOW, a_mail, seen, undelivered

FIELDS = ["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"]
FIELDS.append("Content-Transfer-Encoding")
GROUP = {"Original-Recipient", "Final-Recipient", "Action", "Status", "Diagnostic-Code", "Final-Log-ID"}
MESSAGE = {"Original-Envelope-Id", "Reporting-MTA", "Arrival-Date"}

# No surrogates: what was decoded from UTF-8 has none.
anything = st.text(st.characters(codec="utf-8"), max_size=60)
nasty = st.sampled_from(
    ["\r\nBcc: x@y", "\r\n\r\nText", "\n.\n", "\r\n.\r\nMAIL FROM:<>", "\0", "\x85", "\u2028", "=", "+0D+0A"]
)
hostile = st.lists(anything | nasty, max_size=4).map("".join)
long = st.builds(lambda text, times: text * times, hostile, st.integers(0, 80))
values = (
    hostile | long | hostile.map(lambda text: encode_xtext(text.encode())) | hostile.map(lambda text: f"utf-8;{text}")
)
values |= hostile.map(lambda text: f"rfc822;{encode_xtext(text.encode())}")
addresses = st.builds(Address, raw=hostile.filter(bool) | long.filter(bool), local_part=hostile, domain=hostile)
parameters = st.lists(
    st.builds(Parameter, keyword=st.sampled_from(["ENVID", "ORCPT", "RET", "SMTPUTF8", "X"]), value=values), max_size=3
).map(tuple)


@given(
    sender=st.builds(Sender, address=addresses, parameters=parameters),
    recipients=st.lists(st.builds(Recipient, address=addresses, parameters=parameters), min_size=1, max_size=3),
    content=st.binary(max_size=80) | hostile.map(str.encode),
    text=hostile | long,
)
def test_no_word_of_a_stranger_becomes_a_field_or_a_part(sender, recipients, content, text):
    mail = a_mail(content)
    smtp = TransactionEnvelope(mail_from=sender, recipients=tuple(recipients))
    mail = Mail(structs.replace(mail.envelope, envelope=smtp), mail.content)
    found = seen(notification.failed(mail, undelivered(recipients, text=text), hostname=HOSTNAME, now=NOW))
    assert found.message.keys() == FIELDS
    first, *groups = found.status
    assert set(first.keys()) <= MESSAGE
    assert len(groups) == len(recipients)
    for group in groups:
        assert set(group.keys()) <= GROUP
        assert len(set(group.keys())) == len(group.keys())
        assert {"Final-Recipient", "Action", "Status"} <= set(group.keys())
    status_part = found.octets.split(b"Content-Type: message/delivery-status")[1].split(b"\r\n--=_")[0]
    assert status_part.isascii()


@given(st.text(st.characters(codec="utf-8")))
def test_a_field_is_one_field(value):
    octets = field("X", value)
    lines = octets.split(b"\r\n")
    assert lines.pop() == b""
    assert lines[0].startswith(b"X: ")
    assert all(line.startswith(b" ") for line in lines[1:])
    assert all(len(line) <= 998 and not set(line) & set(range(32)) for line in lines)
    octets.decode()


@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_the_7_bit_form_of_an_address_can_be_read_back(text):
    address_type, _, encoded = final_recipient(text).partition("; ")
    assert encoded.isascii()
    if address_type == "utf-8":
        pieces = encoded.split("\\x{")
        decoded = pieces[0] + "".join(
            chr(int(code, 16)) + rest for code, _, rest in (p.partition("}") for p in pieces[1:])
        )
        assert decoded == text


def test_the_7_bit_form_leaves_what_is_in_it_already():
    assert seven_bit("\u03b1\\x{3B1}+= x") == "\\x{3B1}\\x{3B1}+= x"
