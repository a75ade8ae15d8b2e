import io
import os
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.envelope import Content

TEXT = bytes(range(256)) * 8


@pytest.fixture(params=["memory", "file"])
def content(request, tmp_path):
    if request.param == "memory":
        yield Content(TEXT)
        return
    path = tmp_path / "content"
    path.write_bytes(TEXT)
    made = Content(file=io.FileIO(path))
    yield made
    made.close()


def test_content_is_its_octets(content):
    assert content.size == len(TEXT)
    assert content.read() == TEXT
    assert content.read(10) == TEXT[:10]
    assert b"".join(content.blocks(100)) == TEXT
    assert content.read_at(2000, 100) == TEXT[2000:]


def test_a_derived_form_leaves_the_octets_alone(content):
    derived = content.derive(prefix=b"before ", omit=((0, 3), (5, 6), (2000, 2048)))
    expected = b"before " + TEXT[3:5] + TEXT[6:2000]
    assert derived.size == len(expected)
    assert derived.read() == expected
    assert b"".join(derived.blocks(7)) == expected
    assert content.read() == TEXT


def test_a_derived_form_has_no_further_ones(content):
    with pytest.raises(ValueError, match="no further"):
        content.derive(prefix=b"a").derive(prefix=b"b")


@given(st.lists(st.integers(0, len(TEXT)), max_size=8).map(sorted), st.binary(max_size=5), st.integers(1, 50))
def test_any_part_of_a_derived_form_is_that_part(offsets, prefix, size):
    spans = tuple(zip(offsets[::2], offsets[1::2], strict=False))
    expected, position = prefix, 0
    for start, end in spans:
        expected += TEXT[position:start]
        position = end
    expected += TEXT[position:]
    derived = Content(TEXT).derive(prefix=prefix, omit=spans)
    assert derived.read() == expected
    for position in range(0, len(expected) + 2, 97):
        assert derived.read_at(position, size) == expected[position : position + size]


def test_readers_have_positions_of_their_own(content):
    with content.open() as one, content.open() as other:
        assert (one.readable(), one.seekable()) == (True, True)
        assert one.seek(-6, os.SEEK_END) == len(TEXT) - 6
        assert one.seek(2, os.SEEK_CUR) == len(TEXT) - 4
        assert one.read() == TEXT[-4:]
        assert one.read() == b""
        assert one.tell() == len(TEXT)
        assert other.read(3) == TEXT[:3]
        buffer = bytearray(4)
        assert other.readinto(buffer) == 4
        assert bytes(buffer) == TEXT[3:7]


def test_a_reader_is_a_file_for_others(content):
    copy = io.BytesIO()
    with content.open() as reader:
        shutil.copyfileobj(reader, copy)
    assert copy.getvalue() == TEXT


def test_a_file_that_was_cut_short_is_an_error_and_not_a_short_mail(tmp_path):
    path = tmp_path / "content"
    path.write_bytes(TEXT)
    content = Content(file=io.FileIO(path))
    os.truncate(path, 100)
    with pytest.raises(OSError, match="ended early"):
        content.read()
    content.close()


def test_closing_content_in_memory_is_nothing():
    content = Content(TEXT)
    content.close()
    assert content.read() == TEXT
