"""Readers of content against the state machine of RFC 5321 §4.1.1.4, written out octet by octet."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.smtp.content import DotReader

# Few kinds of octets, so that the sequences that matter are frequent.
OCTETS = st.lists(st.sampled_from([b"\r", b"\n", b".", b"x", b"\r\n", b"\r\n.", b"\0"]), max_size=40).map(b"".join)
CUTS = st.lists(st.integers(min_value=1, max_value=6), max_size=40)


def by_the_letter(octets: bytes) -> tuple[bytes, bool, bytes | None]:
    """The content, whether it has a bare CR or LF, and what is behind its end; None where there is no end."""
    content, bare, state = bytearray(), False, "line start"
    for position, octet in enumerate(octets):
        character = bytes([octet])
        if state == "dot CR":
            if character == b"\n":
                return bytes(content), bare, octets[position + 1 :]
            content += b"\r"
            bare, state = True, "text"
        if state == "dot":
            if character == b"\r":
                state = "dot CR"
                continue
            state = "text"
        if state == "CR":
            content += b"\r"
            if character == b"\n":
                content += b"\n"
                state = "line start"
                continue
            bare, state = True, "text"
        if state == "line start" and character == b".":
            state = "dot"
        elif character == b"\r":
            state = "CR"
        else:
            bare = bare or character == b"\n"
            content += character
            state = "text"
    return bytes(content), bare, None


def pieces_of(octets: bytes, lengths: list[int]) -> list[bytes]:
    pieces, position = [], 0
    for length in [*lengths, len(octets)]:
        if position < len(octets):
            pieces.append(octets[position : position + length])
            position += length
    return pieces


@given(octets=OCTETS, lengths=CUTS)
def test_data_is_read_by_the_letter_however_it_is_cut(octets, lengths):
    content, bare, rest = by_the_letter(octets)
    reader, found, behind = DotReader(), b"", None
    for piece in pieces_of(octets, lengths):
        if reader.done:
            behind += piece
            continue
        read, position = reader.read(piece)
        found += read
        if reader.done:
            behind = piece[position:]
        else:
            assert position == len(piece)
    assert behind == rest
    if rest is None:
        # Up to four octets are held back, for they may begin the end.
        assert content.startswith(found)
        assert len(content) - len(found) <= 4
    else:
        assert (found, reader.bare) == (content, bare)


@given(octets=OCTETS, before=st.binary(max_size=9))
def test_data_may_begin_anywhere_in_what_was_received(octets, before):
    at_start, inside = DotReader(), DotReader()
    content, position = at_start.read(octets)
    assert inside.read(before + octets, len(before)) == (content, position + len(before))
    assert (inside.done, inside.bare) == (at_start.done, at_start.bare)
