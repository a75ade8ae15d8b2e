"""Tokens about stored content: one gateway's are read by another with the key, for whom and when they were made."""

import base64
import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.keys import Key, KeyRing, Purpose
from gateway.maildata import LIFETIME_SECONDS, LONGEST_TOKEN, ContentTokens, TokenIgnored
from gateway.maildata import token as module

NOW = 1_795_000_000.5
SHA256 = hashlib.sha256(b"content").hexdigest()
KEY = Key(purpose=Purpose.MAILDATA, id="7", created="2026-11-22T00:00:00.000000Z", secret=b"k" * 32)
NEWER = replace(KEY, id="8", created="2026-11-23T00:00:00.000000Z", secret=b"n" * 32)
SEALED = {"storage": "archive", "sha256": SHA256, "size": 7, "domain": "example.org", "peer": "192.0.2.1", "now": NOW}
SHOWN = {"domain": "example.org", "peer": "192.0.2.1", "now": NOW + 1}


def gateway(*keys, issuer="one.example.net", storages=("archive",)):
    return ContentTokens(KeyRing(keys or (KEY,)), issuer=issuer, storages=storages)


def reason(token, tokens=None, **changes):
    with pytest.raises(TokenIgnored) as caught:
        (tokens or gateway()).open(token, **{**SHOWN, **changes})
    return caught.value.reason


def test_another_gateway_with_the_key_reads_what_was_said():
    content = gateway(issuer="two.example.net").open(gateway().seal(**SEALED), **SHOWN)
    assert (content.storage, content.sha256.hex(), content.size) == ("archive", SHA256, 7)
    assert (content.issuer, content.domain, content.peer) == ("one.example.net", "example.org", "192.0.2.1")
    assert (content.issued, content.expires) == (int(NOW), int(NOW) + LIFETIME_SECONDS)


def test_nothing_of_it_can_be_read_without_the_key():
    token = gateway().seal(**SEALED)
    octets = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    assert octets[:2] == b"\x01\x07"
    for secret in (b"archive", bytes.fromhex(SHA256), b"example", b"192.0.2.1"):
        assert secret not in octets


def test_no_two_tokens_are_alike():
    assert gateway().seal(**SEALED) != gateway().seal(**SEALED)


def test_every_flipped_bit_is_noticed():
    token = gateway().seal(**SEALED)
    octets = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    for bit in range(len(octets) * 8):
        changed = bytearray(octets)
        changed[bit // 8] ^= 1 << bit % 8
        found = reason(base64.urlsafe_b64encode(changed).rstrip(b"=").decode())
        assert found == ("malformed" if bit < 8 else "unknown key" if bit < 16 else "forged"), bit


def test_every_other_character_is_noticed_where_it_is_none_of_the_octets_too():
    token = gateway().seal(**SEALED)
    for position, character in enumerate(token):
        for other in "AQgw_-":
            if other != character:
                assert reason(token[:position] + other + token[position + 1 :])


@pytest.mark.parametrize("length", range(0, 60, 7))
def test_a_token_that_was_cut_is_noticed(length):
    assert reason(gateway().seal(**SEALED)[:length]) in ("malformed", "forged", "unknown key")


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"now": NOW + LIFETIME_SECONDS}, "expired"),
        ({"now": NOW - 120}, "expired"),
        ({"domain": "example.net"}, "foreign domain"),
        ({"domain": "sub.example.org"}, "foreign domain"),
        ({"domain": ""}, "foreign domain"),
        ({"peer": "192.0.2.2"}, "foreign peer"),
        ({"peer": ""}, "foreign peer"),
    ],
)
def test_it_is_for_its_time_its_domain_and_its_peer_alone(changes, found):
    assert reason(gateway().seal(**SEALED), **changes) == found


def test_until_its_last_second_and_as_often_as_its_peer_likes_it_is_good():
    token = gateway().seal(**SEALED)
    for _ in range(2):
        assert gateway().open(token, **{**SHOWN, "now": int(NOW) + LIFETIME_SECONDS - 0.1})


def test_no_token_lives_longer_than_ours_whatever_its_issuer_says(monkeypatch):
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(module, "LIFETIME_SECONDS", 100 * LIFETIME_SECONDS)
        generous = gateway().seal(**SEALED)
    assert gateway().open(generous, **SHOWN).expires == int(NOW) + 100 * LIFETIME_SECONDS
    assert reason(generous, now=int(NOW) + LIFETIME_SECONDS) == "expired"


def test_domains_are_the_same_in_upper_and_lower_case():
    assert gateway().open(gateway().seal(**{**SEALED, "domain": "Example.ORG"}), **{**SHOWN, "domain": "eXample.org"})


def test_a_token_for_nobody_in_particular_is_good_from_anybody():
    assert gateway().open(gateway().seal(**{**SEALED, "peer": ""}), **SHOWN)


def test_a_key_of_the_same_number_and_another_secret_opens_nothing():
    assert reason(gateway(replace(KEY, secret=b"x" * 32)).seal(**SEALED)) == "forged"


def test_keys_of_other_purposes_make_no_tokens():
    assert not gateway(replace(KEY, purpose=Purpose.STOKEN))
    assert gateway(replace(KEY, purpose=Purpose.STOKEN)).seal(**SEALED) == ""


def test_the_newest_key_seals_and_retired_ones_still_open():
    old = gateway().seal(**SEALED)
    both = gateway(replace(KEY, retired="2026-11-23T00:00:00.000000Z"), NEWER)
    assert both.open(old, **SHOWN)
    assert reason(both.seal(**SEALED)) == "unknown key"
    assert gateway(NEWER).open(both.seal(**SEALED), **SHOWN)


def test_storages_that_are_not_there_are_neither_named_nor_believed():
    assert gateway().seal(**{**SEALED, "storage": "other"}) == ""
    assert reason(gateway().seal(**SEALED), gateway(storages=("other",))) == "unknown storage"
    assert not gateway(storages=())


@pytest.mark.parametrize("domain", ["a" * 60 + ".example", "a" * 250])
def test_a_token_fits_into_a_reply_or_there_is_none(domain):
    peer = "2001:db8:1234:5678:9abc:def0:1234:5678"
    named = {"storage": "s" * 40, "domain": domain, "size": 2**40, "peer": peer}
    token = gateway(issuer="g" * 40, storages=("s" * 40,)).seal(**{**SEALED, **named})
    assert len(token) <= LONGEST_TOKEN
    assert bool(token) is (len(domain) < 100)


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=500))
def test_whatever_comes_is_ignored_and_nothing_else(text):
    assert reason(text) in ("malformed", "unknown key", "forged")


def test_no_key_is_in_a_repr():
    assert "kkk" not in repr(gateway()) + repr(vars(gateway()))
