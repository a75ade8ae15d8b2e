from hypothesis import given
from hypothesis import strategies as st

from gateway.line_ends import LineEndCheck, has_bare

# Few kinds of octets, so that the sequences that matter are frequent; pieces that are empty, too.
PIECES = st.lists(st.lists(st.sampled_from([b"\r", b"\n", b"x", b"\r\n", b"\xff"]), max_size=6).map(b"".join))


def by_the_letter(octets: bytes) -> bool:
    rest = octets.replace(b"\r\n", b"")
    return b"\r" in rest or b"\n" in rest


@given(pieces=PIECES)
def test_a_bare_line_end_is_noticed_however_octets_are_cut(pieces):
    check = LineEndCheck()
    for piece in pieces:
        check.read(piece)
    check.finish()
    octets = b"".join(pieces)
    assert check.bare == has_bare(octets) == by_the_letter(octets)


@given(pieces=PIECES)
def test_a_cr_that_came_last_is_not_bare_yet(pieces):
    octets = b"".join(pieces).replace(b"\r", b"").replace(b"\n", b"\r\n")
    check = LineEndCheck()
    for place in range(len(octets)):
        check.read(octets[place : place + 1])
        assert not check.bare
