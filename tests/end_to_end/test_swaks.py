"""The SMTP client swaks, with everything that it can do and the gateway offers."""

import subprocess

import pytest

from tests.end_to_end.doors import PASSWORD, USER

MAIL = "Subject: from swaks\r\n\r\n.dot\r\nGruesse\r\n"


@pytest.fixture
def run_swaks(swaks, doors):
    """Run swaks to its end against one listener: its exit status and the transcript."""

    def run(listener, *options):
        server = ("--server", "127.0.0.1", "--port", doors.port(listener))
        # It ends the last line by itself.
        mail = ("--from", "me@example.net", "--to", "you@example.org", "--data", MAIL.removesuffix("\r\n"))
        done = subprocess.run(
            [swaks, *server, *mail, "--helo", "client.example.net", "--timeout", "20", *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    return run


LOGIN = ("--auth-user", USER, "--auth-password", PASSWORD)
ADDRESSES = (
    *("--proxy-source", "192.0.2.7", "--proxy-source-port", "4711"),
    *("--proxy-dest", "192.0.2.1", "--proxy-dest-port", "25"),
)
PROXY_1 = ("--proxy-version", "1", "--proxy-family", "TCP4", *ADDRESSES)
PROXY_2 = ("--proxy-version", "2", "--proxy-family", "AF_INET", *ADDRESSES)


@pytest.mark.parametrize(
    ("listener", "options", "protocol"),
    [
        ("smtp", (), "ESMTP"),
        ("smtp", ("--protocol", "SMTP"), "SMTP"),
        ("smtp", ("--pipeline",), "ESMTP"),
        ("lmtp", ("--protocol", "LMTP"), "LMTP"),
        ("lmtp", ("--protocol", "LMTP", "--pipeline"), "LMTP"),
        ("starttls", ("--tls",), "ESMTPS"),
        ("implicit", ("--tls-on-connect",), "ESMTPS"),
        ("login", ("--auth", "PLAIN", *LOGIN), "ESMTPA"),
        ("login", ("--auth", "LOGIN", *LOGIN), "ESMTPA"),
        ("submission", ("--tls", "--auth", "PLAIN", *LOGIN), "ESMTPSA"),
        ("submission", ("--tls", "--auth", "LOGIN", "--pipeline", *LOGIN), "ESMTPSA"),
        ("proxy", PROXY_1, "ESMTP"),
        ("proxy", PROXY_2, "ESMTP"),
    ],
)
def test_swaks_delivers(run_swaks, doors, listener, options, protocol):
    status, transcript = run_swaks(listener, *options)
    assert status == 0, transcript
    mail = doors.stored_as(transcript)
    assert mail.content == MAIL.encode()
    transaction = mail.envelope.transaction
    assert (transaction.protocol, transaction.listener) == (protocol, listener)
    assert transaction.hello == "client.example.net"
    # RFC 3848: S for TLS, A for authentication.
    suffix = protocol.partition("MTP")[2]
    assert transaction.authenticated_as == (USER if "A" in suffix else "")
    assert bool(transaction.tls) == ("S" in suffix)


@pytest.mark.parametrize("options", [PROXY_1, PROXY_2], ids=["version 1", "version 2"])
def test_the_client_is_the_one_that_the_proxy_announces(run_swaks, doors, options):
    transaction = doors.stored_as(run_swaks("proxy", *options)[1]).envelope.transaction
    assert (transaction.client.address, transaction.client.port) == ("192.0.2.7", 4711)
    assert transaction.proxy.address == "127.0.0.1"


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_a_bad_password_is_refused(run_swaks, mechanism):
    status, transcript = run_swaks("login", "--auth", mechanism, "--auth-user", USER, "--auth-password", "wrong")
    assert status == 28  # swaks: error during authentication
    assert "535 5.7.8" in transcript
    assert "MAIL FROM" not in transcript


@pytest.mark.parametrize(
    ("listener", "options", "refusal"),
    [
        ("login", (), "530 5.7.0 authentication required"),
        ("starttls", (), "530 5.7.0 STARTTLS first"),
        ("smtp", ("--to", "you@example.com"), "550 5.1.1"),
        ("smtp", ("--to", "you@example.com", "--pipeline"), "550 5.1.1"),
    ],
)
def test_what_the_listener_demands_is_said(run_swaks, listener, options, refusal):
    status, transcript = run_swaks(listener, *options)
    assert status != 0
    assert refusal in transcript


def test_a_proxy_header_is_no_command_elsewhere(run_swaks):
    status, transcript = run_swaks("smtp", *PROXY_1)
    assert status != 0
    assert "accepted" not in transcript
