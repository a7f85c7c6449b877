"""Route: which target and backend a kernel goes to, by a table of rules; every decision says why.

A problem may name its target; else the first rule that matches decides. A target counts only while a worker
of it shows signs of life and takes the kernel's size.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from qmosaic.codecs.events.hops import Failure, JobEvent, Proposal, Reduced, Route
from qmosaic.codecs.events.reasons import RouteReason, Target
from qmosaic.codecs.models.kernel import Kind

TARGETS: tuple[Target, ...] = ("classical", "gpu", "quantum")


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of the policy: all conditions given must hold. `seconds_left` counts to the deadline."""

    name: str
    target: Target
    backend: str | None = None
    kinds: tuple[Kind, ...] = ("spins", "narrow", "circuit", "clifford", "variational")
    min_qubits: int = 0
    max_qubits: int = 1_000_000
    min_density: float = 0.0
    max_density: float = 1.0
    min_seconds_left: float = 0.0
    max_seconds_left: float = 1e12

    def matches(self, kind: Kind, qubits: int, density: float, seconds_left: float) -> bool:
        """Whether this line is about such a kernel."""
        return (
            kind in self.kinds
            and self.min_qubits <= qubits <= self.max_qubits
            and self.min_density <= density <= self.max_density
            and self.min_seconds_left <= seconds_left <= self.max_seconds_left
        )


DEFAULT_RULES = (
    Rule("circuit", "quantum", kinds=("circuit", "clifford", "variational")),
    Rule("hurry", "classical", max_seconds_left=1.0),
    Rule("small", "quantum", max_qubits=12),
    Rule("medium", "gpu", max_qubits=20),
    Rule("large", "classical"),
)

# Which backend of a target goes first, where the rule does not say.
DEFAULT_PREFERENCE: dict[str, tuple[str, ...]] = {
    "classical": ("exact", "tabu", "annealing", "lanczos", "cirq.clifford"),
    "gpu": ("jax.statevector",),
    "quantum": ("cirq.statevector",),
}

# Alive: target → backend → kind of kernel → the most qubits it takes.
Alive = Mapping[Target, Mapping[str, Mapping[Kind, int]]]


def decide(
    reduced: Reduced,
    *,
    seconds_left: float,
    rules: Sequence[Rule],
    preference: Mapping[str, Sequence[str]],
    alive: Alive,
    paid: Collection[str] = (),
) -> Route | tuple[RouteReason, str]:
    """The route of one kernel, or the reason and a sentence why there is none. A backend that is `paid` takes what a
    rule or a preference names it for, nothing else."""
    kind, qubits = reduced.kind, reduced.variables
    density = 2 * reduced.couplings / (qubits * (qubits - 1)) if qubits > 1 else 0.0

    def pick(target: Target, backend: str | None = None) -> str | None:
        takes = alive.get(target, {})
        others = (name for name in takes if name not in paid)
        order = [backend] if backend else [*preference.get(target, ()), *others]
        return next((name for name in order if qubits <= takes.get(name, {}).get(kind, -1)), None)

    requested = reduced.ref.target
    if requested != "auto":
        found = pick(requested)
        if found:
            return Route(target=requested, backend=found, reason="requested", rule="")
        return "requested_unavailable", f"no live {requested} backend takes {kind} of {qubits} qubits"
    rule = next((rule for rule in rules if rule.matches(kind, qubits, density, max(0.0, seconds_left))), None)
    if rule is not None and (found := pick(rule.target, rule.backend)):
        return Route(target=rule.target, backend=found, reason="rule", rule=rule.name)
    live = alive.get(rule.target, {}) if rule is not None else {}
    there = rule.backend in live if rule is not None and rule.backend else bool(live)
    reason: RouteReason = "too_large" if there else "rule_unavailable"
    for target in TARGETS:
        if found := pick(target):
            return Route(target=target, backend=found, reason=reason, rule=rule.name if rule else "")
    return "no_backend", f"no live backend takes {kind} of {qubits} qubits"


def route(
    batch: Sequence[Reduced],
    *,
    now: float,
    rules: Sequence[Rule],
    preference: Mapping[str, Sequence[str]],
    alive: Alive,
    paid: Collection[str] = (),
) -> list[JobEvent | Proposal]:
    """A job for each kernel, or the proposal that says why there is none. `now`: seconds since the epoch."""
    out: list[JobEvent | Proposal] = []
    for reduced in batch:
        decision = decide(
            reduced,
            seconds_left=reduced.ref.deadline_at - now,
            rules=rules,
            preference=preference,
            alive=alive,
            paid=paid,
        )
        if isinstance(decision, Route):
            out.append(
                JobEvent(
                    ref=reduced.ref,
                    job_id=f"{reduced.ref.partition}-{reduced.ref.offset}-1",
                    attempt=1,
                    route=decision,
                    kernel=reduced.kernel,
                    kernel_digest=reduced.kernel_digest,
                    size=reduced.size,
                    gammas=reduced.gammas,
                    betas=reduced.betas,
                )
            )
        else:
            reason, sentence = decision
            out.append(
                Proposal(
                    ref=reduced.ref,
                    kernel_digest=reduced.kernel_digest,
                    route=None,
                    attempt=0,
                    answer=None,
                    failure=Failure("route", "no_backend", sentence, reason),
                )
            )
    return out
