"""Receipt tokens: what was signed is read back, and whatever differs in a bit is refused."""

import base64
import hashlib
import hmac
import json
import subprocess
import sys
from pathlib import Path

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.connector import Receipt
from gateway.envelope import Message
from gateway.keys import Key, KeyRing, PublicKey, Purpose, public_key_set
from gateway.keys.ed25519 import public_octets
from gateway.keys.jwk import decode_octets, encode_octets
from gateway.receipts import Claims, Signer, TokenError, location_digest, verify_token
from gateway.receipts.token import LONGEST_TOKEN

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "verify_receipt.py"

# RFC 8037, appendix A.1.
SECRET = decode_octets("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")
ID = "01KAM3Y8Q0ZZ4T8QK5V1W2X3Y4"
CONTENT = b"Subject: x\r\n\r\nx\r\n"
KAFKA = {"topic": "mail", "partition": 3, "offset": 1042}
S3 = {
    "bucket": "mail-archive-eu-central-1",
    "key": f"2026/11/22/{ID}.eml",
    "version": "3HL4kqtJvjVBH40Nrjfkd3HL4kqtJvjVBH40",
    "etag": "9b2cf535f27731c974343645a3985328",
}
NOW = 1_795_000_000.75
TOKEN = (
    "eyJhbGciOiJFZERTQSIsImtpZCI6IjFmMGMyYTlkIn0.h6NqdGm6MDFLQU0zWThRMFpaNFQ4UUs1VjFXMlgzWTSjaWF0zmr9hsCjaXNzr"
    "m14LmV4YW1wbGUub3JnpHNpemURpnNoYTI1NsQgu6D0r2VZUb9nqH5bkJi0NvUCotXg2UpMOFmvUuC_lTqidG-la2Fma2GiYXSDpXRvcG"
    "ljpG1haWypcGFydGl0aW9uA6ZvZmZzZXTNBBI.JDqQxvp4PiB_hI9F1nMkOqrXnBtwuOlNtphCl3kSFuwsHZSU4wZv8mE1I9dRutHu7rf"
    "bPrrahaOAtMSZqi7MAA"
)
HEADER = b'{"alg":"EdDSA","kid":"1f0c2a9d"}'


def key(secret=SECRET, id_="1f0c2a9d", retired=""):
    created = "2026-11-01T00:00:00.000000Z"
    return Key(purpose=Purpose.RECEIPT, id=id_, created=created, retired=retired, secret=secret)


def keys(*, until=None, id_="1f0c2a9d", secret=SECRET):
    return {id_: PublicKey(id=id_, octets=public_octets(secret), until=until)}


def claims(location=KAFKA, *, type_="kafka", gateway="mx.example.org", size=17):
    receipt = Receipt(id=ID, connector="events", type=type_, location=location)
    message = Message(size=size, sha256=hashlib.sha256(CONTENT).hexdigest())
    return Claims.of(receipt, message, gateway=gateway, now=NOW)


@pytest.fixture(scope="module")
def token():
    return Signer(key()).sign(claims())


def signed(header, payload):
    """Header and payload under a good signature."""
    parts = f"{encode_octets(header)}.{encode_octets(payload)}"
    return f"{parts}.{encode_octets(Signer(key())._key.sign(parts.encode()))}"


def test_the_form_of_a_token_stays_as_it_is(token):
    assert token == TOKEN


def test_what_was_signed_is_read_back(token):
    read = verify_token(token, keys())
    assert read == claims()
    assert (read.jti, read.iat, read.iss, read.to, read.at) == (ID, int(NOW), "mx.example.org", "kafka", KAFKA)
    assert (read.size, read.sha256) == (len(CONTENT), hashlib.sha256(CONTENT).digest())


def test_a_long_location_is_claimed_by_its_digest():
    token = Signer(key()).sign(claims(S3, type_="s3", gateway="mailsluice-0.mail.svc.cluster.local"))
    read = verify_token(token, keys())
    assert len(token) <= LONGEST_TOKEN
    assert read.iss == "mailsluice-0.mail.svc.cluster.local"
    assert read.at == location_digest(S3)
    assert read.at == hashlib.sha256(json.dumps(S3, sort_keys=True, separators=(",", ":")).encode()).digest()


def test_a_long_name_is_claimed_by_its_digest():
    name = "a" * 63 + ".example.org"
    read = verify_token(Signer(key()).sign(claims(S3, gateway=name)), keys())
    assert (read.iss, read.iss256) == ("", hashlib.sha256(name.encode()).digest())


