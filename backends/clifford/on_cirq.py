"""`cirq.clifford` (target classical): Clifford circuits of up to 1000 qubits, on Cirq's stabilizer tableau.

The support of a stabilizer state is one state plus the span of its generators' X parts, all equally likely. So one
run by Cirq is enough for any number of shots.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from time import perf_counter

import cirq
import numpy as np

from qmosaic.backends.base import Backend, Capabilities, Estimate, Expectations, Job, Result, check
from qmosaic.backends.circuits import measurement
from qmosaic.backends.circuits.counting import figures, is_final, measured, result_of, unmeasured
from qmosaic.backends.circuits.in_cirq import gates, native, records_of
from qmosaic.backends.clifford.tableau import Affine, reduced
from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.models.circuit import Circuit, Operation

SECONDS_PER_STEP = 4e-5
"""What one operation on a tableau takes (measured)."""
MAX_STEPS = 500_000
"""Operations times shots of a circuit with measurements in the middle, which runs shot by shot: some 20 seconds."""


class CirqClifford(Backend):
    """Exact. Circuits with other gates are refused."""

    name = "cirq.clifford"
    capabilities = Capabilities(target="classical", max_qubits=0, batch=4, uses_angles=False, max_clifford_qubits=1000)

    def prepare(self, job: Job) -> Job:
        """The job itself, checked. Raises BackendError."""
        check(job, self.name, self.capabilities)
        circuit = job.circuit
        if circuit.observables:
            unmeasured(circuit)
        elif not is_final(circuit) and len(circuit.operations) * job.shots > MAX_STEPS:
            raise BackendError(
                f"{len(circuit.operations)} operations with measurements in the middle, {job.shots} times",
                place="job.kernel",
                remedy=f"Ask for fewer shots: both multiplied can be {MAX_STEPS}.",
            )
        for operation in circuit.operations:
            if not _is_clifford(operation.gate, operation.params, operation.pauli, len(operation.qubits)):
                raise BackendError(
                    f"{self.name} takes Clifford gates, got {operation.gate}{list(operation.params) or ''}",
                    place="job.kernel",
                    remedy="Choose target gpu or quantum.",
                )
        return job

    def run(self, batch: Sequence[Job]) -> list[Result | Expectations]:
        """One tableau for each job; shot by shot where measurements stand in the middle."""
        return [_expected(job) if job.circuit.observables else _counted(job) for job in batch]

    def estimate(self, job: Job) -> Estimate:
        """By the number of operations. Raises BackendError."""
        check(job, self.name, self.capabilities)
        circuit = job.circuit
        times = 1 if circuit.observables or is_final(circuit) else job.shots
        return Estimate(SECONDS_PER_STEP * times * len(circuit.operations), memory_bytes=16 * circuit.qubits**2)

    def warm_up(self) -> None:
        """The first circuit pays for Cirq's own caches."""
        bell = Circuit(2, 1, (Operation("h", (0,)), Operation("cx", (0, 1)), Operation("measure", (1,), bits=(0,))))
        self.run([Job(bell, 1, 0)])


@lru_cache(maxsize=4096)
def _is_clifford(gate: str, params: tuple[float, ...], pauli: str, qubits: int) -> bool:
    if gate in ("measure", "reset", "barrier"):
        return True
    one = Operation(gate, tuple(range(qubits)), params, pauli)
    return all(cirq.has_stabilizer_effect(each) for each in gates(one, cirq.LineQubit.range(qubits)))


def _counted(job: Job) -> Result:
    start, circuit = perf_counter(), job.circuit
    if is_final(circuit):
        qubits, bits = measured(circuit)
        rows = np.zeros((job.shots, circuit.bits), np.uint8)
        if qubits:
            tableau = _tableau(circuit.qubits, circuit.operations)
            rows[:, bits] = _support(tableau, qubits).sample(job.shots, np.random.default_rng(job.seed))
    else:
        simulator = cirq.CliffordSimulator(seed=job.seed % 2**32)
        rows = records_of(simulator.run(native(circuit), repetitions=job.shots), circuit, job.shots)
    return result_of(circuit, rows, np.ones(job.shots, np.int64), perf_counter() - start)


