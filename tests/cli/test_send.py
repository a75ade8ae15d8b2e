import hashlib
import os
import ssl
import subprocess
import sys
import threading

import pytest
import structlog
import trustme
from aiosmtpd.controller import Controller, UnixSocketController
from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import AuthResult

from gateway.connector import TransientFailure
from gateway.relay import wire
from gateway.status import LOCAL_ERROR
from tests.cli.peers import gateway, says, talker
from tests.servers.ports import free_port

FROM = ("--from", "a@example.net")
TO = ("--to", "b@example.org")
GREETING = b"220 hi\r\n"
HELLO = b"250-mx\r\n250-PIPELINING\r\n250 CHUNKING\r\n"


@pytest.fixture(autouse=True)
def logs():
    """The server in this process would log between the replies."""
    with structlog.testing.capture_logs() as captured:
        yield captured


@pytest.fixture
def letter(tmp_path):
    path = tmp_path / "letter.eml"
    path.write_bytes(b"Subject: x\n\nhello\n.dot\n")
    return path


@pytest.fixture
def file(tmp_path):
    """Write a file, and say where it is."""

    def write(octets, name="file"):
        path = tmp_path / name
        path.write_bytes(octets)
        return path

    return write


@pytest.fixture
def send(mailsluice, letter):
    """Run `mailsluice send`, with the letter and its addresses unless others are given."""

    def run(*options, mail=letter, addresses=(*FROM, *TO), text=None):
        return mailsluice("send", mail, *addresses, *options, text=text)

    return run


def sentence(outcome):
    """The one sentence that says what went wrong."""
    (line,) = outcome.stderr.splitlines()
    assert line.startswith("mailsluice: ")
    return line.removeprefix("mailsluice: ")


# Our own server


@pytest.mark.parametrize("protocol", ["smtp", "lmtp"])
@pytest.mark.parametrize("over", ["tcp", "unix"])
def test_a_mail_arrives_with_its_metadata(send, file, tmp_path, protocol, over):
    trace = b"Received: from a by b;\n\tWed, 20 May 2015 10:00:00 +0000\n"
    unix = tmp_path / "socket" if over == "unix" else None
    with gateway(tmp_path, protocol, unix=unix) as server:
        outcome = send(
            *("--server", server.address),
            *(["--lmtp"] if protocol == "lmtp" else []),
            *("--container", f"0x7fff:{file(bytes(range(256)))}"),
            *("--keyword", "$Forwarded", "--keyword", "\\Flagged"),
            *("--trace", file(trace, "one"), "--trace", file(b"X: y\r\n", "two")),
            *("--to", "c@example.org"),
        )
        assert (outcome.exit_code, outcome.stderr) == (0, "")
        (mail,) = server.mails
    assert mail.content.read() == b"Subject: x\r\n\r\nhello\r\n.dot\r\n"
    assert [(one.type, one.data) for one in mail.envelope.metadata.containers[1:]] == [
        (0, trace.replace(b"\n", b"\r\n")),
        (0, b"X: y\r\n"),
        (1, b"$Forwarded \\Flagged"),
        (0x7FFF, bytes(range(256))),
    ]
    assert [str(one.address) for one in mail.envelope.envelope.recipients] == ["b@example.org", "c@example.org"]


def test_every_reply_line_is_printed_with_its_command(send, tmp_path):
    with gateway(tmp_path) as server:
        outcome = send("--server", server.address, "--helo", "me.example.net", "--data")
    lines = outcome.stdout.splitlines()
    assert lines[:2] == ["connect: 220 mx.example.org ESMTP Mailsluice", "EHLO me.example.net: 250-mx.example.org"]
    assert lines[-6:-2] == [
        "EHLO me.example.net: 250 HELP",
        "MAIL FROM:<a@example.net> SIZE=27: 250 2.1.0 sender ok",
        "RCPT TO:<b@example.org>: 250 2.1.5 recipient ok",
        "DATA: 354 end the content with <CRLF>.<CRLF>",
    ]
    assert lines[-2].startswith(".: 250 2.0.0 ")
    assert lines[-1] == "QUIT: 221 2.0.0 goodbye"


