"""`lanczos` (target classical): the lowest eigenvalue of a circuit's one observable, exact, without measuring.

It prepares the circuit's state and goes on from there by the Lanczos method (1950), so what it finds is the least
energy among the states of the same symmetries: no higher than the circuit's own expectation value, which a
variational circuit is meant to bring close to it. For circuits of unitary gates on up to 14 qubits.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any

import numpy as np
from jaxtyping import Complex128

from qmosaic.backends.base import Backend, Capabilities, Estimate, Expectations, Job, check
from qmosaic.backends.estimates import refuse_memory
from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.models.circuit import GATES, Circuit, Operation, PauliSum, unitary
from qmosaic.codecs.models.paulis import PauliOperator, masks, rotated

STEPS = 200
"""The most Lanczos steps."""
RESIDUAL = 1e-9
"""It ends where |H psi - E psi| is smaller, in units of the sum of all |coefficients|: E is then good to its square."""
ENTRY_BYTES, AMPLITUDE_BYTES = 88, 48
"""While the matrix is built, for each entry; and for each amplitude of all vectors and their copies."""
ENTRY_SECONDS, AMPLITUDE_SECONDS = 3e-9, 1e-8
"""What one step takes: to multiply by an entry, to make orthogonal to an amplitude."""


class Lanczos(Backend):
    """Seeds and shots do not matter: errors are 0."""

    name = "lanczos"
    capabilities = Capabilities("classical", max_qubits=0, batch=16, uses_angles=False, max_variational_qubits=14)

    def prepare(self, job: Job) -> Circuit:
        """The circuit, checked. Raises BackendError."""
        check(job, self.name, self.capabilities)
        circuit = job.circuit
        if len(circuit.observables) != 1:
            raise BackendError(
                f"{self.name} takes circuits with one observable, got {len(circuit.observables)}",
                place="job.kernel.observables",
                remedy="Choose a simulator.",
            )
        for operation in circuit.operations:
            known = operation.gate in GATES or operation.gate in ("rotation", "gphase", "barrier")
            if not known or operation.condition is not None:
                raise BackendError(
                    f"{self.name} takes circuits of unitary gates, got {operation.gate!r}",
                    place="job.kernel.operations",
                    remedy="Choose a simulator.",
                )
        return circuit

    def run(self, batch: Sequence[Circuit]) -> list[Expectations]:
        """One eigenvalue for each circuit."""
        return [_solved(circuit) for circuit in batch]

    def estimate(self, job: Job) -> Estimate:
        """By the matrix, which has an entry for each state and each set of qubits that a term flips, and by as many
        vectors as there may be steps. Raises BackendError."""
        circuit = self.prepare(job)
        flips, _ = masks(circuit.observables[0].paulis)
        states, sets = 1 << circuit.qubits, len(set(flips.tolist()))
        steps = min(STEPS, states)
        needed = states * (ENTRY_BYTES * sets + AMPLITUDE_BYTES * steps)
        refuse_memory(self.name, job, needed)
        each = ENTRY_SECONDS * sets + AMPLITUDE_SECONDS * steps
        return Estimate(steps * states * each, memory_bytes=needed)


def _solved(circuit: Circuit) -> Expectations:
    start = perf_counter()
    observable: PauliSum = circuit.observables[0]
    operator = PauliOperator.of_strings(circuit.qubits, observable.paulis, observable.coefficients)
    matrix = operator.matrix(np.arange(1 << circuit.qubits, dtype=np.int64))
    scale = float(np.abs(operator.coefficients).sum())
    value = _least(matrix, prepared(circuit), RESIDUAL * max(scale, 1e-300))
    return Expectations(np.array([value]), np.zeros(1), perf_counter() - start)


def prepared(circuit: Circuit) -> Complex128[np.ndarray, " states"]:
    """The state of a circuit of unitary gates, qubit 0 the most significant bit."""
    n = circuit.qubits
    states = np.arange(1 << n, dtype=np.int64)
    psi = np.zeros(1 << n, np.complex128)
    psi[0] = 1.0
    for operation in circuit.operations:
        if operation.gate == "rotation":
            letters = dict(zip(operation.qubits, operation.pauli, strict=True))
            (x,), (z,) = masks(["".join(letters.get(i, "I") for i in range(n))])
            psi = rotated(psi, states, int(x), int(x), int(z), operation.params[0])
        elif operation.gate not in ("gphase", "barrier"):
            psi = _applied(psi, operation, n)
    return psi


def _applied(psi: Complex128[np.ndarray, " states"], operation: Operation, n: int) -> Any:
    k = len(operation.qubits)
    gate = unitary(operation).reshape((2,) * (2 * k))
    moved = np.tensordot(gate, psi.reshape((2,) * n), axes=(range(k, 2 * k), operation.qubits))
    return np.moveaxis(moved, range(k), operation.qubits).ravel()


def _least(matrix: Any, start: Complex128[np.ndarray, " states"], enough: float) -> float:
    """The lowest eigenvalue with a part in `start`; every new vector is made orthogonal to all before it, twice."""
    basis = [start / np.linalg.norm(start)]
    diagonal: list[float] = []
    beside: list[float] = []
    while True:
        vector = matrix @ basis[-1]
        diagonal.append(float(np.vdot(basis[-1], vector).real))
        values, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1))
        known = np.array(basis)
        for _ in range(2):
            vector = vector - known.T @ (known.conj() @ vector)
        length = float(np.linalg.norm(vector))
        if length * abs(vectors[-1, 0]) <= enough or len(diagonal) in (STEPS, len(start)):
            return float(values[0])
        beside.append(length)
        basis.append(vector / length)
