"""The policy: which target and backend a kernel goes to, by a table of rules; every decision says why.

A problem may name its target; else the first rule that matches decides. A target counts only while a worker of it
shows signs of life and takes the kernel's size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from qmosaic.codecs.events.hops import Reduced, Route
from qmosaic.codecs.events.reasons import CandidateReason, RouteReason, Target
from qmosaic.codecs.models.kernel import Kind
from qmosaic.processors.control.facts import Facts

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


class Policy(msgspec.Struct, frozen=True):
    """`preference`: by target, which backend goes first where a rule does not say. `paid`: backends that take what a
    rule or a preference names them for, nothing else."""

    rules: tuple[Rule, ...] = DEFAULT_RULES
    preference: Mapping[str, tuple[str, ...]] = msgspec.field(default_factory=lambda: dict(DEFAULT_PREFERENCE))
    paid: tuple[str, ...] = ()


class Considered(msgspec.Struct, frozen=True):
    """A backend that was looked at, and what was said about it."""

    target: Target
    backend: str
    reason: CandidateReason


class Decision(msgspec.Struct, frozen=True):
    """Where a kernel goes: `candidates`, one after the other; after the last, the incumbent. None: `reason` and
    `message` say why. `considered`: every backend that was looked at."""

    candidates: tuple[Route, ...]
    reason: RouteReason
    message: str
    considered: tuple[Considered, ...]


def decide(reduced: Reduced, facts: Facts, policy: Policy) -> Decision:
    """The decision about one kernel."""
    kind, qubits, wanted = reduced.kind, reduced.variables, reduced.ref.target
    if wanted != "auto":
        looked = tuple(_looked(wanted, None, kind, qubits, facts, policy))
        return _decision(looked, "requested", "", "requested_unavailable", f"no live {wanted} backend", reduced)
    rule = _rule(reduced, facts, policy)
    looked = tuple(_looked(rule.target, rule.backend, kind, qubits, facts, policy)) if rule is not None else ()
    if rule is not None and any(one.reason == "taken" for one in looked):
        return _decision(looked, "rule", rule.name, "no_backend", "", reduced)
    live = facts.alive.get(rule.target, {}) if rule is not None else {}
    there = rule.backend in live if rule is not None and rule.backend else bool(live)
    reason: RouteReason = "too_large" if there else "rule_unavailable"
    for target in TARGETS:
        if not any(one.reason == "taken" for one in looked):
            looked += tuple(_looked(target, None, kind, qubits, facts, policy))
    return _decision(looked, reason, rule.name if rule else "", "no_backend", "no live backend", reduced)


def _rule(reduced: Reduced, facts: Facts, policy: Policy) -> Rule | None:
    """The first line of the policy that is about the kernel."""
    qubits = reduced.variables
    density = 2 * reduced.couplings / (qubits * (qubits - 1)) if qubits > 1 else 0.0
    left = max(0.0, reduced.ref.deadline_at - facts.at)
    return next((rule for rule in policy.rules if rule.matches(reduced.kind, qubits, density, left)), None)


def _looked(
    target: Target, backend: str | None, kind: Kind, qubits: int, facts: Facts, policy: Policy
) -> Iterator[Considered]:
    """The backends of a target in the order of the preference, or the one that is named: each with its reason."""
    live = facts.alive.get(target, {})
    named = [backend] if backend else policy.preference.get(target, ())
    others = [] if backend else [name for name in live if name not in named]
    taken = False
    for name in dict.fromkeys((*named, *others)):
        reason: CandidateReason
        if name not in live:
            reason = "not_alive"
        elif name in others and name in policy.paid:
            reason = "not_named"
        elif kind not in live[name]:
            reason = "wrong_kind"
        elif qubits > live[name][kind]:
            reason = "too_large"
        else:
            reason, taken = ("behind" if taken else "taken"), True
        yield Considered(target, name, reason)


def _decision(
    looked: tuple[Considered, ...], reason: RouteReason, rule: str, none: RouteReason, message: str, reduced: Reduced
) -> Decision:
    """`none` and `message`: the reason and the beginning of the sentence where no backend takes it."""
    for one in looked:
        if one.reason == "taken":
            route = Route(target=one.target, backend=one.backend, reason=reason, rule=rule)
            return Decision((route,), reason, "", looked)
    return Decision((), none, f"{message} takes {reduced.kind} of {reduced.variables} qubits", looked)
