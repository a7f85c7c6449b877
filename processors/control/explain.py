"""Decisions in words: the same in `qmosaic plan`, in `qmosaic explain`, in audits and in the documentation."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from qmosaic.codecs.events.hops import Reduced, Weighed
from qmosaic.codecs.events.reasons import CandidateReason, Condition, RouteReason, Target
from qmosaic.processors.control.facts import Facts
from qmosaic.processors.control.policy import Considered, Decision, Policy, decide

CANDIDATE: Mapping[CandidateReason, str] = {
    "taken": "it gets the kernel",
    "behind": "it has it next",
    "not_alive": "no worker that runs it was heard of lately",
    "not_named": "it is paid for, and neither a rule nor a preference names it",
    "not_in_rule": "the rule that decides names others",
    "wrong_kind": "it does not run kernels of this kind",
    "too_large": "the kernel is over what it takes",
    "too_slow_for_deadline": "it would not be done by the deadline",
    "unreachable": "there is no way through the network to its vendor",
    "offline": "its vendor says that it runs nothing",
    "rate_limited": "its vendor takes so many jobs in a time, and the next turn is too late for the deadline",
    "draining": "an operator ordered that it gets no more jobs",
    "maintenance": "an operator announced a time without it",
    "no_ledger": "it is paid for, and nobody keeps the ledger",
    "over_budget": "a budget has too little left for it",
    "no_price": "a budget counts what it takes, and nobody knows that",
    "breaker_open": "too many of its last attempts failed",
    "explored": "it gets the kernel, to find out whether it pays",
    "unproven": "nobody knows yet whether it pays, and a share of the kernels finds out",
    "not_worth_it": "by the evidence it does not pay",
}
"""What a reason means, in a sentence."""
CONDITION: Mapping[Condition, str] = {
    "retuning": "its vendor is retuning it: jobs wait there until it is ready again",
    "offline": "its vendor says that it runs nothing: no jobs go to it",
    "unreachable": "there is no way through the network to its vendor: no jobs go to it, its breaker counts nothing",
}
"""How a backend is that is not as it should be, in a sentence."""
CHANGE: Mapping[CandidateReason, str] = {
    "behind": "a rule or a preference that names it first",
    "not_alive": "a worker that runs it",
    "not_named": "a rule, its `then` or a preference that names it",
    "not_in_rule": "a rule that names it, or its target",
    "wrong_kind": "nothing: choose another backend",
    "too_large": "a smaller kernel (reduce.max_kernel_qubits), or a larger backend",
    "too_slow_for_deadline": "a later deadline",
    "unreachable": "the network: it is looked at again by itself",
    "offline": "its vendor: it is looked at again by itself",
    "rate_limited": "a later deadline, or a vendor who takes more (`paid.rates`)",
    "draining": "`qmosaic backends enable`",
    "maintenance": "its end, or `qmosaic backends enable`",
    "no_ledger": "a control service that runs",
    "over_budget": "a higher budget, fewer shots, or the next window",
    "no_price": "a price that is set",
    "breaker_open": "time: it is tried again by itself",
    "explored": "evidence that it pays, or that it does not",
    "unproven": "more evidence, or a higher `explore`",
    "not_worth_it": "gains, or another `worth`; evidence of the past fades",
}
"""What would make another decision of it."""
ROUTE: Mapping[RouteReason, str] = {
    "requested": "the problem names its target",
    "requested_unavailable": "the problem names its target, and no live worker of it takes the kernel",
    "rule": "the rule matched, and its target takes the kernel",
    "explored": "the rule leaves it to evidence, and it went there to find out whether that pays",
    "not_worth_it": "the rule leaves it to evidence, and by that nothing but a classical backend pays",
    "rule_unavailable": "no rule matched, or what the rule names is not to be had: the next that is",
    "too_large": "the kernel is over what the rule's target takes: the next that takes it",
    "no_backend": "no live worker takes the kernel",
}
"""Why it went there, in a sentence."""


class Line(NamedTuple):
    """A backend that was looked at: why it was taken or not, in a word and a sentence, and what would change that."""

    target: str
    backend: str
    reason: CandidateReason
    means: str
    change: str


def lines_of(considered: Sequence[Considered], live: Mapping[Target, Collection[str]] | None = None) -> list[Line]:
    """One a backend, in the order in which they were looked at; of one that was looked at twice the last word. `live`:
    of the others that are alive, too."""
    last = {(one.target, one.backend): one for one in considered}
    for target, names in (live or {}).items():
        for name in names:
            last.setdefault((target, name), Considered(target, name, "not_in_rule"))
    return [
        Line(one.target, one.backend, one.reason, CANDIDATE[one.reason], CHANGE.get(one.reason, ""))
        for one in last.values()
    ]


def weighed_text(one: Weighed) -> str:
    """For people: `gains 2.9 % (1.8 to 4.0 %) by 14.2 runs, takes 0.2 s: worth 2.9, 3.9 at best`."""
    if one.n < MEASURED:
        return f"nothing is known of it: worth {one.value:.3g}, {one.upper:.3g} at best"
    n = runs_text(one.n)
    runs = f"{n} run" if n == "1" else f"{n} runs"
    gains = f"gains {100 * one.gain:.2g} % ({100 * one.low:.2g} to {100 * one.high:.2g} %) by {runs}"
    costs = f" and ${one.cost_usd:.4g}" if one.cost_usd else ""
    return f"{gains}, takes {one.seconds:.3g} s{costs}: worth {one.value:.3g}, {one.upper:.3g} at best"


def runs_text(n: float) -> str:
    """How many runs there were, where each counts by its age: `1`, `14.2`, `1,200`."""
    return f"{n:,.0f}" if n >= 100 or abs(n - round(n)) < MEASURED else f"{n:.1f}"


MEASURED = 0.05
"""Runs from which on something is known: fewer are one long ago."""


def turning_points(reduced: Reduced, facts: Facts, policy: Policy) -> Iterator[str]:
    """What else would be decided if something about the problem were different: the nearest such changes."""
    now = _first(decide(reduced, facts, policy))
    told = {now}
    for left in _limits(policy, reduced, "seconds_left"):
        at = reduced.ref.deadline_at - left
        other = _first(decide(reduced, dataclasses.replace(facts, at=at), policy))
        if other not in told:
            told.add(other)
            yield f"with {left:g} s left to the deadline: {other}"
    told = {now}
    for qubits in _limits(policy, reduced, "qubits"):
        other = _first(decide(replace(reduced, variables=int(qubits)), facts, policy))
        if other not in told:
            told.add(other)
            yield f"with a kernel of {qubits:g} qubits: {other}"


def _first(decision: Decision) -> str:
    if not decision.candidates:
        return "nobody takes it"
    first = decision.candidates[0]
    return f"{first.backend} ({first.rule or first.reason})"


def _limits(policy: Policy, reduced: Reduced, what: str) -> list[float]:
    """Just beyond each bound of the rules that are about the problem's tenant and family."""
    found: set[float] = set()
    for rule in policy.rules_of(reduced.ref):
        least, most = getattr(rule, f"min_{what}"), getattr(rule, f"max_{what}")
        step = 1.0 if what == "qubits" else 0.5
        found |= {least - step, least, most, most + step} if most < 1_000_000 else {least - step, least}
    return sorted(one for one in found if 0 < one < 1e9)
