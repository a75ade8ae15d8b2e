"""The Avro schema of the envelope, `schemas/envelope.v1.avsc`, derived from the model so that the two cannot differ.

A struct is a record with the same fields, defaults and descriptions; an optional value is a union with null; octets are
`bytes`; a time is `timestamp-micros`, the form in which query engines know it. Patterns and limits have no place in
Avro: they are checked when a datum is decoded into the model.
"""

from inspect import cleandoc
from typing import Any

from msgspec import NODEFAULT, inspect

from gateway.envelope import Envelope

__all__ = ["NAMESPACE", "SCHEMA"]

NAMESPACE = "org.mailsluice.v1"

_PRIMITIVES = {
    inspect.StrType: "string",
    inspect.BytesType: "bytes",
    inspect.BoolType: "boolean",
    inspect.NoneType: "null",
}
_TIMESTAMP = {"type": "long", "logicalType": "timestamp-micros"}
_LARGEST_INT = 2**31 - 1


def _avro_type(of: inspect.Type, named: set[str]) -> Any:
    """The Avro form of a type. `named` collects the types that are defined: a second use refers to the first."""
    match of:
        case inspect.Metadata(type=inner, extra_json_schema=extra):
            return _TIMESTAMP if extra and extra.get("format") == "date-time" else _avro_type(inner, named)
        case inspect.IntType(le=largest):
            return "int" if largest is not None and largest <= _LARGEST_INT else "long"
        case inspect.VarTupleType(item_type=item):
            return {"type": "array", "items": _avro_type(item, named)}
        case inspect.DictType(value_type=value):
            return {"type": "map", "values": _avro_type(value, named)}
        case inspect.UnionType(types=types):
            # The default must be of the first branch, and the default of an optional field is null.
            return sorted((_avro_type(branch, named) for branch in types), key=lambda branch: branch != "null")
        case inspect.EnumType(cls=cls) | inspect.StructType(cls=cls) if cls.__name__ in named:
            return cls.__name__
        case inspect.EnumType(cls=cls):
            named.add(cls.__name__)
            return {"type": "enum", "name": cls.__name__, "doc": _doc(cls), "symbols": [one.value for one in cls]}
        case inspect.StructType(cls=cls, fields=fields):
            named.add(cls.__name__)
            return {
                "type": "record",
                "name": cls.__name__,
                "doc": _doc(cls),
                "fields": [_field(field, named) for field in fields],
            }
        case _:
            return _PRIMITIVES[type(of)]


def _field(field: inspect.Field, named: set[str]) -> dict[str, Any]:
    found = {"name": field.name, "type": _avro_type(field.type, named)}
    if isinstance(field.type, inspect.Metadata) and field.type.extra_json_schema:
        found["doc"] = field.type.extra_json_schema["description"]
    if field.default is not NODEFAULT:
        found["default"] = {(): [], b"": ""}.get(field.default, field.default)
    return found


def _doc(cls: type) -> str:
    """The docstring with its paragraphs unwrapped."""
    paragraphs = cleandoc(cls.__doc__ or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


SCHEMA: dict[str, Any] = {"namespace": NAMESPACE, **_avro_type(inspect.type_info(Envelope), set())}
