"""JSON Schemas (draft 2020-12) of the public events, made from the very types that decode them."""

from __future__ import annotations

from typing import Any

import msgspec

from qmosaic.codecs.events.public import OUTCOME_SCHEMA, PROBLEM_SCHEMA, REJECTION_SCHEMA, Outcome, Problem, Rejection
from qmosaic.codecs.problems import FAMILIES
from qmosaic.codecs.problems.base import ProblemData

EVENTS: dict[str, type[msgspec.Struct]] = {
    PROBLEM_SCHEMA: Problem,
    OUTCOME_SCHEMA: Outcome,
    REJECTION_SCHEMA: Rejection,
}


def payload_schema(family: type[ProblemData]) -> dict[str, Any]:
    """What stands under `problem` in an event of this family."""
    schema = _schema(family)
    del schema["properties"]["sense"]  # a field of the event, not of its payload
    return schema


def event_schema(name: str) -> dict[str, Any]:
    """Self-contained schema of a public event, by its schema name. Raises KeyError for an unknown one.

    A problem's payload is described for the families named in `FAMILIES`; one from outside may be any object.
    """
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **_schema(EVENTS[name])}
    if name == PROBLEM_SCHEMA:
        schema["allOf"] = [
            {
                "if": {"properties": {"family": {"const": family.family}}},
                "then": {"properties": {"problem": payload_schema(family)}},
            }
            for family in FAMILIES.values()
        ]
    return schema


def _schema(kind: type[msgspec.Struct]) -> dict[str, Any]:
    _, components = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    schema: dict[str, Any] = components.pop(kind.__name__)
    return schema | ({"$defs": components} if components else {})
