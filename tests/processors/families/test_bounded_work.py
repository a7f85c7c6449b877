"""What is done at the door and in judging is bounded: counted, not timed."""

from __future__ import annotations

from time import monotonic
from typing import Any

import numpy as np
import pytest

from qmosaic.codecs.errors import Rejected
from qmosaic.codecs.events.hops import Answer
from qmosaic.codecs.events.public import Problem
from qmosaic.codecs.models.bundle import array
from qmosaic.codecs.models.paulis import PauliOperator
from qmosaic.processors.families.base import Limits, Task
from qmosaic.processors.families.molecule import family, hamiltonian, symmetries
from qmosaic.processors.families.molecule.hamiltonian import WORK, Hamiltonian, work
from qmosaic.processors.families.portfolio import risk
from qmosaic.processors.families.registry import FAMILIES, known
from qmosaic.processors.families.routing import tours


def parsed(name: str, payload: dict[str, Any]) -> Any:
    return known(name).parse(Problem(family=name, problem=payload), Limits())


def random_hamiltonian(qubits: int, terms: int, seed: int = 1) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    words = ["".join(rng.choice(list("IXYZ"), qubits)) for _ in range(terms)]
    return {"hamiltonian": [[word, float(value)] for word, value in zip(words, rng.random(terms), strict=True)]}


# --- molecules ------------------------------------------------------------------------------------------------------


@pytest.fixture
def no_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> Any:
        raise AssertionError("a matrix outside of reduce")

    monkeypatch.setattr(PauliOperator, "matrix", refused)
    for module in (symmetries, hamiltonian):
        monkeypatch.setattr(module, "lowest", refused)


@pytest.mark.usefixtures("no_matrix")
@pytest.mark.parametrize(("qubits", "terms"), [(14, 1000), (12, 3000), (13, 500), (11, 200)])
def test_a_large_hamiltonian_is_encoded_and_judged_without_a_matrix(qubits: int, terms: int) -> None:
    instance = parsed("molecule", random_hamiltonian(qubits, terms))
    model = instance.encode()
    assert sum(len(each.data) for each in model.arrays.values()) < 40 * terms
    found = instance.evaluate(instance.quick())
    assert found.feasible
    assert "exact" not in found.details
    assert work(instance.hamiltonian.operator, 1 << qubits) <= WORK


def test_reduce_tells_verify_the_ground_state_of_a_large_one() -> None:
    instance = parsed("molecule", random_hamiltonian(11, 20))
    assert not instance.hamiltonian.small
    (found,) = FAMILIES["molecule"].reduce([Task(instance.encode(), 1, 2.0, clock=monotonic)])
    judged = instance.evaluate(instance.solution(found.state), found.state)
    assert judged.details["exact_by"] == "reduce"
    assert judged.details["exact"] == pytest.approx(instance.hamiltonian.ground[0], abs=1e-8)
    least = Answer(circuit=None, values=[judged.details["exact"]], errors=[0.0])
    solution = instance.answered(found.state, found.lift, least)
    assert instance.evaluate(solution, found.state).feasible
    below = {**solution, "energy": solution["energy"] - 0.01}
    assert not instance.evaluate(below, found.state).feasible
    # without a state that has it, an energy is only believed where the solution's own state has it
    assert not instance.evaluate(solution, None).feasible
    assert array(found.state, "ground").shape == (2, 2048)


def test_a_matrix_too_large_for_reduce_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hamiltonian, "HEAVY", 1000)
    monkeypatch.setattr(Hamiltonian, "matrix", property(lambda _: pytest.fail("a matrix")))
    instance = parsed("molecule", random_hamiltonian(11, 50))
    (found,) = FAMILIES["molecule"].reduce([Task(instance.encode(), 1, 2.0, clock=monotonic)])
    assert found.kernel is not None
    energy = float(found.lift.values["energy"])
    answered = instance.answered(found.state, found.lift, Answer(circuit=None, values=[energy], errors=[0.0]))
    assert instance.evaluate(answered, found.state).objective == pytest.approx(energy)


@pytest.mark.parametrize(
    ("payload", "sentence"),
    [
        ({"hamiltonian": [["Z", 1.0]] * 70_000}, "70000 terms"),
        (random_hamiltonian(14, 5000), "distinct flips"),
        (
            {"hamiltonian": [[f"{k:014b}".translate({48: "I", 49: "X"})[:10] + w, 1.0] for k in range(0, 16384, 16)
                             for w in ("IIII", "IIIZ", "IIZI", "IZII", "ZIII")]},
            "additions for an energy",
        ),
    ],
)  # fmt: skip
def test_a_hamiltonian_that_takes_too_long_is_too_large(payload: dict[str, Any], sentence: str) -> None:
    found = parsed("molecule", payload)
    assert isinstance(found, Rejected)
    assert found.code == "too_large"
    assert sentence in found.message


def test_expectations_of_both_ways_agree() -> None:
    """A string at a time where there are few of one flip, a transform where there are many."""
    rng = np.random.default_rng(3)
    n = 6
    operator = PauliOperator.of(n, np.repeat([0, 5, 9], 64), np.tile(np.arange(64), 3), rng.normal(size=192))
    states = np.arange(64)
    psi = rng.normal(size=64) + 1j * rng.normal(size=64)
    whole = Hamiltonian(operator, None, 0)
    dense = operator.matrix(states).toarray()
    assert whole.expectation(states, psi) == pytest.approx(float(np.vdot(psi, dense @ psi).real))
    assert operator.diagonal() == pytest.approx(dense.diagonal().real)
    some = np.array([3, 6, 60])
    assert whole.expectation(some, psi[:3]) == pytest.approx(
        float(np.vdot(psi[:3], dense[np.ix_(some, some)] @ psi[:3]).real)
    )


