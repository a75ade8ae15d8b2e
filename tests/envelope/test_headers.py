import time

import pytest
from hypothesis import given

from gateway.envelope import Header, count_received, read_headers, write_header
from gateway.envelope.headers import MAXIMUM_FIELDS, MAXIMUM_OCTETS, field_spans, is_named
from tests.envelope.strategies import octets


@given(octets)
def test_writing_what_was_read_gives_the_same_octets(head):
    """Bare line ends, lines without colon, folding, 8-bit: only the empty line and what follows it is no header."""
    headers, complete = read_headers(head)
    section = head[: head.find(b"\r\n\r\n") + 2] if b"\r\n\r\n" in head else head
    if head.startswith(b"\r\n"):
        section = b""
    if not section.endswith(b"\r\n") and section:
        section += b"\r\n"  # a content that ends within a field: writing completes its line
    assert b"".join(map(write_header, headers)) == section
    assert complete


@given(octets)
def test_reading_what_was_written_gives_the_same_fields(head):
    headers, _ = read_headers(head)
    assert read_headers(b"".join(map(write_header, headers)) + b"\r\n") == (headers, True)


@given(octets)
def test_a_value_shows_what_its_octets_say(head):
    for header in read_headers(head)[0]:
        assert header.value == (header.raw or header.value.encode()).decode(errors="replace")
        assert bool(header.raw) == ("\ufffd" in header.value)


def test_fields_come_in_order_with_duplicates_and_folding():
    head = b"Subject: one\r\nX: 1\r\nsubject: two\r\n  folded \r\n\r\nX: body\r\n"
    assert read_headers(head) == (
        (
            Header(name="Subject", value=" one"),
            Header(name="X", value=" 1"),
            Header(name="subject", value=" two\r\n  folded "),
        ),
        True,
    )


def test_a_line_that_is_no_field_stands_whole_in_the_value():
    assert read_headers(b"From alice Fri Jan 1 00:00:00 2027\r\n:x\r\n\xff: y\r\n")[0] == (
        Header(name="", value="From alice Fri Jan 1 00:00:00 2027"),
        Header(name="", value=":x"),
        Header(name="", value="\ufffd: y", raw=b"\xff: y"),
    )


def test_obsolete_white_space_stays_in_the_name():
    (header,), _ = read_headers(b"Subject \t: x\r\n\r\n")
    assert header == Header(name="Subject \t", value=" x")
    assert is_named(header, "subject")


def test_a_section_may_be_empty():
    assert read_headers(b"\r\nbody") == ((), True)
    assert read_headers(b"") == ((), True)


def test_only_crlf_ends_a_line():
    assert read_headers(b"a: b\nc: d\r\n\r\n")[0] == (Header(name="a", value=" b\nc: d"),)


def test_a_section_as_long_as_the_limit_is_complete():
    head = b"a: b\r\n" * 3 + b"\r\n"
    assert read_headers(head + b"body", limit=len(head))[1]
    assert read_headers(head[:-2], limit=len(head) - 2) == (read_headers(head)[0], True)


def test_beyond_the_limit_only_whole_fields_are_read_and_the_rest_is_admitted():
    head = b"a: 1\r\nb: 2\r\n folded\r\nc: 3\r\n\r\n"
    everything, _ = read_headers(head)
    for limit in range(len(head)):
        headers, complete = read_headers(head, limit)
        assert headers == everything[: len(headers)]
        assert not complete


def test_a_content_that_ends_at_the_limit_is_complete():
    head = b"a: " + b"b" * (MAXIMUM_OCTETS - 3)
    assert read_headers(head)[1]
    assert not read_headers(head + b"b")[1]


def test_more_fields_than_the_limit_are_admitted():
    headers, complete = read_headers(b"a:\r\n" * MAXIMUM_FIELDS + b"\r\n")
    assert (len(headers), complete) == (MAXIMUM_FIELDS, True)
    headers, complete = read_headers(b"a:\r\n" * (MAXIMUM_FIELDS + 1) + b"\r\n")
    assert (len(headers), complete) == (MAXIMUM_FIELDS, False)


def test_received_fields_are_counted_however_they_are_written():
    headers, _ = read_headers(b"Received: 1\r\nreceived: 2\r\nRECEIVED : 3\r\nReceived-SPF: no\r\nX-Received: no\r\n")
    assert count_received(headers) == 3


@given(octets)
def test_cutting_the_spans_of_a_name_leaves_all_other_fields(head):
    kept, position = b"", 0
    for start, end in field_spans(head, b"return-path"):
        assert position <= start < end <= len(head)
        kept += head[position:start]
        position = end
    kept += head[position:]
    before = read_headers(head)[0]
    assert read_headers(kept)[0] == tuple(header for header in before if not is_named(header, "return-path"))


@pytest.mark.parametrize(
    "piece", [b"a:\r\n", b"a\r\n", b"a", b":", b"a:\r\n ", b"a ", b"\r", b"\n", b"\r\n ", b"\xff:\r\n", b"a:\xff"]
)
def test_hostile_sections_take_bounded_time(piece):
    """The worst took 5 ms when this was written; quadratic work would break even a bound for slow machines."""
    head = (b"X:" + piece * MAXIMUM_OCTETS)[: MAXIMUM_OCTETS + 1]
    start = time.process_time()
    read_headers(head)
    field_spans(head, b"return-path")
    assert time.process_time() - start < 0.5
