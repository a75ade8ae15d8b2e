"""What a PROXY header says of the client."""

import pytest

from gateway.envelope import Client
from gateway.ingress.proxy import ProxyHeader, ProxyHeaderError

_V2 = b"\r\n\r\n\0\r\nQUIT\n"
_MAPPED = b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 40000 25\r\n"


@pytest.mark.parametrize(
    ("header", "client"),
    [
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 40000 25\r\n", Client(address="192.0.2.1", port=40000)),
        (b"PROXY TCP6 2001:db8::1 2001:db8::2 40000 25\r\n", Client(address="2001:db8::1", port=40000)),
        (_MAPPED, Client(address="192.0.2.1", port=40000)),
        (b"PROXY UNKNOWN\r\n", None),
        (
            _V2 + b"\x21\x11\0\x0c" + bytes([192, 0, 2, 1, 192, 0, 2, 2]) + b"\x9c\x40\0\x19",
            Client(address="192.0.2.1", port=40000),
        ),
        (_V2 + b"\x20\x11\0\x0c" + bytes([192, 0, 2, 1, 192, 0, 2, 2]) + b"\x9c\x40\0\x19", None),
    ],
)
async def test_the_client_is_the_announced_one_and_what_follows_is_kept(header, client):
    proxy = ProxyHeader()
    proxy.feed(header + b"EHLO x\r\n")
    assert await proxy.read_client() == (client, b"EHLO x\r\n")


@pytest.mark.parametrize(
    "octets",
    [b"", b"PRO", b"PROXY TCP4", b"EHLO client.example\r\n", b"PROXY TCP4 300.0.2.1 192.0.2.2 1 25\r\n", _V2 + b"\x21"],
)
async def test_anything_else_is_refused(octets):
    proxy = ProxyHeader()
    proxy.feed(octets)
    proxy.feed_eof()
    with pytest.raises(ProxyHeaderError):
        await proxy.read_client()


async def test_a_header_without_end_is_refused_before_it_fills_the_memory():
    proxy = ProxyHeader()
    proxy.feed(b"PROXY TCP4 " + b"1" * 200)
    with pytest.raises(ProxyHeaderError):
        await proxy.read_client()
