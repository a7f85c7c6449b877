"""The families' problems as Python values: what they put into an event is what the family reads."""

from __future__ import annotations

import msgspec
import orjson
import pytest

from qmosaic.codecs.problems import FAMILIES, Ising, Labs, MaxCut, Portfolio, Qubo
from qmosaic.codecs.problems.base import ProblemData

CASES: list[tuple[ProblemData, str, dict[str, object]]] = [
    (MaxCut(edges=[(0, 1), (1, 2, 0.5)]), "maxcut", {"edges": [[0, 1], [1, 2, 0.5]]}),
    (MaxCut(edges=[("a", "b")], nodes=["a", "b"], sense="min"), "maxcut", {"edges": [["a", "b"]], "nodes": ["a", "b"]}),
    (Qubo(terms=[(0, 0, -1)], variables=3, offset=2), "qubo", {"terms": [[0, 0, -1]], "variables": 3, "offset": 2}),
    (Ising(h={"a": 1}, J=[("a", "b", 2)]), "ising", {"h": {"a": 1}, "J": [["a", "b", 2]]}),
    (Ising(h=[1, 2]), "ising", {"h": [1, 2]}),
    (Labs(n=20), "labs", {"n": 20}),
    (
        Portfolio(prices=[[1, 2], [1, 3], [2, 2]], cardinality=(1, 2), sectors=["x", None], sector_cap={"x": 0.5}),
        "portfolio",
        {"prices": [[1, 2], [1, 3], [2, 2]], "cardinality": [1, 2], "sectors": ["x", None], "sector_cap": {"x": 0.5}},
    ),
]


@pytest.mark.parametrize(("problem", "family", "payload"), CASES)
def test_payload(problem: ProblemData, family: str, payload: dict[str, object]) -> None:
    assert problem.family == family
    assert orjson.loads(orjson.dumps(problem.payload())) == payload


@pytest.mark.parametrize(("problem", "family", "payload"), CASES)
def test_a_payload_reads_back(problem: ProblemData, family: str, payload: dict[str, object]) -> None:
    back = msgspec.convert(payload, type(problem))
    assert orjson.loads(orjson.dumps(back.payload())) == payload


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_a_family_says_what_it_is(family: type[ProblemData]) -> None:
    assert family.__doc__
    described = msgspec.json.schema(family)["$defs"][family.__name__]["properties"]
    assert [name for name, field in described.items() if name != "sense" and not field.get("description")] == []
    assert orjson.loads(orjson.dumps(msgspec.convert(family.example, family).payload())) == family.example
