"""Secrets in files, as they are read when the connector is opened."""

import pytest

from connectors.http.credentials import read_credentials
from connectors.http.settings import HttpSettings
from connectors.http.signature import decode_secret
from gateway.connector import PermanentFailure
from tests.connectors.http.consumers import SECRET, make_connector


async def test_secrets_of_files_stand_beside_those_of_the_table(tmp_path):
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    other = "whsec_" + "A" * 32
    settings = HttpSettings(name="c", url="http://h", secrets=[other], secret_files=[file])
    found = read_credentials(settings)
    assert found.signing_keys == (decode_secret(other), decode_secret(SECRET))
    assert repr(decode_secret(SECRET)) not in repr(found)


@pytest.mark.parametrize(
    ("octets", "complaint"),
    [
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (b"\xff\xfe", "not UTF-8"),
        (b"whsec_c2hvcnQ=", "24 to 64 octets"),
        (b"canary-7f3a", "begins with whsec_"),
    ],
)
async def test_secret_files_of_no_use_are_told_when_the_connector_is_opened(octets, complaint, tmp_path):
    file = tmp_path / "secret"
    file.write_bytes(octets)
    consumer = make_connector("http://127.0.0.1", secrets=[], secret_files=[file])
    with pytest.raises(PermanentFailure, match=complaint) as caught:
        await consumer.open()
    assert str(file) in caught.value.cause
    assert "canary" not in str(caught.value)
    assert "canary" not in repr(caught.value.__cause__)


async def test_a_bearer_token_that_would_break_its_header_is_told_when_the_connector_is_opened(tmp_path):
    file = tmp_path / "token"
    file.write_text("canary-7f3a\r\nX-Injected: 1")
    consumer = make_connector("http://127.0.0.1", bearer_token_file=file)
    with pytest.raises(PermanentFailure, match="visible ASCII") as caught:
        await consumer.open()
    assert "canary" not in str(caught.value)


async def test_a_file_that_vanished_is_told_when_the_connector_is_opened(tmp_path):
    file = tmp_path / "secret"
    file.write_text(SECRET)
    consumer = make_connector("http://127.0.0.1", secrets=[], secret_files=[file])
    file.unlink()
    with pytest.raises(PermanentFailure, match="cannot be read: No such file"):
        await consumer.open()
