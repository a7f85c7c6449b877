"""The check at the door: what is admitted, with which defaults, and what is refused with which code, place, remedy."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import orjson
import pytest

from qmosaic.processors.admit import Admission, Defaults, Record, Refusal, admit
from qmosaic.processors.families.base import Limits
from tests.processors.problems import LIMITS, admitted, judged, refused

EDGE = {"edges": [[0, 1]]}
NOW = 1000.0


def at(seconds: float, zone: timezone = UTC) -> str:
    return datetime.fromtimestamp(NOW + seconds, zone).isoformat()


def test_defaults() -> None:
    admission = admitted("maxcut", EDGE)
    ref = admission.ref
    assert (ref.problem_id, ref.partition, ref.offset) == ("problems-3-7", 3, 7)
    assert (ref.received_at, ref.deadline_at) == (NOW, NOW + 30)
    assert (ref.tenant, ref.priority, ref.target, ref.shots) == ("default", "normal", "auto", 100)
    assert (ref.family, ref.digest) == ("maxcut", admission.instance.digest)
    assert admission.problem.labels == {}


def test_what_the_producer_says_holds() -> None:
    ref = admitted(
        "maxcut",
        EDGE,
        id="é",
        deadline=2.5,
        tenant="acme",
        priority="high",
        target="gpu",
        shots=5000,
        seed=0,
        labels={"a": [1]},
    ).ref
    assert (ref.problem_id, ref.tenant, ref.priority, ref.target, ref.shots, ref.seed) == (
        "é",
        "acme",
        "high",
        "gpu",
        5000,
        0,
    )
    assert ref.deadline_at == NOW + 2.5


def test_the_seed_follows_from_the_content() -> None:
    one, again = admitted("maxcut", EDGE, id="a").ref, admitted("maxcut", {"edges": [[1, 0, 1.0]]}, id="b").ref
    assert one.seed == again.seed
    assert 0 <= one.seed < 2**31
    assert admitted("maxcut", {"edges": [[0, 2]]}).ref.seed != one.seed


def test_it_is_the_same_wherever_it_is_judged() -> None:
    value = orjson.dumps({"family": "maxcut", "problem": EDGE, "deadline": at(5)})
    assert getattr(judged(value), "ref", 1) == getattr(judged(value), "ref", 2)


@pytest.mark.parametrize(
    ("deadline", "seconds"),
    [
        (0.001, 0.001),
        (3600, 3600),
        (at(10), 10),
        (at(10).replace("+00:00", "Z"), 10),
        (at(10).replace("+00:00", "z").replace("T", "t"), 10),
        (at(10, timezone(timedelta(hours=-5, minutes=-30))), 10),
        (at(0.25), 0.25),
    ],
)
def test_a_deadline(deadline: float | str, seconds: float) -> None:
    assert admitted("maxcut", EDGE, deadline=deadline).ref.deadline_at == pytest.approx(NOW + seconds, abs=1e-6)


Bad = tuple[dict[str, Any], str, str, str]
OPTIONS: list[Bad] = [
    ({"deadline": 0}, "deadline_past", "$.deadline", "clock"),
    ({"deadline": -1.5}, "deadline_past", "$.deadline", "clock"),
    ({"deadline": at(0)}, "deadline_past", "$.deadline", "clock"),
    ({"deadline": at(-0.001)}, "deadline_past", "$.deadline", "clock"),
    ({"deadline": "0001-01-01T00:00:00+14:00"}, "deadline_past", "$.deadline", "clock"),
    ({"deadline": "2026-01-31T12:00:00"}, "invalid_event", "$.deadline", "Add Z"),
    ({"deadline": "2026-01-31"}, "invalid_event", "$.deadline", "Add Z"),
    ({"deadline": "tomorrow"}, "invalid_event", "$.deadline", "2026-01-31T12:00:00Z"),
    ({"deadline": "5"}, "invalid_event", "$.deadline", "2026-01-31T12:00:00Z"),
    ({"deadline": ""}, "invalid_event", "$.deadline", "2026-01-31T12:00:00Z"),
    ({"deadline": 3600.5}, "invalid_event", "$.deadline", "limits.deadline_seconds"),
    ({"deadline": 1e308}, "invalid_event", "$.deadline", "limits.deadline_seconds"),
    ({"deadline": "9999-12-31T23:59:59-14:00"}, "invalid_event", "$.deadline", "limits.deadline_seconds"),
    ({"id": ""}, "invalid_event", "$.id", "1 to 256"),
    ({"id": "x" * 257}, "invalid_event", "$.id", "1 to 256"),
    ({"tenant": ""}, "invalid_event", "$.tenant", "1 to 128"),
    ({"tenant": "x" * 129}, "invalid_event", "$.tenant", "1 to 128"),
    ({"shots": 0}, "invalid_event", "$.shots", "1 or more"),
    ({"shots": 5001}, "invalid_event", "$.shots", "1 to 5000"),
    ({"seed": -1}, "invalid_event", "$.seed", "0 to 2147483647"),
    ({"seed": 2**31}, "invalid_event", "$.seed", "0 to 2147483647"),
    ({"schema": "qmosaic.problem/2"}, "unsupported_schema", "$.schema", "qmosaic.problem/1"),
    ({"sense": "up"}, "invalid_event", "$.sense", "docs/events.md"),
]


@pytest.mark.parametrize(("fields", "code", "place", "remedy"), OPTIONS)
def test_a_wrong_option(fields: dict[str, Any], code: str, place: str, remedy: str) -> None:
    check(refused("maxcut", EDGE, **fields), code, place, remedy)


PAYLOADS: list[tuple[str, dict[str, Any], str, str, str]] = [
    ("sudoku", {}, "unknown_family", "$.family", "ising, labs, maxcut"),
    ("maxcut", {}, "empty_problem", "$.problem", "edges"),
    ("maxcut", {"edges": []}, "empty_problem", "$.problem", "edges"),
    ("maxcut", {"edges": [], "nodes": 0}, "empty_problem", "$.problem", "edges"),
    ("maxcut", {"edges": [], "nodes": []}, "empty_problem", "$.problem", "edges"),
    ("qubo", {"terms": []}, "empty_problem", "$.problem", "terms"),
    ("ising", {"J": [], "h": []}, "empty_problem", "$.problem", "J"),
    ("maxcut", {"edges": [[0, 1]], "colour": 1}, "invalid_problem", "$.problem.colour", "edges, nodes"),
    ("maxcut", {"edges": [[0, 1]], "offset": 1}, "invalid_problem", "$.problem.offset", "edges, nodes"),
    ("maxcut", {"edges": {}}, "invalid_problem", "$.problem.edges", "list"),
    ("maxcut", {"edges": None}, "invalid_problem", "$.problem.edges", "list"),
    ("maxcut", {"edges": [[0, 1], 5]}, "invalid_problem", "$.problem.edges[1]", "[i, j, value]"),
    ("maxcut", {"edges": [[0]]}, "invalid_problem", "$.problem.edges[0]", "[i, j, value]"),
    ("maxcut", {"edges": [[0, 1, 2, 3]]}, "invalid_problem", "$.problem.edges[0]", "[i, j, value]"),
    ("maxcut", {"edges": [[0, 1], [0, 1.5]]}, "invalid_problem", "$.problem.edges[1][1]", "[i, j, value]"),
    ("maxcut", {"edges": [[0, True]]}, "invalid_problem", "$.problem.edges[0][1]", "[i, j, value]"),
    ("maxcut", {"edges": [[0, "b"]]}, "invalid_problem", "$.problem.edges[0][1]", "[i, j, value]"),
    ("maxcut", {"edges": [["a", 1]]}, "invalid_problem", "$.problem.edges[0][1]", "[i, j, value]"),
    ("maxcut", {"edges": [[0, 1, "w"]]}, "invalid_problem", "$.problem.edges[0][2]", "finite"),
    ("maxcut", {"edges": [[0, 1, None]]}, "invalid_problem", "$.problem.edges[0][2]", "finite"),
    ("qubo", {"terms": [[0, 1]]}, "invalid_problem", "$.problem.terms[0]", "[i, j, value]"),
    ("maxcut", {"edges": [[0, 1], [1, 1]]}, "invalid_problem", "$.problem.edges[1]", "Leave it out"),
    ("ising", {"J": [[2, 2, 1]]}, "invalid_problem", "$.problem.J[0]", "Leave it out"),
    ("maxcut", {"edges": [[0, 1], [2, -1]]}, "invalid_problem", "$.problem.edges[1][1]", "0-based"),
    ("maxcut", {"edges": [[0, 1], [3, 0]], "nodes": 3}, "invalid_problem", "$.problem.edges[1][0]", "'nodes'"),
    ("maxcut", {"edges": [[2**64 - 1, 0]], "nodes": 3}, "invalid_problem", "$.problem.edges[0][0]", "'nodes'"),
    ("maxcut", {"edges": [[0, 1]], "nodes": -1}, "invalid_problem", "$.problem.nodes", "non-negative"),
    ("maxcut", {"edges": [[0, 1]], "nodes": 2.0}, "invalid_problem", "$.problem.nodes", "non-negative"),
    ("maxcut", {"edges": [[0, 1]], "nodes": True}, "invalid_problem", "$.problem.nodes", "non-negative"),
    ("maxcut", {"edges": [["a", "b"]], "nodes": ["a", 1]}, "invalid_problem", "$.problem.nodes", "names"),
    ("maxcut", {"edges": [["a", "b"]], "nodes": ["a", "b", "a"]}, "invalid_problem", "$.problem.nodes", "differ"),
    (
        "maxcut",
        {"edges": [["a", "b"], ["a", "c"]], "nodes": ["a", "b"]},
        "invalid_problem",
        "$.problem.edges[1][1]",
        "n",
    ),
    ("ising", {"J": [[0, 1, 1]], "h": [1]}, "invalid_problem", "$.problem.h", "one value a variable"),
    ("ising", {"J": [[0, 1, 1]], "h": [1, "x"]}, "invalid_problem", "$.problem.h[1]", "finite"),
    ("ising", {"J": [[0, 1, 1]], "h": 3}, "invalid_problem", "$.problem.h", "finite"),
    ("ising", {"h": {"c": 1}, "variables": ["a", "b"]}, "invalid_problem", "$.problem.h.c", "names"),
    ("ising", {"J": [[0, 1, 1]], "offset": "x"}, "invalid_problem", "$.problem.offset", "finite"),
    ("ising", {"J": [[0, 1, 1]], "offset": None}, "invalid_problem", "$.problem.offset", "leave it out"),
    ("qubo", {"terms": [[0, 1, 1e308], [1, 0, 1e308]]}, "invalid_problem", "$.problem.terms", "Scale"),
    ("qubo", {"terms": [[0, 0, 1e308], [0, 0, 1e308], [0, 0, -1e308]]}, "invalid_problem", "$.problem.terms", "Scale"),
    ("maxcut", {"edges": [[0, 1, 1.7e308]]}, "invalid_problem", "$.problem.edges", "Scale"),
    ("maxcut", {"edges": [[0, 50]]}, "too_large", "$.problem.nodes", "limits.variables"),
    ("maxcut", {"edges": [], "nodes": 51}, "too_large", "$.problem.nodes", "limits.variables"),
    ("maxcut", {"edges": [[0, 2**62]]}, "too_large", "$.problem.nodes", "limits.variables"),
    ("maxcut", {"edges": [], "nodes": 2**63}, "too_large", "$.problem.nodes", "limits.variables"),
    ("qubo", {"terms": [], "variables": [str(k) for k in range(51)]}, "too_large", "$.problem.variables", "limits.v"),
    ("maxcut", {"edges": [[0, 1]] * 61}, "too_large", "$.problem.edges", "limits.couplings"),
]


@pytest.mark.parametrize(("family", "payload", "code", "place", "remedy"), PAYLOADS)
def test_a_wrong_problem(family: str, payload: dict[str, Any], code: str, place: str, remedy: str) -> None:
    check(refused(family, payload), code, place, remedy)


def check(refusal: Refusal, code: str, place: str, remedy: str) -> None:
    assert (refusal.rejected.code, refusal.rejected.place) == (code, place)
    assert remedy in refusal.rejected.remedy
    assert refusal.rejected.message


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, "empty_value"),
        (b"  ", "empty_value"),
        (b'"\xff"', "not_utf8"),
        (b"{nope", "not_json"),
        (b'{"family":"maxcut","problem":{"edges":[[0,1,NaN]]}}', "not_json"),
        (b"[]", "invalid_event"),
        (b" " * 20_000 + b"{}", "too_large"),
    ],
)
def test_a_record_without_an_id_is_called_after_its_place(value: bytes | None, code: str) -> None:
    refusal = judged(value)
    assert isinstance(refusal, Refusal)
    assert (refusal.rejected.code, refusal.problem_id, refusal.labels) == (code, "problems-3-7", {})


@pytest.mark.parametrize("fields", [{"shots": "many"}, {"schema": "qmosaic.problem/9"}, {"family": None}, {"shots": 0}])
def test_a_rejection_carries_the_id_that_its_sender_waits_for(fields: dict[str, Any]) -> None:
    refusal = judged(orjson.dumps({"family": "maxcut", "problem": EDGE, "id": "mine"} | fields))
    assert isinstance(refusal, Refusal)
    assert refusal.problem_id == "mine"


def test_an_id_that_is_none_is_not_carried() -> None:
    assert refused("maxcut", EDGE, id="x" * 257).problem_id == "problems-3-7"


def test_a_refusal_knows_its_bytes_and_its_labels() -> None:
    one = refused("maxcut", {}, labels={"a": 1})
    assert one.labels == {"a": 1}
    assert one.digest == refused("maxcut", {}, labels={"a": 1}).digest != refused("maxcut", {}, labels={"a": 2}).digest


def test_the_limit_of_bytes_is_the_settings() -> None:
    value = orjson.dumps({"family": "maxcut", "problem": EDGE})
    record = Record("problems", 0, 0, NOW, value)
    assert isinstance(admit(record, Limits(event_bytes=len(value)), Defaults()), Admission)
    assert isinstance(admit(record, Limits(event_bytes=len(value) - 1), Defaults()), Refusal)
    assert LIMITS.event_bytes != Limits().event_bytes
