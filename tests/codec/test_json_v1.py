import base64
import json

import pytest
from hypothesis import given

from gateway.codec import CodecError, json_v1
from tests.codec.examples import example
from tests.envelope.strategies import envelopes


@given(envelopes())
def test_decoding_undoes_encoding(envelope):
    assert json_v1.decode(json_v1.encode(envelope)) == envelope


def test_every_sample_mail_comes_back(sample_envelopes):
    for envelope in sample_envelopes:
        assert json_v1.decode(json_v1.encode(envelope)) == envelope


def test_an_envelope_is_one_line_with_every_field():
    envelope = example("plain")
    octets = json_v1.encode(envelope)
    assert b"\n" not in octets
    message = json.loads(octets)["message"]
    assert message["chunks"] == []
    assert message["reference"] is None
    assert base64.b64decode(message["content"]) == envelope.message.content


def test_fields_of_later_writers_are_ignored():
    """Version 1 may gain optional fields; an older reader takes a newer writer's envelope."""
    envelope = example("plain")
    tree = json.loads(json_v1.encode(envelope))
    tree["later"] = {"a": [1]}
    tree["message"]["later"] = None
    assert json_v1.decode(json.dumps(tree).encode()) == envelope


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"{}",
        b"\xff",
        b'{"id":"\xff"}',
        b'{"id":"\\ud800"}',
        b"{} {}",
        b'{"x":' * 100_000,
        b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_what_is_no_envelope_is_one_named_error(octets):
    with pytest.raises(CodecError, match="this is no envelope in JSON"):
        json_v1.decode(octets)


def test_the_error_says_where():
    tree = json.loads(json_v1.encode(example("plain")))
    tree["message"]["size"] = "many"
    with pytest.raises(CodecError, match=r"Expected `int`, got `str` - at `\$.message.size`"):
        json_v1.decode(json.dumps(tree).encode())
