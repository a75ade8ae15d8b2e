"""Clients from elsewhere: Python's smtplib, curl, and our own `send` over TLS with a password."""

import base64
import smtplib
import ssl
import subprocess
from email.message import EmailMessage

import pytest

from tests.end_to_end.doors import PASSWORD, USER
from tests.end_to_end.gateway import MAILSLUICE

MAIL = b"From: ann@example.net\r\nSubject: hello\r\n\r\n.dot\r\nlast\r\n"


@pytest.fixture
def context(certificate):
    return ssl.create_default_context(cafile=certificate.authority)


class Submitted(smtplib.SMTP):
    """Remembers the final reply, which `sendmail` only checks."""

    def data(self, msg):
        self.final = super().data(msg)
        return self.final

    def reply(self):
        code, text = self.final
        return f"{code} {text.decode()}"


def test_smtplib_sends_in_clear(doors):
    with Submitted(*doors.gateway.address("smtp")) as client:
        assert client.sendmail("ann@example.net", ["bob@example.org", "nobody@example.com"], MAIL) == {
            "nobody@example.com": (550, b"5.1.1 no route to this recipient")
        }
    assert doors.stored_as(client.reply()).content == MAIL


def test_smtplib_begins_tls_and_logs_in(doors, context):
    with Submitted(*doors.gateway.address("submission")) as client:
        client.starttls(context=context)
        client.login(USER, PASSWORD)
        client.sendmail("ann@example.net", ["bob@example.org"], MAIL)
    mail = doors.stored_as(client.reply())
    assert mail.content == MAIL
    transaction = mail.envelope.transaction
    assert (transaction.protocol, transaction.authenticated_as) == ("ESMTPSA", "ann")
    assert transaction.tls.version == "TLSv1.3"


def test_smtplib_begins_with_tls(doors, context):
    host, port = doors.gateway.address("implicit")
    with smtplib.SMTP_SSL(host, port, context=context) as client:
        assert client.sendmail("ann@example.net", ["bob@example.org"], MAIL) == {}


def test_smtplib_is_told_of_a_wrong_password(doors, context):
    with Submitted(*doors.gateway.address("submission")) as client:
        client.starttls(context=context)
        with pytest.raises(smtplib.SMTPAuthenticationError, match=r"5\.7\.8"):
            client.login(USER, PASSWORD + "x")


def test_smtplib_sends_a_message_with_an_address_in_utf8(doors):
    message = EmailMessage()
    message["From"] = "Jürgen <jürgen@example.net>"
    message["To"] = "用户@example.org"
    message["Subject"] = "Grüße"
    message.set_content("Zeile in UTF-8: ü\n", cte="8bit")
    with Submitted(*doors.gateway.address("smtp")) as client:
        client.send_message(message)
    mail = doors.stored_as(client.reply())
    assert "用户@example.org".encode() in mail.content
    assert "Zeile in UTF-8: ü".encode() in mail.content
    envelope = mail.envelope
    assert envelope.envelope.mail_from.address.raw == "jürgen@example.net"
    assert [recipient.address.raw for recipient in envelope.envelope.recipients] == ["用户@example.org"]
    assert envelope.transaction.body == "8BITMIME"
    assert envelope.transaction.protocol == "UTF8SMTP"
    assert {"8BITMIME", "SMTPUTF8"} <= set(envelope.transaction.extensions)


def test_smtplib_delivers_by_lmtp(doors):
    with smtplib.LMTP(*doors.gateway.address("lmtp")) as client:
        assert client.sendmail("ann@example.net", ["bob@example.org"], MAIL) == {}


