"""Verify: whatever is claimed, the outcome says what the problem's own data say."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmosaic.codecs.events import public, wire
from qmosaic.codecs.events.hops import Answer, Failure, Incumbent, Proposal, Route
from qmosaic.codecs.events.public import CircuitInfo, Outcome, Proposed, Timing, UsageInfo
from qmosaic.codecs.events.reasons import Sense
from qmosaic.codecs.models.arrays import Packed, pack, pack_bits
from qmosaic.codecs.models.bundle import Bundle
from qmosaic.codecs.models.polynomial import SpinPolynomial
from qmosaic.processors.admit import Admission
from qmosaic.processors.families.base import Evaluation
from qmosaic.processors.spins.family import lifted_bits
from qmosaic.processors.spins.lift import Lift, bits_of_state, pack_lift, state_of
from qmosaic.processors.verify import TOLERANCE, gain, settle
from tests.processors.problems import Case, admitted, cases

ROUTE = Route(target="quantum", backend="cirq.statevector", reason="rule", rule="small")
CIRCUIT = CircuitInfo(3, 5, 4, 100)


@dataclass
class ChooseTwo:
    """A family with a constraint: exactly two variables are 1, and the chosen values sum to the objective."""

    values: tuple[float, ...] = (1.0, 2.0, 3.0, 4.0)
    sense: Sense = "max"
    digest: str = "d"
    notes: list[str] = field(default_factory=lambda: ["a note"])

    def encode(self) -> SpinPolynomial:
        return SpinPolynomial.of(len(self.values))

    size: int = 4

    def quick(self) -> Any:
        return self.decode(bits(1, 1, 0, 0))

    def solution(self, state: Bundle) -> Any:
        return self.decode(bits_of_state(state))

    def answered(self, state: Bundle, lift: Bundle, answer: Answer) -> Any:
        return self.decode(lifted_bits(state, lift, answer))

    def decode(self, sample: Any) -> Any:
        if len(sample) != len(self.values):
            raise IndexError("not my size")
        return [int(k) for k in np.flatnonzero(sample)]

    def evaluate(self, solution: Any, evidence: Bundle | None = None) -> Evaluation:
        violations = () if len(solution) == 2 else (f"{len(solution)} chosen, not two",)
        return Evaluation(float(sum(self.values[k] for k in solution)), not violations, violations)


def bits(*values: int) -> Any:
    return np.array(values, dtype=np.uint8)


def chosen(sense: Sense = "max") -> Admission:
    return replace(admitted("maxcut", {"edges": [[0, 1]]}, labels={"run": 1}), instance=ChooseTwo(sense=sense))


def identity(n: int) -> Lift:
    return Lift(np.arange(n, dtype=np.int32), np.zeros(0, np.int32), np.zeros((0, 2), np.int32), np.zeros((0, 3)))


def incumbent(admission: Admission, sample: Any, *, kernel: str | None = "k", lift: Lift | None = None) -> Incumbent:
    lifted = pack_lift(lift or identity(len(sample))) if kernel is not None else None
    return Incumbent(
        ref=admission.ref, state=state_of(sample), solver="tabu", seconds=0.25, kernel_digest=kernel, lift=lifted
    )


def proposal(admission: Admission, sample: Any, *, kernel: str | None = "k", energy: float = 0.0) -> Proposal:
    packed = sample if isinstance(sample, Packed) else pack_bits(sample)
    answer = Answer(bits=packed, energy=energy, confidence=0.5, circuit=CIRCUIT)
    return Proposal(ref=admission.ref, kernel_digest=kernel, route=ROUTE, attempt=1, answer=answer, failure=None)


def failure(admission: Admission, reason: Any = "execution_failed") -> Proposal:
    return Proposal(
        ref=admission.ref,
        kernel_digest="k",
        route=ROUTE,
        attempt=1,
        answer=None,
        failure=Failure("execute", reason, "no"),
    )


def end(admission: Admission, known: Incumbent | None, proposed: Proposal | None) -> Outcome:
    ticks = count(5.0, 0.5)
    outcome = settle(
        admission,
        known,
        proposed,
        now=1002.5,
        queue=0.125,
        trace_id="ab" * 16,
        versions={"qmosaic": "0"},
        tick=lambda: next(ticks),
    )
    # What every outcome says, whatever happened.
    assert wire.decode(wire.encode(outcome), Outcome) == outcome
    assert (outcome.problem_id, outcome.family, outcome.digest, outcome.seed) == (
        admission.ref.problem_id,
        admission.ref.family,
        admission.ref.digest,
        admission.ref.seed,
    )
    assert outcome.labels == admission.problem.labels
    assert outcome.sense == admission.instance.sense
    judged = admission.instance.evaluate(outcome.solution)
    assert (outcome.objective, outcome.feasible) == (judged.objective, judged.feasible)
    assert outcome.baseline is not None
    assert outcome.objective is not None
    assert outcome.baseline.objective is not None
    assert outcome.improvement is not None
    assert outcome.improvement == gain(outcome.sense, outcome.objective, outcome.baseline.objective)
    assert outcome.improvement >= 0
    if outcome.status == "fallback":
        assert (outcome.objective, outcome.improvement) == (outcome.baseline.objective, 0)
    return outcome


GOOD, FAIR, POOR, ILLEGAL = bits(0, 0, 1, 1), bits(0, 1, 1, 0), bits(1, 1, 0, 0), bits(1, 1, 1, 0)


@pytest.mark.parametrize(
    ("sense", "sample", "status", "reason", "objective", "improvement"),
    [
        ("max", GOOD, "accepted", "improved", 7, 2),
        ("max", FAIR, "accepted", "equal", 5, 0),
        ("max", bits(1, 0, 0, 1), "accepted", "equal", 5, 0),
        ("max", POOR, "fallback", "worse_than_baseline", 5, 0),
        ("max", ILLEGAL, "fallback", "infeasible", 5, 0),
        ("min", POOR, "accepted", "improved", 3, 2),
        ("min", FAIR, "accepted", "equal", 5, 0),
        ("min", GOOD, "fallback", "worse_than_baseline", 5, 0),
        ("min", bits(0, 0, 0, 0), "fallback", "infeasible", 5, 0),
    ],
)
def test_an_answer_is_judged_against_the_incumbent(
    sense: Sense, sample: Any, status: str, reason: str, objective: float, improvement: float
) -> None:
    admission = chosen(sense)
    outcome = end(admission, incumbent(admission, FAIR), proposal(admission, sample))
    assert (outcome.status, outcome.reason) == (status, reason)
    assert (outcome.objective, outcome.improvement) == (objective, improvement)
    assert outcome.baseline == public.Baseline(5, "tabu", 0.25)
    assert (outcome.target, outcome.backend, outcome.route_reason) == ("quantum", "cirq.statevector", "rule")
    assert (outcome.circuit, outcome.confidence, outcome.attempts) == (CIRCUIT, 0.5, 1)
    assert outcome.notes == ["a note"]
    mine = admission.instance.evaluate([int(k) for k in np.flatnonzero(sample)])
    assert outcome.proposed == Proposed(mine.objective, mine.feasible, violations=list(mine.violations))


@dataclass
class Measured(ChooseTwo):
    """The same, but its objective is measured, with a standard error of 1."""

    def evaluate(self, solution: Any, evidence: Bundle | None = None) -> Evaluation:
        return replace(super().evaluate(solution), error=1.0, details={"chosen": solution})


@pytest.mark.parametrize(
    ("sample", "reason"),
    [(GOOD, "improved"), (bits(0, 1, 0, 1), "within_error"), (FAIR, "within_error"), (POOR, "worse_than_baseline")],
)
def test_a_measured_answer_has_to_be_better_by_more_than_its_error(sample: Any, reason: str) -> None:
    admission = replace(chosen(), instance=Measured())
    outcome = end(admission, incumbent(admission, FAIR), proposal(admission, sample))
    assert outcome.reason == reason
    assert outcome.error == 1.0
    assert outcome.baseline is not None
    assert (outcome.baseline.details, outcome.details) == ({"chosen": [1, 2]}, {"chosen": outcome.solution})
    assert outcome.proposed is not None
    assert outcome.proposed.details == {"chosen": np.flatnonzero(sample).tolist()}


@dataclass
class Judged(ChooseTwo):
    """A family whose answers are right or wrong, and that has no quick one."""

    verdict: Any = "verified"

    def quick(self) -> Any:
        return None

    def solution(self, state: Bundle) -> Any:
        return None

    def evaluate(self, solution: Any, evidence: Bundle | None = None) -> Evaluation:
        return Evaluation(None, True, verdict=self.verdict)


@pytest.mark.parametrize(
    ("verdict", "status"), [("verified", "accepted"), ("unverified", "accepted"), ("mismatch", "fallback")]
)
def test_a_family_may_judge_right_and_wrong(verdict: str, status: str) -> None:
    admission = replace(chosen(), instance=Judged(verdict=verdict))
    known = incumbent(admission, FAIR)
    outcome = settle(
        admission, known, proposal(admission, GOOD), now=1.0, queue=0.0, trace_id="t", versions={}, tick=lambda: 0.0
    )
    assert (outcome.status, outcome.reason) == (status, verdict)
    assert (outcome.objective, outcome.improvement, outcome.baseline) == (None, None, None)
    assert (outcome.solution is None) == (status == "fallback")
    late = settle(admission, known, None, now=1.0, queue=0.0, trace_id="t", versions={}, tick=lambda: 0.0)
    assert (late.status, late.reason, late.solution, late.feasible) == ("fallback", "deadline", None, False)
    early = settle(admission, None, None, now=1.0, queue=0.0, trace_id="t", versions={}, tick=lambda: 0.0)
    assert (early.reason, early.solution) == ("no_incumbent", None)


def test_an_equal_answer_is_the_one_that_goes_out() -> None:
    admission = chosen()
    outcome = end(admission, incumbent(admission, FAIR), proposal(admission, bits(1, 0, 0, 1)))
    assert outcome.solution == [0, 3]


WRONG: list[tuple[str, Any, dict[str, Any]]] = [
    ("too short", bits(0, 1), {}),
    ("too long", bits(0, 0, 1, 1, 0), {}),
    ("none", bits(), {}),
    ("bytes that are no base64", Packed("|u1", (4,), "%%"), {}),
    ("bytes of another length", Packed("|u1", (4,), "AAAA"), {}),
    ("a negative length", Packed("|u1", (-4,), ""), {}),
    ("two dimensions", Packed("|u1", (2, 2), "AA=="), {}),
    ("another kernel", GOOD, {"kernel": "other"}),
    ("no kernel at all", GOOD, {"kernel": None}),
]


@pytest.mark.parametrize(("sample", "claims"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_an_answer_that_does_not_fit_is_invalid(sample: Any, claims: dict[str, Any]) -> None:
    admission = chosen()
    outcome = end(admission, incumbent(admission, FAIR), proposal(admission, sample, **claims))
    assert (outcome.status, outcome.reason, outcome.objective) == ("fallback", "invalid_answer", 5)


@pytest.mark.parametrize("reason", ["execution_failed", "over_budget", "no_backend", "stage_failed"])
@pytest.mark.parametrize("known", [True, False])
def test_a_failure_says_its_reason(reason: str, known: bool) -> None:
    admission = chosen()
    outcome = end(admission, incumbent(admission, FAIR) if known else None, failure(admission, reason))
    assert (outcome.status, outcome.reason) == ("fallback", reason)
    assert (outcome.objective, outcome.baseline and outcome.baseline.solver) == ((5, "tabu") if known else (3, "quick"))
    assert (outcome.circuit, outcome.confidence) == (None, None)


def test_a_proposal_that_says_nothing_is_invalid() -> None:
    admission = chosen()
    nothing = msgspec.structs.replace(proposal(admission, GOOD), answer=None)
    assert end(admission, incumbent(admission, FAIR), nothing).reason == "invalid_answer"


@pytest.mark.parametrize("usage", [None, UsageInfo(queue_seconds=9.0, cost_usd=12.5, vendor_job_id="id1")])
def test_what_it_took_is_told_whether_it_was_of_use_or_not(usage: UsageInfo | None) -> None:
    admission = chosen()
    known = incumbent(admission, bits(0, 1, 1, 0))
    for sample in (bits(0, 0, 1, 1), bits(1, 1, 0, 0), bits(1, 1, 1, 1)):
        good = proposal(admission, sample)
        assert good.answer is not None
        told = msgspec.structs.replace(good, answer=msgspec.structs.replace(good.answer, usage=usage))
        assert end(admission, known, told).usage == usage
    failed = Failure("execute", "execution_failed", "it failed there", ended="failed", usage=usage)
    assert end(admission, known, msgspec.structs.replace(failure(admission), failure=failed)).usage == usage
    assert end(admission, known, None).usage is None


def test_the_deadline_sends_out_the_incumbent() -> None:
    admission = chosen()
    outcome = end(admission, incumbent(admission, FAIR), None)
    assert (outcome.status, outcome.reason, outcome.solution) == ("fallback", "deadline", [1, 2])
    assert (outcome.target, outcome.backend, outcome.route_reason, outcome.attempts) == (None, None, None, 0)


def test_without_an_incumbent_the_quick_answer_goes_out() -> None:
    outcome = end(chosen(), None, None)
    assert (outcome.status, outcome.reason, outcome.solution) == ("fallback", "no_incumbent", [0, 1])
    assert outcome.baseline == public.Baseline(3, "quick", 0.0)


def test_an_answer_without_an_incumbent_cannot_be_lifted() -> None:
    admission = chosen()
    assert end(admission, None, proposal(admission, GOOD)).reason == "invalid_answer"


def test_what_presolve_solved_is_accepted() -> None:
    admission = chosen()
    outcome = end(admission, incumbent(admission, GOOD, kernel=None), None)
    assert (outcome.status, outcome.reason, outcome.objective) == ("accepted", "solved_in_reduce", 7)
    assert (outcome.target, outcome.backend, outcome.route_reason) == ("classical", "tabu", None)


UNUSABLE = [pack(ILLEGAL), pack(bits(1, 1)), pack(bits(1, 1, 0, 0, 0)), Packed("|u1", (4,), "%")]


@pytest.mark.parametrize("packed", UNUSABLE, ids=["infeasible", "short", "long", "damaged"])
@pytest.mark.parametrize("kernel", ["k", None])
def test_an_incumbent_is_not_believed_either(packed: Packed, kernel: str | None) -> None:
    admission = chosen()
    known = msgspec.structs.replace(incumbent(admission, FAIR, kernel=kernel), state=Bundle({"bits": packed}))
    outcome = end(admission, known, None)
    assert (outcome.status, outcome.reason) == ("fallback", "no_incumbent")
    assert (outcome.solution, outcome.backend) == ([0, 1], None)


def test_an_answer_on_an_infeasible_incumbent_is_judged_by_itself() -> None:
    admission = chosen()
    outcome = end(admission, incumbent(admission, ILLEGAL), proposal(admission, GOOD))
    assert (outcome.status, outcome.reason, outcome.improvement) == ("accepted", "improved", 4)
    assert outcome.baseline == public.Baseline(3, "quick", 0.0)


@pytest.mark.parametrize(
    "broken",
    [
        {"variables": pack(np.array([0, 1, 2, 9], dtype=np.int32))},
        {"variables": pack(np.array([0.5, 1, 2, 3]))},
        {"variables": Packed("<i4", (4,), "AAAA")},
        {
            "eliminated": pack(np.array([9], dtype=np.int32)),
            "neighbours": pack(np.array([[0, 1]], dtype=np.int32)),
            "coefficients": pack(np.zeros((1, 3))),
        },
        {"eliminated": pack(np.array([0], dtype=np.int32))},
    ],
)
def test_a_lift_that_does_not_fit_is_invalid(broken: dict[str, Packed]) -> None:
    admission = chosen()
    known = incumbent(admission, FAIR)
    assert known.lift is not None
    known = msgspec.structs.replace(known, lift=Bundle({**known.lift.arrays, **broken}))
    assert end(admission, known, proposal(admission, GOOD)).reason == "invalid_answer"


def test_a_kernel_answer_changes_its_variables_only() -> None:
    admission = chosen()
    lift = replace(identity(2), variables=np.array([3, 1], dtype=np.int32))
    outcome = end(admission, incumbent(admission, FAIR, lift=lift), proposal(admission, bits(1, 0)))
    assert outcome.solution == [2, 3]


def test_an_eliminated_variable_follows_its_neighbours() -> None:
    """s_3 = -sign(s_0): the answer moves variable 0, and 3 is derived from it."""
    admission = chosen()
    lift = Lift(
        np.array([0, 1, 2], dtype=np.int32),
        np.array([3], dtype=np.int32),
        np.array([[0, -1]], dtype=np.int32),
        np.array([[0.0, 1.0, 0.0]]),
    )
    outcome = end(admission, incumbent(admission, FAIR, lift=lift), proposal(admission, bits(0, 0, 1)))
    assert outcome.solution == [2, 3]


def test_times() -> None:
    admission = chosen()
    proposed = proposal(admission, GOOD)
    ref = msgspec.structs.replace(proposed.ref, timings={"encode": Timing(1.0, 2.0)})
    outcome = end(admission, incumbent(admission, FAIR), msgspec.structs.replace(proposed, ref=ref))
    assert outcome.timings == public.Timings({"encode": Timing(1.0, 2.0), "verify": Timing(0.125, 0.5)}, 2.5)


@settings(deadline=None, max_examples=100)
@given(cases(), st.data())
def test_a_liar_never_gets_a_wrong_objective_out(case: Case, data: st.DataObject) -> None:
    admission = case.admit()
    sample = st.lists(st.integers(0, 1), min_size=case.n, max_size=case.n).map(lambda x: bits(*x))
    known = incumbent(admission, data.draw(sample))
    claimed = data.draw(st.floats(allow_nan=False, allow_infinity=False))
    answer = data.draw(st.one_of(sample, st.lists(st.integers(0, 1), max_size=9).map(lambda x: bits(*x))))
    outcome = end(admission, known, proposal(admission, answer, energy=claimed))
    assert outcome.objective == pytest.approx(case.objective(outcome.solution), abs=1e-9 * case.scale)
    assert outcome.feasible
    if len(answer) != case.n:
        assert outcome.reason == "invalid_answer"
        return
    was = case.objective(admission.instance.solution(known.state))
    now = case.objective(admission.instance.solution(state_of(answer)))
    better = now - was if case.sense == "max" else was - now
    if abs(better) > 1e-6 * case.scale:
        assert outcome.reason == ("improved" if better > 0 else "worse_than_baseline")


@pytest.mark.parametrize(
    ("sense", "objective", "baseline", "expected"),
    [
        ("max", 3, 1, 2),
        ("min", 3, 1, -2),
        ("min", 1, 3, 2),
        ("max", 1 + TOLERANCE / 2, 1, 0),
        ("min", 1e12, 1e12 + 100, 0),
        ("max", 1 + 3e-9, 1, 3e-9),
        ("min", 2e-5, 2.0001e-5, 1e-9),
        ("min", 0.0, 5e-13, 0),
    ],
)
def test_gain(sense: Sense, objective: float, baseline: float, expected: float) -> None:
    assert gain(sense, objective, baseline) == pytest.approx(expected, rel=1e-6)