def _expected(job: Job) -> Expectations:
    start, circuit = perf_counter(), unmeasured(job.circuit)
    if job.shots == 0:
        tableau = _tableau(circuit.qubits, circuit.operations)
        values = np.array(
            [
                sum(c * _value(tableau, pauli) for c, pauli in zip(each.coefficients, each.paulis, strict=True))
                for each in circuit.observables
            ],
            dtype=np.float64,
        )
        return Expectations(values, np.zeros(len(values)), perf_counter() - start, figures(circuit, 0))
    generator = np.random.default_rng(job.seed)

    def sample(basis: str, shots: int) -> tuple[np.ndarray, np.ndarray]:
        tableau = _tableau(circuit.qubits, [*circuit.operations, *measurement.turns(basis)])
        support = _support(tableau, range(circuit.qubits))
        return support.sample(shots, generator), np.ones(shots, np.int64)

    values, errors = measurement.estimated(circuit.observables, job.shots, sample)
    return Expectations(values, errors, perf_counter() - start, figures(circuit, job.shots))


def _tableau(n: int, operations: Sequence[Operation]) -> cirq.CliffordTableau:
    qubits = cirq.LineQubit.range(n)
    state = cirq.CliffordTableauSimulationState(cirq.CliffordTableau(n), np.random.RandomState(0), qubits=qubits)
    for operation in operations:
        if operation.gate not in ("measure", "reset", "barrier"):
            for each in gates(operation, [qubits[q] for q in operation.qubits]):
                cirq.act_on(each, state)
    return state.tableau


def _support(tableau: cirq.CliffordTableau, qubits: Sequence[int]) -> Affine:
    """The distribution of these qubits.

    Rows are i^phase X^x Z^z. Elimination leaves as many X parts as there are independent ones, the directions; the
    other rows are strings of Z, whose signs say which parities the values have.
    """
    n = tableau.n
    x, z = tableau.xs[n:].copy(), tableau.zs[n:].copy()
    phase = (2 * tableau.rs[n:] + (x & z).sum(axis=1)).astype(np.int64)
    rank = 0
    for column in range(n):
        below = np.flatnonzero(x[rank:, column])
        if not len(below):
            continue
        swapped = [rank + int(below[0]), rank]
        for rows in (x, z, phase):
            rows[swapped[::-1]] = rows[swapped]
        others = np.flatnonzero(x[:, column])
        others = others[others != rank]
        phase[others] += phase[rank] + 2 * (z[others] & x[rank]).sum(axis=1)
        x[others] ^= x[rank]
        z[others] ^= z[rank]
        rank += 1
    parities = reduced(np.column_stack([z[rank:], phase[rank:] % 4 == 2]).astype(np.uint8))
    offset = np.zeros(n, np.uint8)
    offset[parities[:, :n].argmax(axis=1)] = parities[:, n]
    return Affine(offset[list(qubits)], reduced(x[:rank][:, list(qubits)].astype(np.uint8)))


def _value(tableau: cirq.CliffordTableau, pauli: str) -> float:
    """The value of a Pauli string: 0 where a stabilizer anticommutes with it, else its sign."""
    string = cirq.DensePauliString(pauli)
    x, z = (np.array([letter in letters for letter in pauli]) for letters in ("XY", "ZY"))
    odd = ((tableau.xs & z).sum(axis=1) + (tableau.zs & x).sum(axis=1)) % 2
    if odd[tableau.n :].any():
        return 0.0
    product = cirq.DensePauliString("I" * tableau.n)
    generators = tableau.stabilizers()
    for k in np.flatnonzero(odd[: tableau.n]):
        product *= generators[k]
    return float((product.coefficient / string.coefficient).real)
