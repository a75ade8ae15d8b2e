"""The JWK set: public halves only, as RFC 8037 has them, and read back by whoever verifies."""

import base64
import json

import pytest

from gateway.dates import seconds_of
from gateway.keys import KeyRing, KeysError, Purpose, create_key, public_key_set, read_key_set, read_keys, retire_key
from gateway.keys.ed25519 import public_octets
from gateway.keys.jwk import decode_octets, encode_octets, thumbprint

# RFC 8037, appendix A.1 to A.3.
RFC_SECRET = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"
RFC_PUBLIC = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
RFC_THUMBPRINT = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "keys"


def test_the_public_half_is_that_of_the_rfc():
    assert encode_octets(public_octets(decode_octets(RFC_SECRET))) == RFC_PUBLIC


def test_the_thumbprint_is_that_of_the_rfc():
    assert thumbprint(decode_octets(RFC_PUBLIC)) == decode_octets(RFC_THUMBPRINT).hex()


def test_no_secret_and_no_symmetric_key_is_published(directory):
    keys = [create_key(directory, purpose) for purpose in Purpose]
    published = public_key_set(read_keys(directory))
    assert [key["kid"] for key in json.loads(published)["keys"]] == [keys[0].id]
    assert all(encode_octets(key.secret) not in published for key in keys)
    assert json.loads(published)["keys"][0].keys() == {"kty", "crv", "kid", "x", "alg", "use"}


def test_what_is_published_is_read_back(directory):
    first, second = (create_key(directory, Purpose.RECEIPT) for _ in range(2))
    retired = retire_key(directory, first.name)
    keys = read_key_set(public_key_set(read_keys(directory)).encode())
    assert {id_: key.octets for id_, key in keys.items()} == {
        key.id: public_octets(key.secret) for key in (first, second)
    }
    assert keys[second.id].until is None
    assert keys[first.id].until == int(seconds_of(retired.retired)) + 86_400


def test_keys_of_others_are_passed_over(directory):
    create_key(directory, Purpose.RECEIPT)
    published = json.loads(public_key_set(read_keys(directory)))
    others = [{"kty": "RSA"}, {"kty": "OKP", "crv": "X25519"}, "text"]
    assert len(read_key_set(json.dumps({"keys": [*others, *published["keys"]]}).encode())) == 1


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (b"", "no JWK set"),
        (b"[]", "no JWK set"),
        (b'{"keys": {}}', "no JWK set"),
        (b"[" * 100_000, "no JWK set"),
        (b"\xff", "no JWK set"),
        (b'{"\xff": 1}', "no JWK set"),
        (b'{"keys": []}', "no Ed25519 key"),
        (public_key_set(KeyRing()).encode(), "no Ed25519 key"),
    ],
    ids=range(8),
)
def test_what_is_no_set_of_keys_is_refused(octets, why):
    with pytest.raises(KeysError, match=why):
        read_key_set(octets)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"x": "AAAA"}, "not an Ed25519 key"),
        ({"x": RFC_PUBLIC + "="}, "not an Ed25519 key"),
        ({"x": base64.b64encode(b"\xff" * 32).decode()}, "not an Ed25519 key"),
        ({"x": 1}, "not an Ed25519 key"),
        ({"kid": 1}, "not an Ed25519 key"),
        ({"exp": "soon"}, "not an Ed25519 key"),
        ({"d": RFC_SECRET}, "private key"),
    ],
    ids=str,
)
def test_a_key_that_is_none_is_refused(change, why):
    key = {"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": RFC_PUBLIC} | change
    with pytest.raises(KeysError, match=why) as refused:
        read_key_set(json.dumps({"keys": [key]}).encode())
    assert RFC_SECRET not in str(refused.value)


def test_two_keys_of_one_id_are_refused():
    key = {"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": RFC_PUBLIC}
    with pytest.raises(KeysError, match="two keys of the id 'a'"):
        read_key_set(json.dumps({"keys": [key, key]}).encode())


@pytest.mark.parametrize("text", ["A", "AB", "AAA=", "AA+A", "AA/A", "A AA", "AAAÀ", "AA\nAA"])
def test_octets_have_one_form(text):
    with pytest.raises(ValueError, match="base64url"):
        decode_octets(text)
