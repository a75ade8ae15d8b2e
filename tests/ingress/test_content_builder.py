"""Content that arrives in pieces: exact, small in memory, and gone when it is given up."""

import hashlib

import pytest

from gateway.ingress.content_builder import MEMORY_OCTETS, ContentBuilder

_LARGE = b"0123456789abcdef" * (MEMORY_OCTETS // 8)


async def built(directory, octets):
    builder = ContentBuilder(directory)
    for start in range(0, len(octets), 65_536):
        builder.write(octets[start : start + 65_536])
        if builder.is_full:
            await builder.flush()
    return builder


@pytest.mark.parametrize("octets", [b"", b"x", b"x" * MEMORY_OCTETS, _LARGE], ids=len)
async def test_content_has_the_octets_that_came_and_their_digest(tmp_path, octets):
    builder = await built(tmp_path, octets)
    content, sha256 = await builder.finish()
    assert content.read() == octets
    assert (content.size, builder.size) == (len(octets), len(octets))
    assert sha256 == hashlib.sha256(octets).hexdigest()
    builder.discard()


async def test_large_content_has_no_name_in_the_file_system(tmp_path):
    builder = await built(tmp_path, _LARGE)
    await builder.finish()
    assert list(tmp_path.iterdir()) == []
    builder.discard()


async def test_finished_content_is_given_up_with_its_builder(tmp_path):
    builder = await built(tmp_path, _LARGE)
    content, _ = await builder.finish()
    builder.discard()
    with pytest.raises(ValueError, match="closed file"):
        content.read()


async def test_content_that_could_not_be_written_is_never_finished(tmp_path):
    builder = ContentBuilder(tmp_path / "missing")
    builder.write(_LARGE)
    with pytest.raises(FileNotFoundError):
        await builder.flush()
    builder.write(b"and more")
    with pytest.raises(FileNotFoundError):
        await builder.finish()


async def test_content_in_tiny_pieces_is_small_in_memory_too(tmp_path):
    builder = ContentBuilder(tmp_path)
    pieces = 0
    while not builder.is_full:
        builder.write(b"xy")
        pieces += 1
    assert pieces < MEMORY_OCTETS // 32
