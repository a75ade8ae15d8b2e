"""TLS from the first octet, at the worst moment: when the client has spoken before the gateway looks."""

import ssl

import pytest

from tests.ingress.early_tls import EarlyTlsClient

PROXY = b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 465\r\n"


@pytest.fixture
def connect(doors, certificate):
    """Connect while the gateway stands, with `before` in front of the hello; then let it go on."""

    def connect(listener, before):
        doors.gateway.pause()
        try:
            return EarlyTlsClient(
                doors.gateway.address(listener), authority=certificate.authority, name="localhost", before=before
            )
        finally:
            doors.gateway.resume()

    return connect


@pytest.mark.parametrize(("listener", "before"), [("implicit", b""), ("proxy-tls", PROXY)])
def test_a_hello_that_is_there_before_the_session_is_heard(connect, listener, before):
    with connect(listener, before) as client:
        client.shake_hands()
        assert client.read().startswith(b"220 ")
        assert client.ask(b"EHLO client.example.net").startswith(b"250-mx.example.org")


def test_octets_in_clear_before_the_handshake_are_no_commands(connect):
    with connect("implicit", b"NOOP\r\n") as client, pytest.raises((ssl.SSLError, ConnectionError)):
        client.shake_hands()