def test_the_parameters_of_the_envelope_arrive(send, tmp_path):
    with gateway(tmp_path) as server:
        send(
            *("--server", server.address, "--ret", "hdrs", "--envid", "a b+c", "--notify", "success,delay"),
            addresses=("--from", "", "--to", "<bü@example.org>"),
        )
        (mail,) = server.mails
    sender, (recipient,) = mail.envelope.envelope.mail_from, mail.envelope.envelope.recipients
    assert sender.address.raw == ""
    assert [(one.keyword, one.value) for one in sender.parameters] == [
        ("RET", "HDRS"),
        ("ENVID", "a+20b+2Bc"),
        ("SMTPUTF8", ""),
        ("SIZE", "27"),
    ]
    assert recipient.address.raw == "bü@example.org"
    assert [(one.keyword, one.value) for one in recipient.parameters] == [("NOTIFY", "SUCCESS,DELAY")]


def test_content_goes_in_chunks_of_the_size_that_was_asked_for(send, tmp_path):
    with gateway(tmp_path) as server:
        send("--server", server.address, "--chunk-size", 10, "--bdat")
        (mail,) = server.mails
    assert mail.envelope.message.chunks == (10, 10, 7)


@pytest.mark.parametrize(
    ("octets", "options", "arrives", "body"),
    [
        (b"a\nb\r\nc\n", [], b"a\r\nb\r\nc\r\n", "7BIT"),
        (b"a\r\nb\r\n", [], b"a\r\nb\r\n", "7BIT"),
        (b"no last line end", [], b"no last line end", "7BIT"),
        ("ä\n".encode(), [], "ä\r\n".encode(), "8BITMIME"),
        ("ä\n".encode(), ["--body", "7bit"], "ä\r\n".encode(), "7BIT"),
        (b"a\n", ["--body", "8bitmime"], b"a\r\n", "8BITMIME"),
        (b"a\nb\rc\0", ["--binary"], b"a\nb\rc\0", "BINARYMIME"),
        (b"a\r\n", ["--binary"], b"a\r\n", "7BIT"),
        (b"a\r\n", ["--body", "binarymime"], b"a\r\n", "BINARYMIME"),
        (b"", [], b"", "7BIT"),
    ],
)
def test_line_ends_become_crlf_unless_told_otherwise(send, file, tmp_path, *, octets, options, arrives, body):
    with gateway(tmp_path) as server:
        outcome = send("--server", server.address, *options, mail=file(octets))
        assert outcome.exit_code == 0
        (mail,) = server.mails
    assert (mail.content.read(), mail.envelope.transaction.body) == (arrives, body)


def test_line_ends_are_converted_wherever_blocks_are_cut(send, file, tmp_path):
    octets = b"\r\n" + b"a\r\n" * 174_763 + b"b\n" * 300_000
    with gateway(tmp_path) as server:
        assert send("--server", server.address, mail=file(octets)).exit_code == 0
        (mail,) = server.mails
    assert mail.content.read() == octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def test_a_mail_can_come_from_standard_input(send, tmp_path):
    with gateway(tmp_path) as server:
        assert send("--server", server.address, mail="-", text="Subject: x\n").exit_code == 0
        (mail,) = server.mails
    assert mail.content.read() == b"Subject: x\r\n"


def test_a_mail_can_come_from_a_pipe(send, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(b"Subject: x\n",))
    writer.start()
    with gateway(tmp_path) as server:
        assert send("--server", server.address, mail=tmp_path / "pipe").exit_code == 0
        (mail,) = server.mails
    writer.join()
    assert mail.content.read() == b"Subject: x\r\n"


