import pytest
from hypothesis import given

from gateway.envelope import (
    Container,
    Header,
    Metadata,
    Origin,
    decode_container,
    encode_container,
    read_metadata,
    with_own_trace,
)
from gateway.envelope.headers import MAXIMUM_FIELDS, MAXIMUM_OCTETS
from gateway.envelope.metadata import keyword_view, trace_view
from tests.envelope.strategies import containers


def keywords(data, *, trusted=False):
    return keyword_view(with_own_trace(b"", [(1, data)]), trusted=trusted)


def trace(*data):
    return trace_view(with_own_trace(data[0], [(0, these) for these in data[1:]]))


@given(containers)
def test_a_container_has_a_wire_form_and_back(these):
    for container in these:
        assert decode_container(encode_container(container)) == (container.type, container.data)


def test_the_type_is_two_octets_in_network_byte_order():
    assert decode_container(b"\x7f\xff\0opaque\xff") == (0x7FFF, b"\0opaque\xff")
    assert decode_container(b"00") == (12336, b"")


@pytest.mark.parametrize("octets", [b"", b"\0"])
def test_fewer_octets_than_a_type_are_no_container(octets):
    with pytest.raises(ValueError, match="at least the two octets"):
        decode_container(octets)


def test_own_trace_comes_first_and_the_received_containers_follow_in_order():
    received = [(0, b"a: b\r\n"), (1, b"$Ok"), (0xFFFF, b"\xff"), (0, b"")]
    own, *others = with_own_trace(b"Received: x\r\n", received)
    assert own == Container(index=0, type=0, origin=Origin.GATEWAY, data=b"Received: x\r\n")
    assert [(one.type, one.data) for one in others] == received
    assert [one.index for one in others] == [1, 2, 3, 4]
    assert {one.origin for one in others} == {Origin.RECEIVED}


def test_metadata_has_the_containers_and_the_views_of_them():
    these = with_own_trace(b"Received: us\r\n", [(0, b"Received: them"), (1, b"$Forwarded"), (9, b"\0")])
    assert read_metadata(these, trusted=False) == Metadata(
        containers=these,
        trace=(Header(name="Received", value=" us"), Header(name="Received", value=" them")),
        trace_complete=True,
        keywords=("$Forwarded",),
    )


def test_the_trace_view_reads_from_top_to_bottom():
    headers, complete = trace(b"a: 1\r\n", b"b: 2\r\nc: 3", b"", b"d: \xff\r\n")
    assert [header.name for header in headers] == ["a", "b", "c", "d"]
    assert headers[-1].raw == b" \xff"
    assert complete


def test_the_trace_view_admits_fields_that_it_does_not_show():
    headers, complete = trace(b"a: 1\r\n", b"b:\r\n" * MAXIMUM_FIELDS)
    assert (len(headers), complete) == (MAXIMUM_FIELDS, False)
    headers, complete = trace(b"a: 1\r\n", b"b:\r\n" * (MAXIMUM_FIELDS - 1))
    assert (len(headers), complete) == (MAXIMUM_FIELDS, True)


def test_the_trace_view_reads_no_more_octets_than_a_header_section_may_have():
    headers, complete = trace(b"a: 1\r\n", b"b: " + b"x" * MAXIMUM_OCTETS, b"c: 3\r\n")
    assert ([header.name for header in headers], complete) == (["a"], False)
    assert trace(b"a: 1\r\n", b"b: 2\r\n\r\n" + b"x" * MAXIMUM_OCTETS, b"c: 3\r\n")[1] is False


def test_keywords_are_words_separated_by_any_number_of_spaces():
    assert keywords(b"") == ()
    assert keywords(b"$Forwarded") == ("$Forwarded",)
    assert keywords(b" $Forwarded   \\Flagged \r\n") == ("$Forwarded", "\\Flagged")


def test_a_keyword_counts_once_whatever_its_case():
    assert keywords(b"$Forwarded $FORWARDED \\flagged \\Flagged") == ("$Forwarded", "\\flagged")


@pytest.mark.parametrize(
    "flag",
    [b"\xff", b"a\tb", b"a\0", b"(", b")", b"{", b"%", b"*", b'"', b"]", b"a\\b", b"\\", b"\\\\a", b"\\*", b"\x7f"],
)
def test_a_malformed_flag_is_ignored_and_the_others_stay(flag):
    assert keywords(b"$One " + flag + b" $Two") == ("$One", "$Two")


def test_every_character_of_an_atom_may_stand_in_a_keyword():
    atom = "!#$&'+,-./0123456789:;<=>?@AZ[^_`az|}~"
    assert keywords(atom.encode()) == (atom,)


HIDING = b"\\Deleted \\Seen \\Draft $Junk $NotJunk $Phishing NonJunk Junk"


def test_a_stranger_may_not_hide_a_mail_nor_say_what_is_junk():
    assert keywords(HIDING + b" " + HIDING.swapcase() + b" $Ok") == ("$Ok",)


def test_a_trusted_peer_may():
    assert keywords(HIDING, trusted=True) == tuple(HIDING.decode().split())


@pytest.mark.parametrize("trusted", [False, True])
def test_nobody_may_set_recent(trusted):
    assert keywords(b"\\Recent \\RECENT $Ok", trusted=trusted) == ("$Ok",)


def test_the_number_and_the_length_of_keywords_are_bounded():
    many = [f"k{number}" for number in range(40)]
    assert keywords(" ".join(many).encode()) == tuple(many[:32])
    assert keywords(b"a" * 64 + b" " + b"b" * 65) == ("a" * 64,)


def test_a_word_that_is_not_read_to_its_end_is_no_keyword():
    assert keywords(b" " * 8190 + b"$Junkyard") == ()
    assert keywords(b" " * 8188 + b"$Ok") == ("$Ok",)
