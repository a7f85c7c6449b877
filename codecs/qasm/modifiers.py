"""OpenQASM 3's modifiers on gates: inverse, power and controls, in the gates that a `Circuit` has."""

from __future__ import annotations

from cmath import exp, phase, pi
from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations
from math import isclose, isfinite

import numpy as np
from jaxtyping import Complex128

from qmosaic.codecs.models.circuit import Operation, unitary
from qmosaic.codecs.models.circuit import inverse as undone

MAX_CONTROLS = 10
"""A phase on n qubits becomes 2^n - 1 rotations."""

Gates = tuple[tuple[str, tuple[float, ...]], ...]
"""Names and parameters of gates on one qubit."""

_TURNED = {"rx", "ry", "rz", "p", "cp", "crx", "cry", "crz", "rxx", "ryy", "rzz", "rotation", "gphase"}
"""Gates whose powers have the angle times the exponent."""
_ADDED = {
    "id": "",
    **{gate: f"c{gate}" for gate in ("x", "y", "z", "h", "s", "sdg", "sx", "p", "rx", "ry", "rz", "swap")},
    "cx": "ccx",
    "cz": "ccz",
}
"""Gates that have a controlled form among the gates: the control comes first."""
_CORE = {"cx": "x", "cy": "y", "cz": "z", "ch": "h", "cs": "s", "csdg": "sdg", "csx": "sx", "cp": "p"} | {
    "crx": "rx",
    "cry": "ry",
    "crz": "rz",
}
"""What a controlled gate does where its control is 1."""


class TooManyError(ValueError):
    """More operations than there may be."""


def inverse(operations: Sequence[Operation]) -> list[Operation]:
    """All of it backwards; each gate becomes at most four."""
    return [each for operation in reversed(operations) for each in undone(operation)]


def power(operations: Sequence[Operation], exponent: float, most: int) -> list[Operation]:
    """Repeated, forwards or backwards; a fraction for single gates with a principal power. Raises ValueError,
    TooManyError."""
    if not isfinite(exponent):
        raise ValueError("a power that is not finite")
    if exponent == int(exponent):
        once = list(operations) if exponent >= 0 else inverse(operations)
        if len(once) * abs(exponent) > most:
            raise TooManyError(f"a power of more than {most} operations")
        return once * int(abs(exponent)) if once else []
    if len(operations) != 1:
        raise ValueError("a power that is no integer is supported for single gates of the library only")
    operation = operations[0]
    if operation.gate in _TURNED:
        return [Operation(operation.gate, operation.qubits, (operation.params[0] * exponent,), operation.pauli)]
    if operation.gate in _CORE:
        *controls, target = operation.qubits
        single = Operation(_CORE[operation.gate], (target,), operation.params)
        return controlled(power([single], exponent, most), controls, False, most)
    if len(operation.qubits) != 1:
        raise ValueError(f"a power of '{operation.gate}' that is no integer is not supported")
    return [Operation(gate, operation.qubits * (gate == "u"), angles) for gate, angles in _raised(operation, exponent)]


@lru_cache(maxsize=1024)
def _raised(operation: Operation, exponent: float) -> Gates:
    values, vectors = np.linalg.eig(unitary(operation))
    vectors, _ = np.linalg.qr(vectors)
    raised = [exp(1j * exponent * (phase(value) if abs(phase(value) + pi) > 1e-9 else pi)) for value in values]
    return _of_matrix((vectors * raised) @ vectors.conj().T)


def controlled(operations: Sequence[Operation], controls: Sequence[int], negative: bool, most: int) -> list[Operation]:
    """All of it where the controls are 1 (0, if `negative`). Raises ValueError, TooManyError."""
    out: list[Operation] = []
    for operation in operations:
        out += _controlled(operation, tuple(controls))
        if len(out) > most:
            raise TooManyError(f"controls that take more than {most} operations")
    flips = [Operation("x", (control,)) for control in controls] if negative else []
    return [*flips, *out, *flips]


def _controlled(operation: Operation, controls: tuple[int, ...]) -> list[Operation]:
    gate, qubits, params = operation.gate, operation.qubits, operation.params
    if gate == "barrier" or gate == "id":
        return []
    if len(controls) == 1 and gate in _ADDED:
        return [Operation(_ADDED[gate], controls + qubits, params)]
    if len(controls) == 1 and gate == "u":
        return [Operation("cu", controls + qubits, (*params, 0.0))]
    if len(controls) == 2 and gate in ("x", "z"):
        return [Operation(f"cc{gate}", controls + qubits)]
    if gate == "gphase":
        return _phase(params[0], controls)
    if gate in _CORE:
        return _controlled(Operation(_CORE[gate], qubits[1:], params), (*controls, qubits[0]))
    if gate in ("ccx", "ccz"):
        return _controlled(Operation(gate[2:], qubits[2:]), controls + qubits[:2])
    if gate == "cu":
        theta, phi, lam, gamma = params
        turned = Operation("u", qubits[1:], (theta, phi, lam))
        return [
            each
            for part in (Operation("gphase", (), (gamma,)), turned)
            for each in _controlled(part, (*controls, qubits[0]))
        ]
    if gate in ("swap", "cswap"):
        *own, a, b = qubits
        middle = _controlled(Operation("x", (b,)), (*controls, *own, a))
        return [Operation("cx", (b, a)), *middle, Operation("cx", (b, a))]
    if gate == "iswap":
        inner = tuple(Operation(name, qubits, (-pi / 2,)) for name in ("rxx", "ryy"))
        return [each for part in inner for each in _controlled(part, controls)]
    if gate in ("rxx", "ryy", "rzz"):
        return _controlled(Operation("rotation", qubits, params, gate[1:].upper()), controls)
    if gate == "rotation":
        return _controlled_rotation(operation, controls)
    return _controlled_gate(operation, controls)


