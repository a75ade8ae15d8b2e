import json
import tomllib

import jsonschema
import pytest

from gateway import plugins
from gateway.config import BUILT_IN, Gateway, Listener, Route, read
from gateway.config.model import Authentication, Limits, Tls
from gateway.connector import ConnectorSettings
from tests.project import configuration

EXAMPLES = [*sorted(configuration.EXAMPLES.glob("*.toml"))]


@pytest.fixture(scope="module")
def validator():
    schema = json.loads(configuration.config_json_schema())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("name", configuration.CONNECTORS)
def test_every_connector_has_an_example(name):
    assert (configuration.EXAMPLES / f"{name}.toml").is_file()


@pytest.mark.parametrize("document", [BUILT_IN, *(path.read_text() for path in EXAMPLES)])
def test_the_examples_are_right(document, validator):
    read(document, source="example")
    validator.validate(tomllib.loads(document))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ('protocol = "smtp"', 'protocol = "stmp"'),
        ('type = "directory"', 'type = "directory"\ncolour = "blue"'),
        ('path = "mail"', ""),
        ("[[route]]", "[route]"),
        ('bind = "127.0.0.1:2525"', 'bind = "127.0.0.1:2525"\ndisable_extensions = ["CHUNKIN"]'),
    ],
)
def test_the_schema_refuses_what_the_gateway_refuses(right, wrong, validator):
    document = BUILT_IN.replace(right, wrong, 1)
    assert document != BUILT_IN
    assert not validator.is_valid(tomllib.loads(document))
    with pytest.raises(Exception, match=r"\d: "):
        read(document, source="wrong")


def test_the_schema_leaves_other_connectors_alone(validator):
    assert validator.is_valid(tomllib.loads(BUILT_IN.replace('"directory"', '"of-a-third-party"')))


@pytest.mark.parametrize(
    "model",
    [
        *(Gateway, Listener, Tls, Authentication, Limits, Route, ConnectorSettings),
        *(plugins.find(name).settings for name in configuration.CONNECTORS),
    ],
)
def test_every_key_is_described(model):
    inherited = ConnectorSettings.model_fields
    for key, field in model.model_fields.items():
        assert field.description or inherited[key].description, key
