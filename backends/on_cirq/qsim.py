"""`qsim` (target quantum, extra `qsim`): the circuits of `cirq.statevector` on Google's simulator in C++.

Float32, vector instructions, fused gates (Isakov et al., arXiv:2111.02396). It turns Cirq's gates into its own one by
one in Python, which is what small circuits pay for.
"""

from __future__ import annotations

import cirq
import numpy as np
from jaxtyping import Complex64
from qsimcirq.qsim_simulator import QSimSimulator

from qmosaic.backends.base import Capabilities
from qmosaic.backends.on_cirq.states import CirqStates


class Qsim(CirqStates):
    """All threads that OpenMP gives it."""

    name = "qsim"
    capabilities = Capabilities(target="quantum", max_qubits=30, batch=4, uses_angles=True, max_circuit_qubits=30)
    gate_seconds, amplitude_seconds = 3e-5, 5e-10

    def state(self, circuit: cirq.Circuit, n: int) -> Complex64[np.ndarray, " N"]:
        """By qsim, which knows no circuit without a gate."""
        order = cirq.LineQubit.range(n)
        whole = circuit + cirq.Moment(cirq.I.on_each(order))
        _, state, _ = QSimSimulator().simulate_into_1d_array(whole, qubit_order=order)
        return np.asarray(state)
