"""Circuits on every backend that takes them."""

from __future__ import annotations

import numpy as np
import pytest

from qmosaic.backends.base import Backend, Job, Result, run_sync
from qmosaic.backends.circuits import measurement
from qmosaic.backends.circuits.counting import final, is_final
from qmosaic.backends.clifford import tableau
from qmosaic.backends.conformance.circuits import (
    CLIFFORD,
    CircuitKernelConformance,
    distance,
    expected,
    observables,
    random_circuit,
    reference,
    teleportation,
)
from qmosaic.backends.on_cirq import circuit as cirq_circuit
from qmosaic.backends.on_jax import circuit as jax_circuit
from qmosaic.backends.registry import create
from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.models.circuit import Circuit, Operation, PauliSum


class TestCirqStatevector(CircuitKernelConformance):
    def make(self) -> Backend:
        return create("cirq.statevector")


class TestJaxStatevector(CircuitKernelConformance):
    def make(self) -> Backend:
        return create("jax.statevector")


class TestJaxStatevectorInDoublePrecision(CircuitKernelConformance):
    def make(self) -> Backend:
        return create("jax.statevector/complex128")


class TestCirqClifford(CircuitKernelConformance):
    gates = CLIFFORD

    def make(self) -> Backend:
        return create("cirq.clifford")


def measure(qubit: int, bit: int, condition: tuple[tuple[int, ...], int] | None = None) -> Operation:
    return Operation("measure", (qubit,), bits=(bit,), condition=condition)


def dynamic_circuit(seed: int, clifford: bool = False) -> Circuit:
    """Gates, measurements, resets and conditions at random, on 3 qubits and 3 bits."""
    rng = np.random.default_rng(seed)
    gates = CLIFFORD if clifford else ("h", "ry", "u", "cx", "crx", "iswap", "t")
    out: list[Operation] = []
    for operation in random_circuit(3, seed, 25, gates, measured=False).operations:
        kind = rng.integers(8)
        asked = tuple(int(b) for b in rng.permutation(3)[: 1 if clifford else 1 + rng.integers(2)])
        condition = (asked, int(rng.integers(2 ** len(asked)))) if rng.random() < 0.4 else None
        if kind == 0:
            out.append(measure(int(rng.integers(3)), int(rng.integers(3)), None if clifford else condition))
        elif kind == 1:
            out.append(Operation("reset", (int(rng.integers(3)),), condition=None if clifford else condition))
        elif clifford and condition:
            out.append(Operation("xyz"[rng.integers(3)], (int(rng.integers(3)),), condition=condition))
        else:
            out.append(
                Operation(operation.gate, operation.qubits, operation.params, condition=None if clifford else condition)
            )
    return Circuit(3, 3, (*out, measure(0, 0), measure(2, 2)))


@pytest.mark.parametrize("seed", range(8))
def test_branches_agree_with_the_reference(seed: int) -> None:
    circuit = dynamic_circuit(seed)
    rows, shares = jax_circuit.distribution(circuit, lambda: True)
    wanted = {bits: share for bits, share in reference(circuit).items() if share > 1e-7}
    found = {tuple(row): share for row, share in zip(rows.tolist(), shares.tolist(), strict=True)}
    for bits in wanted.keys() | found.keys():
        assert found.get(bits, 0) == pytest.approx(wanted.get(bits, 0), abs=1e-5)


@pytest.mark.parametrize("seed", range(8))
def test_deferred_measurements_agree_with_the_reference(seed: int) -> None:
    circuit = dynamic_circuit(seed)
    backend = create("cirq.statevector")
    if cirq_circuit.deferred(circuit) is None:
        pytest.skip("too many measurements")
    (result,) = run_sync(backend, [backend.prepare(Job(circuit, 4000, seed))])
    assert isinstance(result, Result)
    assert distance(result, circuit) < 5


@pytest.mark.parametrize("seed", range(8))
def test_the_tableau_agrees_with_the_reference(seed: int) -> None:
    circuit = dynamic_circuit(seed, clifford=True)
    found = tableau.outcomes(circuit)
    assert found is not None
    wanted = {bits for bits, share in reference(circuit).items() if share > 1e-9}
    assert len(wanted) == 2 ** len(found.basis)
    drawn = found.sample(200, np.random.default_rng(seed))
    assert {tuple(row) for row in drawn.tolist()} <= wanted


