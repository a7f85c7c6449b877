"""`stim` passes the suite, agrees with the project's own tableau, and takes thousands of qubits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("stim")

from qmosaic.backends.base import Backend, Expectations, Job, Result, run_sync
from qmosaic.backends.clifford import on_stim, tableau
from qmosaic.backends.conformance.circuits import (
    CLIFFORD,
    CircuitKernelConformance,
    distance,
    observables,
    random_circuit,
)
from qmosaic.backends.conformance.samples import refusal
from qmosaic.backends.registry import create
from qmosaic.codecs.models.circuit import Circuit, Operation, PauliSum
from tests.backends.circuits.test_circuits import dynamic_circuit


class TestStim(CircuitKernelConformance):
    gates = CLIFFORD

    def make(self) -> Backend:
        return create("stim")


def counted(circuit: Circuit, shots: int, seed: int = 1) -> Result:
    backend = create("stim")
    (result,) = run_sync(backend, [backend.prepare(Job(circuit, shots, seed))])
    assert isinstance(result, Result)
    return result


@pytest.mark.parametrize("seed", range(8))
def test_feedback_agrees_with_the_reference(seed: int) -> None:
    circuit = dynamic_circuit(seed, clifford=True)
    assert on_stim.translated(circuit.operations)[0] is not None
    assert distance(counted(circuit, 4000, seed), circuit) < 5


def test_what_stim_cannot_carry_runs_shot_by_shot(monkeypatch: pytest.MonkeyPatch) -> None:
    measure = [Operation("measure", (q,), bits=(q,)) for q in (0, 1)]
    conditional = (
        Operation("s", (2,), condition=((0, 1), 2)),
        Operation("reset", (0,), condition=((1,), 0)),
        Operation("measure", (0,), bits=(2,), condition=((0,), 1)),
    )
    ends = (Operation("h", (2,)), Operation("measure", (2, 0), bits=(3, 4)))
    circuit = Circuit(3, 5, (*(Operation("h", (q,)) for q in range(3)), *measure, *conditional, *ends))
    assert on_stim.translated(circuit.operations)[0] is None
    assert distance(counted(circuit, 4000), circuit) < 5
    monkeypatch.setattr(on_stim, "MAX_STEPS", 1000)
    assert "shot by shot" in str(refusal(create("stim"), Job(circuit, 1000, 1)))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 30), st.integers(0, 1000))
def test_exact_values_agree_with_the_tableau(n: int, seed: int) -> None:
    gates = random_circuit(n, seed, 60, CLIFFORD, measured=False).operations
    rng = np.random.default_rng(seed)
    turns = [
        Operation("rotation", tuple(range(n)), (np.pi / 2 * k,), "".join("IXYZ"[i] for i in rng.integers(4, size=n)))
        for k in range(-1, 3)
    ]
    circuit = Circuit(n, 0, (*gates, *turns), observables(n, seed, 20))
    backend = create("stim")
    (answer,) = run_sync(backend, [backend.prepare(Job(circuit, 0, 1))])
    assert isinstance(answer, Expectations)
    wanted = tableau.expectations(circuit)
    assert wanted is not None
    np.testing.assert_allclose(answer.values, wanted, atol=1e-9)


def test_five_thousand_qubits_in_one_cat_state() -> None:
    n = 5000
    chain = (Operation("h", (0,)), *(Operation("cx", (q, q + 1)) for q in range(n - 1)))
    result = counted(Circuit(n, n, (*chain, Operation("measure", tuple(range(n)), bits=tuple(range(n))))), 200)
    assert sorted(result.samples.sum(1).tolist()) == [0, n]
    backend = create("stim")
    parity = PauliSum(n, ("X" * n, "ZZ" + "I" * (n - 2), "Z" + "I" * (n - 1)), (1.0, 2.0, 4.0))
    (answer,) = run_sync(backend, [backend.prepare(Job(Circuit(n, 0, chain, (parity,)), 0, 1))])
    assert isinstance(answer, Expectations)
    assert answer.values.tolist() == [3.0]
    assert backend.estimate(Job(Circuit(n, 0, chain, (parity,)), 0, 1)).seconds < 60


def test_other_gates_are_refused_by_name() -> None:
    for operation in (Operation("t", (0,)), Operation("rotation", (0,), (0.3,), "X"), Operation("ccx", (0, 1, 2))):
        assert operation.gate in str(refusal(create("stim"), Job(Circuit(3, 0, (operation,)), 10, 1)))
