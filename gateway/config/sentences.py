"""What is wrong with a table of the configuration, as sentences that say what would be right."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gateway.config.lines import KeyPath

__all__ = ["Fault", "did_you_mean", "faults"]


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong at a key path of the document. The key need not exist: a missing one has a path too."""

    path: KeyPath
    text: str


def faults(error: ValidationError, table: Mapping[str, Any], model: type[BaseModel], path: KeyPath) -> Iterator[Fault]:
    """What pydantic found wrong with `table`, which stands at `path` and should have been a `model`."""
    for details in error.errors(include_url=False):
        if details["type"] == "too_short" and len(details["input"]) >= details["ctx"]["min_length"]:
            # pydantic counts the elements that are right; what is wrong with the others is told anyway.
            continue
        keys = _keys(details["loc"], table)
        yield Fault((*path, *keys), _sentence(details, keys, model))


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """`; did you mean "mode"?` where one of the names is close, and what there is to choose from where none is."""
    names = sorted(names)
    close = get_close_matches(name, names, n=1)
    if close:
        return f'; did you mean "{close[0]}"?'
    return f"; there are: {', '.join(names)}" if names else ""


_EXPECTED = {
    "bool": "true or false",
    "dict": "a table",
    "finite_number": "a finite number",
    "float": "a number",
    "frozen_set": "an array",
    "int": "a whole number",
    "list": "an array",
    "model": "a table",
    "path": "a path in quotation marks",
    "set": "an array",
    "string": "a text in quotation marks",
    "tuple": "an array",
}

# A value is repeated only where it cannot be a secret: a word out of a few, or a number out of bounds.
_FORMS = {
    "greater_than": "must be more than {gt}, not {value}",
    "greater_than_equal": "must be at least {ge}, not {value}",
    "less_than": "must be less than {lt}, not {value}",
    "less_than_equal": "must be at most {le}, not {value}",
    "path_not_file": "there is no such file",
    "literal_error": "must be {expected}, not {value}",
    "string_pattern_mismatch": "must match {pattern}",
    "string_too_long": "must have {max_length} or fewer characters",
    "string_too_short": "must have {min_length} or more characters",
    "too_long": "must have {max_length} or fewer elements",
    "too_short": "must have {min_length} or more elements",
    "value_error": "{error}",
}


def _sentence(details: ErrorDetails, keys: KeyPath, model: type[BaseModel]) -> str:
    kind = details["type"]
    table = _model_at(model, keys[:-1])
    fields = table.model_fields if table else {}
    if kind == "extra_forbidden":
        return "is not a key of this table" + did_you_mean(str(keys[-1]), fields)
    if kind == "missing":
        field = fields.get(str(keys[-1]))
        return "is missing" + (f"; {_in_a_sentence(field.description)}" if field and field.description else "")
    if kind in _FORMS:
        context = {**details.get("ctx", {}), "value": _shown(details["input"])}
        if kind == "literal_error":
            context["expected"] = context["expected"].replace("'", '"')
        return _FORMS[kind].format_map(context)
    expected = _EXPECTED.get(kind.removesuffix("_type").removesuffix("_parsing"))
    if expected:
        return f"must be {expected}, not {_kind(details['input'])}"
    return _in_a_sentence(details["msg"])


def _keys(location: KeyPath, table: Mapping[str, Any]) -> KeyPath:
    """What the document has of a location: pydantic also names members of unions there, which no document does."""
    keys: list[str | int] = []
    value: Any = table
    for position, key in enumerate(location):
        if _has(value, key):
            value = value[key]
        elif not isinstance(value, dict) or position < len(location) - 1:
            continue
        keys.append(key)
    return tuple(keys)


def _has(value: Any, key: str | int) -> bool:
    return key in value if isinstance(value, dict) else isinstance(value, list) and key in range(len(value))


def _model_at(model: type[BaseModel], keys: KeyPath) -> type[BaseModel] | None:
    found: type[BaseModel] | None = model
    for key in keys:
        if found is not None and isinstance(key, str):
            field = found.model_fields.get(key)
            found = _model_in(field.annotation) if field else None
    return found


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)


def _in_a_sentence(text: str) -> str:
    # A first word such as "SMTP" keeps its capitals.
    return (text[:1].lower() + text[1:] if text[1:2].islower() else text).removesuffix(".")


def _shown(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str | bool) else str(value)


def _kind(value: object) -> str:
    kinds: tuple[tuple[type, str], ...] = (
        (bool, "true or false"),
        (int, "a whole number"),
        (float, "a number"),
        (str, "a text"),
        (list, "an array"),
        (dict, "a table"),
    )
    return next((words for kind, words in kinds if isinstance(value, kind)), "this")
