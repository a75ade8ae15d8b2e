"""What a listener needs that is to give tokens, about stored content or for submission."""

import pytest

from gateway.app.keys import content_tokens, submission_tokens
from gateway.config import ConfigError, read
from gateway.keys import Key, KeyRing, KeysError, Purpose

TEXT = """
[gateway]
keys = "keys"
[[listener]]
name = "mx"
protocol = "lmtp"
bind = "127.0.0.1:2424"
reply_metadata = { maildata = ["10.0.0.0/8"] }
[[connector]]
name = "archive"
type = "directory"
path = "mail"
single_instance = true
[[route]]
recipients = ["*"]
connectors = ["archive"]
"""


def refusal(text):
    with pytest.raises(ConfigError) as caught:
        read(text, source="test.toml")
    return str(caught.value)


def test_a_key_directory_and_content_that_is_stored_once_are_enough():
    (listener,) = read(TEXT, source="test.toml").listeners
    assert [str(network) for network in listener.reply_metadata.maildata] == ["10.0.0.0/8"]


def test_without_a_key_directory_one_is_asked_for():
    assert "needs a key; set `keys` in [gateway]" in refusal(TEXT.replace('keys = "keys"', ""))


def test_without_content_that_is_stored_once_there_is_nothing_to_tell():
    assert "no connector has single_instance = true" in refusal(TEXT.replace("single_instance = true", ""))


def test_what_is_flattened_cannot_be_shared():
    assert 'single_instance needs metadata = "preserve"' in refusal(
        TEXT.replace("single_instance = true", 'single_instance = true\nmetadata = "flatten"')
    )


def test_a_key_directory_without_a_key_for_it_is_told_with_the_command():
    key = Key(purpose=Purpose.STOKEN, id="1", created="2026-11-22T00:00:00.000000Z", secret=bytes(32))
    with pytest.raises(KeysError, match="run `mailsluice keys new maildata`"):
        content_tokens(KeyRing([key]), "mx.example.org", ["archive"])


SUBMISSION = TEXT.replace("maildata", "stoken")


def test_submission_by_token_needs_lmtp_tls_and_authentication():
    sentence = 'it needs protocol = "lmtp", and the tables tls and authentication'
    assert sentence in refusal(SUBMISSION)
    assert sentence in refusal(SUBMISSION.replace('"lmtp"', '"smtp"'))


def test_submission_by_token_needs_a_key():
    assert "run `mailsluice keys new stoken`" in refusal(SUBMISSION.replace('keys = "keys"', ""))
    with pytest.raises(KeysError, match="run `mailsluice keys new stoken`"):
        submission_tokens(KeyRing())