def test_the_tableau_s_expectations() -> None:
    for n in (1, 3, 5):
        circuit = random_circuit(n, n, 40, (*CLIFFORD, "ccx")[: len(CLIFFORD)], measured=False)
        quarter = Operation("rotation", tuple(range(n)), (np.pi / 2,), "XYZXZ"[:n])
        circuit = Circuit(n, 0, (*circuit.operations, quarter), observables(n, n, 30))
        found = tableau.expectations(circuit)
        assert found is not None
        np.testing.assert_allclose(found, expected(circuit), atol=1e-9)


def test_the_tableau_knows_clifford_angles_and_no_others() -> None:
    for gate, params, yes in (
        ("rz", (np.pi / 2,), True),
        ("u", (np.pi / 2, 0.0, np.pi), True),
        ("cp", (np.pi,), True),
        ("crx", (np.pi,), True),
        ("cp", (np.pi / 2,), False),
        ("t", (), False),
        ("rz", (0.1,), False),
        ("ccx", (), False),
    ):
        size = {"c": 2}.get(gate[0], 1) if gate != "ccx" else 3
        circuit = Circuit(3, 0, (Operation(gate, tuple(range(size)), params),))
        assert tableau.is_clifford(circuit) == yes, gate


def test_shot_by_shot_where_nothing_else_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cirq_circuit, "MAX_DEFERRED", 3)
    backend, circuit = create("cirq.statevector"), teleportation()
    (result,) = run_sync(backend, [backend.prepare(Job(circuit, 1000, 3))])
    assert isinstance(result, Result)
    assert distance(result, circuit) < 5
    with pytest.raises(BackendError, match="shot by shot"):
        backend.prepare(Job(circuit, 10**6, 3))


def test_too_many_branches_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax_circuit, "MAX_BRANCHES", 4)
    operations = [op for k in range(4) for op in (Operation("h", (0,)), measure(0, k))]
    backend = create("jax.statevector")
    with pytest.raises(BackendError, match="branches"):
        run_sync(backend, [backend.prepare(Job(Circuit(1, 4, tuple(operations)), 1000, 3))])


def test_which_measurements_can_wait() -> None:
    operations = (measure(0, 0), measure(1, 1), Operation("x", (0,)), Operation("barrier", (0, 1)), measure(0, 2))
    assert final(operations) == {1, 4}
    assert not is_final(Circuit(2, 3, operations))
    assert is_final(Circuit(2, 3, (Operation("reset", (0,)), *operations[1:])))


def test_cliffords_of_many_qubits_agree() -> None:
    # two codes of two authors: the span of what one draws is the basis that the other finds
    circuit = random_circuit(60, 1, 900, CLIFFORD)
    backend = create("cirq.clifford")
    (result,) = run_sync(backend, [backend.prepare(Job(circuit, 500, 1))])
    found = tableau.outcomes(circuit)
    assert found is not None
    assert isinstance(result, Result)
    differences = result.samples ^ found.offset
    assert len(tableau.reduced(np.concatenate([found.basis, differences]))) == len(found.basis)
    assert len(tableau.reduced(differences)) == len(found.basis)


def test_groups_hold_commuting_terms_and_shots_follow_weight() -> None:
    sums = (PauliSum(3, ("ZZI", "IZZ", "XII", "III", "IXX"), (1.0, 2.0, 3.0, 9.0, 0.5)),)
    plan = measurement.plan(sums)
    assert plan.constants.tolist() == [9.0]
    bases = {group.basis: {plan.paulis[k] for k in group.terms} for group in plan.groups}
    assert bases == {"XZZ": {"XII", "IZZ"}, "ZZI": {"ZZI"}, "IXX": {"IXX"}} or len(bases) == 3
    given = measurement.shares(plan, 1000)
    assert sum(given) == 1000
    assert given[0] > given[1] > given[2] >= 1
    with pytest.raises(BackendError, match="need 3 circuits"):
        measurement.shares(plan, 2)
