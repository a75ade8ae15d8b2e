"""The generated files, each with the function that makes its text.

python -m tests.project.generated           writes them
python -m tests.project.generated --check   names those that are stale, and then exits with 1
"""

import json
import sys
from collections.abc import Callable
from functools import partial
from inspect import cleandoc
from pathlib import Path
from typing import Any

import msgspec

from gateway.codec.avro_schema import SCHEMA as AVRO_SCHEMA
from gateway.connector import Receipt
from gateway.envelope import SCHEMA, Envelope
from tests.project.configuration import CONNECTORS, config_json_schema, configuration_page, connector_page
from tests.project.state_diagram import state_diagram_page
from tests.project.supported import supported_page

ROOT = Path(__file__).parents[2]

_ANSWERS = ("refused", "notifying")
_OPEN = "Version 1 may gain optional properties; a reader ignores those that it does not know."


def envelope_json_schema() -> str:
    return _json_schema(Envelope, SCHEMA, "An accepted mail, version 1")


def receipt_json_schema() -> str:
    # Who was refused, and who is told by others, is an answer to the gateway, and no part of the proof.
    written = [(each.name, each.type) for each in msgspec.structs.fields(Receipt) if each.name not in _ANSWERS]
    receipt = msgspec.defstruct("Receipt", written, namespace={"__doc__": Receipt.__doc__}, kw_only=True)
    return _json_schema(receipt, SCHEMA.replace("envelope", "receipt"), "A destination's receipt, version 1")


def envelope_avro_schema() -> str:
    return _json(AVRO_SCHEMA)


GENERATED: dict[str, Callable[[], str]] = {
    "docs/configuration.md": configuration_page,
    **{f"docs/connectors/{name}.md": partial(connector_page, name) for name in CONNECTORS},
    "docs/state-diagram.md": state_diagram_page,
    "docs/supported.md": supported_page,
    "schemas/config.v1.schema.json": config_json_schema,
    "schemas/envelope.v1.avsc": envelope_avro_schema,
    "schemas/envelope.v1.schema.json": envelope_json_schema,
    "schemas/receipt.v1.schema.json": receipt_json_schema,
}


def stale() -> list[str]:
    """The generated files that are missing or differ from what would be generated now."""
    return [name for name, text in GENERATED.items() if not _is(ROOT / name, text())]


def write() -> None:
    for name, text in GENERATED.items():
        path = ROOT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text(), encoding="utf-8")


def _is(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


def _json_schema(model: type, uri: str, title: str) -> str:
    schema = msgspec.json.schema(model)
    for definition in schema["$defs"].values():
        # Docstrings are wrapped for readers of the code.
        if "description" in definition:
            paragraphs = cleandoc(definition["description"]).split("\n\n")
            definition["description"] = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    return _json(
        {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": uri,
            "title": title,
            "$comment": _OPEN,
            **schema,
        }
    )


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    if arguments == ["--check"]:
        found = stale()
        for name in found:
            print(f"{name} is stale: run python -m tests.project.generated", file=sys.stderr)
        return 1 if found else 0
    if arguments:
        print(__doc__, file=sys.stderr)
        return 2
    write()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
