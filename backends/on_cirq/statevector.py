"""`cirq.statevector` (target quantum): QAOA circuits and circuits as they are, gate by gate, in Cirq."""

from __future__ import annotations

import cirq
import numpy as np
from jaxtyping import Complex64

from qmosaic.backends.base import Capabilities
from qmosaic.backends.on_cirq.simulation import simulated
from qmosaic.backends.on_cirq.states import CirqStates


class CirqStatevector(CirqStates):
    """Cirq's gates on two buffers of one state."""

    name = "cirq.statevector"
    capabilities = Capabilities(target="quantum", max_qubits=30, batch=4, uses_angles=True, max_circuit_qubits=30)
    gate_seconds, amplitude_seconds = 4e-5, 2e-9

    def state(self, circuit: cirq.Circuit, n: int) -> Complex64[np.ndarray, " N"]:
        """As Cirq's simulator has it."""
        return simulated(circuit, n)
