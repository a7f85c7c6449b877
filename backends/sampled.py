"""A job as one Cirq circuit that ends in a measurement of all its qubits, and its counts as an answer.

For devices that know nothing but shots. A circuit with observables is one where all their terms can be measured in
one basis; what needs more circuits is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cirq
import numpy as np
from jaxtyping import Int64, UInt8

from qmosaic.backends import cirq_circuit, measurement
from qmosaic.backends.base import Answer, Expectations, Figures, Job, Result, Usage
from qmosaic.backends.circuits import is_final, measured, merged, unmeasured
from qmosaic.backends.cirq_qaoa import circuit_of as qaoa_circuit_of
from qmosaic.codecs.circuit import Circuit
from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.kernels import size_of
from qmosaic.codecs.model import SpinPolynomial

KEY = "m"
"""Measurement key, of all qubits in their order."""


class Compiled(NamedTuple):
    """A job and its circuit in a device's gates, measurement included."""

    job: Job
    circuit: cirq.Circuit
    figures: Figures
    one_qubit_gates: int


def circuit_of(job: Job) -> cirq.Circuit:
    """On line qubits 0 … n - 1, not compiled yet. Raises BackendError."""
    if isinstance(job.kernel, SpinPolynomial):
        whole = qaoa_circuit_of(job)
        gates = whole[:-1]  # its last moment measures
    else:
        gates = _gates(job)
    return cirq.Circuit(gates, cirq.Moment(cirq.measure(*cirq.LineQubit.range(size_of(job.kernel)), key=KEY)))


def _gates(job: Job) -> cirq.Circuit:
    circuit = job.circuit
    if not circuit.observables:
        if not is_final(circuit):
            raise BackendError(
                "measurements in the middle, conditions or resets",
                place="job.kernel",
                remedy="Measure at the end, or choose a simulator.",
            )
        return cirq_circuit.unitary_circuit(circuit)
    groups = measurement.plan(circuit.observables).groups
    if job.shots == 0 or len(groups) > 1:
        raise BackendError(
            f"observables that need {len(groups)} circuits, {job.shots} shots",
            place="job.kernel",
            remedy="Ask for shots, and for observables that one basis measures, or choose a simulator.",
        )
    unitary = unmeasured(circuit)
    turned = tuple(operation for group in groups for operation in measurement.turns(group.basis))
    return cirq_circuit.unitary_circuit(Circuit(circuit.qubits, 0, unitary.operations + turned))


def compiled(job: Job, name: str, gateset: cirq.CompilationTargetGateset) -> Compiled:
    """The job in the gates of a device whose qubits are all connected. Raises BackendError; `name` is the backend's."""
    circuit = circuit_of(job)
    try:
        circuit = cirq.expand_composite(circuit, no_decomp=lambda op: _measures(op) or cirq.num_qubits(op) <= 2)
        return counted(job, cirq.optimize_for_target_gateset(circuit, gateset=gateset, ignore_failures=False))
    except ValueError as error:
        raise BackendError(
            f"{name} cannot compile it: {error}", place="job.kernel", remedy="Choose a simulator."
        ) from None


def counted(job: Job, circuit: cirq.Circuit) -> Compiled:
    """A compiled circuit with its numbers; moments of measurements alone are no depth."""
    sizes = [cirq.num_qubits(op) for op in circuit.all_operations() if not _measures(op)]
    depth = sum(not all(map(_measures, moment)) for moment in circuit)
    figures = Figures(size_of(job.kernel), depth, sizes.count(2), job.shots)
    return Compiled(job, circuit, figures, sizes.count(1))


def _measures(op: cirq.Operation) -> bool:
    return cirq.is_measurement(op)


def answer_of(made: Compiled, rows: UInt8[np.ndarray, "k n"], counts: Int64[np.ndarray, " k"], usage: Usage) -> Answer:
    """From what all qubits were measured as, qubit i in column i, and how often."""
    job = made.job
    if isinstance(job.kernel, SpinPolynomial):
        distinct, summed = merged(rows, counts)
        return Result(distinct, summed, job.kernel.energy(distinct), usage.device_seconds, made.figures, usage)
    if job.kernel.observables:
        values, errors = measurement.estimated(job.kernel.observables, job.shots, lambda basis, shots: (rows, counts))
        return Expectations(values, errors, usage.device_seconds, made.figures, usage)
    qubits, bits = measured(job.kernel)
    out = np.zeros((len(rows), job.kernel.bits), np.uint8)
    out[:, bits] = rows[:, qubits]
    distinct, summed = merged(out, counts)
    return Result(distinct, summed, np.zeros(len(distinct)), usage.device_seconds, made.figures, usage)


def rows_of_states(states: Sequence[int], n: int, big_endian: bool) -> UInt8[np.ndarray, "k n"]:
    """Numbers of states as rows; the first qubit the most significant, or the least."""
    numbers = np.array(states, dtype=np.int64)
    places = np.arange(n)[::-1] if big_endian else np.arange(n)
    return (numbers[:, None] >> places & 1).astype(np.uint8)
