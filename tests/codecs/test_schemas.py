"""The JSON Schemas say what the decoders do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator

from qmosaic.codecs.problems import FAMILIES
from qmosaic.codecs.schemas import EVENTS, event_schema, payload_schema
from tests.codecs.test_problems import CASES

GOLDEN = Path(__file__).parent / "golden"


def valid(name: str, event: Any) -> bool:
    return bool(Draft202012Validator(event_schema(name)).is_valid(event))


@pytest.mark.parametrize("name", EVENTS)
def test_a_golden_event_fits_its_schema(name: str) -> None:
    Draft202012Validator.check_schema(event_schema(name))
    for path in GOLDEN.glob(f"{name.removeprefix('qmosaic.').replace('/', '-')}*.json"):
        event = orjson.loads(path.read_bytes())
        assert valid(name, event)
        assert not valid(name, event | {"schema": "qmosaic.other/1"})
        assert not valid(name, event | {"labels": []})


def test_usage_is_part_of_an_outcome_s_schema() -> None:
    event = orjson.loads((GOLDEN / "outcome-1-paid.json").read_bytes())
    assert not valid("qmosaic.outcome/1", event | {"usage": {"cost_usd": "a lot"}})


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_a_payload_schema_is_closed(family: Any) -> None:
    schema = payload_schema(family)
    Draft202012Validator.check_schema(schema)
    assert schema["additionalProperties"] is False
    assert "sense" not in schema["properties"]


@pytest.mark.parametrize(("problem", "family", "payload"), CASES)
def test_the_client_s_problems_fit(problem: Any, family: str, payload: dict[str, Any]) -> None:
    assert valid("qmosaic.problem/1", {"family": family, "problem": payload})


@pytest.mark.parametrize(
    ("family", "payload"),
    [
        ("maxcut", {"edges": [[0]]}),
        ("maxcut", {"edges": [[0, 1, 2, 3]]}),
        ("maxcut", {"edges": [[0, -1]]}),
        ("maxcut", {"edges": [[0, 1, "w"]]}),
        ("maxcut", {"edges": [[0, 1]], "nodes": -1}),
        ("maxcut", {"edges": [[0, 1]], "extra": 1}),
        ("qubo", {"terms": [[0, 1]]}),
        ("ising", {"J": [[0, 1, 1]], "h": ["x"]}),
    ],
)
def test_a_wrong_payload_does_not_fit(family: str, payload: dict[str, Any]) -> None:
    assert not valid("qmosaic.problem/1", {"family": family, "problem": payload})


def test_a_family_from_outside_may_send_any_object() -> None:
    assert valid("qmosaic.problem/1", {"family": "sudoku", "problem": {"grid": [[1]]}})
    assert not valid("qmosaic.problem/1", {"family": "sudoku", "problem": [1]})