@pytest.mark.parametrize("options", [[], ["--data"]])
def test_a_large_mail_arrives_whole(send, file, tmp_path, options, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as if somebody watched: there is a progress bar
    octets = b".0123456789\r\n" * 600_000
    with gateway(tmp_path) as server:
        outcome = send("--server", server.address, *options, mail=file(octets))
        assert outcome.exit_code == 0
        (mail,) = server.mails
    assert hashlib.sha256(mail.content.read()).digest() == hashlib.sha256(octets).digest()
    assert "MB/s" in outcome.stderr
    assert "QUIT: 221" in outcome.stdout


# Refusals


def test_one_refused_recipient_is_a_failure_and_the_others_get_the_mail(send, tmp_path):
    with gateway(tmp_path) as server:
        outcome = send("--server", server.address, "--to", "c@example.com")
        assert len(server.mails) == 1
    assert outcome.exit_code == 1
    assert sentence(outcome).startswith("not accepted for <c@example.com>: 550 5.1.1 ")


@pytest.mark.parametrize("protocol", ["smtp", "lmtp"])
def test_a_mail_that_is_refused_at_its_end_is_a_failure(send, tmp_path, protocol):
    with gateway(tmp_path, protocol) as server:
        server.connector.failure = TransientFailure(LOCAL_ERROR, "not now")
        lmtp = ["--lmtp"] if protocol == "lmtp" else []
        outcome = send("--server", server.address, "--to", "c@example.org", *lmtp)
    assert outcome.exit_code == 1
    first, second = outcome.stderr.splitlines()
    assert first.startswith("mailsluice: not accepted for <b@example.org>: 451 4.3.0 ")
    assert second.startswith("mailsluice: not accepted for <c@example.org>: 451 4.3.0 ")


@pytest.mark.parametrize(
    ("disabled", "options", "way_round"),
    [
        ("METADATA", ["--keyword", "$x"], "the server does not offer METADATA; leave out --trace"),
        ("CHUNKING", ["--bdat"], "the server does not offer CHUNKING; leave out --bdat"),
        ("DSN", ["--ret", "full"], "the server does not offer DSN; leave out --notify"),
        ("HELP", ["--tls", "starttls"], "the server does not offer STARTTLS; use --tls implicit"),
        ("HELP", ["--auth-user", "me"], "the server does not offer AUTH by PLAIN or LOGIN; leave out --auth-user"),
        ("8BITMIME", ["--body", "8bitmime"], "the server does not offer 8BITMIME; the mail has 8-bit octets"),
        ("BINARYMIME", ["--body", "binarymime"], "the server does not offer BINARYMIME; without --binary"),
    ],
)
def test_what_the_server_does_not_offer_is_told_with_a_way_round(
    send, tmp_path, monkeypatch, *, disabled, options, way_round
):
    monkeypatch.setenv("MAILSLUICE_AUTH_PASSWORD", "secret")
    with gateway(tmp_path, disabled=[disabled]) as server:
        outcome = send("--server", server.address, *options)
        assert not server.mails
    assert outcome.exit_code == 1
    assert sentence(outcome).startswith(way_round)
    assert outcome.stdout.splitlines()[-1].startswith("QUIT: 221")


# TLS and AUTH


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def context(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def ca_file(authority, tmp_path):
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return tmp_path / "ca.pem"


def authenticator(server, session, envelope, mechanism, login):
    return AuthResult(success=(login.login, login.password) == (b"me", b"pass word"))


@pytest.mark.parametrize("mode", ["starttls", "implicit"])
@pytest.mark.parametrize("source", ["file", "environment"])
def test_a_mail_goes_under_tls_with_a_login(send, file, tmp_path, monkeypatch, *, context, ca_file, mode, source):
    given = []
    if source == "file":
        given = ["--auth-password-file", file(b"pass word\nnot this\n")]
    else:
        monkeypatch.setenv("MAILSLUICE_AUTH_PASSWORD", "pass word")
    with gateway(tmp_path, tls=context, implicit_tls=mode == "implicit", authenticator=authenticator) as server:
        outcome = send("--server", server.address, "--tls", mode, "--ca-file", ca_file, "--auth-user", "me", *given)
        assert outcome.exit_code == 0
        (mail,) = server.mails
    assert mail.envelope.transaction.tls is not None
    assert mail.envelope.transaction.authenticated_as == "me"
    assert "AUTH PLAIN: 235" in outcome.stdout
    assert "pass" not in outcome.output


def test_a_refused_login_ends_the_session_before_the_mail(send, file, tmp_path, context, ca_file):
    with gateway(tmp_path, tls=context, authenticator=authenticator) as server:
        wrong = ("--auth-user", "me", "--auth-password-file", file(b"wrong"))
        outcome = send("--server", server.address, "--tls", "starttls", "--ca-file", ca_file, *wrong)
        assert not server.mails
    assert outcome.exit_code == 1
    assert sentence(outcome).startswith("535 5.7.8 ")
    assert outcome.stdout.splitlines()[-1].startswith("QUIT: 221")


@pytest.mark.parametrize("mode", ["starttls", "implicit"])
def test_a_certificate_that_is_not_trusted_is_refused(send, tmp_path, context, mode):
    with gateway(tmp_path, tls=context, implicit_tls=mode == "implicit") as server:
        outcome = send("--server", server.address, "--tls", mode)
        assert (outcome.exit_code, server.mails) == (1, [])
        assert "--ca-file says whom to trust" in sentence(outcome)
        assert send("--server", server.address, "--tls", mode, "--insecure").exit_code == 0
        assert len(server.mails) == 1


def test_a_server_without_tls_behind_implicit_tls_is_recognised(send):
    with talker(lambda connection: connection.sendall(GREETING)) as address:
        outcome = send("--server", address, "--tls", "implicit")
    assert outcome.exit_code == 1
    assert sentence(outcome).startswith(f"TLS with {address} failed: ")


def test_tls_that_breaks_in_the_handshake_is_told(send):
    def talk(connection):
        says(GREETING, b"250-mx\r\n250 STARTTLS\r\n")(connection)
        connection.sendall(b"220 go\r\n")
        connection.recv(10_000)
        connection.sendall(b"this is no TLS\r\n")

    with talker(talk) as address:
        outcome = send("--server", address, "--tls", "starttls")
    assert outcome.exit_code == 1
    assert sentence(outcome).startswith("TLS failed: ")


@pytest.mark.parametrize("mode", ["starttls", "implicit"])
def test_a_server_that_goes_away_in_the_handshake_is_told(send, mode):
    def talk(connection):
        if mode == "starttls":
            says(GREETING, b"250-mx\r\n250 STARTTLS\r\n")(connection)
            connection.sendall(b"220 go\r\n")
        connection.recv(10_000)

    with talker(talk) as address:
        outcome = send("--server", address, "--tls", mode)
    assert outcome.exit_code == 1
    assert sentence(outcome).endswith(": the server closed the connection")


def test_a_server_that_does_not_end_tls_is_not_waited_for(send, context, monkeypatch):
    monkeypatch.setattr(wire, "_CLOSE_SECONDS", 0.01)
    done = threading.Event()

    def talk(connection):
        with context.wrap_socket(connection, server_side=True) as under_tls:
            ok = b"250 ok\r\n"
            says(GREETING, ok, ok, ok, b"354 go\r\n", ok, b"221 bye\r\n")(under_tls)
            done.wait()

    with talker(talk) as address:
        outcome = send("--server", address, "--tls", "implicit", "--insecure", mail="-", text="")
        done.set()
    assert outcome.exit_code == 0


def test_starttls_that_is_refused_does_not_go_on_in_clear(send):
    replies = (GREETING, b"250-mx\r\n250 STARTTLS\r\n", b"454 4.7.0 not now\r\n", b"221 bye\r\n")
    with talker(says(*replies)) as address:
        outcome = send("--server", address, "--tls", "starttls")
    assert outcome.exit_code == 1
    assert sentence(outcome) == "454 4.7.0 not now"
    assert "MAIL" not in outcome.stdout


# Servers that are not there, or not what they should be


def test_a_server_that_is_not_there_is_told(send, tmp_path):
    with talker(lambda connection: None) as address:
        send("--server", address)
    outcome = send("--server", address)
    assert outcome.exit_code == 1
    assert sentence(outcome) == f"there is no connection to {address}: Connection refused"
    outcome = send("--server", f"unix:{tmp_path}/no")
    assert sentence(outcome) == f"there is no connection to unix:{tmp_path}/no: No such file or directory"
    outcome = send("--server", "no.invalid:25")
    assert sentence(outcome).startswith("there is no connection to no.invalid:25: ")


@pytest.mark.parametrize(
    ("talk", "says_what"),
    [
        (says(), "451 4.4.2 the server closed the connection"),
        (says(b"HTTP/1.1 400 Bad Request\r\n"), "451 4.4.2 the server's answer is not an SMTP reply"),
        (says(b"554 5.7.1 \x1b[2Jgo away\r\n", b"221 bye\r\n"), "554 5.7.1 ?[2Jgo away"),
        (says(GREETING, b"550 no\r\n", b"221 bye\r\n"), "550 no"),
    ],
)
def test_a_server_that_does_not_open_a_session_is_told(send, talk, says_what):
    with talker(talk) as address:
        outcome = send("--server", address)
    assert outcome.exit_code == 1
    assert sentence(outcome) == says_what
    assert "\x1b" not in outcome.output


@pytest.mark.parametrize(
    "replies", [(), (b"250 ok\r\n250 ok\r\n",)], ids=["before the envelope", "before the end of the content"]
)
def test_a_connection_that_is_lost_is_a_failure_for_every_recipient(send, replies):
    with talker(says(GREETING, HELLO, *replies)) as address:
        outcome = send("--server", address, "--to", "c@example.org")
    assert outcome.exit_code == 1
    assert [line.split(":")[1] for line in outcome.stderr.splitlines()] == [
        " not accepted for <b@example.org>",
        " not accepted for <c@example.org>",
    ]
    assert "451 4.4.2 the" in outcome.stderr


def test_a_silent_server_is_given_up(send, monkeypatch):
    monkeypatch.setattr(wire, "_PATIENCE_SECONDS", 0.01)
    with talker(lambda connection: connection.recv(100)) as address:
        outcome = send("--server", address)
    assert sentence(outcome) == "451 4.4.2 nothing came from the server for 0.01 seconds"


def test_a_handshake_without_end_is_given_up(send, monkeypatch):
    monkeypatch.setattr(wire, "_CONNECT_SECONDS", 0.05)
    with talker(lambda connection: connection.makefile("rb").read()) as address:
        outcome = send("--server", address, "--tls", "implicit")
    assert sentence(outcome) == f"{address} did not answer within 0.05 seconds"


def test_replies_are_read_while_content_is_written(send, file):
    """A server that waits until its replies are read reads no content meanwhile; both are more than sockets hold."""
    chunk = 65_536
    chunks = 300

    def talk(connection):
        lines = connection.makefile("rb")
        for reply in (GREETING, HELLO, b"250 ok\r\n", b"250 ok\r\n"):
            connection.sendall(reply)
            lines.readline()
        for number in range(chunks):
            assert len(lines.read(chunk)) == chunk
            connection.sendall(b"250-" + b"x" * 60_000 + b"\r\n250 ok\r\n")
            command = lines.readline()
            assert command == (b"QUIT\r\n" if number == chunks - 1 else command)
        connection.sendall(b"221 bye\r\n")
        lines.close()

    with talker(talk) as address:
        outcome = send("--server", address, "--chunk-size", chunk, mail=file(b"x" * (chunk * chunks)))
    assert outcome.exit_code == 0


def test_output_that_nobody_reads_is_not_the_mails_fault(letter, tmp_path):
    with gateway(tmp_path) as server:
        command = ["from gateway.cli import main; main()", "send", letter, *FROM, *TO, "--server", server.address]
        reading, writing = os.pipe()
        os.close(reading)
        with os.fdopen(writing, "wb") as nobody:
            ended = subprocess.run(
                [sys.executable, "-c", *command], stdout=nobody, stderr=subprocess.PIPE, timeout=60, check=False
            )
    assert (ended.returncode, ended.stderr) == (1, b"")


# aiosmtpd


class Inbox:
    def __init__(self):
        self.envelopes = []

    async def handle_DATA(self, server, session, envelope):
        self.envelopes.append(envelope)
        return "250 OK"


class LmtpController(UnixSocketController):
    def factory(self):
        return LMTP(self.handler)


def test_aiosmtpd_takes_a_mail(send):
    inbox = Inbox()
    controller = Controller(inbox, hostname="127.0.0.1", port=free_port(), server_hostname="aiosmtpd.example")
    controller.start()
    try:
        host, port = controller.server.sockets[0].getsockname()
        outcome = send("--server", f"{host}:{port}", "--to", "c@example.org")
    finally:
        controller.stop()
    assert outcome.exit_code == 0
    (envelope,) = inbox.envelopes
    assert (envelope.mail_from, envelope.rcpt_tos) == ("a@example.net", ["b@example.org", "c@example.org"])
    assert envelope.content == b"Subject: x\r\n\r\nhello\r\n.dot\r\n"


def test_aiosmtpd_takes_a_mail_by_lmtp(send, tmp_path):
    inbox = Inbox()
    controller = LmtpController(inbox, unix_socket=str(tmp_path / "lmtp"))
    controller.start()
    try:
        outcome = send("--server", f"unix:{tmp_path}/lmtp", "--lmtp")
    finally:
        controller.stop()
    assert outcome.exit_code == 0
    assert inbox.envelopes[0].content == b"Subject: x\r\n\r\nhello\r\n.dot\r\n"


# Mistakes of the user


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--server", "mx.example.org"], '--server: "mx.example.org" is no address; write "host:port"'),
        (["--to", "nobody"], '--to "nobody": the address does not follow RFC 5321'),
        (["--to", ""], "--to: an address is missing"),
        (["--to", "<>"], "--to: an address is missing"),
        (["--to", b"\xff@example.org".decode("utf-8", "surrogateescape")], "--to"),
        (["--from", "a b@example.org"], '--from "a b@example.org": '),
        (["--helo", "two words"], "the name in a hello is printable ASCII without blanks"),
        (["--notify", "sometimes"], "--notify: NOTIFY is NEVER, or some of"),
        (["--envid", "ä"], "--envid: ENVID is at most 100 printable characters"),
        (["--keyword", "two words"], '--keyword "two words": this is no IMAP keyword'),
        (["--keyword", "\\Recent"], '--keyword "\\Recent": this is no IMAP keyword'),
        (["--trace", "no-such-file"], "--trace no-such-file: No such file or directory"),
        (["--container", "5"], '--container "5": write TYPE:FILE'),
        (["--container", "5:"], '--container "5:": write TYPE:FILE'),
        (["--container", "0x10000:f"], '--container "0x10000:f": write TYPE:FILE'),
        (["--container", "-1:f"], '--container "-1:f": write TYPE:FILE'),
        (["--container", "five:f"], '--container "five:f": write TYPE:FILE'),
        (["--container", "5:no-such-file"], "--container no-such-file: No such file or directory"),
        (["--data", "--keyword", "$x"], "metadata and binary content go by BDAT, not by DATA"),
        (["--ca-file", "x"], "--ca-file and --insecure are about TLS"),
        (["--insecure"], "--ca-file and --insecure are about TLS"),
        (["--tls", "starttls", "--server", "unix:/x"], "a Unix socket has no TLS; leave out --tls"),
        (["--tls", "starttls", "--ca-file", "no-such-file"], "--ca-file no-such-file: No such file or directory"),
        (["--auth-password-file", "x"], "--auth-password-file needs --auth-user"),
        (["--auth-user", "me"], "there is no password for --auth-user; use --auth-password-file or set"),
        (["--auth-user", "me", "--server", "localhost:1"], "there is no password for --auth-user"),
        (["--auth-user", "me", "--server", "unix:/x"], "there is no password for --auth-user"),
        (["--auth-user", "me", "--auth-password-file", "/dev/null"], "there is no password for --auth-user"),
        (
            ["--auth-user", "me", "--auth-password-file", "/dev/zero"],
            "--auth-password-file /dev/zero: the file is larger",
        ),
        (["--auth-user", "me", "--server", "mx.example.org:25"], "a password is not sent in clear over a network"),
        (["--auth-user", "me", "--server", "192.0.2.1:25"], "a password is not sent in clear over a network"),
    ],
)
def test_a_wrong_option_is_one_sentence_and_nothing_is_sent(send, monkeypatch, options, why):
    monkeypatch.delenv("MAILSLUICE_AUTH_PASSWORD", raising=False)
    outcome = send(*options)
    assert outcome.exit_code == 2
    assert sentence(outcome).startswith(why)
    assert outcome.stdout == ""


