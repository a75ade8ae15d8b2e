"""Files of secrets and certificates: what is read from them, and what the operator is told of those of no use."""

import pytest

from gateway.credentials import CredentialsError, client_tls, read_secret


@pytest.mark.parametrize("octets", [b" pass word ", b" pass word \n", b" pass word \r\n"])
def test_a_secret_keeps_its_spaces_and_loses_the_editors_line_end(tmp_path, octets):
    file = tmp_path / "secret"
    file.write_bytes(octets)
    assert read_secret(file) == " pass word "


@pytest.mark.parametrize(
    ("octets", "complaint"),
    [
        (b"", "it is empty"),
        (b" \r\n", "it is empty"),
        (b"canary\xff", "it is not UTF-8 text"),
        (b"canary" * 20_000, "it is too large for a secret"),
        (None, "it cannot be read: No such file"),
    ],
)
def test_a_secret_file_of_no_use_is_named_and_not_shown(tmp_path, octets, complaint):
    file = tmp_path / "secret"
    if octets is not None:
        file.write_bytes(octets)
    with pytest.raises(CredentialsError, match=complaint) as caught:
        read_secret(file)
    assert str(file) in str(caught.value)
    assert "canary" not in f"{caught.value}{caught.value.__cause__!r}"


@pytest.mark.parametrize("key", ["tls_ca_file", "tls_cert_file"])
def test_a_certificate_file_of_no_use_is_named_with_its_setting(tmp_path, key):
    file = tmp_path / "no.pem"
    file.write_text("nothing\n")
    with pytest.raises(CredentialsError, match=f"{key} {file} cannot be used: no PEM certificate"):
        client_tls(**{"tls_ca_file": None, key: file})
