"""The examples in `schemas/examples`, which the documentation shows."""

import json

from gateway.codec import json_v1
from gateway.envelope import Envelope
from tests.project.generated import ROOT

VALID = sorted((ROOT / "schemas/examples/valid").glob("*.json"))
INVALID = sorted((ROOT / "schemas/examples/invalid").glob("*.json"))
JSON_SCHEMA = json.loads((ROOT / "schemas/envelope.v1.schema.json").read_text())


def example(name: str) -> Envelope:
    """A valid example by the stem of its file's name."""
    return json_v1.decode((ROOT / f"schemas/examples/valid/{name}.json").read_bytes())
