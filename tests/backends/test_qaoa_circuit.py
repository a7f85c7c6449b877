"""The figures of a circuit are those of the circuit that Cirq builds."""

from __future__ import annotations

import cirq
import numpy as np
import pytest

from qmosaic.backends.base import Job
from qmosaic.backends.cirq_statevector import CirqStatevector
from qmosaic.backends.qaoa_circuit import figures
from qmosaic.backends.testing import random_kernel


@pytest.mark.parametrize("fields", [False, True])
@pytest.mark.parametrize("n", [1, 2, 5, 9])
@pytest.mark.parametrize("layers", [1, 3])
def test_figures_are_counted_on_the_real_circuit(n: int, layers: int, fields: bool) -> None:
    angles = np.full(layers, 0.3)
    kernel = random_kernel(n, seed=n, fields=fields)
    job = Job(kernel, 64, 0, angles, angles)
    circuit = CirqStatevector().prepare(job).circuit
    unmeasured = circuit[:-1]
    told = figures(job)
    assert told.qubits == len(circuit.all_qubits())
    assert told.depth == len(unmeasured)
    assert told.two_qubit_gates == sum(cirq.num_qubits(op) == 2 for op in unmeasured.all_operations())
    assert told.shots == 64