@pytest.mark.parametrize(
    ("octets", "options", "why"),
    [
        (b"a\rb\n", [], "has a CR that belongs to no line end; --binary leaves line ends as they are"),
        (b"a\n\r", [], "has a CR that belongs to no line end; --binary leaves line ends as they are"),
        (b"a\nb\n", ["--binary", "--body", "7bit"], "has line ends that are not CRLF; leave out --binary or --body"),
        (b"a\nb\n", ["--binary", "--data"], "metadata and binary content go by BDAT, not by DATA"),
    ],
)
def test_content_that_cannot_go_is_told(send, file, octets, options, why):
    outcome = send(*options, mail=file(octets))
    assert outcome.exit_code == 2
    assert sentence(outcome).endswith(why)


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (b"Subject: x\n", "it has the field Subject, which is no trace field; --container 0:"),
        (b"Received: x\n\nbody", "it has an empty line; --container 0:"),
        (b"Received: x\ry\n", "has a CR that belongs to no line end; --binary leaves line ends as they are"),
    ],
)
def test_a_trace_that_is_none_is_told(send, file, octets, why):
    outcome = send("--trace", file(octets))
    assert outcome.exit_code == 2
    assert why in sentence(outcome)


def test_a_password_that_no_server_could_read_is_told(send, file):
    outcome = send("--auth-user", "me", "--auth-password-file", file(b"gr\xfc\xdf\n"))
    assert outcome.exit_code == 2
    assert sentence(outcome) == "--auth-user: the user and the password must be UTF-8 (RFC 4616 §2)"


