import json

import jsonschema
import pytest

from gateway.codec import CodecError, avro_v1, json_v1
from tests.codec.examples import INVALID, JSON_SCHEMA, VALID

VALIDATOR = jsonschema.Draft202012Validator(JSON_SCHEMA)


def name(path):
    return path.stem


def test_there_are_examples():
    assert len(VALID) >= 8
    assert len(INVALID) >= 8


@pytest.mark.parametrize("path", VALID, ids=name)
def test_a_valid_example_validates_and_is_what_we_would_write(path):
    tree = json.loads(path.read_bytes())
    VALIDATOR.validate(tree)
    compact = json.dumps(tree, separators=(",", ":"), ensure_ascii=False).encode()
    envelope = json_v1.decode(path.read_bytes())
    assert json_v1.encode(envelope) == compact
    assert avro_v1.decode(avro_v1.encode(envelope)) == envelope


@pytest.mark.parametrize("path", INVALID, ids=name)
def test_an_invalid_example_has_one_fault_and_is_refused(path):
    errors = VALIDATOR.iter_errors(json.loads(path.read_bytes()))
    assert len({error.json_path for error in errors}) == 1
    with pytest.raises(CodecError):
        json_v1.decode(path.read_bytes())
