"""What a table of type `http` may say."""

import pytest
from pydantic import ValidationError

from connectors.http import HttpSettings
from tests.connectors.http.consumers import SECRET

CANARY = "canary-7f3a"


def settings(**keys) -> HttpSettings:
    return HttpSettings.model_validate({"name": "c", "url": "https://h.example/mail", "secrets": [SECRET], **keys})


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.touch()
    return path


@pytest.mark.parametrize(
    "url",
    [
        "http://h",
        "https://h.example:8443/a%2Fb?c=d",
        "HTTPS://H/",
        "http://[::1]:8000/",
        "http://h?q@r",
        "http://h.example.:65535",
        "http://" + ".".join(["a" * 63] * 3 + ["a" * 61]) + "/",
    ],
)
def test_http_and_https_urls_are_taken(url):
    assert settings(url=url).url == url


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("", "begin with http"),
        ("h.example/mail", "begin with http"),
        ("ftp://h.example/", "begin with http"),
        ("file:///etc/passwd", "begin with http"),
        ("unix:///run/socket", "begin with http"),
        ("http:///path", "begin with http"),
        ("http://h:99999/", "begin with http"),
        ("http://h:0/", "begin with http"),
        ("http://h:65536/", "begin with http"),
        ("http://h:/", "begin with http"),
        ("http://h:80x/", "begin with http"),
        ("http://[::1/", "begin with http"),
        ("http://[::1]x/", "begin with http"),
        ("http://[1.2.3.4]/", "begin with http"),
        ("http://a..b/", "begin with http"),
        ("http://.a/", "begin with http"),
        ("http://" + "a" * 64 + "/", "begin with http"),
        ("http://" + ".".join(["a" * 63] * 3 + ["a" * 62]) + "/", "begin with http"),
        ("http://a\\b/", "begin with http"),
        ("http://*/", "begin with http"),
        ("http://?q", "begin with http"),
        ("http://user:pass@h/", "credentials do not belong"),
        ("http://h/#part", "fragment"),
        ("http://h/a b", "characters"),
        ("http://h/\r\nX: y", "characters"),
        ("http://h/\n", "characters"),
        ("http://bücher.example/", "xn--"),
    ],
)
def test_other_urls_are_refused(url, complaint):
    with pytest.raises(ValidationError, match=complaint):
        settings(url=url)


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("", "v", "cannot be the name"),
        ("X Y", "v", "cannot be the name"),
        ("X:", "v", "cannot be the name"),
        ("X\r\nY", "v", "cannot be the name"),
        ("X\n", "v", "cannot be the name"),
        ("Ünicode", "v", "cannot be the name"),
        ("X-A", "a\r\nb", "printable ASCII"),
        ("X-A", "a\n", "printable ASCII"),
        ("X-A", "a\0", "printable ASCII"),
        ("X-A", "ä", "printable ASCII"),
        ("X-A", " a", "outer spaces"),
        ("X-A", "", "printable ASCII"),
        *((name, "v", "set by the connector") for name in ("Host", "content-length", "Content-Type", "Authorization")),
        *(
            (name, "v", "set by the connector")
            for name in ("Transfer-Encoding", "WEBHOOK-ID", "ce-id", "mail-from", "TE", "User-Agent")
        ),
        *((name, "v", "set by the connector") for name in ("bmtd-0000", "Connection", "Expect", "Proxy-Authorization")),
    ],
)
def test_headers_that_would_break_or_forge_a_request_are_refused(name, value, complaint):
    with pytest.raises(ValidationError, match=complaint):
        settings(headers={name: value})


def test_two_headers_of_one_name_are_refused():
    with pytest.raises(ValidationError, match="same name"):
        settings(headers={"X-A": "1", "x-a": "2"})


@pytest.mark.parametrize("count", [0, 3])
def test_there_are_one_or_two_secrets(count):
    with pytest.raises(ValidationError, match="set one secret"):
        settings(secrets=[SECRET] * count)


def test_a_secret_file_counts_as_a_secret(file):
    assert settings(secrets=[], secret_files=[str(file)]).secret_files == (file,)
    assert settings(secret_files=[str(file)]).secrets
    with pytest.raises(ValidationError, match="set one secret"):
        settings(secrets=[SECRET, SECRET], secret_files=[str(file)])


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({"bearer_token": "t", "bearer_token_file": ...}, "exclude each other"),
        ({"bearer_token": "two words"}, "without spaces"),
        ({"timeout_seconds": 61}, "deadline_seconds at most"),
        ({"deadline_seconds": 20, "timeout_seconds": 21}, "deadline_seconds at most"),
        ({"bearer_token": "t\r\nX: y"}, "without spaces"),
        ({"username": "u"}, "goes with one of password"),
        ({"password": "p"}, "goes with one of password"),
        ({"username": "u", "password": "p", "password_file": ...}, "goes with one of password"),
        ({"username": "u:v", "password": "p"}, "no colon"),
        ({"username": "u", "password": "p", "bearer_token": "t"}, "one Authorization"),
        ({"tls_key_file": ...}, "goes with tls_cert_file"),
        ({"tls_ca_file": ..., "url": "http://h/"}, "begins with https:"),
        ({"tls_cert_file": ..., "url": "http://h/"}, "begins with https:"),
        ({"tls_ca_file": "/nowhere/ca.pem"}, "does not point to a file"),
        ({"format": "xml"}, "cloudevents-binary"),
        ({"proxy": "http://p/"}, "Extra inputs"),
    ],
)
def test_keys_that_do_not_fit_together_are_refused(keys, complaint, file):
    with pytest.raises(ValidationError, match=complaint):
        settings(**{key: str(file) if value is ... else value for key, value in keys.items()})


def test_everything_wrong_is_said_at_once(file):
    with pytest.raises(ValidationError) as caught:
        settings(secrets=[], username="u", tls_key_file=str(file))
    assert "set one secret" in str(caught.value)
    assert "goes with one of password" in str(caught.value)
    assert "goes with tls_cert_file" in str(caught.value)


def test_no_secret_is_in_a_repr_or_an_error():
    found = settings(bearer_token=CANARY, headers={"X-Api-Key": CANARY})
    assert CANARY not in repr(found)
    assert SECRET not in repr(found)
    assert CANARY not in found.model_dump_json()
    for wrong in (
        {"bearer_token": CANARY + " "},
        {"headers": {"X-Api-Key": CANARY + "\n"}},
        {"secrets": [CANARY]},
        {"secrets": ["whsec_" + CANARY]},
        {"username": "u:", "password": CANARY},
        {"url": f"http://user:{CANARY}@h/"},
        {"url": f"http://h/?token={CANARY}#"},
    ):
        with pytest.raises(ValidationError) as caught:
            settings(**wrong)
        assert CANARY not in str(caught.value)