def test_a_ca_file_without_certificates_is_told(send, file):
    outcome = send("--tls", "starttls", "--ca-file", file(b"nothing\n", "ca"))
    assert outcome.exit_code == 2
    assert sentence(outcome).endswith("/ca: it holds no certificate in PEM")


def test_a_file_that_cannot_be_read_is_told(send, tmp_path):
    outcome = send(mail=tmp_path / "no")
    assert outcome.exit_code == 2
    assert sentence(outcome) == f"{tmp_path}/no cannot be read: No such file or directory"
    assert sentence(send(mail=tmp_path)) == f"{tmp_path} cannot be read: Is a directory"


def test_a_file_that_shrinks_on_the_way_is_told(send, file, tmp_path):
    """What was promised by its size cannot be sent any more; the server must not take the rest for the whole."""
    path = file(b"x" * 1_000_000)

    def talk(connection):
        lines = connection.makefile("rb")
        for reply in (GREETING, HELLO, b"250 ok\r\n250 ok\r\n"):
            if reply.startswith(b"250 ok"):
                lines.readline()  # MAIL
                os.truncate(path, 10)
            connection.sendall(reply)
            lines.readline()
        assert len(lines.read()) < 1_000_000
        lines.close()

    with talker(talk) as address:
        outcome = send("--server", address, mail=path)
    assert outcome.exit_code == 1
    assert "can no longer be read" in sentence(outcome)


def test_the_missing_addresses_are_asked_for(send):
    assert send(addresses=FROM).exit_code == 2
    assert "--to" in send(addresses=FROM).stderr
    assert "--from" in send(addresses=TO).stderr
