import pytest
from hypothesis import given

from gateway.codec import CodecError, bmtd
from gateway.envelope import with_own_trace
from tests.envelope.strategies import containers


@given(containers)
def test_decoding_undoes_encoding(these):
    assert bmtd.decode(bmtd.encode(these)) == these


def test_a_file_is_the_commands_one_after_the_other():
    these = with_own_trace(b"a: b\r\n", [(1, b"$Forwarded"), (0x7FFF, b"\0opaque\xff"), (2, b"")])
    assert bmtd.encode(these) == b"".join(
        [
            b"BMTD 8\r\n\0\0a: b\r\n",
            b"BMTD 12\r\n\0\1$Forwarded",
            b"BMTD 10\r\n\x7f\xff\0opaque\xff",
            b"BMTD 2\r\n\0\2",
        ]
    )


def test_no_containers_are_an_empty_file():
    assert bmtd.encode(()) == b""
    assert bmtd.decode(b"") == ()


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"BMTD 8\n\0\0a: b\r\n", "no BMTD command at octet 0"),
        (b"bmtd 8\r\n\0\0a: b\r\n", "no BMTD command at octet 0"),
        (b"BMTD 08\r\n\0\0a: b\r\n", "no BMTD command at octet 0"),
        (b"BMTD +8\r\n\0\0a: b\r\n", "no BMTD command at octet 0"),
        (b"BMTD 0\r\n", "no BMTD command at octet 0"),
        (b"BMTD 8 LAST\r\n\0\0a: b\r\n", "no BMTD command at octet 0"),
        (b"BMTD 99999999999\r\n", "no BMTD command at octet 0"),
        (b"BMTD 2\r\n\0\0\r\n", "no BMTD command at octet 10"),
        (b"BMTD 3\r\n\0\0", "container at octet 8 is cut short"),
        (b"BMTD 9999999999\r\n\0\0", "container at octet 17 is cut short"),
        (b"BMTD 1\r\n\0", "at least the two octets of its type"),
        (b"BMTD 2\r\n\0\1", "first container is not the gateway's own trace, type 0, but of type 1"),
    ],
)
def test_anything_else_is_an_error_that_says_where(octets, reason):
    with pytest.raises(CodecError, match=reason):
        bmtd.decode(octets)
