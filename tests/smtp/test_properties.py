"""Properties of the server engine that hold for whatever a client sends."""

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.smtp import Limits, State
from tests.smtp.owner import Owner
from tests.smtp.reference import COMMANDS, LARGEST_MESSAGE, Command, Reference

EHLO, LHLO, MAIL, RCPT = (
    next(command for command in COMMANDS if command.octets.upper().startswith(verb))
    for verb in (b"EHLO A", b"LHLO", b"MAIL FROM:<S", b"RCPT TO:<A")
)
MAILS = [command for command in COMMANDS if command.verb == "MAIL"]
LIMITS = Limits(message_octets=LARGEST_MESSAGE, errors=10_000, junk=10_000)
REPLY_LINE = re.compile(rb"[2345][0-9]{2}[ -][ -~]*")
EACH_DIALECT = pytest.mark.parametrize("dialect", ["smtp", "lmtp"])

# Single commands in any order rarely get far into a transaction, so most come together.
ANY = st.sampled_from(COMMANDS)
CHUNK = st.sampled_from([command for command in COMMANDS if command.verb in ("BDAT", "BMTD")])
PHRASES = st.one_of(
    st.tuples(ANY),
    st.tuples(st.just(MAIL), ANY, ANY),
    st.tuples(st.just(MAIL), st.just(RCPT), ANY, ANY),
    st.tuples(st.just(MAIL), st.just(RCPT), CHUNK, CHUNK, CHUNK),
    st.tuples(st.sampled_from(MAILS), st.just(RCPT), st.just(RCPT), CHUNK, ANY),
)
CONVERSATIONS = st.tuples(st.sampled_from([[EHLO, LHLO], []]), st.lists(PHRASES, max_size=15)).map(
    lambda parts: [*parts[0], *(command for phrase in parts[1] for command in phrase)]
)


def stream(conversation: list[Command], dialect: str) -> tuple[bytes, list[int], Reference]:
    """The octets of a conversation, the codes they should get, and the reference after it."""
    reference = Reference(dialect)
    octets, codes = b"", [220]
    for command in conversation:
        octets += command.octets
        if reference.takes_payload(command):
            octets += stuffed(command.payload) if command.verb == "DATA" else command.payload
        codes += reference.replies(command)
    return octets, codes, reference


def stuffed(content: bytes) -> bytes:
    octets = (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:]
    return octets + (b".\r\n" if not content or content.endswith(b"\r\n") else b"\r\n.\r\n")


def codes_of(output: bytes) -> list[int]:
    """The code of each reply; asserts that the output is nothing but replies (RFC 5321 §4.2)."""
    lines = output.split(b"\r\n")
    assert lines.pop() == b""
    assert all(REPLY_LINE.fullmatch(line) and len(line) <= 510 for line in lines)
    return [int(line[:3]) for line in lines if line[3:4] == b" "]


def cut(octets: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(octets), *(place % (len(octets) + 1) for place in cuts)})
    return [octets[start:end] for start, end in pairwise(places)]


@EACH_DIALECT
@settings(max_examples=1500)
@given(conversation=CONVERSATIONS)
def test_every_command_is_answered_in_order_as_the_reference_says(dialect, conversation):
    octets, codes, reference = stream(conversation, dialect)
    owner = Owner(dialect, limits=LIMITS)
    assert codes_of(owner.receive(octets)) == codes
    arrived = [
        (len(message.recipients), message.content, [type_.to_bytes(2) + data for type_, data in message.containers])
        for message in owner.messages
    ]
    assert arrived == reference.messages


@EACH_DIALECT
@settings(max_examples=150)
@given(conversation=CONVERSATIONS, cuts=st.lists(st.integers(min_value=0), max_size=30))
def test_all_splits_give_the_same_replies_and_messages(dialect, conversation, cuts):
    octets, _, _ = stream(conversation, dialect)
    whole, in_pieces, one_by_one = (Owner(dialect, limits=LIMITS) for _ in range(3))
    output = whole.receive(octets)
    assert in_pieces.receive(*cut(octets, cuts)) == output
    assert one_by_one.receive(*(octets[index : index + 1] for index in range(len(octets)))) == output
    assert whole.messages == in_pieces.messages == one_by_one.messages


