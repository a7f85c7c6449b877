"""The suite of circuits for devices: what they refuse, they refuse with a remedy."""

from __future__ import annotations

import numpy as np

from qmosaic.backends.base import Expectations, Job
from qmosaic.backends.conformance.circuits import (
    CircuitKernelConformance,
    expected,
    observables,
    random_circuit,
    teleportation,
)
from qmosaic.backends.conformance.samples import refusal
from qmosaic.codecs.models.circuit import Circuit, Operation, PauliSum


class DeviceConformance(CircuitKernelConformance):
    """As the suite for simulators, but for measurements in the middle and exact values."""

    def test_measurements_in_the_middle_conditions_and_resets(self) -> None:
        assert refusal(self.make(), Job(teleportation(), 10, 0)).remedy

    def test_exact_expectations(self) -> None:
        circuit = random_circuit(2, 1, gates=self.gates, measured=False)
        one = Circuit(2, 0, circuit.operations, (PauliSum(2, ("ZZ",), (1.0,)),))
        assert refusal(self.make(), Job(one, 0, 0)).remedy

    def test_expectations_from_shots_are_as_wrong_as_they_say(self) -> None:
        unitary = random_circuit(3, 5, gates=self.gates, measured=False)
        one_basis = (PauliSum(3, ("III", "XYI", "IYZ"), (0.5, 1.0, -2.0)), PauliSum(3, ("XIZ",), (1.0,)))
        for sums in (one_basis, observables(3, 2, terms=2)):
            self.as_wrong_as_they_say(Circuit(3, 0, unitary.operations, sums))

    def as_wrong_as_they_say(self, circuit: Circuit) -> None:
        """Assert that values are off by about their errors."""
        scores = []
        # a service has no seed of ours: those of the tests draw by the number of shots
        for answer in self.answers(*(Job(circuit, 400 + k, k) for k in range(8))):
            assert isinstance(answer, Expectations)
            scores += ((answer.values - expected(circuit)) / answer.errors).tolist()
        assert np.abs(scores).max() < 5
        assert np.sqrt(np.mean(np.square(scores))) < 1.5

    def test_figures(self) -> None:
        operations = (Operation("h", (0,)), Operation("cx", (0, 1)), Operation("measure", (0, 1), bits=(0, 1)))
        found = self.counted(Circuit(2, 2, operations), shots=7).circuit
        assert found is not None
        assert (found.qubits, found.two_qubit_gates, found.shots) == (2, 1, 7)
        assert found.depth >= 2
