import time

import pytest

from gateway.header_text import check_trace_fields, colon_of, section_end, split_fields


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"Received: from a by b;\r\n\tFri, 1 Jan 2027 00:00:00 +0000\r\n",
        b"Received: from a by b",
        b"Received:\r\n",
        b"X-Folded: a\r\n \r\n b\r\n",
        b"X-Not-UTF-8: \xff\xfe\r\n",
        b"DKIM-Signature: v=1\r\nARC-Seal: i=1\r\nX-Subject: yes\r\nResent-From: a@b\r\nReturn-Path: <>\r\n",
        b"Received: this is not how a Received field looks\r\n",
    ],
)
def test_trace_fields_of_any_wording_are_accepted(data):
    assert check_trace_fields(data) == ""


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b" a: b\r\n", "it begins with a continuation line"),
        (b"\ta: b\r\n", "it begins with a continuation line"),
        (b"\r\na: b\r\n", "it has an empty line"),
        (b"\r\n", "it has an empty line"),
        (b"a: b\r\n\r\n", "it has an empty line"),
        (b"a: b\r\n\r\nhidden body", "it has an empty line"),
        (b"a: b\nc: d\r\n", "it has a bare CR or LF"),
        (b"a: b\rc: d\r\n", "it has a bare CR or LF"),
        (b"a: b\r\r\n", "it has a bare CR or LF"),
        (b"a: b\n", "it has a bare CR or LF"),
        (b"a: \0b\r\n", "it has a NUL"),
        (b"a\r\n", "it has a line that is no header field"),
        (b"a: b\r\nno colon\r\n", "it has a line that is no header field"),
        (b": b\r\n", "it has a line that is no header field"),
        (b"a : b\r\n", "it has a line that is no header field"),
        (b"\xc3\xa9: b\r\n", "it has a line that is no header field"),
        (b"From: a@b\r\n", "it has the field From, which is no trace field"),
        (b"Received: a\r\nsubject: b\r\n", "it has the field subject, which is no trace field"),
        (b"MIME-Version: 1.0\r\n", "it has the field MIME-Version, which is no trace field"),
        (b"content-transfer-encoding: 8bit", "it has the field content-transfer-encoding, which is no trace field"),
    ],
)
def test_what_would_end_or_alter_the_header_section_is_refused(data, reason):
    assert check_trace_fields(data) == reason


AUTHOR = "From Sender Reply-To To Cc Bcc Subject Date Message-ID In-Reply-To References MIME-Anything Content-Type"


@pytest.mark.parametrize("name", AUTHOR.split())
def test_fields_that_speak_for_the_author_are_refused_in_any_case(name):
    for spelled in (name, name.upper(), name.lower()):
        assert spelled in check_trace_fields(f"Received: a\r\n{spelled}: x\r\n".encode())


def test_a_reason_does_not_repeat_a_long_name():
    assert len(check_trace_fields(b"Content-" + b"x" * 1000 + b": y\r\n")) < 100


def test_the_section_ends_at_the_first_empty_line():
    assert section_end(b"") == -1
    assert section_end(b"a: b\r\n") == -1
    assert section_end(b"\r\nbody") == 0
    assert section_end(b"a: b\r\n\r\nbody\r\n\r\n") == 6
    assert section_end(b"a: b\n\nno end") == -1


def test_a_field_keeps_its_folding():
    assert split_fields(b"") == []
    assert split_fields(b"a: b\r\n c\r\n\td\r\ne: f\r\n") == [b"a: b\r\n c\r\n\td", b"e: f"]
    assert split_fields(b"a: b\r\n\nc") == [b"a: b", b"\nc"]


def test_the_colon_follows_a_name_and_obsolete_white_space():
    assert colon_of(b"Subject: a:b") == 7
    assert colon_of(b"Subject \t: x") == 9
    assert colon_of(b"Sub ject: x") == 0
    assert colon_of(b": x") == 0
    assert colon_of(b"") == 0


@pytest.mark.parametrize(
    "piece", [b"a:\r\n", b"a", b":", b"a:\r\n ", b" ", b"a ", b"\r", b"\n", b"\r\n ", b"Content-", b"\xff"]
)
def test_hostile_text_takes_linear_time(piece):
    """A megabyte of anything is judged and split in well under a second; quadratic work would take minutes."""
    data = b"X:" + piece * (1_000_000 // len(piece))
    start = time.process_time()
    check_trace_fields(data)
    for field in split_fields(data):
        colon_of(field)
    assert time.process_time() - start < 1
