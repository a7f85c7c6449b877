"""Route: a kernel becomes a job for the first candidate of its decision, or a proposal that says why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from qmosaic.codecs.events.hops import Failure, JobEvent, Proposal, Reduced
from qmosaic.processors.control.facts import Facts
from qmosaic.processors.control.policy import Policy, decide
from qmosaic.processors.execute import job_id


def route(batch: Sequence[Reduced], facts: Facts, policy: Policy) -> list[JobEvent | Proposal]:
    """A job for each kernel, with the candidates that come after the first; or why there is none.

    A backend whose breaker is half open has one of them.
    """
    out = []
    for reduced in batch:
        event = _routed(reduced, facts, policy)
        if isinstance(event, JobEvent) and event.route.backend in facts.breakers:
            facts = replace(facts, breakers={**facts.breakers, event.route.backend: "open"})
        out.append(event)
    return out


def _routed(reduced: Reduced, facts: Facts, policy: Policy) -> JobEvent | Proposal:
    decision = decide(reduced, facts, policy)
    looked = {one.backend: one.reason for one in decision.considered}
    if not decision.candidates:
        return Proposal(
            ref=reduced.ref,
            kernel_digest=reduced.kernel_digest,
            route=None,
            attempt=0,
            answer=None,
            failure=Failure("route", "no_backend", decision.message, decision.reason),
            considered=looked,
        )
    first, *others = decision.candidates
    return JobEvent(
        ref=reduced.ref,
        job_id=job_id(reduced.ref, 1),
        attempt=1,
        route=first,
        candidates=others,
        considered=looked,
        weighed=dict(decision.weighed),
        kind=reduced.kind,
        variables=reduced.variables,
        couplings=reduced.couplings,
        kernel=reduced.kernel,
        kernel_digest=reduced.kernel_digest,
        work_seconds=reduced.work_seconds,
        gammas=reduced.gammas,
        betas=reduced.betas,
    )
