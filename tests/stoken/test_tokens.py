"""Submission tokens: for one sender, one recipient and a time, and for nobody who changes a bit of them."""

import base64
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.address import Address
from gateway.keys import Key, KeyRing, Purpose
from gateway.smtp.submission_token import LONGEST_TOKEN, SubmissionToken, TokenKind, read_token, token_address
from gateway.stoken import LIFETIME_SECONDS, SubmissionTokens

NOW = 1_795_000_000.5
KEY = Key(purpose=Purpose.STOKEN, id="7", created="2026-11-22T00:00:00.000000Z", secret=b"k" * 32)
NEWER = replace(KEY, id="8", created="2026-11-23T00:00:00.000000Z", secret=b"n" * 32)
PAIR = {"sender": "remote@example.com", "recipient": "local@example.org"}


def tokens(*keys):
    return SubmissionTokens(KeyRing(keys or (KEY,)))


def issued(kind=TokenKind.TEMP, **changes):
    return tokens().issue(kind, **{**PAIR, "now": NOW, **changes})


def is_good(text, made_by=None, **changes):
    return (tokens() if made_by is None else made_by).check(text, **{**PAIR, "now": NOW + 1, **changes}) is not None


@pytest.mark.parametrize(("kind", "days"), [(TokenKind.TEMP, 7), (TokenKind.PERM, 365)])
def test_a_token_is_good_until_it_expires(kind, days):
    text = issued(kind)
    assert LIFETIME_SECONDS[kind] == days * 86_400
    assert is_good(text, now=int(NOW) + days * 86_400 - 0.1)
    assert not is_good(text, now=int(NOW) + days * 86_400)


@pytest.mark.parametrize(
    "changes",
    [
        {"sender": "other@example.com"},
        {"sender": "remote@example.net"},
        {"sender": ""},
        {"recipient": "other@example.org"},
        {"recipient": ""},
        {"sender": PAIR["recipient"], "recipient": PAIR["sender"]},
        {"sender": "remote@example.coml", "recipient": "ocal@example.org"},
    ],
)
def test_it_is_for_its_sender_and_its_recipient_alone(changes):
    assert not is_good(issued(), **changes)


@pytest.mark.parametrize("kind", TokenKind)
def test_every_flipped_bit_is_noticed(kind):
    text = issued(kind)
    octets = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    for bit in range(len(octets) * 8):
        changed = bytearray(octets)
        changed[bit // 8] ^= 1 << bit % 8
        shown = base64.urlsafe_b64encode(changed).rstrip(b"=").decode()
        assert not is_good(shown), bit
        # Not even for the sender that it names now.
        assert not is_good(shown, sender=changed[40:].decode("utf-8", "replace")), bit


def test_a_token_has_one_form():
    text = issued()
    for position, character in enumerate(text):
        for other in "AQgw_-":
            assert other == character or not is_good(text[:position] + other + text[position + 1 :])
    assert not is_good(text + "=")
    assert not is_good(text + "\n")


def test_a_temporary_token_does_not_become_a_permanent_one():
    token = read_token(issued())
    forged = SubmissionToken(
        key=token.key, kind=TokenKind.PERM, expires=token.expires, sender=token.sender, mac=token.mac
    )
    assert not is_good(str(forged))


def test_a_key_that_is_not_there_or_has_another_secret_or_purpose_makes_nothing_good():
    assert not is_good(issued(), tokens(NEWER))
    assert not is_good(issued(), tokens(replace(KEY, secret=b"x" * 32)))
    assert not is_good(issued(), tokens(replace(KEY, purpose=Purpose.MAILDATA)))
    # Whoever guesses what an unknown key is compared with gains nothing.
    assert not is_good(tokens(replace(NEWER, secret=bytes(32))).issue(TokenKind.PERM, **PAIR, now=NOW))
    assert not tokens(replace(KEY, purpose=Purpose.MAILDATA))


def test_what_a_retired_key_made_is_good_and_the_newest_makes_new_ones():
    both = tokens(replace(KEY, retired="2026-11-23T00:00:00.000000Z"), NEWER)
    assert is_good(issued(), both)
    assert read_token(both.issue(TokenKind.TEMP, **PAIR, now=NOW)).key == 8


def test_a_delivery_with_a_temporary_token_is_followed_by_a_permanent_one():
    text = tokens().follow_up(read_token(issued()), recipient=PAIR["recipient"], now=NOW)
    assert read_token(text).kind is TokenKind.PERM
    assert is_good(text)


def test_a_permanent_token_is_renewed_in_its_second_half():
    token = read_token(issued(TokenKind.PERM))
    half = LIFETIME_SECONDS[TokenKind.PERM] / 2
    assert tokens().follow_up(token, recipient=PAIR["recipient"], now=NOW + half - 10) == ""
    renewed = tokens().follow_up(token, recipient=PAIR["recipient"], now=NOW + half + 10)
    assert read_token(renewed).expires > token.expires


def test_a_token_fits_into_a_reply_or_there_is_none():
    assert issued(sender="s" * 249) == ""
    longest = issued(sender="s" * 248)
    assert 380 <= len(longest) <= LONGEST_TOKEN
    assert is_good(longest, sender="s" * 248)


def test_addresses_differ_in_the_case_of_their_local_part_and_not_of_their_domain():
    assert token_address(Address(raw="x", local_part="Aé", domain="Example.ORG")) == "Aé@example.org"


def test_no_mac_is_in_a_repr():
    token = read_token(issued())
    assert repr(token) == f"SubmissionToken(kind=TEMP, sender='remote@example.com', expires={token.expires})"


@given(st.text(max_size=500) | st.binary(max_size=300).map(lambda o: base64.urlsafe_b64encode(o).decode().rstrip("=")))
def test_whatever_comes_is_a_token_of_ours_or_none(text):
    assert not is_good(text)
