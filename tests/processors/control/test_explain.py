"""Decisions in words: one for every reason, and what would make another decision."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest

from qmosaic.codecs.events.reasons import CandidateReason, RouteReason
from qmosaic.processors.control.explain import CANDIDATE, CHANGE, ROUTE, lines_of, runs_text, turning_points
from qmosaic.processors.control.facts import Facts
from qmosaic.processors.control.policy import Policy, Rule, decide
from tests.processors.test_route import ALIVE, reduced


def test_every_reason_has_its_words() -> None:
    assert set(CANDIDATE) == set(get_args(CandidateReason))
    assert set(CHANGE) == set(CANDIDATE) - {"taken"}
    assert set(ROUTE) == set(get_args(RouteReason))


def patient(kernel: Any, seconds: float = 30.0) -> Any:
    return msgspec.structs.replace(kernel, ref=msgspec.structs.replace(kernel.ref, deadline_at=seconds))


def test_the_default_policy_turns_at_its_bounds() -> None:
    said = list(turning_points(patient(reduced(8)), Facts(0.0, ALIVE), Policy()))
    assert said == [
        "with 1 s left to the deadline: exact (hurry)",
        "with a kernel of 13 qubits: jax.statevector (medium)",
        "with a kernel of 21 qubits: tabu (large)",
    ]


def test_others_that_are_alive_are_told_too() -> None:
    decision = decide(patient(reduced(8)), Facts(0.0, ALIVE), Policy())
    lines = lines_of(decision.considered, ALIVE)
    assert {line.backend for line in lines} == {name for names in ALIVE.values() for name in names}
    assert {line.reason for line in lines} == {"taken", "not_in_rule"}
    assert all(line.means and (line.change or line.reason == "taken") for line in lines)


@pytest.mark.parametrize("seconds", [0.2, 20.0])
def test_one_whose_time_is_over_says_so(seconds: float) -> None:
    kernel = msgspec.structs.replace(patient(reduced(8), seconds), work_seconds=10.0)
    rule = (Rule("all", "quantum", then=("classical",)),)
    decision = decide(kernel, Facts(0.0, ALIVE), Policy(rule, attempts=2))
    reasons = {line.backend: line.reason for line in lines_of(decision.considered)}
    assert (reasons["cirq.statevector"] == "too_slow_for_deadline") is (seconds < 10)


@pytest.mark.parametrize(
    ("n", "said"), [(0.999, "1"), (1.04, "1"), (14.23, "14.2"), (2.0, "2"), (0.4, "0.4"), (1234.4, "1,234")]
)
def test_runs_that_count_by_their_age_are_told_as_people_count(n: float, said: str) -> None:
    assert runs_text(n) == said
