"""The policy: which target and backend a kernel goes to, by a table of rules; every decision says why.

A problem may name its target; else the first rule that matches decides, or leaves it to evidence (`auto`). A target
counts only while a worker of it shows signs of life and takes the kernel's size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Annotated, Literal, Protocol

import msgspec

from qmosaic.codecs.events.hops import Reduced, Ref, Route, Weighed
from qmosaic.codecs.events.reasons import CandidateReason, RouteReason, Target
from qmosaic.codecs.models.kernel import Kind
from qmosaic.processors.control.facts import Facts
from qmosaic.processors.control.worth import Worth, chance, choose, expected, seconds_of, weigh

TARGETS: tuple[Target, ...] = ("classical", "gpu", "quantum")


MOST_ATTEMPTS = 10
Kinds = Annotated[tuple[Kind, ...], msgspec.Meta(min_length=1)]
Attempts = Annotated[int, msgspec.Meta(ge=1, le=MOST_ATTEMPTS)]
Hour = Annotated[int, msgspec.Meta(ge=0, le=24)]
Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Weight = Annotated[float, msgspec.Meta(gt=0.0, le=1e6)]


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of the policy: all conditions given must hold. `seconds_left` counts to the deadline.

    `hours`: of the day (UTC), from the first up to the second, over midnight where that is the smaller one.
    `families`, `tenants`: empty for all. `then`: targets or backends that have the kernel next where the rule's own
    target fails it, as far as the policy's `attempts` go. Target `auto`: those of `then` and a classical backend have
    it in the order that evidence says.
    """

    name: str
    target: Target | Literal["auto"]
    backend: str | None = None
    kinds: Kinds = ("spins", "narrow", "circuit", "clifford", "variational")
    min_qubits: int = 0
    max_qubits: int = 1_000_000
    min_density: Share = 0.0
    max_density: Share = 1.0
    min_seconds_left: float = 0.0
    max_seconds_left: float = 1e12
    families: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()
    hours: tuple[Hour, Hour] | None = None
    then: tuple[str, ...] = ()

    def matches(self, reduced: Reduced, density: float, seconds_left: float, at: float) -> bool:
        """Whether this line is about such a kernel. `at`: seconds since the epoch."""
        kind, qubits, ref = reduced.kind, reduced.variables, reduced.ref
        return (
            kind in self.kinds
            and (not self.families or ref.family in self.families)
            and (not self.tenants or ref.tenant in self.tenants)
            and self.min_qubits <= qubits <= self.max_qubits
            and self.min_density <= density <= self.max_density
            and self.min_seconds_left <= seconds_left <= self.max_seconds_left
            and (self.hours is None or _within(self.hours, at / 3600 % 24))
        )

    def covers(self, other: Rule) -> bool:
        """Whether this line matches whatever the other one does."""
        return (
            set(other.kinds) <= set(self.kinds)
            and self.min_qubits <= other.min_qubits
            and other.max_qubits <= self.max_qubits
            and self.min_density <= other.min_density
            and other.max_density <= self.max_density
            and self.hours in (None, other.hours)
            and self.min_seconds_left <= other.min_seconds_left
            and other.max_seconds_left <= self.max_seconds_left
            and all(
                not mine or (theirs and set(theirs) <= set(mine))
                for mine, theirs in ((self.families, other.families), (self.tenants, other.tenants))
            )
        )


def _within(hours: tuple[int, int], hour: float) -> bool:
    first, second = hours
    return first <= hour < second if first < second else hour >= first or hour < second


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


class Whose(Protocol):
    """What tells whose problem it is, and of which family."""

    @property
    def tenant(self) -> str: ...

    @property
    def family(self) -> str: ...


