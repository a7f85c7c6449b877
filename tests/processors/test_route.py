"""Route: every decision and its reason, from the table of rules and what is alive."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest

from qmosaic.backends.solvers.exact import Exact
from qmosaic.codecs.events.hops import Proposal, Reduced, Ref, Route
from qmosaic.codecs.events.reasons import RouteReason
from qmosaic.codecs.models.circuit import Circuit, Operation
from qmosaic.codecs.models.polynomial import SpinPolynomial, pack_polynomial
from qmosaic.processors.route import DEFAULT_PREFERENCE, DEFAULT_RULES, Alive, Rule, decide, route

ALIVE: Alive = {
    "classical": {"exact": {"spins": 20}, "tabu": {"spins": 10_000}},
    "gpu": {"jax.statevector": {"spins": 20}},
    "quantum": {"cirq.statevector": {"spins": 16, "circuit": 16}},
}


def reduced(n: int, *, target: Any = "auto", couplings: int | None = None, offset: int = 0) -> Reduced:
    kernel = SpinPolynomial.of(n, rows=range(n - 1), cols=range(1, n), J=[1.0] * (n - 1))
    ref = Ref(
        problem_id="p",
        partition=2,
        offset=offset,
        family="maxcut",
        digest="d",
        tenant="t",
        priority="normal",
        target=target,
        shots=1,
        seed=1,
        received_at=0.0,
        deadline_at=30.0,
    )
    return Reduced(
        ref=ref,
        kernel=pack_polynomial(kernel),
        kernel_digest=kernel.digest,
        kind="spins",
        size=n,
        variables=n,
        couplings=n - 1 if couplings is None else couplings,
        gammas=[0.1],
        betas=[0.2],
    )


def without(*targets: str, **fewer: dict[str, int]) -> Alive:
    sizes: Any = {target: {name: {"spins": most} for name, most in given.items()} for target, given in fewer.items()}
    return {k: sizes.get(k, v) for k, v in ALIVE.items() if k not in targets}


ONE = (Rule("mine", "quantum", backend="ionq"),)
Case = tuple[Reduced, dict[str, Any], tuple[str, str, str]]
CASES: list[Case] = [
    # the producer's wish
    (reduced(4, target="gpu"), {}, ("gpu", "jax.statevector", "requested")),
    (reduced(4, target="classical"), {}, ("classical", "exact", "requested")),
    (reduced(25, target="classical"), {}, ("classical", "tabu", "requested")),
    # the table
    (reduced(4), {"seconds_left": 1.0}, ("classical", "exact", "rule")),
    (reduced(4), {"seconds_left": 0.0}, ("classical", "exact", "rule")),
    (reduced(4), {"seconds_left": -3.0}, ("classical", "exact", "rule")),
    (reduced(4), {"seconds_left": 1.1}, ("quantum", "cirq.statevector", "rule")),
    (reduced(12), {}, ("quantum", "cirq.statevector", "rule")),
    (reduced(13), {}, ("gpu", "jax.statevector", "rule")),
    (reduced(20), {}, ("gpu", "jax.statevector", "rule")),
    (reduced(21), {}, ("classical", "tabu", "rule")),
    (reduced(1), {}, ("quantum", "cirq.statevector", "rule")),
    (reduced(5, couplings=10), {"rules": (Rule("dense", "gpu", min_density=0.9),)}, ("gpu", "jax.statevector", "rule")),
    # a rule that names its backend, and one that prefers nobody
    (reduced(4), {"rules": (Rule("mine", "classical", backend="tabu"),)}, ("classical", "tabu", "rule")),
    (reduced(4), {"preference": {}}, ("quantum", "cirq.statevector", "rule")),
    # the wanted one is not there
    (reduced(4), {"alive": without("quantum")}, ("classical", "exact", "rule_unavailable")),
    (reduced(4), {"alive": without("quantum", quantum={})}, ("classical", "exact", "rule_unavailable")),
    (reduced(4), {"alive": without("quantum", "classical")}, ("gpu", "jax.statevector", "rule_unavailable")),
    (reduced(4), {"rules": ()}, ("classical", "exact", "rule_unavailable")),
    (reduced(4), {"rules": ONE}, ("classical", "exact", "rule_unavailable")),
    # the wanted one takes less
    (reduced(12), {"alive": without(quantum={"cirq.statevector": 8})}, ("classical", "exact", "too_large")),
    (reduced(18), {"rules": (Rule("all", "quantum"),)}, ("classical", "exact", "too_large")),
    (reduced(9), {"rules": ONE, "alive": without(quantum={"ionq": 8, "x": 99})}, ("classical", "exact", "too_large")),
]
NONE: list[Case] = [
    (reduced(4, target="gpu"), {"alive": without("gpu")}, ("requested_unavailable", "gpu", "4 qubits")),
    (reduced(21, target="gpu"), {}, ("requested_unavailable", "gpu", "21 qubits")),
    (reduced(4), {"alive": {}}, ("no_backend", "no live backend", "4 qubits")),
    (reduced(21), {"alive": without("classical")}, ("no_backend", "no live backend", "21 qubits")),
]


def decision(given: Reduced, changes: dict[str, Any]) -> Any:
    defaults: dict[str, Any] = {
        "seconds_left": 20.0,
        "rules": DEFAULT_RULES,
        "preference": DEFAULT_PREFERENCE,
        "alive": ALIVE,
    }
    return decide(given, **(defaults | changes))


@pytest.mark.parametrize(("given", "changes", "expected"), CASES)
def test_a_route(given: Reduced, changes: dict[str, Any], expected: tuple[str, str, str]) -> None:
    found = decision(given, changes)
    assert (found.target, found.backend, found.reason) == expected


@pytest.mark.parametrize(("given", "changes", "expected"), NONE)
def test_no_route(given: Reduced, changes: dict[str, Any], expected: tuple[str, str, str]) -> None:
    reason, sentence = decision(given, changes)
    assert reason == expected[0]
    assert expected[1] in sentence
    assert expected[2] in sentence


def test_a_circuit_goes_where_circuits_are_run() -> None:
    circuit = Circuit(3, 3, (Operation("h", (0,)),))
    given = msgspec.structs.replace(reduced(3), kernel=circuit, kind="circuit")
    assert decision(given, {"seconds_left": 0.5}).backend == "cirq.statevector"
    assert decision(given, {"alive": without("quantum")})[0] == "no_backend"
    assert not Rule("spins only", "gpu", kinds=("spins",)).matches("circuit", 3, 0.0, 9.0)


def test_a_narrow_kernel_goes_to_exact_beyond_its_enumeration() -> None:
    alive: Alive = {
        "classical": {"exact": Exact.capabilities.sizes, "tabu": {"spins": 10_000, "narrow": 10_000}},
        "quantum": {"big": {"spins": 100, "narrow": 100}},
    }
    narrow = msgspec.structs.replace(reduced(60), kind="narrow")
    assert decision(narrow, {"alive": alive}).backend == "exact"
    assert decision(reduced(60), {"alive": alive}).backend == "tabu"
    assert decision(msgspec.structs.replace(narrow, variables=2001), {"alive": alive}).backend == "tabu"
    wanted = msgspec.structs.replace(narrow, ref=reduced(60, target="quantum").ref)
    assert decision(wanted, {"alive": alive}).backend == "big"  # whoever takes any polynomial takes it


def test_every_reason_has_a_case() -> None:
    assert {e[2] for *_, e in CASES} | {e[0] for *_, e in NONE} == set(get_args(RouteReason))


def test_the_rule_is_named() -> None:
    assert decision(reduced(13), {}).rule == "medium"
    assert decision(reduced(4), {"alive": without("quantum")}).rule == "small"
    assert decision(reduced(4, target="gpu"), {}).rule == ""
    assert decision(reduced(4), {"rules": ()}).rule == ""


def test_a_batch_keeps_its_order_and_says_what_has_no_backend() -> None:
    batch = [reduced(4, offset=5), reduced(30, target="gpu", offset=6), reduced(13, offset=7)]
    out = route(batch, now=10.0, rules=DEFAULT_RULES, preference=DEFAULT_PREFERENCE, alive=ALIVE)
    assert [event.ref.offset for event in out] == [5, 6, 7]
    job, failed, last = out
    assert not isinstance(job, Proposal)
    assert not isinstance(last, Proposal)
    assert (job.job_id, last.job_id) == ("2-5-1", "2-7-1")
    assert (job.attempt, job.kernel, job.kernel_digest) == (1, batch[0].kernel, batch[0].kernel_digest)
    assert (job.gammas, job.betas) == ([0.1], [0.2])
    assert isinstance(failed, Proposal)
    assert (failed.answer, failed.route, failed.kernel_digest) == (None, None, batch[1].kernel_digest)
    assert failed.failure is not None
    assert (failed.failure.stage, failed.failure.reason) == ("route", "no_backend")
    assert failed.failure.route_reason == "requested_unavailable"


def test_the_time_left_counts_to_the_deadline() -> None:
    (early,) = route([reduced(4)], now=28.9, rules=DEFAULT_RULES, preference=DEFAULT_PREFERENCE, alive=ALIVE)
    (late,) = route([reduced(4)], now=29.1, rules=DEFAULT_RULES, preference=DEFAULT_PREFERENCE, alive=ALIVE)
    assert [getattr(event, "route", None) and event.route.rule for event in (early, late)] == ["small", "hurry"]  # type: ignore[union-attr]


def test_nobody_pays_who_did_not_say_so() -> None:
    alive: Alive = {"quantum": {"cirq.statevector": {"spins": 16}, "ionq/simulator": {"spins": 29}}}
    rules = (Rule("mine", "quantum"),)

    def backend(kernel: Reduced, **more: Any) -> str | None:
        options = {
            "rules": rules,
            "preference": DEFAULT_PREFERENCE,
            "alive": alive,
            "paid": ("ionq/simulator",),
            **more,
        }
        decision = decide(kernel, seconds_left=10.0, **options)
        return decision.backend if isinstance(decision, Route) else None

    assert backend(reduced(20)) is None
    assert backend(reduced(20, target="quantum")) is None
    assert backend(reduced(20), rules=(Rule("mine", "quantum", backend="ionq/simulator"),)) == "ionq/simulator"
    assert backend(reduced(4), preference={"quantum": ("ionq/simulator",)}) == "ionq/simulator"