def test_states_are_prepared_in_bounded_work() -> None:
    instance = parsed("molecule", random_hamiltonian(14, 10))
    solution = instance.quick()
    rotations = [["".join("X" if k == i % 14 else "I" for k in range(14)), 0.1] for i in range(5000)]
    with pytest.raises(ValueError, match="too many rotations"):
        instance.evaluate({**solution, "rotations": rotations})


def test_a_geometry_with_many_functions_is_judged_by_what_reduce_made(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyscf")
    from qmosaic.processors.families.molecule import atoms

    payload = {"geometry": "H 0 0 0; H 0 0 0.735", "basis": "6-31g", "active_orbitals": 2}
    own = parsed("molecule", payload)
    monkeypatch.setattr(atoms, "OWN_FUNCTIONS", 3)
    instance = parsed("molecule", payload)
    assert instance.quick() is None
    (found,) = FAMILIES["molecule"].reduce([Task(instance.encode(), 1, 5.0, clock=monotonic)])
    monkeypatch.setattr(family.MoleculeInstance, "hamiltonian", property(lambda _: pytest.fail("built in verify")))
    judged = instance.evaluate(instance.solution(found.state), found.state)
    assert judged.feasible
    assert "reduce" in judged.details["checked_against"]
    monkeypatch.undo()
    assert judged.objective == pytest.approx(own.evaluate(own.quick()).objective, abs=1e-9)


# --- the others -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fleet",
    [
        {"demands": [0] * 300, "capacity": 1},
        {"demands": [0] + [1e-9] * 299, "capacity": 1},
        {"demands": [0] + [1] * 299, "capacity": 150, "vehicles": 3},
    ],
)
def test_a_split_without_need_does_not_count_vehicles(fleet: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tours, "SPLITS", 0)  # nothing left for the split that does
    monkeypatch.setattr(tours, "_packed", lambda *_: pytest.fail("packed"))
    points = np.random.default_rng(0).random((300, 2)).tolist()
    instance = parsed("route", {"coordinates": points, **fleet})
    assert instance.evaluate(instance.quick()).feasible


def test_a_split_with_few_vehicles_is_the_best() -> None:
    """Nine customers on a line, two vehicles for five each: told apart by how many routes there are."""
    line = np.abs(np.subtract.outer(np.arange(10.0), np.arange(10.0)))
    demands = np.array([0.0] + [1.0] * 9)
    found = tours._split(line, demands, 5.0, 2, 0, list(range(1, 10)))
    assert found is not None
    assert [len(each) for each in found] in ([4, 5], [5, 4])


def test_the_risk_of_many_assets_takes_no_eigenvalues(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np.linalg, "eigh", lambda _: pytest.fail("eigenvalues"))
    k = risk.ROOTED + 1
    found = risk.simulated(np.zeros(k), np.eye(k), np.full(k, 1 / k), np.arange(k), 1, 2000)
    assert found["var_95"] == pytest.approx(1.645 / k**0.5, rel=0.1)


@pytest.mark.parametrize("n", [513, 800])
def test_optimal_weights_of_very_many_assets_are_too_large(n: int) -> None:
    prices = (np.random.default_rng(0).random((4, n)) + 1).tolist()
    found = parsed("portfolio", {"prices": prices, "weights": "optimal", "bounds": [0, 1]})
    assert isinstance(found, Rejected)
    assert found.code == "too_large"
    assert not isinstance(parsed("portfolio", {"prices": prices, "weights": "optimal"}), Rejected)


LIGHT = [
    ("maxcut", {"edges": [[0, 1]]}, True),
    ("maxcut", {"edges": [[0, 1]] * 2001}, False),
    ("maxcut", {"edges": [], "nodes": 2001}, False),
    ("qubo", {"terms": [], "variables": [str(k) for k in range(3000)]}, False),
    ("ising", {"h": {str(k): 1 for k in range(3000)}}, False),
    ("ising", {"h": [1] * 100}, True),
    ("labs", {"n": 20}, True),
    ("labs", {"n": 100}, False),
    ("labs", {"n": 10**5000}, True),
    ("route", {"coordinates": [[0, 0]] * 50}, True),
    ("route", {"coordinates": [[0, 0]] * 500}, False),
    ("route", {"matrix": [[0] * 10_000] * 2}, False),
    ("portfolio", {"returns": [1] * 20, "covariance": [[1] * 20] * 20}, True),
    ("portfolio", {"returns": [1] * 20, "exclude": [1] * 150_000}, False),
    ("portfolio", {"prices": [[1] * 100] * 100}, False),
    ("portfolio", {"prices": [[1] * 100] * 3, "weights": "optimal"}, False),
    ("molecule", {"hamiltonian": [["ZZ", 1]]}, True),
    ("molecule", random_hamiltonian(14, 100), False),
    ("molecule", random_hamiltonian(4, 1000), False),
    ("molecule", {"integrals": {"orbitals": 2, "one": [], "two": []}, "electrons": 2}, True),
    ("molecule", {"integrals": {"orbitals": 20}, "electrons": 2}, False),
    ("molecule", {"geometry": "H 0 0 0; H 0 0 1"}, False),
]


@pytest.mark.parametrize(("name", "payload", "light"), LIGHT, ids=[f"{name}-{k}" for k, (name, *_) in enumerate(LIGHT)])
def test_what_is_light(name: str, payload: dict[str, Any], light: bool) -> None:
    assert known(name).light(Problem(family=name, problem=payload)) is light
