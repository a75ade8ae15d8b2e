import pytest
from aiosmtpd.smtp import LoginPassword

from gateway.ingress import PasswordFile


def test_the_printed_line_lets_the_user_in(mailsluice, tmp_path):
    outcome = mailsluice("password", "joe", text="Grüße 123\n")
    assert outcome.exit_code == 0
    assert "123" not in outcome.output
    passwords = tmp_path / "passwords"
    passwords.write_text(outcome.stdout)
    authenticate = PasswordFile(passwords)
    right, wrong = LoginPassword(b"joe", "Grüße 123".encode()), LoginPassword(b"joe", b"other")
    assert authenticate(None, None, None, "PLAIN", right).success
    assert not authenticate(None, None, None, "PLAIN", wrong).success


@pytest.mark.parametrize("user", ["", "a:b", "#joe", "a\nb"])
def test_a_login_that_the_file_cannot_hold_is_refused(user, mailsluice):
    outcome = mailsluice("password", user, text="secret\n")
    assert (outcome.exit_code, outcome.stdout) == (2, "")


@pytest.mark.parametrize("text", ["", "\n"])
def test_an_empty_password_is_refused(text, mailsluice):
    outcome = mailsluice("password", "joe", text=text)
    assert (outcome.exit_code, outcome.stdout) == (2, "")
    assert outcome.stderr.startswith("mailsluice: the password is empty")
