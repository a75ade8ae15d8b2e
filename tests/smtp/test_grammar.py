"""The grammar of command lines, and the replies to them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.smtp import Reply, ReplySyntaxError, read_reply
from gateway.smtp.grammar import (
    ChunkArgument,
    CommandSyntaxError,
    chunk_argument,
    command,
    decode_xtext,
    encode_xtext,
    is_xtext,
    parameters,
    path_argument,
)
from gateway.status import Status


@given(octets=st.binary())
def test_xtext_carries_any_octets(octets):
    encoded = encode_xtext(octets)
    assert is_xtext(encoded)
    assert decode_xtext(encoded) == octets
    assert "=" not in encoded
    assert " " not in encoded


@pytest.mark.parametrize("text", ["a b", "a=b", "a+b", "a+0", "a+zz", "a+2b", "é", "a\n"])
def test_what_is_no_xtext(text):
    assert not is_xtext(text)


@pytest.mark.parametrize(
    ("argument", "read"),
    [
        (b"0", ChunkArgument(0, last=False)),
        (b"5 LAST", ChunkArgument(5, last=True)),
        (b"5   last", ChunkArgument(5, last=True)),
        (b"00005", ChunkArgument(5, last=False)),
        (b"9223372036854775807", ChunkArgument(2**63 - 1, last=False)),
        (b"5 LST", ChunkArgument(5, last=False, error="only LAST may follow the chunk size")),
        (b"5 LAST LAST", ChunkArgument(5, last=False, error="only LAST may follow the chunk size")),
    ],
)
def test_a_chunk_s_argument(argument, read):
    assert chunk_argument(argument) == read


@pytest.mark.parametrize(
    "argument",
    [b"", b" ", b" 5", b"-1", b"+5", b"5x", b"0x5", b"5,LAST", b"5\tLAST", b"9223372036854775808", b"1" * 21],
)
def test_a_size_that_cannot_be_read(argument):
    with pytest.raises(CommandSyntaxError, match="not a number of octets"):
        chunk_argument(argument)


def test_parameters_keep_order_and_value():
    assert parameters(b"  SIZE=5 body=8bitmime   SMTPUTF8 ") == (("SIZE", "5"), ("BODY", "8bitmime"), ("SMTPUTF8", ""))
    assert parameters(b"") == ()


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (b"SIZE=1 size=2", "SIZE is given twice"),
        (b"SIZE=", "malformed"),
        (b"=1", "malformed"),
        (b"A=b=c", "malformed"),
        (b"A_B=1", "malformed"),
        (b"A=\x01", "malformed"),
        (b"ORCPT=\xff", "the value of ORCPT is not UTF-8"),
    ],
)
def test_parameters_that_are_wrong(octets, why):
    with pytest.raises(CommandSyntaxError, match=why):
        parameters(octets)


@pytest.mark.parametrize(
    ("argument", "path", "rest"),
    [
        (b"FROM:<>", b"", b""),
        (b"from: <a@b> SIZE=1", b"a@b", b"SIZE=1"),
        (b'FROM:<"a>b"@c> X', b'"a>b"@c', b"X"),
        (b'FROM:<"a\\">b"@c>', b'"a\\">b"@c', b""),
    ],
)
def test_a_path_ends_at_its_own_bracket(argument, path, rest):
    assert path_argument(argument, b"FROM:") == (path, rest)


@pytest.mark.parametrize(
    "argument",
    [b"", b"FROM", b"FROM:", b"FROM:a@b", b"FROM:<a@b", b"FROM:<a<b>", b"FROM:<a@b>X", b'FROM:<"a@b>', b"TO:<a>"],
)
def test_what_is_no_path_argument(argument):
    with pytest.raises(CommandSyntaxError, match="use FROM:<address>"):
        path_argument(argument, b"FROM:")


@given(line=st.binary(max_size=60))
def test_every_line_is_a_verb_and_an_argument(line):
    verb, argument = command(line)
    assert verb == verb.upper()
    assert b" " not in verb
    assert not argument.endswith(b" ")


TEXT = st.text(alphabet=st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=80)
# Text that begins like an enhanced status code would be read as one.
REPLIES = st.builds(
    lambda code, status, lines: Reply(code, status and Status.parse(status), tuple(f"text {line}" for line in lines)),
    st.sampled_from([220, 250, 354, 421, 451, 500, 550]),
    st.sampled_from([None, "2.0.0", "4.3.1", "5.7.999"]),
    st.lists(TEXT, min_size=1, max_size=4),
)


@given(reply=REPLIES, behind=st.binary(max_size=5))
def test_a_reply_is_read_as_it_was_written(reply, behind):
    octets = reply.encode(enhanced=True)
    assert read_reply(octets + behind) == (reply, len(octets))
    for length in range(len(octets)):
        assert read_reply(octets[:length]) is None


@given(line=st.text(max_size=2000), enhanced=st.booleans())
def test_a_written_reply_is_printable_lines_of_at_most_512_octets(line, enhanced):
    octets = Reply.of(250, "2.0.0", line).encode(enhanced=enhanced)
    assert octets.endswith(b"\r\n")
    assert len(octets) <= 512
    assert all(0x20 <= octet <= 0x7E for octet in octets[:-2])


@pytest.mark.parametrize(
    "octets", [b"hello\r\n", b"99 x\r\n", b"650 x\r\n", b"250-a\r\n251 b\r\n", b"250-x\r\n" * 20_000]
)
def test_what_is_no_reply(octets):
    with pytest.raises(ReplySyntaxError):
        read_reply(octets)


def test_a_reply_reads_as_a_line_of_a_log():
    assert str(Reply.of(550, "5.1.1", "no")) == "550 5.1.1 no"
    assert str(Reply(250, None, ("a", "b"))) == "250 a / b"
