"""The two published schemas against the model and against each other."""

import json

import fastavro
import jsonschema
import msgspec
import pytest
from hypothesis import given

from gateway.codec import json_v1
from gateway.codec.avro_schema import SCHEMA as AVRO
from gateway.connector import Receipt
from gateway.envelope import SCHEMA, Envelope
from tests.codec.examples import JSON_SCHEMA
from tests.envelope.strategies import envelopes
from tests.project.generated import ROOT

RECEIPT = json.loads((ROOT / "schemas/receipt.v1.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(JSON_SCHEMA)


def avro_records(schema, found=None):
    """Every record and enum of an Avro schema by its name."""
    found = {} if found is None else found
    match schema:
        case {"type": "record", "name": name, "fields": fields}:
            found[name] = {field["name"]: field for field in fields}
            for field in fields:
                avro_records(field["type"], found)
        case {"type": "enum", "name": name, "symbols": symbols}:
            found[name] = symbols
        case {"items": inner} | {"values": inner}:
            avro_records(inner, found)
        case [*branches]:
            for branch in branches:
                avro_records(branch, found)
    return found


RECORDS = avro_records(AVRO)


def structs(of=Envelope, found=None):
    """Every struct of the model by its name."""
    found = {} if found is None else found
    info = msgspec.inspect.type_info(of) if isinstance(of, type) else of
    match info:
        case msgspec.inspect.StructType(cls=cls, fields=fields):
            found[cls.__name__] = {field.name: field for field in fields}
            for field in fields:
                structs(field.type, found)
        case msgspec.inspect.VarTupleType(item_type=inner) | msgspec.inspect.Metadata(type=inner):
            structs(inner, found)
        case msgspec.inspect.UnionType(types=types):
            for inner in types:
                structs(inner, found)
    return found


STRUCTS = structs()


def test_both_schemas_are_schemas():
    jsonschema.Draft202012Validator.check_schema(JSON_SCHEMA)
    jsonschema.Draft202012Validator.check_schema(RECEIPT)
    fastavro.parse_schema(json.loads((ROOT / "schemas/envelope.v1.avsc").read_text()))


def test_the_schema_is_published_under_the_name_that_events_give():
    assert JSON_SCHEMA["$id"] == SCHEMA


def test_no_part_of_the_model_is_missing():
    enums = {"Origin", "Action"}
    assert set(RECORDS) == set(JSON_SCHEMA["$defs"]) == set(STRUCTS) | enums
    for name in enums:
        assert sorted(RECORDS[name]) == sorted(JSON_SCHEMA["$defs"][name]["enum"])


@pytest.mark.parametrize("name", STRUCTS)
def test_the_model_and_both_schemas_have_the_same_fields(name):
    definition = JSON_SCHEMA["$defs"][name]
    assert list(RECORDS[name]) == list(definition["properties"]) == list(STRUCTS[name])


@pytest.mark.parametrize("name", STRUCTS)
def test_the_same_fields_are_optional_in_all_three(name):
    required = [field.name for field in STRUCTS[name].values() if field.required]
    assert JSON_SCHEMA["$defs"][name].get("required", []) == required
    assert [key for key, field in RECORDS[name].items() if "default" not in field] == required


@pytest.mark.parametrize("name", STRUCTS)
def test_the_same_values_are_nullable_in_both(name):
    for key, definition in JSON_SCHEMA["$defs"][name]["properties"].items():
        nullable = {"type": "null"} in definition.get("anyOf", [])
        avro = RECORDS[name][key]["type"]
        assert nullable == (isinstance(avro, list) and avro[0] == "null"), key


@pytest.mark.parametrize("name", STRUCTS)
def test_the_defaults_are_the_same_in_both(name):
    for key, definition in JSON_SCHEMA["$defs"][name]["properties"].items():
        assert RECORDS[name][key].get("default", "none") == definition.get("default", "none"), key


def test_every_part_is_described():
    for name, definition in JSON_SCHEMA["$defs"].items():
        assert definition["description"], name


@given(envelopes())
def test_every_envelope_is_valid(envelope):
    VALIDATOR.validate(json.loads(json_v1.encode(envelope)))


def test_a_receipt_is_valid():
    receipt = Receipt(id="01", connector="events", type="kafka", location={"topic": "mail", "partition": 3})
    jsonschema.validate(json.loads(msgspec.json.encode(receipt)), RECEIPT)
