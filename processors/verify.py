"""Verify: nobody's claim is believed. The answer is lifted to the whole problem, put into the family's terms and
judged by the problem's own data; it is accepted if it is feasible and not worse than the incumbent, else the
incumbent goes out, else the family's quick answer. Imports neither JAX nor Cirq: a verifier starts fast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from qmosaic.codecs.events.hops import Failure, Incumbent, Proposal, Ref
from qmosaic.codecs.events.public import Baseline, Outcome, Proposed, Timing, Timings
from qmosaic.codecs.events.reasons import OutcomeReason, Sense
from qmosaic.codecs.events.wire import number
from qmosaic.processors.admit import Admission
from qmosaic.processors.control.policy import MOST_ATTEMPTS
from qmosaic.processors.families.base import Evaluation, Instance

# Two objectives closer than this, relative to their size, are equal: float64 sums differ by their order.
TOLERANCE = 1e-9
# And two objectives around zero, which are small only because large terms cancel. A portfolio's are 1e-4 or so.
ROUNDING = 1e-12
QUICK_ANSWER = "quick"
"""The solver of a baseline where reduce sent no usable incumbent."""

# What numpy and a family's `decode` raise on arrays of the wrong size or type: a claim that does not fit.
UNFIT = (ValueError, LookupError, TypeError)


@dataclass(frozen=True, eq=False)
class _Candidate:
    solution: Any
    evaluation: Evaluation


def gain(sense: Sense, objective: float, baseline: float) -> float:
    """How much better `objective` is than `baseline`, in the problem's sense; 0.0 within `TOLERANCE`.

    Two that are int were added exactly, and are compared so.
    """
    difference = objective - baseline if sense == "max" else baseline - objective
    if isinstance(objective, int) and isinstance(baseline, int):
        return difference
    return 0.0 if abs(difference) <= max(ROUNDING, TOLERANCE * max(abs(objective), abs(baseline))) else difference


def relative_gain(outcome: Outcome, objective: float) -> float | None:
    """How much better an objective is than the best that is known by classical computation, relative to it and within
    100 %: the incumbent's, or what the family knows besides. None: nothing to compare, or with a quick answer alone."""
    base = outcome.baseline
    if base is None or base.objective is None or base.solver == QUICK_ANSWER:
        return None
    known = base.objective
    if base.best_known is not None and gain(outcome.sense, base.best_known, known) > 0:
        known = base.best_known
    better = gain(outcome.sense, objective, known)
    return max(-1.0, min(1.0, better / abs(known))) if known else float((better > 0) - (better < 0))


ACCEPTED = frozenset({"improved", "equal", "verified", "unverified"})


def settle_safely(
    admission: Admission, incumbent: Incumbent | None, proposal: Proposal | None, **known: Any
) -> tuple[Outcome, list[Exception]]:
    """`settle`, and what a family raised on the way: then the incumbent alone is judged, else nothing.

    `known` is what `settle` takes besides.
    """
    errors: list[Exception] = []
    failed = Failure("verify", "stage_failed", "judging it raised an error")
    for last, answer in ((incumbent, proposal), (incumbent, None), (None, None)):
        if errors and answer is None:
            answer = Proposal(ref=admission.ref, kernel_digest=None, route=None, attempt=0, answer=None, failure=failed)
        try:
            return settle(admission, last, answer, **known), errors
        except Exception as error:  # noqa: BLE001 - of a family or a plug-in, on claims from outside: anything may come
            errors.append(error)
    return unjudged(admission.ref, "stage_failed", labels=admission.problem.labels, **known), errors