class Special(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """For one tenant or family: rules that are asked before all others, how many candidates a kernel may have, what
    share explores, and what gains, seconds and dollars are worth."""

    rules: tuple[Rule, ...] = ()
    attempts: Attempts | None = None
    explore: Share | None = None
    worth: Worth | None = None


class OfTenant(Special, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """For one tenant besides: its share where events wait."""

    weight: Weight | None = None


EXPLORE = 0.05
WEIGHT = 1.0
"""Of a tenant of which nothing is said."""


class Policy(msgspec.Struct, frozen=True):
    """`preference`: by target, which backend goes first where a rule does not say. `paid`: backends that take what a
    rule or a preference names them for, nothing else. `attempts`: the most candidates of a kernel. Where a rule leaves
    it to evidence: `explore`, the share of the kernels and of each budget that may go into finding out what pays, and
    what gains, seconds and dollars are `worth`."""

    rules: tuple[Rule, ...] = DEFAULT_RULES
    preference: Mapping[str, tuple[str, ...]] = msgspec.field(default_factory=lambda: dict(DEFAULT_PREFERENCE))
    paid: tuple[str, ...] = ()
    attempts: int = 1
    tenants: Mapping[str, OfTenant] = {}
    families: Mapping[str, Special] = {}
    version: str = ""
    explore: float = EXPLORE
    worth: Worth = Worth()

    def rules_of(self, ref: Ref) -> Iterator[Rule]:
        """Of a tenant first, then of a family, then of all."""
        for special in (self.tenants.get(ref.tenant), self.families.get(ref.family)):
            yield from special.rules if special is not None else ()
        yield from self.rules

    def attempts_of(self, ref: Ref) -> int:
        """The most candidates of a kernel: the tenant's word, else the family's, else everybody's."""
        for special in (self.tenants.get(ref.tenant), self.families.get(ref.family)):
            if special is not None and special.attempts is not None:
                return special.attempts
        return self.attempts

    def explore_of(self, ref: Ref) -> float:
        """The share that explores, by the same order."""
        for special in (self.tenants.get(ref.tenant), self.families.get(ref.family)):
            if special is not None and special.explore is not None:
                return special.explore
        return self.explore

    def worth_of(self, ref: Whose) -> Worth:
        """What a run is worth, by the same order."""
        for special in (self.tenants.get(ref.tenant), self.families.get(ref.family)):
            if special is not None and special.worth is not None:
                return special.worth
        return self.worth

    def weight_of(self, tenant: str) -> float:
        """Its share where events wait, or that of what it lies in: `a/b` has that of `a` where it has none."""
        while True:
            said = self.tenants.get(tenant)
            if said is not None and said.weight is not None:
                return said.weight
            if "/" not in tenant:
                return WEIGHT
            tenant = tenant.rpartition("/")[0]


def version_of(policy: Policy) -> str:
    """Of what it says: equal policies have equal versions. Which backends are paid for is not for it to say."""
    said = msgspec.json.encode(msgspec.structs.replace(policy, version="", paid=()), order="sorted")
    return sha256(said).hexdigest()[:12]


class Considered(msgspec.Struct, frozen=True):
    """A backend that was looked at, and what was said about it."""

    target: Target
    backend: str
    reason: CandidateReason


class Decision(msgspec.Struct, frozen=True):
    """Where a kernel goes: `candidates`, one after the other; after the last, the incumbent. None: `reason` and
    `message` say why. `considered`: every backend that was looked at; `weighed`: those that evidence decided about, by
    name."""

    candidates: tuple[Route, ...]
    reason: RouteReason
    message: str
    considered: tuple[Considered, ...]
    weighed: Mapping[str, Weighed] = {}


SHUT = frozenset[CandidateReason](
    {"not_alive", "breaker_open", "draining", "maintenance", "no_ledger", "unreachable", "offline"}
)
"""Reasons that say nothing of the kernel: another one would not be taken either."""


def decide(reduced: Reduced, facts: Facts, policy: Policy) -> Decision:
    """The decision about one kernel."""
    wanted = reduced.ref.target
    if wanted != "auto":
        looked = tuple(_looked(wanted, None, reduced, facts, policy))
        none = f"no live {wanted} backend"
        return _decision(looked, "requested", "", "requested_unavailable", none, reduced, facts, policy)
    rule = _rule(reduced, facts, policy)
    looked, there = tuple[Considered, ...](), False
    if rule is not None and rule.target == "auto":
        return _by_evidence(rule, reduced, facts, policy)
    if rule is not None and rule.target != "auto":
        live = facts.alive.get(rule.target, {})
        looked = tuple(_looked(rule.target, rule.backend, reduced, facts, policy))
        there = rule.backend in live if rule.backend else bool(live)
    shut = all(one.reason in SHUT for one in looked)
    reason: RouteReason = "too_large" if there and not shut else "rule_unavailable"
    if any(one.reason == "taken" for one in looked):
        reason = "rule"
    for name in rule.then if rule is not None and policy.attempts_of(reduced.ref) > 1 else ():
        looked += tuple(_next(name, looked, reduced, facts, policy))
    return _whoever(looked, reason, rule, reduced, facts, policy)


def _whoever(
    looked: tuple[Considered, ...],
    reason: RouteReason,
    rule: Rule | None,
    reduced: Reduced,
    facts: Facts,
    policy: Policy,
) -> Decision:
    """Those that take it; where the rule finds none, the first target that does."""
    for target in TARGETS if not any(one.reason in ("taken", "behind") for one in looked) else ():
        if not any(one.reason == "taken" for one in looked):
            looked += tuple(_looked(target, None, reduced, facts, policy))
    name = rule.name if rule else ""
    return _decision(looked, reason, name, "no_backend", "no live backend", reduced, facts, policy)


def _by_evidence(rule: Rule, reduced: Reduced, facts: Facts, policy: Policy) -> Decision:
    """One candidate of each that the rule names, and a classical one, in the order of what they are worth; those of
    which nobody knows have it to find out, or not at all."""
    looked: tuple[Considered, ...] = ()
    arms: dict[str, Considered] = {}
    for name in (*rule.then, "classical"):
        if name == "classical" and name not in rule.then and any(one.target == name for one in arms.values()):
            break
        looked += tuple(_next(name, looked, reduced, facts, policy))
        takes = (one for one in looked if one.reason == "behind" and name in (one.target, one.backend))
        arm = next(takes, None)
        if arm is not None:
            arms[arm.backend] = arm
    if not arms:
        return _whoever(looked, "rule_unavailable", rule, reduced, facts, policy)
    ref, share = reduced.ref, policy.explore_of(reduced.ref)
    given = facts.learned, policy.worth_of(ref), facts.at
    known = {name: weigh(reduced, arm.target, name, *given) for name, arm in arms.items()}
    base = next((name for name, arm in arms.items() if arm.target == "classical"), None)
    found = choose(known, base, chance("explore", ref.digest, ref.seed), share)
    first = dict.fromkeys((found.chosen, *found.pays, *([base] if base else ())))

    def judged(one: Considered) -> Considered:
        reason: CandidateReason = "unproven"
        if one.backend == found.chosen:
            reason = "explored" if found.explores else "taken"
        elif one.backend in first:
            reason = "behind"
        elif one.backend in found.not_worth_it:
            reason = "not_worth_it"
        return msgspec.structs.replace(one, reason=reason)

    considered = tuple(judged(one) if arms.get(one.backend) is one else one for one in looked)
    free = [one for one in looked if one.reason == "behind" and one.backend not in (*arms, *policy.paid)]
    reason: RouteReason = "explored" if found.explores else "rule"
    if found.chosen == base and len(arms) > 1 and len(found.not_worth_it) == len(arms) - 1:
        reason = "not_worth_it"
    takers = [*(arms[name] for name in first), *free]
    chain = [_route(one, reason, rule.name, reduced, facts, policy) for one in takers]
    if found.explores and found.chosen != base:
        chain[0] = msgspec.structs.replace(chain[0], explores=share)
    weighed = {name: one.weighed for name, one in known.items()}
    return Decision(tuple(chain[: policy.attempts_of(ref)]), reason, "", considered, weighed)


def _route(one: Considered, reason: RouteReason, rule: str, reduced: Reduced, facts: Facts, policy: Policy) -> Route:
    known = expected(reduced, one.target, one.backend, facts.learned, facts.at)
    return Route(
        target=one.target, backend=one.backend, reason=reason, rule=rule, policy=policy.version, expected=known
    )


def _next(
    name: str, looked: Sequence[Considered], reduced: Reduced, facts: Facts, policy: Policy
) -> Iterator[Considered]:
    """The backends of a target, or one by its name, that were not looked at yet, behind those that were."""
    of_target = name in TARGETS
    targets = [each for each in TARGETS if (name == each if of_target else name in facts.alive.get(each, {}))]
    known = {(one.target, one.backend) for one in looked}
    for target in targets:
        for one in _looked(target, None if of_target else name, reduced, facts, policy):
            if (one.target, one.backend) not in known:
                yield msgspec.structs.replace(one, reason="behind") if one.reason == "taken" else one


def _rule(reduced: Reduced, facts: Facts, policy: Policy) -> Rule | None:
    """The first line of the policy that is about the kernel."""
    qubits = reduced.variables
    density = 2 * reduced.couplings / (qubits * (qubits - 1)) if qubits > 1 else 0.0
    left = max(0.0, reduced.ref.deadline_at - facts.at)
    return next((rule for rule in policy.rules_of(reduced.ref) if rule.matches(reduced, density, left, facts.at)), None)


def _looked(
    target: Target, backend: str | None, reduced: Reduced, facts: Facts, policy: Policy
) -> Iterator[Considered]:
    """The backends of a target in the order of the preference, or the one that is named: each with its reason."""
    kind, qubits, live = reduced.kind, reduced.variables, facts.alive.get(target, {})
    left = reduced.ref.deadline_at - facts.at
    named = [backend] if backend else policy.preference.get(target, ())
    others = [] if backend else [name for name in live if name not in named]
    taken = False
    for name in dict.fromkeys((*named, *others)):
        reason: CandidateReason
        if name not in live:
            reason = "not_alive"
        elif name in others and name in policy.paid:
            reason = "not_named"
        elif name in facts.closed:
            reason = facts.closed[name]
        elif name in policy.paid and not facts.grants:
            reason = "no_ledger"
        elif (how := facts.conditions.get(name)) is not None and how != "retuning":  # then it waits there
            reason = how
        elif facts.breakers.get(name) == "open":
            reason = "breaker_open"
        elif kind not in live[name]:
            reason = "wrong_kind"
        elif qubits > live[name][kind]:
            reason = "too_large"
        elif (takes := seconds_of(reduced, target, name, facts.learned, facts.at)) > left:
            reason = "too_slow_for_deadline"
        elif facts.not_before.get(name, facts.at) - facts.at + takes > left:
            reason = "rate_limited"
        else:
            reason, taken = ("behind" if taken else "taken"), True
        yield Considered(target, name, reason)


def _decision(
    looked: tuple[Considered, ...],
    reason: RouteReason,
    rule: str,
    none: RouteReason,
    message: str,
    reduced: Reduced,
    facts: Facts,
    policy: Policy,
) -> Decision:
    """`none` and `message`: the reason and the beginning of the sentence where no backend takes it."""
    takers = [one for one in looked if one.reason in ("taken", "behind")]
    takers.sort(key=lambda one: one.reason != "taken")  # the one that was chosen before those looked at earlier
    if takers and takers[0].reason == "behind":  # the rule's own do not take it, and one of those after them does
        first = msgspec.structs.replace(takers[0], reason="taken")
        looked = tuple(first if one is takers[0] else one for one in looked)
    if takers:
        chosen = takers[: policy.attempts_of(reduced.ref)]
        chain = tuple(_route(one, reason, rule, reduced, facts, policy) for one in chosen)
        return Decision(chain, reason, "", looked)
    return Decision((), none, f"{message} takes {reduced.kind} of {reduced.variables} qubits", looked)