@given(
    type_=st.text(st.characters(codec="ascii"), min_size=1, max_size=15),
    gateway=st.text("a.", min_size=1, max_size=253),
    location=st.dictionaries(st.text(max_size=8), st.text(max_size=300) | st.integers(0, 2**63 - 1)),
    size=st.integers(0, 2**32 - 1),
)
def test_every_receipt_fits(type_, gateway, location, size):
    said = claims(location, type_=type_, gateway=gateway, size=size)
    token = Signer(key()).sign(said)
    assert 0 < len(token) <= LONGEST_TOKEN
    read = verify_token(token, keys())
    assert read.at in (location, location_digest(location))
    assert read.iss == gateway or read.iss256 == hashlib.sha256(gateway.encode()).digest()


def test_a_location_is_said_in_full_for_as_long_as_it_fits():
    tokens = [Signer(key()).sign(claims({"path": "x" * octets}, type_="directory")) for octets in range(100)]
    # A text of base64url without padding cannot have the one octet more that would be allowed.
    assert max(map(len, tokens)) == LONGEST_TOKEN - 1
    in_full = [isinstance(verify_token(token, keys()).at, dict) for token in tokens]
    assert in_full == sorted(in_full, reverse=True)
    assert len(tokens[in_full.index(False) - 1]) == LONGEST_TOKEN - 1


def test_a_token_that_is_too_long_is_refused_although_it_is_signed():
    payload = msgspec.msgpack.encode(claims({"path": "x" * 100}))
    with pytest.raises(TokenError, match="384 octets at most"):
        verify_token(signed(HEADER, payload), keys())


def test_no_token_is_longer_than_it_may_be():
    assert Signer(key()).sign(claims(S3, type_="x" * 200)) == ""


@pytest.mark.parametrize("value", [2**70, -(2**70), "\udcff", object()], ids=range(4))
def test_a_location_that_cannot_be_written_has_no_token(value):
    assert Signer(key()).sign(claims({"at": value})) == ""


def test_every_flipped_bit_is_refused(token):
    octets = token.encode()
    for bit in range(len(octets) * 8):
        flipped = bytearray(octets)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(TokenError):
            verify_token(flipped.decode("latin-1"), keys())


def test_every_flipped_bit_of_what_is_encoded_is_refused(token):
    parts = [decode_octets(part) for part in token.split(".")]
    for index, part in enumerate(parts):
        for bit in range(len(part) * 8):
            flipped = bytearray(part)
            flipped[bit // 8] ^= 1 << bit % 8
            forged = [*parts[:index], bytes(flipped), *parts[index + 1 :]]
            with pytest.raises(TokenError):
                verify_token(".".join(map(encode_octets, forged)), keys())


def test_every_shorter_token_is_refused(token):
    for length in range(len(token)):
        with pytest.raises(TokenError):
            verify_token(token[:length], keys())


@pytest.mark.parametrize("more", ["A", ".", "=", "\n", " ", ".A", "A" * 10_000])
def test_a_longer_token_is_refused(token, more):
    with pytest.raises(TokenError, match=r"no receipt token|signature"):
        verify_token(token + more, keys())
    with pytest.raises(TokenError):
        verify_token(more + token, keys())


def test_a_key_that_is_not_in_the_set_is_said_to_be_so(token):
    with pytest.raises(TokenError, match="key is not in the key set"):
        verify_token(token, keys(id_="00000000"))


def test_a_token_of_another_key_under_this_ones_id_is_refused():
    forged = Signer(key(secret=bytes(32))).sign(claims())
    with pytest.raises(TokenError, match="signature is not that"):
        verify_token(forged, keys())


@pytest.mark.parametrize("algorithm", ["none", "None", "HS256", "ES256", "Ed25519", "eddsa", ""])
def test_any_other_algorithm_is_refused_even_under_a_good_signature(algorithm):
    header = json.dumps({"alg": algorithm, "kid": "1f0c2a9d"}).encode()
    with pytest.raises(TokenError, match="not signed with EdDSA"):
        verify_token(signed(header, msgspec.msgpack.encode(claims())), keys())


@pytest.mark.parametrize("algorithm", ["EdDSA", "HS256"])
def test_an_hmac_with_the_public_key_is_refused(algorithm):
    header = encode_octets(json.dumps({"alg": algorithm, "kid": "1f0c2a9d"}, separators=(",", ":")).encode())
    parts = f"{header}.{encode_octets(msgspec.msgpack.encode(claims()))}"
    mac = hmac.digest(public_octets(SECRET), parts.encode(), "sha256")
    for signature in (mac, mac + mac, b"", bytes(64)):
        with pytest.raises(TokenError, match=r"signature|signed with"):
            verify_token(f"{parts}.{encode_octets(signature)}", keys())


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'{"alg":"EdDSA"}',
        b'{"kid":"1f0c2a9d"}',
        b'{"alg":"EdDSA","kid":1}',
        b'{"alg":"EdDSA","kid":"1f0c2a9d","crit":["b64"],"b64":false}',
        b'{"alg":"EdDSA","kid":"1f0c2a9d","jwk":{}}',
        b"\xff",
    ],
)
def test_any_other_header_is_refused(header):
    with pytest.raises(TokenError, match="header is not that of a receipt token"):
        verify_token(signed(header, msgspec.msgpack.encode(claims())), keys())


