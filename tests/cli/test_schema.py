import json

import jsonschema
import pytest


@pytest.mark.parametrize("name", ["envelope", "receipt", "config"])
def test_a_json_schema_is_printed_as_it_ships(name, mailsluice):
    outcome = mailsluice("schema", name)
    assert outcome.exit_code == 0
    schema = json.loads(outcome.stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"urn:mailsluice:schema:{name}:v1"


def test_the_avro_schema_is_printed_as_it_ships(mailsluice):
    assert json.loads(mailsluice("schema", "envelope-avro").stdout)["type"] == "record"


def test_the_envelope_is_what_is_meant_by_default(mailsluice):
    assert mailsluice("schema").stdout == mailsluice("schema", "envelope").stdout