def unjudged(
    ref: Ref,
    reason: OutcomeReason,
    *,
    now: float,
    queue: float,
    trace_id: str,
    versions: dict[str, str],
    tick: Any,
    labels: dict[str, Any] | None = None,
    notes: Sequence[str] = (),
) -> Outcome:
    """The fallback without a solution: nothing could be judged, or not in time."""
    return Outcome(
        problem_id=ref.problem_id,
        family=ref.family,
        status="fallback",
        reason=reason,
        sense="min",
        objective=None,
        solution=None,
        feasible=False,
        baseline=None,
        improvement=None,
        target=None,
        backend=None,
        route_reason=None,
        circuit=None,
        confidence=None,
        timings=Timings(
            {**ref.timings, "verify": Timing(round(max(queue, 0.0), 6), 0.0)}, round(now - ref.received_at, 6)
        ),
        attempts=0,
        seed=ref.seed,
        digest=ref.digest,
        versions=versions,
        trace_id=trace_id,
        tenant=ref.tenant,
        labels=labels or {},
        notes=list(notes),
    )


def settle(
    admission: Admission,
    incumbent: Incumbent | None,
    proposal: Proposal | None,
    *,
    now: float,
    queue: float,
    trace_id: str,
    versions: dict[str, str],
    tick: Any,
    late: OutcomeReason = "deadline",
) -> Outcome:
    """The outcome of a problem with what is known now; `proposal` None means that its time is over, or as good as over,
    for the reason `late`.

    `now`: seconds since the epoch; `queue`: seconds the deciding event waited; `tick`: a monotonic clock in
    seconds, for the work this takes. Never raises on what an event claims: a claim that does not fit is the
    fallback's reason.
    """
    started = tick()
    judged = _judged(admission.instance, incumbent, proposal, late)
    ref = proposal.ref if proposal is not None else incumbent.ref if incumbent is not None else admission.ref
    worked = Timing(round(max(queue, 0.0), 6), round(tick() - started, 6))
    timings = Timings({**ref.timings, "verify": worked}, round(now - admission.ref.received_at, 6))
    return _outcome(admission, judged, incumbent, proposal, timings, trace_id=trace_id, versions=versions)


@dataclass(frozen=True, eq=False)
class _Judged:
    """What was found: why, whether it is accepted, and what goes out."""

    reason: OutcomeReason
    accepted: bool
    best: _Candidate | None
    baseline: Baseline | None
    proposed: _Candidate | None = None


def _judged(instance: Instance, incumbent: Incumbent | None, proposal: Proposal | None, late: OutcomeReason) -> _Judged:
    known = _incumbent(instance, incumbent)
    base, baseline = known or _quick(instance)
    if proposal is None and known and incumbent is not None and incumbent.kernel_digest is None:
        return _Judged("solved_in_reduce", True, base, baseline)
    if proposal is None:
        missing = late == "deadline" and (incumbent is None or (known is None and base is not None))
        return _Judged("no_incumbent" if missing else late, False, base, baseline)
    if proposal.failure is not None:
        return _Judged(proposal.failure.reason, False, base, baseline)
    candidate = _lifted(instance, incumbent, proposal)
    reason = _judge(instance.sense, candidate, base)
    accepted = reason in ACCEPTED
    return _Judged(reason, accepted, candidate if accepted else base, baseline, candidate)


