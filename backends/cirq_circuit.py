"""Circuits in Cirq: its own gates, measurements and classical controls.

Three ways to run one, the first that fits:
- measurements at the end only: one state, `shots` samples of it;
- few enough measurements in the middle: *deferred*, onto qubits of their own that take their place in conditions
  (Nielsen and Chuang 2010, 4.4), and then as above; a reset goes on with a fresh qubit;
- else shot by shot, as Cirq does it with classical controls, where that ends within about `MAX_SHOT_SECONDS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from math import pi
from time import perf_counter
from typing import Any, NamedTuple

import cirq
import numpy as np
from jaxtyping import Complex64, Float64, Int64, UInt8

from qmosaic.backends import measurement
from qmosaic.backends.base import Expectations, Job, Result
from qmosaic.backends.circuits import (
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
from qmosaic.backends.cirq_simulation import simulated
from qmosaic.codecs.circuit import Circuit, Operation
from qmosaic.codecs.errors import BackendError

State = Callable[[cirq.Circuit, int], Complex64[np.ndarray, " N"]]
"""Gates and a number of line qubits to their final state, qubit 0 the most significant."""
MAX_SHOT_SECONDS = 20.0

_FIXED: dict[str, cirq.Gate] = {
    "id": cirq.I,
    "x": cirq.X,
    "y": cirq.Y,
    "z": cirq.Z,
    "h": cirq.H,
    "s": cirq.S,
    "sdg": cirq.S**-1,
    "t": cirq.T,
    "tdg": cirq.T**-1,
    "sx": cirq.X**0.5,
    "sxdg": cirq.X**-0.5,
    "cx": cirq.CNOT,
    "cy": cirq.ControlledGate(cirq.Y),
    "cz": cirq.CZ,
    "ch": cirq.ControlledGate(cirq.H),
    "cs": cirq.CZ**0.5,
    "csdg": cirq.CZ**-0.5,
    "csx": cirq.ControlledGate(cirq.X**0.5),
    "swap": cirq.SWAP,
    "iswap": cirq.ISWAP,
    "ccx": cirq.TOFFOLI,
    "ccz": cirq.CCZ,
    "cswap": cirq.FREDKIN,
}


def gates(operation: Operation, on: Sequence[cirq.Qid]) -> list[cirq.Operation]:
    """A gate on these qubits, exactly but for a global phase."""
    gate, params = operation.gate, operation.params
    if gate in _FIXED:
        return [_FIXED[gate](*on)]
    if gate == "gphase":
        return []
    if gate in ("rx", "ry", "rz"):
        return [getattr(cirq, gate)(params[0])(*on)]
    if gate in ("p", "cp"):
        return [(cirq.Z if gate == "p" else cirq.CZ)(*on) ** (params[0] / pi)]
    if gate == "u":
        theta, phi, lam = params
        return [cirq.rz(lam)(*on), cirq.ry(theta)(*on), cirq.rz(phi)(*on)]
    if gate in ("crx", "cry", "crz"):
        return [cirq.ControlledGate(getattr(cirq, gate[1:])(params[0]))(*on)]
    if gate == "cu":
        # u is exp(i (phi + lambda)/2) rz ry rz, and that phase is one of the control
        theta, phi, lam, gamma = params
        inner = gates(Operation("u", (), (theta, phi, lam)), on[1:])
        return [cirq.Z(on[0]) ** ((gamma + (phi + lam) / 2) / pi), *(each.controlled_by(on[0]) for each in inner)]
    if gate in ("rxx", "ryy", "rzz"):
        kind: Any = {"rxx": cirq.XXPowGate, "ryy": cirq.YYPowGate, "rzz": cirq.ZZPowGate}[gate]
        return [kind(exponent=params[0] / pi, global_shift=-0.5)(*on)]
    return _rotation(operation.pauli, params[0], on)


def _rotation(pauli: str, angle: float, on: Sequence[cirq.Qid]) -> list[cirq.Operation]:
    """exp(-i angle/2 P): into the basis of Z, a ladder of CX, an rz, and back."""
    turns: list[cirq.Operation] = []
    for qubit, letter in zip(on, pauli, strict=True):
        turns += {"X": [cirq.H(qubit)], "Y": [cirq.rx(pi / 2)(qubit)]}.get(letter, [])
    there = [qubit for qubit, letter in zip(on, pauli, strict=True) if letter != "I"]
    if not there:
        return []
    ladder = [cirq.CNOT(a, b) for a, b in pairwise(there)]
    back = [cirq.inverse(each) for each in reversed(turns)]
    return [*turns, *ladder, cirq.rz(angle)(there[-1]), *reversed(ladder), *back]


def segments(circuit: Circuit) -> list[list[cirq.Operation]]:
    """The gates between barriers, on line qubits: measurements and resets are passed over."""
    qubits, out = cirq.LineQubit.range(circuit.qubits), [list[cirq.Operation]()]
    for operation in circuit.operations:
        if operation.gate == "barrier":
            out.append([])
        elif operation.gate not in ("measure", "reset"):
            out[-1] += gates(operation, [qubits[q] for q in operation.qubits])
    return out


def unitary_circuit(circuit: Circuit) -> cirq.Circuit:
    """The gates alone: measurements, resets and barriers are passed over."""
    return cirq.Circuit(segments(circuit))


def final_state(circuit: Circuit) -> Complex64[np.ndarray, " N"]:
    """Of a circuit whose measurements, if any, are at its end; qubit 0 the most significant."""
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


def native(circuit: Circuit) -> cirq.Circuit:
    """The circuit with Cirq's own measurements and classical controls; the key of a bit is its number.

    Raises BackendError for a measurement under a condition.
    """
    return cirq.Circuit(_native(circuit))


def _native(circuit: Circuit) -> Iterator[cirq.Operation]:
    qubits, known = cirq.LineQubit.range(circuit.qubits), set[int]()
    for operation in circuit.operations:
        on = [qubits[q] for q in operation.qubits]
        if operation.gate == "measure":
            if operation.condition is not None:
                raise BackendError(
                    "a measurement under a condition, in a circuit that has to run shot by shot",
                    place="job.kernel",
                    remedy="Choose jax.statevector.",
                )
            yield from (cirq.measure(q, key=str(bit)) for q, bit in zip(on, operation.bits, strict=True))
            known.update(operation.bits)
        elif operation.gate != "barrier":
            each = [cirq.ResetChannel()(q) for q in on] if operation.gate == "reset" else gates(operation, on)
            values = operation.wanted
            if any(value for bit, value in values.items() if bit not in known):
                continue
            controls = [
                cirq.BitMaskKeyCondition(str(bit), target_value=value, equal_target=True)
                for bit, value in values.items()
                if bit in known
            ]
            yield from (one.with_classical_controls(*controls) if controls else one for one in each)


def records_of(result: cirq.Result, circuit: Circuit, shots: int) -> UInt8[np.ndarray, "shots bits"]:
    """The last value of each bit in each shot of a `native` circuit."""
    rows = np.zeros((shots, circuit.bits), np.uint8)
    for key, values in result.records.items():
        rows[:, int(key)] = values[:, -1, 0]
    return rows


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