@pytest.mark.parametrize(
    "change",
    [
        {"jti": 1},
        {"iat": "now"},
        {"size": -0.5},
        {"sha256": b"short"},
        {"sha256": "0" * 64},
        {"at": b"short"},
        {"at": {"offset": None}},
        {"iss": ""},
        {"iss256": bytes(32), "at": {}},
        {"iss": "", "iss256": b"short"},
        {"to": None},
    ],
    ids=str,
)
def test_what_is_signed_and_no_receipt_is_refused(change):
    payload = msgpack.packb(msgpack.unpackb(msgspec.msgpack.encode(claims())) | change)
    with pytest.raises(TokenError, match="what is signed is not a receipt"):
        verify_token(signed(HEADER, payload), keys())


@pytest.mark.parametrize(
    "payload", [b"", b"\xc1", b"\x91" * 250, msgpack.packb([1]), b'{"jti":"x"}', b"\x81\xa1\xff\x01"], ids=range(6)
)
def test_octets_that_are_signed_and_no_claims_are_refused(payload):
    with pytest.raises(TokenError, match=r"no receipt token|what is signed is not a receipt"):
        verify_token(signed(HEADER, payload), keys())


def test_a_retired_key_proves_what_it_signed_in_its_time(token):
    assert verify_token(token, keys(until=int(NOW))) == claims()


def test_a_retired_key_proves_nothing_later(token):
    with pytest.raises(TokenError, match="after its key was retired"):
        verify_token(token, keys(until=int(NOW) - 1))


def test_an_empty_key_set_proves_nothing(token):
    with pytest.raises(TokenError, match="not in the key set"):
        verify_token(token, {})


@pytest.mark.parametrize("garbage", ["", ".", "..", "...", "a.b.c", "é.é.é", "A" * 384, ".." + "A" * 86, "\ud800.."])
def test_garbage_is_refused(garbage):
    with pytest.raises(TokenError):
        verify_token(garbage, keys())


@given(st.text())
def test_only_token_errors_come_of_any_text(text):
    with pytest.raises(TokenError):
        verify_token(text, keys())


@pytest.mark.parametrize("content", [CONTENT, b"another"], ids=["that content", "another"])
def test_other_libraries_come_to_the_same_verdict(token, tmp_path, content):
    (tmp_path / "keys.json").write_text(public_key_set(KeyRing([key()])))
    (tmp_path / "mail.eml").write_bytes(content)
    command = [sys.executable, EXAMPLE, token, tmp_path / "keys.json", tmp_path / "mail.eml"]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if content == CONTENT:
        assert f"'jti': '{ID}'" in outcome.stdout
    else:
        assert outcome.returncode == 1
        assert "of another mail" in outcome.stderr


def test_other_libraries_refuse_what_a_retired_key_signed_later(token, tmp_path):
    (tmp_path / "keys.json").write_text(public_key_set(KeyRing([key(retired="2026-11-16T00:00:00.000000Z")])))
    (tmp_path / "mail.eml").write_bytes(CONTENT)
    command = [sys.executable, EXAMPLE, token, tmp_path / "keys.json", tmp_path / "mail.eml"]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert outcome.stderr == "the key was retired before the receipt was signed\n"


def test_other_libraries_refuse_a_forged_token(token, tmp_path):
    header, payload, signature = token.split(".")
    forged = base64.urlsafe_b64encode(decode_octets(payload).replace(b"mail", b"spam")).decode().rstrip("=")
    (tmp_path / "keys.json").write_text(public_key_set(KeyRing([key()])))
    (tmp_path / "mail.eml").write_bytes(CONTENT)
    command = [sys.executable, EXAMPLE, f"{header}.{forged}.{signature}", tmp_path / "keys.json", tmp_path / "mail.eml"]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert outcome.returncode == 1
    assert "InvalidSignatureError" in outcome.stderr
