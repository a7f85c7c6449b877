"""The policy: every decision and its reasons, from the table of rules and what is alive."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest

from qmosaic.backends.solvers.exact import Exact
from qmosaic.codecs.events.evidence import Cell, Learned, Sums
from qmosaic.codecs.events.hops import Reduced, Route
from qmosaic.codecs.events.reasons import CandidateReason, RouteReason
from qmosaic.codecs.models.circuit import Circuit, Operation
from qmosaic.processors.control.alive import Alive
from qmosaic.processors.control.evidence import key_of
from qmosaic.processors.control.facts import Facts
from qmosaic.processors.control.policy import Decision, Policy, Rule, decide
from tests.processors.test_route import ALIVE, reduced


def without(*targets: str, **fewer: dict[str, int]) -> Alive:
    sizes: Any = {target: {name: {"spins": most} for name, most in given.items()} for target, given in fewer.items()}
    return {k: sizes.get(k, v) for k, v in ALIVE.items() if k not in targets}


ONE = (Rule("mine", "quantum", backend="ionq"),)
AUTO = (Rule("what pays", "auto", then=("quantum",)),)
BAD_DEVICE, BAD_SOLVER = (
    Learned(
        cells={key_of("maxcut", "spins", 4, name): Cell(10.0, Sums(100.0, -50.0, 26.0), seconds=Sums(100.0, 1.0, 1.0))}
    )
    for name in ("cirq.statevector", "exact")
)
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
    # left to evidence
    (reduced(4), {"rules": AUTO}, ("classical", "exact", "rule")),
    (reduced(4), {"rules": AUTO, "explore": 1.0, "learned": BAD_SOLVER}, ("quantum", "cirq.statevector", "explored")),
    (reduced(4), {"rules": AUTO, "learned": BAD_DEVICE}, ("classical", "exact", "not_worth_it")),
]
NONE: list[Case] = [
    (reduced(4, target="gpu"), {"alive": without("gpu")}, ("requested_unavailable", "gpu", "4 qubits")),
    (reduced(21, target="gpu"), {}, ("requested_unavailable", "gpu", "21 qubits")),
    (reduced(4), {"alive": {}}, ("no_backend", "no live backend", "4 qubits")),
    (reduced(21), {"alive": without("classical")}, ("no_backend", "no live backend", "21 qubits")),
]


def decision(given: Reduced, changes: dict[str, Any]) -> Decision:
    """With `seconds_left`, `alive`, `learned`, and fields of the policy as they are given."""
    left, alive = changes.get("seconds_left", 20.0), changes.get("alive", ALIVE)
    policy = {key: value for key, value in changes.items() if key not in ("seconds_left", "alive", "learned")}
    learned = changes.get("learned", Learned())
    return decide(given, Facts(given.ref.deadline_at - left, alive, learned=learned), Policy(**policy))


def taken(given: Reduced, changes: dict[str, Any]) -> Route:
    (found,) = decision(given, changes).candidates
    return found


@pytest.mark.parametrize(("given", "changes", "expected"), CASES)
def test_a_route(given: Reduced, changes: dict[str, Any], expected: tuple[str, str, str]) -> None:
    found = taken(given, changes)
    assert (found.target, found.backend, found.reason) == expected


@pytest.mark.parametrize(("given", "changes", "expected"), NONE)
def test_no_route(given: Reduced, changes: dict[str, Any], expected: tuple[str, str, str]) -> None:
    found = decision(given, changes)
    assert (found.candidates, found.reason) == ((), expected[0])
    assert expected[1] in found.message
    assert expected[2] in found.message


def test_a_circuit_goes_where_circuits_are_run() -> None:
    circuit = Circuit(3, 3, (Operation("h", (0,)),))
    given = msgspec.structs.replace(reduced(3), kernel=circuit, kind="circuit")
    assert taken(given, {"seconds_left": 0.5}).backend == "cirq.statevector"
    assert decision(given, {"alive": without("quantum")}).reason == "no_backend"
    assert not Rule("spins only", "gpu", kinds=("spins",)).matches(given, 0.0, 9.0, 0.0)


def test_a_narrow_kernel_goes_to_exact_beyond_its_enumeration() -> None:
    alive: Alive = {
        "classical": {"exact": Exact.capabilities.sizes, "tabu": {"spins": 10_000, "narrow": 10_000}},
        "quantum": {"big": {"spins": 100, "narrow": 100}},
    }
    narrow = msgspec.structs.replace(reduced(60), kind="narrow")
    assert taken(narrow, {"alive": alive}).backend == "exact"
    assert taken(reduced(60), {"alive": alive}).backend == "tabu"
    assert taken(msgspec.structs.replace(narrow, variables=2001), {"alive": alive}).backend == "tabu"
    wanted = msgspec.structs.replace(narrow, ref=reduced(60, target="quantum").ref)
    assert taken(wanted, {"alive": alive}).backend == "big"  # whoever takes any polynomial takes it


def test_every_reason_has_a_case() -> None:
    assert {e[2] for *_, e in CASES} | {e[0] for *_, e in NONE} == set(get_args(RouteReason))


def test_the_rule_is_named() -> None:
    assert taken(reduced(13), {}).rule == "medium"
    assert taken(reduced(4), {"alive": without("quantum")}).rule == "small"
    assert taken(reduced(4, target="gpu"), {}).rule == ""
    assert taken(reduced(4), {"rules": ()}).rule == ""


def test_nobody_pays_who_did_not_say_so() -> None:
    alive: Alive = {"quantum": {"cirq.statevector": {"spins": 16}, "ionq/simulator": {"spins": 29}}}
    rules = (Rule("mine", "quantum"),)

    def backend(kernel: Reduced, **more: Any) -> str | None:
        changes = {"rules": rules, "alive": alive, "paid": ("ionq/simulator",), **more}
        return next((one.backend for one in decision(kernel, changes).candidates), None)

    assert backend(reduced(20)) is None
    assert backend(reduced(20, target="quantum")) is None
    assert backend(reduced(20), rules=(Rule("mine", "quantum", backend="ionq/simulator"),)) == "ionq/simulator"
    assert backend(reduced(4), preference={"quantum": ("ionq/simulator",)}) == "ionq/simulator"


def test_every_backend_that_was_looked_at_has_its_reason() -> None:
    alive: Alive = {
        "classical": {"exact": {"narrow": 9}, "tabu": {"spins": 10_000}, "annealing": {"spins": 8}},
        "quantum": {"ionq/simulator": {"spins": 29}},
    }
    kernel = reduced(20)
    found = decision(kernel, {"rules": (Rule("all", "quantum"),), "alive": alive, "paid": ("ionq/simulator",)})
    assert [(one.backend, one.reason) for one in found.considered] == [
        ("cirq.statevector", "not_alive"),
        ("ionq/simulator", "not_named"),
        ("exact", "wrong_kind"),
        ("tabu", "taken"),
        ("annealing", "too_large"),
        ("lanczos", "not_alive"),
        ("cirq.clifford", "not_alive"),
    ]
    behind = decision(reduced(4), {"rules": (Rule("all", "classical"),)})
    assert [(one.backend, one.reason) for one in behind.considered][:2] == [("exact", "taken"), ("tabu", "behind")]
    shut = decide(kernel, Facts(0.0, alive, {"tabu": "open"}), Policy())
    closed = Facts(0.0, alive, {}, {"tabu": "draining", "annealing": "maintenance"}, grants=False)
    by_order = decide(kernel, closed, Policy())
    paid_rule = (Rule("all", "quantum", backend="ionq/simulator"),)
    unkept = decide(kernel, closed, Policy(paid_rule, paid=("ionq/simulator",)))
    away = decide(kernel, Facts(0.0, alive, conditions={"tabu": "offline", "annealing": "unreachable"}), Policy())
    often = decide(
        reduced(4), Facts(0.0, ALIVE, not_before={name: 1e12 for of in ALIVE.values() for name in of}), Policy()
    )
    told = {one.reason for said in (found, behind, shut, by_order, unkept, away, often) for one in said.considered}
    slow = decide(msgspec.structs.replace(reduced(4), work_seconds=1e9), Facts(0.0, ALIVE), Policy())
    told |= {one.reason for one in slow.considered}
    for _, changes, _ in CASES:
        if "rules" in changes and changes["rules"] is AUTO:
            told |= {one.reason for one in decision(reduced(4), changes).considered}
    assert told == set(get_args(CandidateReason)) - {
        "over_budget",
        "no_price",
        "not_in_rule",
    }  # which `qmosaic plan` looks up
