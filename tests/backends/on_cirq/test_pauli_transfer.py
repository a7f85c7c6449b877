"""Pauli transfer matrices against Cirq's density matrices."""

from __future__ import annotations

import cirq
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qmosaic.backends.on_cirq.pauli_transfer import probabilities, transfer

ALONE = (cirq.H, cirq.T, cirq.rx(0.7), cirq.depolarize(0.1), cirq.amplitude_damp(0.3), cirq.phase_damp(0.2))
THERMAL = cirq.KrausChannel(cirq.kraus(cirq.generalized_amplitude_damp(0.8, 0.2)))  # one that has no hash
PAIRS = (cirq.CX, cirq.ISWAP**0.5, cirq.PhasedFSimGate(0.3, 0.2, 0.5, 0.1, 0.4), cirq.depolarize(0.05, n_qubits=2))
QUBITS = cirq.GridQubit.rect(1, 3)
BACK = [cirq.X(QUBITS[0]), cirq.CX(*QUBITS[:2]), cirq.CX(*QUBITS[1::-1])]
"""A pair, and the same the other way round."""


@st.composite
def operations(draw: st.DrawFn) -> list[cirq.Operation]:
    """Gates and channels anywhere, in either order of a pair's qubits."""
    on = st.permutations(QUBITS)
    one = st.builds(lambda gate, qubits: gate(qubits[0]), st.sampled_from((*ALONE, THERMAL)), on)
    two = st.builds(lambda gate, qubits: gate(*qubits[:2]), st.sampled_from(PAIRS), on)
    return draw(st.lists(one | two, max_size=25))


@given(operations())
@example(BACK)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_it_is_what_the_density_matrix_says(steps: list[cirq.Operation]) -> None:
    simulator = cirq.DensityMatrixSimulator(dtype=np.complex128)
    rho = simulator.simulate(cirq.Circuit(steps), qubit_order=QUBITS).final_density_matrix
    np.testing.assert_allclose(probabilities(steps, QUBITS), rho.diagonal().real, atol=1e-6)


@pytest.mark.parametrize("gate", [*ALONE, THERMAL, *PAIRS], ids=str)
def test_a_transfer_matrix_is_of_the_pauli_basis(gate: cirq.Gate) -> None:
    """R_ij = Tr(P_i E(P_j)) / 2^k, by whole matrices."""
    k = cirq.num_qubits(gate)
    letters = [cirq.unitary(each) for each in (cirq.I, cirq.X, cirq.Y, cirq.Z)]
    paulis = letters if k == 1 else [np.kron(a, b) for a in letters for b in letters]
    after = [sum(one @ pauli @ one.conj().T for one in cirq.kraus(gate)) for pauli in paulis]
    wanted = [[np.trace(row @ column).real / 2**k for column in after] for row in paulis]
    np.testing.assert_allclose(transfer(gate(*QUBITS[:k])), wanted, atol=1e-7)
