"""A job as Cirq circuits that end in a measurement of all their qubits, and their counts as an answer.

For devices that know nothing but shots. A job is one circuit, but for observables: one for each basis they need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import cirq
import numpy as np
from jaxtyping import Int64, UInt8

from qmosaic.backends.base import Answer, Expectations, Figures, Job, Result, Usage
from qmosaic.backends.circuits import in_cirq, measurement
from qmosaic.backends.circuits.counting import is_final, measured, merged, unmeasured
from qmosaic.backends.circuits.layout import Parts, on_pairs
from qmosaic.backends.circuits.qaoa_in_cirq import circuit_of as qaoa_circuit_of
from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.models.circuit import Circuit
from qmosaic.codecs.models.kernel import size_of
from qmosaic.codecs.models.polynomial import SpinPolynomial

KEY = "m"
"""Measurement key, of all qubits in their order."""


Counts = tuple[UInt8[np.ndarray, "k n"], Int64[np.ndarray, " k"]]
"""What all qubits of a circuit were measured as, qubit i in column i, and how often."""


Compiler = Callable[[int, Parts, tuple[int, ...]], cirq.FrozenCircuit]
"""From gates on line qubits 0 … n - 1, and where they are to start (`Job.on`), to a device's qubits and gates, all
measured in the last moment. Raises BackendError."""


def remembering(compiler: Compiler) -> Compiler:
    """The same, which does no circuit anew that it did lately: one is estimated before it runs, and run again."""
    return lru_cache(maxsize=256)(compiler)


class Counted(NamedTuple):
    """A circuit in a device's gates, measurement included, how often it runs, and what it counts to."""

    circuit: cirq.FrozenCircuit
    shots: int
    depth: int
    one_qubit_gates: int
    two_qubit_gates: int


class Compiled(NamedTuple):
    """A job and its circuits, in the order of the bases (`measurement.plan`) where it has observables."""

    job: Job
    circuits: tuple[Counted, ...]

    @property
    def figures(self) -> Figures:
        """The largest depth and number of two-qubit gates of a circuit, and the shots of all."""
        return Figures(
            size_of(self.job.kernel),
            max(each.depth for each in self.circuits),
            max(each.two_qubit_gates for each in self.circuits),
            sum(each.shots for each in self.circuits),
        )


def compiled(job: Job, to_device: Compiler, *, same_shots: bool = False) -> Compiled:
    """The job by `to_device`. `same_shots`: where one number counts for all circuits, it is the least that gives as
    many in total as were asked for. Raises BackendError."""
    circuits = circuits_of(job)
    shots = _shots_of(job, len(circuits))
    if same_shots:
        shots = [-(-job.shots // len(circuits))] * len(circuits)
    n = size_of(job.kernel)
    made = tuple(_counted(to_device(n, each, job.on), k) for each, k in zip(circuits, shots, strict=True))
    return Compiled(job, made)


def circuits_of(job: Job) -> list[Parts]:
    """Gates of each circuit, without the measurement at its end. Raises BackendError."""
    if isinstance(job.kernel, SpinPolynomial):
        return [on_pairs([qaoa_circuit_of(job)[:-1].all_operations()])]  # its last moment measures
    circuit = job.circuit
    if not circuit.observables:
        if not is_final(circuit):
            raise BackendError(
                "measurements in the middle, conditions or resets",
                place="job.kernel",
                remedy="Measure at the end, or choose a simulator.",
            )
        return [on_pairs(in_cirq.segments(circuit))]
    if job.shots == 0:
        raise BackendError(
            "exact expectation values", place="job.shots", remedy="Ask for shots, or choose a simulator."
        )
    unitary = unmeasured(circuit).operations
    # constants alone need no basis, but a job needs a circuit
    bases = [group.basis for group in measurement.plan(circuit.observables).groups] or ["I" * circuit.qubits]
    return [
        on_pairs(in_cirq.segments(Circuit(circuit.qubits, 0, (*unitary, *measurement.turns(basis))))) for basis in bases
    ]


def _shots_of(job: Job, circuits: int) -> list[int]:
    if circuits == 1:
        return [job.shots]
    return measurement.shares(measurement.plan(job.circuit.observables), job.shots)


def in_gates(n: int, parts: Parts, name: str, gateset: cirq.CompilationTargetGateset) -> cirq.FrozenCircuit:
    """In the gates of a device whose qubits are all connected. Raises BackendError; `name` is the backend's."""
    return measuring(cirq.LineQubit.range(n), parts, name, gateset)


def measuring(
    on: Sequence[cirq.Qid],
    parts: Iterable[Iterable[cirq.Operation]],
    name: str,
    gateset: cirq.CompilationTargetGateset,
) -> cirq.FrozenCircuit:
    """Each part compiled by itself, for what is behind a barrier must not be merged with what is before it; and a
    measurement of these qubits. Raises BackendError."""
    try:
        moments = [
            moment
            for part in parts
            for moment in cirq.optimize_for_target_gateset(cirq.Circuit(part), gateset=gateset, ignore_failures=False)
        ]
    except ValueError as error:
        raise BackendError(
            f"{name} cannot compile it: {error}", place="job.kernel", remedy="Choose a simulator."
        ) from None
    return cirq.FrozenCircuit(moments, cirq.Moment(cirq.measure(*on, key=KEY)))


def _counted(circuit: cirq.FrozenCircuit, shots: int) -> Counted:
    """Moments of measurements alone are no depth."""
    sizes = [cirq.num_qubits(op) for op in circuit.all_operations() if not _measures(op)]
    depth = sum(not all(map(_measures, moment)) for moment in circuit)
    return Counted(circuit, shots, depth, sizes.count(1), sizes.count(2))


def _measures(op: cirq.Operation) -> bool:
    return cirq.is_measurement(op)


def answer_of(made: Compiled, found: Sequence[Counts], usage: Usage) -> Answer:
    """From what was measured of each circuit, at least once."""
    job = made.job
    if isinstance(job.kernel, Circuit) and job.kernel.observables:
        groups = measurement.plan(job.kernel.observables).groups
        by_basis = dict(zip((group.basis for group in groups), found, strict=False))  # none for constants alone
        values, errors = measurement.estimated(job.kernel.observables, job.shots, lambda basis, _: by_basis[basis])
        return Expectations(values, errors, usage.device_seconds, made.figures, usage)
    ((rows, counts),) = found
    if isinstance(job.kernel, SpinPolynomial):
        distinct, summed = merged(rows, counts)
        return Result(distinct, summed, job.kernel.energy(distinct), usage.device_seconds, made.figures, usage)
    qubits, bits = measured(job.kernel)
    out = np.zeros((len(rows), job.kernel.bits), np.uint8)
    out[:, bits] = rows[:, qubits]
    distinct, summed = merged(out, counts)
    return Result(distinct, summed, np.zeros(len(distinct)), usage.device_seconds, made.figures, usage)
