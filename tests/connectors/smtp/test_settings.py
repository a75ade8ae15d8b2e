"""What a `[[connector]]` table of type smtp may say."""

import pytest
from pydantic import ValidationError

from connectors.smtp import CONNECTOR, SmtpSettings
from gateway.sockets import TcpBind, UnixBind


def settings(**given):
    return SmtpSettings(name="next", **given)


@pytest.mark.parametrize(
    ("given", "server"),
    [
        ({"host": "mail.example.org"}, TcpBind("mail.example.org", 25)),
        ({"host": "mail.example.org", "tls": "implicit"}, TcpBind("mail.example.org", 465)),
        ({"host": "2001:db8::1", "port": 587}, TcpBind("2001:db8::1", 587)),
        ({"host": "127.0.0.1", "protocol": "lmtp"}, TcpBind("127.0.0.1", 24)),
    ],
)
def test_the_server_is_a_host_and_its_port(given, server):
    assert settings(**given).server == server


def test_lmtp_may_go_to_a_unix_socket():
    server = settings(host="unix:/run/dovecot/lmtp", protocol="lmtp").server
    assert isinstance(server, UnixBind)
    assert str(server) == "unix:/run/dovecot/lmtp"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "set host"),
        ({"host": "mail.example.org", "mx": True}, "not both"),
        ({"mx": True, "protocol": "lmtp"}, "LMTP needs a host"),
        ({"host": "h", "protocol": "lmtp", "port": 25}, "port 25 is for SMTP"),
        ({"host": "unix:/s"}, "for LMTP"),
        ({"host": "unix:", "protocol": "lmtp"}, "octets"),
        ({"host": "unix:/s", "protocol": "lmtp", "port": 24}, "no port"),
        ({"host": "unix:/s", "protocol": "lmtp", "tls": "required"}, "needs no TLS"),
        ({"host": "mail.example.org:25"}, "the port is a key of its own"),
        ({"host": "[192.0.2.1]"}, "without brackets"),
        ({"mx": True, "follow_referrals": ["10.0.0.0/8"]}, "refer nobody"),
        ({"host": "h", "referral_style": "dovecot"}, "is for follow_referrals"),
        ({"host": "h", "follow_referrals": ["10.0.0.*"]}, "write a host name"),
        ({"host": "h", "follow_referrals": ["10.0.0.1/8"]}, "write a host name"),
        ({"host": "h", "follow_referrals": ["smtp://backend/"]}, "write a host name"),
        ({"host": "h", "follow_referrals": ["backend..example.org"]}, "write a host name"),
        ({"host": "h", "follow_referrals": [""]}, "write a host name"),
        ({"host": "h", "username": "ann"}, "username goes with one of"),
        ({"host": "h", "password": "secret"}, "username goes with one of"),
        ({"host": "h", "username": "ann", "password": "secret"}, "under TLS only"),
        ({"host": "h", "username": "ann", "password": "secret", "tls": "none"}, "under TLS only"),
        ({"mx": True, "username": "ann", "password": "secret", "tls": "required"}, "no password"),
        ({"host": "h", "hello_name": "two words"}, "domain name"),
        ({"host": "h", "hello_name": "grüße"}, "domain name"),
        ({"host": "h", "port": 0}, "greater than or equal to 1"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_sentence(given, sentence):
    with pytest.raises(ValidationError, match=sentence) as raised:
        settings(**given)
    assert "secret" not in str(raised.value)


def test_a_file_of_certificates_goes_with_tls_that_looks_at_them(tmp_path):
    (tmp_path / "ca.pem").write_text("")
    with pytest.raises(ValidationError, match="no certificate is looked at"):
        settings(host="h", tls_ca_file=tmp_path / "ca.pem")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_to_this_machine_a_password_may_go_in_clear(host):
    assert settings(host=host, username="ann", password="secret", tls="none").username == "ann"


def test_a_password_is_shown_nowhere():
    assert "secret" not in repr(settings(host="::1", username="ann", password="secret"))


def test_it_is_tried_for_days():
    assert sum(CONNECTOR.retries.delays_seconds) > 4 * 86_400