def _outcome(
    admission: Admission,
    judged: _Judged,
    incumbent: Incumbent | None,
    proposal: Proposal | None,
    timings: Timings,
    *,
    trace_id: str,
    versions: dict[str, str],
) -> Outcome:
    instance = admission.instance
    route = proposal.route if proposal is not None else None
    answer = proposal.answer if proposal is not None else None
    failure = proposal.failure if proposal is not None else None
    ran = answer or failure
    solved = judged.reason == "solved_in_reduce"
    found = judged.best.evaluation if judged.best else Evaluation(None, False)
    return Outcome(
        problem_id=admission.ref.problem_id,
        family=admission.ref.family,
        status="accepted" if judged.accepted else "fallback",
        reason=judged.reason,
        sense=instance.sense,
        objective=_number(found.objective),
        solution=judged.best.solution if judged.best else None,
        feasible=found.feasible,
        baseline=judged.baseline,
        improvement=_improvement(instance.sense, found, judged.baseline),
        target="classical" if solved else route.target if route else None,
        backend=incumbent.solver if solved and incumbent else route.backend if route else None,
        route_reason=route.reason if route else failure.route_reason if failure else None,
        circuit=answer.circuit if answer else None,
        confidence=answer.confidence if answer else None,
        timings=timings,
        attempts=proposal.attempt if proposal is not None else 0,
        tried=(proposal.tried[:MOST_ATTEMPTS] if proposal is not None else None) or msgspec.UNSET,
        policy=(route.policy if route else None) or msgspec.UNSET,
        seed=admission.ref.seed,
        digest=admission.ref.digest,
        versions=versions,
        trace_id=trace_id,
        tenant=admission.ref.tenant,
        labels=admission.problem.labels,
        notes=[*instance.notes, *found.violations],
        error=found.error,
        details=found.details,
        proposed=_proposed(judged.proposed),
        usage=ran.usage if ran else None,
    )


def _proposed(candidate: _Candidate | None) -> Proposed | None:
    if candidate is None:
        return None
    found = candidate.evaluation
    return Proposed(_number(found.objective), found.feasible, found.error, list(found.violations), found.details)


def _number(value: float | None) -> int | float | None:
    return None if value is None else number(value)


def _improvement(sense: Sense, found: Evaluation, baseline: Baseline | None) -> int | float | None:
    if found.objective is None or baseline is None or baseline.objective is None:
        return None
    return number(gain(sense, found.objective, baseline.objective))


def _incumbent(instance: Instance, incumbent: Incumbent | None) -> tuple[_Candidate, Baseline] | None:
    """The incumbent judged anew; None where there is none, or none that fits and is feasible."""
    if incumbent is None:
        return None
    try:
        solution = instance.solution(incumbent.state)
        if solution is None:
            return None
        candidate = _Candidate(solution, instance.evaluate(solution, incumbent.state))
    except UNFIT:
        return None
    if not candidate.evaluation.feasible:
        return None
    return candidate, _baseline(candidate.evaluation, incumbent.solver, round(incumbent.seconds, 6))


def _quick(instance: Instance) -> tuple[_Candidate | None, Baseline | None]:
    solution = instance.quick()
    if solution is None:
        return None, None
    candidate = _Candidate(solution, instance.evaluate(solution))
    return candidate, _baseline(candidate.evaluation, QUICK_ANSWER, 0.0)


def _baseline(found: Evaluation, solver: str, seconds: float) -> Baseline:
    return Baseline(_number(found.objective), solver, seconds, found.details, _number(found.best_known))


def _lifted(instance: Instance, incumbent: Incumbent | None, proposal: Proposal) -> _Candidate | None:
    """The proposal's answer as a solution of the whole problem; None where it does not fit the kernel."""
    if incumbent is None or incumbent.lift is None or proposal.answer is None:
        return None
    if proposal.kernel_digest != incumbent.kernel_digest:
        return None
    try:
        solution = instance.answered(incumbent.state, incumbent.lift, proposal.answer)
        return _Candidate(solution, instance.evaluate(solution, incumbent.state))
    except UNFIT:
        return None


def _judge(sense: Sense, candidate: _Candidate | None, base: _Candidate | None) -> OutcomeReason:
    if candidate is None:
        return "invalid_answer"
    found = candidate.evaluation
    if not found.feasible:
        return "infeasible"
    if found.verdict is not None:
        return found.verdict
    if found.objective is None:
        return "invalid_answer"
    if base is None or not base.evaluation.feasible or base.evaluation.objective is None:
        return "improved"
    better = gain(sense, found.objective, base.evaluation.objective)
    if found.error > 0 and abs(better) <= found.error:
        return "within_error"
    return "improved" if better > 0 else "equal" if better == 0 else "worse_than_baseline"