@pytest.fixture
def run_curl(curl, doors, certificate, tmp_path):
    """Run curl with one listener: its exit status and what both sides said."""
    mail = tmp_path / "mail.eml"
    mail.write_bytes(MAIL)

    def run(scheme, listener, *options):
        url = f"{scheme}://127.0.0.1:{doors.port(listener)}/client.example.net"
        command = [curl, "--silent", "--show-error", "--verbose", "--max-time", "30", "--url", url]
        command += ["--mail-from", "ann@example.net", "--mail-rcpt", "bob@example.org", "--upload-file", mail]
        done = subprocess.run(
            [*command, "--cacert", certificate.authority, *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    return run


@pytest.mark.parametrize(
    ("scheme", "listener", "options", "protocol"),
    [
        ("smtp", "smtp", (), "ESMTP"),
        ("smtp", "smtp", ("--mail-rcpt", "eve@example.org"), "ESMTP"),
        ("smtp", "starttls", ("--ssl-reqd",), "ESMTPS"),
        ("smtps", "implicit", (), "ESMTPS"),
        ("smtp", "login", ("--user", f"{USER}:{PASSWORD}"), "ESMTPA"),
        ("smtp", "submission", ("--ssl-reqd", "--user", f"{USER}:{PASSWORD}"), "ESMTPSA"),
        (
            *("smtp", "submission"),
            ("--ssl-reqd", "--user", f"{USER}:{PASSWORD}", "--login-options", "AUTH=LOGIN"),
            "ESMTPSA",
        ),
        ("smtp", "proxy", ("--haproxy-protocol",), "ESMTP"),
    ],
)
def test_curl_delivers(run_curl, doors, *, scheme, listener, options, protocol):
    status, said = run_curl(scheme, listener, *options)
    assert status == 0, said
    mail = doors.stored_as(said)
    assert mail.content == MAIL
    assert mail.envelope.transaction.protocol == protocol
    assert mail.envelope.transaction.hello == "client.example.net"


def test_curl_is_told_of_a_wrong_password(run_curl):
    status, said = run_curl("smtp", "login", "--user", f"{USER}:wrong")
    assert status == 67  # curl: the login was refused
    assert "535 5.7.8" in said


def test_no_password_of_a_client_is_logged(run_curl, doors):
    passwords = (PASSWORD, "canary-of-a-wrong-password")
    for password in passwords:
        for mechanism in ("PLAIN", "LOGIN"):
            run_curl("smtp", "login", "--user", f"{USER}:{password}", "--login-options", f"AUTH={mechanism}")
    # Lines are written in order, a moment after what they tell of: with this one the others are there.
    run_curl("smtp", "login", "--user", "last-of-all:canary", "--login-options", "AUTH=PLAIN")
    doors.gateway.wait_for('"login": "last-of-all"')
    for password in passwords:
        assert password not in doors.gateway.log
        for spelled in (f"\0{USER}\0{password}", password):
            assert base64.b64encode(spelled.encode()).decode() not in doors.gateway.log
    logins = doors.gateway.records("authentication")
    assert [login["success"] for login in logins[-5:]] == [True, True, False, False, False]
    assert {login["login"] for login in logins} == {USER, "last-of-all"}


@pytest.mark.parametrize("mode", ["starttls", "implicit"])
def test_send_trusts_a_certificate_and_logs_in(doors, certificate, tmp_path, mode):
    listener, login = {"starttls": ("submission", ("--auth-user", USER)), "implicit": ("implicit", ())}[mode]
    (tmp_path / "password").write_text(PASSWORD + "\n")
    (tmp_path / "mail.eml").write_bytes(MAIL)
    login += ("--auth-password-file", "password") if login else ()
    to = ("--from", "ann@example.net", "--to", "bob@example.org", "--server", doors.gateway.addresses[listener])
    sent = subprocess.run(
        [MAILSLUICE, "send", "mail.eml", *to, "--tls", mode, "--ca-file", certificate.authority, *login],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert sent.returncode == 0, sent.stdout + sent.stderr
    assert PASSWORD not in sent.stdout + sent.stderr
    mail = doors.stored_as(sent.stdout)
    assert (mail.content, mail.envelope.transaction.tls.version) == (MAIL, "TLSv1.3")
