"""Verify: nobody's claim is believed. The answer is lifted to the whole problem, put into the family's terms and
judged by the problem's own data; it is accepted if it is feasible and not worse than the incumbent, else the
incumbent goes out, else the family's quick answer. Imports neither JAX nor Cirq: a verifier starts fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8

from qmosaic.codecs.arrays import unpack_bits
from qmosaic.codecs.events import (
    Baseline,
    Incumbent,
    Outcome,
    OutcomeReason,
    Proposal,
    Sense,
    Timing,
    Timings,
    number,
)
from qmosaic.processors.admit import Admission
from qmosaic.processors.families.base import Evaluation, Instance
from qmosaic.processors.lift import apply, unpack_lift

# Two objectives closer than this, relative to their size, are equal: float64 sums differ by their order.
TOLERANCE = 1e-9

# What numpy and a family's `decode` raise on arrays of the wrong size or type: a claim that does not fit.
UNFIT = (ValueError, LookupError, TypeError)


@dataclass(frozen=True, eq=False)
class _Candidate:
    solution: Any
    evaluation: Evaluation


def gain(sense: Sense, objective: float, baseline: float) -> float:
    """How much better `objective` is than `baseline`, in the problem's sense; 0.0 within `TOLERANCE`."""
    difference = objective - baseline if sense == "max" else baseline - objective
    return 0.0 if abs(difference) <= TOLERANCE * max(1.0, abs(objective), abs(baseline)) else difference


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
) -> Outcome:
    """The outcome of a problem with what is known now; `proposal` None means that its time is over.

    `now`: seconds since the epoch; `queue`: seconds the deciding event waited; `tick`: a monotonic clock in
    seconds, for the work this takes. Never raises on what an event claims: a claim that does not fit is the
    fallback's reason.
    """
    started = tick()
    instance = admission.instance
    known = _incumbent(instance, incumbent)
    base, baseline = known or _quick(instance)
    reason: OutcomeReason
    best, reason = base, "deadline" if known else "no_incumbent"
    accepted = False
    if proposal is None and known and incumbent is not None and incumbent.kernel_digest is None:
        accepted, reason = True, "solved_in_reduce"
    elif proposal is not None and proposal.failure is not None:
        reason = proposal.failure.reason
    elif proposal is not None:
        candidate = _lifted(instance, incumbent, proposal)
        reason = _judge(instance.sense, candidate, base)
        accepted = reason in ("improved", "equal")
        if accepted and candidate is not None:
            best = candidate
    ref = proposal.ref if proposal is not None else incumbent.ref if incumbent is not None else admission.ref
    route = proposal.route if proposal is not None else None
    answer = proposal.answer if proposal is not None else None
    failure = proposal.failure if proposal is not None else None
    solved = reason == "solved_in_reduce"
    objective = best.evaluation.objective
    return Outcome(
        problem_id=admission.ref.problem_id,
        family=admission.ref.family,
        status="accepted" if accepted else "fallback",
        reason=reason,
        sense=instance.sense,
        objective=number(objective),
        solution=best.solution,
        feasible=best.evaluation.feasible,
        baseline=baseline,
        improvement=number(gain(instance.sense, objective, baseline.objective)),
        target="classical" if solved else route.target if route else None,
        backend="presolve" if solved else route.backend if route else None,
        route_reason=route.reason if route else failure.route_reason if failure else None,
        circuit=answer.circuit if answer else None,
        confidence=answer.confidence if answer else None,
        timings=Timings(
            {**ref.timings, "verify": Timing(round(max(queue, 0.0), 6), round(tick() - started, 6))},
            round(now - admission.ref.received_at, 6),
        ),
        attempts=proposal.attempt if proposal is not None else 0,
        seed=admission.ref.seed,
        digest=admission.ref.digest,
        versions=versions,
        trace_id=trace_id,
        tenant=admission.ref.tenant,
        labels=admission.problem.labels,
        notes=[*instance.notes, *best.evaluation.violations],
    )


def _candidate(instance: Instance, bits: UInt8[np.ndarray, " n"]) -> _Candidate:
    solution = instance.decode(bits)
    return _Candidate(solution, instance.evaluate(solution))


def _incumbent(instance: Instance, incumbent: Incumbent | None) -> tuple[_Candidate, Baseline] | None:
    """The incumbent judged anew; None where there is none, or none that fits and is feasible."""
    if incumbent is None:
        return None
    try:
        candidate = _candidate(instance, unpack_bits(incumbent.bits))
    except UNFIT:
        return None
    if not candidate.evaluation.feasible:
        return None
    objective = number(candidate.evaluation.objective)
    return candidate, Baseline(objective, incumbent.solver, round(incumbent.seconds, 6))


def _quick(instance: Instance) -> tuple[_Candidate, Baseline]:
    candidate = _candidate(instance, instance.quick())
    return candidate, Baseline(number(candidate.evaluation.objective), "quick", 0.0)


def _lifted(instance: Instance, incumbent: Incumbent | None, proposal: Proposal) -> _Candidate | None:
    """The proposal's answer as a solution of the whole problem; None where it does not fit the kernel."""
    if incumbent is None or incumbent.lift is None or proposal.answer is None:
        return None
    if proposal.kernel_digest != incumbent.kernel_digest:
        return None
    try:
        lift = unpack_lift(incumbent.lift)
        kernel_bits = unpack_bits(proposal.answer.bits)
        if len(kernel_bits) != lift.kernel_size:
            return None
        return _candidate(instance, apply(lift, unpack_bits(incumbent.bits), kernel_bits))
    except UNFIT:
        return None


def _judge(
    sense: Sense, candidate: _Candidate | None, base: _Candidate
) -> Literal["improved", "equal", "worse_than_baseline", "infeasible", "invalid_answer"]:
    if candidate is None:
        return "invalid_answer"
    if not candidate.evaluation.feasible:
        return "infeasible"
    if not base.evaluation.feasible:
        return "improved"
    better = gain(sense, candidate.evaluation.objective, base.evaluation.objective)
    return "improved" if better > 0 else "equal" if better == 0 else "worse_than_baseline"