@EACH_DIALECT
@settings(max_examples=150)
@given(conversation=CONVERSATIONS, limit=st.integers(min_value=0, max_value=10))
def test_refusals_and_junk_are_bounded(dialect, conversation, limit):
    octets, _, _ = stream(conversation, dialect)
    limits = Limits(message_octets=LARGEST_MESSAGE, errors=limit, junk=limit)
    owner = Owner(dialect, limits=limits)
    codes = codes_of(owner.receive(octets))
    owner_of_all = Owner(dialect, limits=LIMITS)
    all_codes = codes_of(owner_of_all.receive(octets))
    if owner.connection.state is State.CLOSED:
        assert codes[-1] == 421
        assert codes[:-1] == all_codes[: len(codes) - 1]
    else:
        assert codes == all_codes


FRAGMENTS = [
    b"EHLO a\r\n",
    b"LHLO a\r\n",
    b"MAIL FROM:",
    b"MAIL FROM:<s@example.net>\r\n",
    b"RCPT TO:",
    b"RCPT TO:<a@example.org>\r\n",
    b"<a@example.org>",
    b"DATA\r\n",
    b".\r\n",
    b"\r\n.\r\n",
    b"\r\n",
    b"\r",
    b"\n",
    b".",
    b" ",
    b"\0",
    b"\xff",
    b"BDAT ",
    b"BMTD ",
    b"0",
    b"1",
    b"5",
    b"99999999999",
    b" LAST\r\n",
    b"\0\0X-A: a\r\n",
    b"AUTH PLAIN",
    b"AUTH LOGIN\r\n",
    b"AHVzZXIAc2VjcmV0\r\n",
    b"*\r\n",
    b"RSET\r\n",
    b"NOOP\r\n",
    b"HELP\r\n",
    b"VRFY ",
    b"SIZE=",
    b" BODY=BINARYMIME",
    b" SMTPUTF8",
    b"NOTIFY=",
    b"ORCPT=rfc822;",
    b'"',
    b"<",
    b">",
    b"@",
    b"=",
    b"\xc3\xa9",
    b"x" * 600,
    b"x" * 100_000,
]
FUZZ = st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.binary(max_size=8)), max_size=60).map(b"".join)


@EACH_DIALECT
@settings(max_examples=300)
@given(octets=FUZZ, cuts=st.lists(st.integers(min_value=0), max_size=20))
def test_no_octets_raise_and_none_are_read_differently_when_cut(dialect, octets, cuts):
    def owner():
        return Owner(dialect, limits=LIMITS, authentication=True, authentication_without_tls=True)

    whole, in_pieces = owner(), owner()
    output = whole.receive(octets)
    codes_of(output)
    assert in_pieces.receive(*cut(octets, cuts)) == output
    assert whole.messages == in_pieces.messages
    assert whole.connection.state is in_pieces.connection.state


@settings(max_examples=200)
@given(octets=FUZZ)
def test_a_closed_session_says_nothing_more(octets):
    owner = Owner(limits=LIMITS)
    owner.receive(b"QUIT\r\n")
    assert owner.receive(octets) == b""
    assert owner.messages == []


@given(
    recipients=st.lists(st.booleans(), max_size=8),
    bad=st.booleans(),
    by_chunks=st.booleans(),
)
def test_lmtp_answers_once_for_each_accepted_recipient(recipients, bad, by_chunks):
    owner = Owner("lmtp", limits=LIMITS)
    owner.receive(b"LHLO a\r\nMAIL FROM:<s@example.net>\r\n")
    for accepted in recipients:
        owner.receive(b"RCPT TO:<a@example.org>\r\n" if accepted else b"RCPT TO:<nobody@example.org>\r\n")
    content = b"hello\n" if bad else b"hello\r\n"
    if by_chunks:
        codes = codes_of(owner.receive(b"BDAT %d LAST\r\n" % len(content) + content))
    elif sum(recipients):
        assert codes_of(owner.receive(b"DATA\r\n")) == [354]
        codes = codes_of(owner.receive(content + (b"\r\n.\r\n" if bad else b".\r\n")))
    else:
        assert codes_of(owner.receive(b"DATA\r\n")) == [503]
        codes = []
    assert codes == [550 if bad else 250] * sum(recipients)
    assert codes_of(owner.receive(b"NOOP\r\n")) == [250]
