"""A family's parameters from the command line: `--set KEY=VALUE`, typed by the family's own fields."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from typing import Any

import msgspec
import orjson

from qmosaic.codecs.errors import SettingsError
from qmosaic.codecs.problems import FAMILIES
from qmosaic.codecs.problems.base import ProblemData


def parameters(family: str, given: Sequence[str]) -> dict[str, Any]:
    """`["cardinality=5", …]` as fields of the family's payload.

    A value is TOML (`5`, `0.5`, `true`, `["a", "b"]`, `{tech = 2}`) or plain text. Raises SettingsError for what is
    no KEY=VALUE, for an unknown key (and lists the known ones), and for a value of the wrong type. A family of
    another package is not known here: its values go as they are.
    """
    fields = (
        {field.name: field.type for field in msgspec.structs.fields(FAMILIES[family])} if family in FAMILIES else None
    )
    out: dict[str, Any] = {}
    for pair in given:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise SettingsError(f"cannot read --set {pair[:60]!r}", remedy="Write --set KEY=VALUE.")
        if fields is not None and (key not in fields or key == "sense"):
            known = ", ".join(sorted(fields.keys() - {"sense"}))
            message = f"{family} has no parameter {key[:60]!r}"
            raise SettingsError(message, place="--set", remedy=f"Known ones: {known}.")
        out[key] = _value(text) if fields is None else _typed(key, text, fields[key])
        if not _is_json(out[key]):
            raise SettingsError(f"{key}: expected finite numbers", place="--set", remedy="JSON has no others.")
    return out


def _typed(key: str, text: str, kind: Any) -> Any:
    try:
        return msgspec.to_builtins(msgspec.convert(_value(text), kind))
    except msgspec.ValidationError as error:
        try:  # `name=5` of a text, which TOML reads as a number
            return msgspec.to_builtins(msgspec.convert(text, kind, strict=False))
        except msgspec.ValidationError:
            message = str(error).partition(" - at ")[0]
            raise SettingsError(f"{key}: {message}", place="--set", remedy="See `qmosaic families show`.") from None


def _value(text: str) -> Any:
    """A TOML value that JSON has, too; any other text is that text."""
    try:
        document = tomllib.loads(f"value = {text}")
        value = document["value"]
        if len(document) > 1 or not _is_json(value):
            return text
    except (ValueError, RecursionError):  # no TOML, an integer of too many digits, brackets without end
        return text
    return value


def _is_json(value: Any) -> bool:
    """Whether it is read back from JSON as it is: no NaN or infinity, no integer of more than 64 bits."""
    try:
        return bool(orjson.loads(orjson.dumps(value)) == msgspec.to_builtins(value))
    except (orjson.JSONEncodeError, orjson.JSONDecodeError):
        return False


def kind_of(annotation: Any) -> str:
    """A field's type in words a person reads."""
    schema = msgspec.json.schema(annotation)
    return _words(schema)


def _words(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        kinds = dict.fromkeys(_words(one) for one in schema["anyOf"] if one != {"type": "null"})
        return " or ".join(kinds)
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"]))
    kind = schema.get("type", "object" if "$ref" in schema else "anything")
    if kind == "array":
        return f"list of {_words(schema['items'])}" if schema.get("items") else "list"
    if kind == "object":
        inner = schema.get("additionalProperties")
        return f"map to {_words(inner)}" if isinstance(inner, dict) else "object"
    return {"string": "text"}.get(kind, str(kind))


def fields_of(family: type[ProblemData]) -> list[dict[str, Any]]:
    """Name, type, default and meaning of each field, those that are required first as in the type."""
    described = msgspec.json.schema(family)["$defs"][family.__name__]["properties"]
    return [
        {
            "field": field.name,
            "type": kind_of(field.type),
            "required": field.required,
            "default": None if field.required or field.default is msgspec.NODEFAULT else field.default,
            "description": described[field.name].get("description", ""),
        }
        for field in msgspec.structs.fields(family)
        if field.name != "sense"
    ]
