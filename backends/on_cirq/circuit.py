"""Circuits in Cirq: its own gates, measurements and classical controls.

Three ways to run one, the first that fits:
- measurements at the end only: one state, `shots` samples of it;
- few enough measurements in the middle: *deferred*, onto qubits of their own that take their place in conditions
  (Nielsen and Chuang 2010, 4.4), and then as above; a reset goes on with a fresh qubit;
- else shot by shot, as Cirq does it with classical controls, where that ends within about `MAX_SHOT_SECONDS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import NamedTuple

import cirq
import numpy as np
from jaxtyping import Complex64, Float64, Int64, UInt8

from qmosaic.backends.base import Expectations, Job, Result
from qmosaic.backends.circuits import measurement
from qmosaic.backends.circuits.counting import (
    MAX_DEFERRED,
    draw,
    final,
    is_final,
    marginal,
    measured,
    probabilities,
    result_of,
    shot_by_shot_seconds,
    unmeasured,
)
from qmosaic.backends.circuits.in_cirq import gates, native, records_of, unitary_circuit
from qmosaic.backends.on_cirq.simulation import simulated
from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.models.circuit import Circuit, Operation

State = Callable[[cirq.Circuit, int], Complex64[np.ndarray, " N"]]
"""Gates and a number of line qubits to their final state, qubit 0 the most significant."""
MAX_SHOT_SECONDS = 20.0


def final_state(circuit: Circuit) -> Complex64[np.ndarray, " N"]:
    """The final state of a circuit whose measurements, if any, are at its end; qubit 0 the most significant."""
    return simulated(unitary_circuit(circuit), circuit.qubits)


def prepare(job: Job) -> Job:
    """The job, if Cirq can run its circuit. Raises BackendError."""
    circuit = job.circuit
    if circuit.observables:
        unmeasured(circuit)
    elif not is_final(circuit) and deferred(circuit) is None:
        _affordable(job)
        native(circuit)
    return job


def run(job: Job, state: State) -> Result | Expectations:
    """Simulate a prepared job. Raises BackendError."""
    start, circuit = perf_counter(), job.circuit
    if circuit.observables:
        found = state(unitary_circuit(unmeasured(circuit)), circuit.qubits)
        return measurement.of_state(job, found, start)
    if (one := one_state(circuit)) is not None:
        known = list(dict.fromkeys(one.measured))
        shares = marginal(probabilities(state(one.gates, one.qubits)), known)
        states, counts = draw(shares, job.shots, np.random.default_rng(job.seed))
        rows = bits_of(states, known, one, circuit.bits)
    else:
        simulator = cirq.Simulator(dtype=np.complex64, seed=job.seed % 2**32)
        rows = records_of(simulator.run(native(circuit), repetitions=job.shots), circuit, job.shots)
        counts = np.ones(job.shots, np.int64)
    return result_of(circuit, rows, counts, perf_counter() - start)


class OneState(NamedTuple):
    """Gates on so many line qubits, of which `measured[k]` goes into bit `bits[k]` at the end."""

    gates: cirq.Circuit
    qubits: int
    measured: Sequence[int]
    bits: Sequence[int]


def one_state(circuit: Circuit) -> OneState | None:
    """The circuit with its measurements at the end. None: there are too many in the middle."""
    return (
        OneState(unitary_circuit(circuit), circuit.qubits, *measured(circuit))
        if is_final(circuit)
        else deferred(circuit)
    )


def bits_of(
    states: Int64[np.ndarray, " k"], known: Sequence[int], one: OneState, width: int
) -> UInt8[np.ndarray, "k bits"]:
    """The classical bits of states of the qubits `known`; a qubit may go into two bits."""
    rows = np.zeros((len(states), width), np.uint8)
    for qubit, bit in zip(one.measured, one.bits, strict=True):
        rows[:, bit] = states >> (len(known) - 1 - known.index(qubit)) & 1
    return rows


def deferred(circuit: Circuit) -> OneState | None:
    """The circuit with its measurements at the end. None: too many qubits."""
    now = list(range(circuit.qubits))  # the qubit that stands for each of the circuit's
    holder: dict[int, int] = {}  # of bits: the qubit that has the value
    count, late = circuit.qubits, final(circuit.operations)
    touched = set[int]()
    out: list[cirq.Operation] = []

    for place, operation in enumerate(circuit.operations):
        if operation.gate == "barrier":
            continue
        controls, values = _controls(operation, holder)
        if controls is None:
            continue
        on = [now[q] for q in operation.qubits]
        if operation.gate == "reset":
            for q in set(operation.qubits) & touched:
                fresh, count = count, count + 1
                if operation.condition is None:
                    now[q] = fresh
                else:
                    out += _held(cirq.SWAP, (now[q], fresh), controls, values)
        elif operation.gate == "measure":
            for q, bit in zip(on, operation.bits, strict=True):
                if place in late:
                    holder[bit] = q
                    continue
                fresh, count = count, count + 1
                if operation.condition is not None and bit in holder:
                    # the new value where the condition holds, else the old one: old + condition (old + new)
                    out += _held(cirq.X, (fresh,), [holder[bit]], [1])
                    out += _held(cirq.X, (fresh,), [*controls, holder[bit]], [*values, 1])
                out += _held(cirq.X, (fresh,), [*controls, q], [*values, 1])
                holder[bit] = fresh
        else:
            for each in gates(operation, [cirq.LineQubit(q) for q in on]):
                out.append(
                    each.controlled_by(*map(cirq.LineQubit, controls), control_values=values) if controls else each
                )
        touched.update(operation.qubits)
        if count > MAX_DEFERRED:
            return None
    return OneState(cirq.Circuit(out), count, list(holder.values()), list(holder))


def _held(gate: cirq.Gate, on: Sequence[int], controls: Sequence[int], values: Sequence[int]) -> list[cirq.Operation]:
    """The gate where the controls have these values; nothing where one would need two."""
    asked = dict(zip(controls, values, strict=True))
    if any(asked[control] != value for control, value in zip(controls, values, strict=True)):
        return []
    operation = gate(*map(cirq.LineQubit, on))
    return [operation.controlled_by(*map(cirq.LineQubit, asked), control_values=list(asked.values()))]


def _controls(operation: Operation, holder: dict[int, int]) -> tuple[list[int] | None, list[int]]:
    """Qubits and values that a condition asks for; None where it never holds, as a bit not yet measured is 0."""
    if operation.condition is None:
        return [], []
    controls: dict[int, int] = {}
    for bit, value in operation.wanted.items():
        if bit not in holder:
            if value:
                return None, []
        elif controls.setdefault(holder[bit], value) != value:
            return None, []
    return list(controls), list(controls.values())


def _affordable(job: Job) -> None:
    seconds = shot_by_shot_seconds(job.circuit, job.shots)
    if seconds > MAX_SHOT_SECONDS:
        raise BackendError(
            f"measurements in the middle: the circuit would have to run shot by shot, about {seconds:.0f} s",
            place="job.kernel",
            remedy="Ask for fewer shots, or choose jax.statevector.",
        )


def distribution(circuit: Circuit) -> tuple[UInt8[np.ndarray, "k bits"], Float64[np.ndarray, " k"]]:
    """Values of the classical bits that happen, and their probabilities. Raises BackendError for too many measurements
    in the middle."""
    one = one_state(circuit)
    if one is None:
        raise BackendError("too many measurements in the middle to defer", place="job.kernel")
    known = list(dict.fromkeys(one.measured))
    shares = marginal(probabilities(simulated(one.gates, one.qubits)), known)
    happens = np.flatnonzero(shares > 1e-9 / len(shares))
    return bits_of(happens, known, one, circuit.bits), shares[happens].astype(np.float64)
