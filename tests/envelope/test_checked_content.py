"""Content that somebody changes while it is handed out."""

import hashlib

import pytest

from gateway.envelope import Content
from gateway.envelope.checked_content import CheckedContent

OCTETS = bytes(range(256)) * 40
SHA256 = hashlib.sha256(OCTETS).hexdigest()
CHANGED = OCTETS[:-1] + b"!"


@pytest.mark.parametrize("octets", [b"", b"x", OCTETS])
@pytest.mark.parametrize("size", [1, 1000, 1 << 20])
def test_what_has_the_digest_is_read_as_it_is_and_as_often_as_wanted(octets, size):
    content = CheckedContent(Content(octets), hashlib.sha256(octets).hexdigest())
    for _ in range(2):
        assert b"".join(content.blocks(size)) == octets
        assert content.read() == octets
    assert content.size == len(octets)
    assert content.descriptor is None


def test_a_look_at_the_beginning_between_two_blocks_is_no_change():
    content = CheckedContent(Content(OCTETS), SHA256)
    found = b""
    for block in content.blocks(1000):
        found += block
        content.read(10)
    assert found == OCTETS


@pytest.mark.parametrize(
    "read",
    [
        lambda content: content.read(),
        lambda content: list(content.blocks(1000)),
        lambda content: content.sha256(),
        lambda content: content.open().read(),
        lambda content: content.derive(prefix=b"Return-Path: <>\r\n"),
    ],
    ids=["whole", "in blocks", "digested", "as a file", "derived"],
)
def test_what_was_changed_does_not_get_to_its_end(read):
    with pytest.raises(OSError, match="changed since it was checked"):
        read(CheckedContent(Content(CHANGED), SHA256))


def test_a_derived_form_of_what_was_not_changed_has_its_octets():
    assert CheckedContent(Content(OCTETS), SHA256).derive(prefix=b"x").read() == b"x" + OCTETS
