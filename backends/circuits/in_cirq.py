"""Circuits translated to Cirq: its own gates, measurements and classical controls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import pi
from typing import Any

import cirq
import numpy as np
from jaxtyping import UInt8

from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.models.circuit import Circuit, Operation

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
