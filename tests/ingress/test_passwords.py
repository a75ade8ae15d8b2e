"""The built-in authenticator: a file of salted hashes."""

import pytest
from aiosmtpd.smtp import LoginPassword

from gateway.ingress import PasswordFile, PasswordFileError, hash_password


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "passwords"
        path.write_text(text)
        return path

    return write


def accepts(passwords, login, password):
    return passwords(None, None, None, "PLAIN", LoginPassword(login, password)).success


def test_a_password_opens_its_own_login_only(file):
    passwords = PasswordFile(file(f"# staff\n\njoe:{hash_password('one')}\nann:{hash_password('two')}\n"))
    assert accepts(passwords, b"joe", b"one")
    assert not accepts(passwords, b"joe", b"two")
    assert not accepts(passwords, b"ann", b"one")
    assert not accepts(passwords, b"bob", b"one")


def test_credentials_that_are_no_password_are_refused(file):
    result = PasswordFile(file(f"joe:{hash_password('one')}\n"))(None, None, None, "X", b"joe")
    assert (result.success, result.handled) == (False, False)


def test_the_costliest_hash_that_is_read_can_be_computed(file):
    assert not accepts(PasswordFile(file(f"joe:$scrypt$ln=17,r=8,p=1${'A' * 22}${'A' * 43}\n")), b"joe", b"one")


@pytest.mark.parametrize(
    "line",
    [
        "joe",
        "joe:",
        f":{hash_password('one')}",
        "joe:one",
        "joe:$scrypt$ln=14,r=8,p=1$salt",
        "joe:$scrypt$ln=14,r=8,p=1$!!$AAAA",
        "joe:$scrypt$ln=18,r=8,p=1$AAAA$AAAA",
        "joe:$scrypt$ln=14,r=9,p=1$AAAA$AAAA",
        "joe:$bcrypt$ln=14,r=8,p=1$AAAA$AAAA",
    ],
)
def test_a_line_that_cannot_be_used_is_told_with_its_number(file, line):
    with pytest.raises(
        PasswordFileError, match=r"passwords:2: the hash is .*; write the line with `mailsluice password`"
    ):
        PasswordFile(file(f"# staff\n{line}\n"))


def test_a_login_with_two_passwords_is_told(file):
    line = f"joe:{hash_password('one')}\n"
    with pytest.raises(PasswordFileError, match="passwords:2: joe has a password already; remove one of the two lines"):
        PasswordFile(file(line + line))