def _controlled_rotation(operation: Operation, controls: tuple[int, ...]) -> list[Operation]:
    """exp(-i angle/2 P) where all controls are 1: the controls' projector as a sum of Z strings, times P."""
    _bounded(controls)
    angle = operation.params[0] / 2 ** len(controls)
    out = []
    for size in range(len(controls) + 1):
        for chosen in combinations(controls, size):
            letters = operation.pauli + "Z" * size
            out.append(Operation("rotation", operation.qubits + chosen, (angle * (-1) ** size,), letters))
    return out


def _phase(angle: float, qubits: tuple[int, ...]) -> list[Operation]:
    """exp(i angle) where all qubits are 1."""
    if not qubits:
        return [Operation("gphase", (), (angle,))]
    if len(qubits) <= 2:
        return [Operation("p" if len(qubits) == 1 else "cp", qubits, (angle,))]
    if len(qubits) == 3 and isclose(abs(angle), pi):
        return [Operation("ccz", qubits)]
    _bounded(qubits)
    share = angle / 2 ** len(qubits)
    out = [Operation("gphase", (), (share,))]
    for size in range(1, len(qubits) + 1):
        turned = (-2 * share * (-1) ** size,)
        out += [Operation("rotation", chosen, turned, "Z" * size) for chosen in combinations(qubits, size)]
    return out


def _controlled_gate(operation: Operation, controls: tuple[int, ...]) -> list[Operation]:
    """V diag(a, b) V*: only the phases a and b need the controls."""
    (qubit,) = operation.qubits
    common, relative, before, after = _taken_apart(operation.gate, operation.params)
    phases = [*(_phase(common, controls) if abs(common) > 1e-14 else []), *_phase(relative, (*controls, qubit))]
    first, last = (
        [Operation(gate, (qubit,) * (gate == "u"), angles) for gate, angles in part] for part in (before, after)
    )
    return [*first, *phases, *last]


@lru_cache(maxsize=1024)
def _taken_apart(gate: str, params: tuple[float, ...]) -> tuple[float, float, Gates, Gates]:
    """The phases a and b / a of a gate V diag(a, b) V*, and gates that make V* and V; none where it is diagonal."""
    matrix = unitary(Operation(gate, (0,), params))
    if np.allclose(matrix, np.diag(np.diag(matrix))):
        values, vectors = np.diag(matrix), np.eye(2, dtype=np.complex128)
    else:
        values, vectors = np.linalg.eig(matrix)
        vectors, _ = np.linalg.qr(vectors)
    turned = not np.allclose(vectors, np.eye(2))
    gates = (_of_matrix(vectors.conj().T), _of_matrix(vectors)) if turned else ((), ())
    return phase(values[0]), phase(values[1] / values[0]), *gates


def _of_matrix(matrix: Complex128[np.ndarray, "2 2"]) -> Gates:
    """exp(i alpha) u(theta, phi, lambda)."""
    theta = 2 * float(np.arctan2(abs(matrix[1, 0]), abs(matrix[0, 0])))
    if abs(matrix[0, 0]) > abs(matrix[1, 0]):
        alpha = phase(matrix[0, 0])
        total = phase(matrix[1, 1]) - alpha
        phi = phase(matrix[1, 0]) - alpha if abs(matrix[1, 0]) > 1e-12 else 0.0
        lam = total - phi
    else:
        alpha = phase(-matrix[0, 1]) if abs(matrix[0, 0]) <= 1e-12 else phase(matrix[0, 0])
        phi = phase(matrix[1, 0]) - alpha
        lam = 0.0 if abs(matrix[0, 0]) <= 1e-12 else phase(-matrix[0, 1]) - alpha
    return ("gphase", (alpha,)), ("u", (theta, phi, lam))


def _bounded(qubits: Sequence[int]) -> None:
    if len(qubits) > MAX_CONTROLS:
        raise ValueError(f"a gate on {len(qubits)} controls and targets is not supported, {MAX_CONTROLS} at most")
