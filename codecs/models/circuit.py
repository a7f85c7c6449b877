"""Circuits and observables as they travel: plain values, compiled from whatever language they were written in.

Qubit 0 is the first letter of a Pauli string and the most significant bit of a state's number, as in Cirq.
Angles are in radians. Gates are those of OpenQASM 3's standard library (stdgates.inc) with its phases, and
`rotation`, exp(-i params[0]/2 P) for a Pauli string P.
"""

from __future__ import annotations

from cmath import exp, pi
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from typing import Any

import msgspec
import numpy as np
import orjson
from jaxtyping import Complex128
from msgspec.structs import replace


class PauliSum(msgspec.Struct, frozen=True):
    """A Hermitian observable: sum of `coefficients[k]` times `paulis[k]`, letter i of which acts on qubit i."""

    qubits: int
    paulis: tuple[str, ...]
    coefficients: tuple[float, ...]


class Operation(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One step. `gate` is a key of `GATES`, or one of

    - `rotation`: `pauli` has one letter for each of `qubits`, `params` one angle;
    - `gphase`: a global phase of `params[0]`, no qubits;
    - `measure`: qubits[k] into classical bit bits[k];
    - `reset` (to |0>), `barrier`.

    `condition` (bits, value): it happens where the classical `bits` read `value`, bits[k] being its bit k. The value
    is in hexadecimal, as text, where it has more than the 63 bits that JSON's readers agree on: see `wanted`.
    """

    gate: str
    qubits: tuple[int, ...]
    params: tuple[float, ...] = ()
    pauli: str = ""
    bits: tuple[int, ...] = ()
    condition: tuple[tuple[int, ...], int | str] | None = None

    @property
    def wanted(self) -> dict[int, int]:
        """What each bit of the condition has to read; empty where there is none. Raises ValueError for a bad text."""
        bits, value = self.condition or ((), 0)
        number = int(value, 16) if isinstance(value, str) else value
        return {bit: number >> k & 1 for k, bit in enumerate(bits)}


def condition(wanted: Mapping[int, int]) -> tuple[tuple[int, ...], int | str]:
    """The condition that bits read what is wanted of each."""
    value = int("".join(map(str, wanted.values()))[::-1] or "0", 2)
    return tuple(wanted), value if value < 2**63 else f"{value:x}"


class Circuit(msgspec.Struct, frozen=True, tag="circuit"):
    """`qubits` start in |0>, `bits` (classical) in 0.

    With `observables` nothing is measured in it, and its answer are their expectation values. Without, its
    answer is how often the classical bits came out how; bit i of a sample is classical bit i. `variational`: it was
    tuned to bring its one observable as low as it can be, and whoever gets it lower by other means may say so.
    `points`: operations to take instead of those above, one list after the other, as of the same circuit at other
    angles: the observables are wanted of each, too, in this order.
    """

    qubits: int
    bits: int
    operations: tuple[Operation, ...]
    observables: tuple[PauliSum, ...] = ()
    variational: bool = False
    points: tuple[tuple[Operation, ...], ...] | msgspec.UnsetType = msgspec.UNSET

    @property
    def each(self) -> tuple[Circuit, ...]:
        """The circuit by itself, and at each of its points."""
        if self.points is msgspec.UNSET:
            return (self,)
        return tuple(replace(self, operations=one, points=msgspec.UNSET) for one in (self.operations, *self.points))

    @property
    def digest(self) -> str:
        """Content digest (hex): equal circuits have equal ones."""
        return sha256(b"qmosaic.circuit/1" + orjson.dumps(msgspec.to_builtins(self))).hexdigest()[:32]


GATES: dict[str, tuple[int, int]] = {
    **dict.fromkeys(("id", "x", "y", "z", "h", "s", "sdg", "t", "tdg", "sx", "sxdg"), (1, 0)),
    **dict.fromkeys(("rx", "ry", "rz", "p"), (1, 1)),
    "u": (1, 3),
    **dict.fromkeys(("cx", "cy", "cz", "ch", "cs", "csdg", "csx", "swap", "iswap"), (2, 0)),
    **dict.fromkeys(("cp", "crx", "cry", "crz", "rxx", "ryy", "rzz"), (2, 1)),
    "cu": (2, 4),
    **dict.fromkeys(("ccx", "ccz", "cswap"), (3, 0)),
}
"""Gates by name: numbers of qubits and of parameters."""

PAULIS: dict[str, Complex128[np.ndarray, "2 2"]] = {
    "I": np.eye(2, dtype=np.complex128),
    "X": np.array([[0, 1], [1, 0]], dtype=np.complex128),
    "Y": np.array([[0, -1j], [1j, 0]], dtype=np.complex128),
    "Z": np.diag([1, -1]).astype(np.complex128),
}
_SX = np.array([[1 + 1j, 1 - 1j], [1 - 1j, 1 + 1j]]) / 2
_SINGLE: dict[str, Any] = {
    "id": np.eye(2),
    "x": PAULIS["X"],
    "y": PAULIS["Y"],
    "z": PAULIS["Z"],
    "h": np.array([[1, 1], [1, -1]]) / np.sqrt(2),
    "s": np.diag([1, 1j]),
    "sdg": np.diag([1, -1j]),
    "t": np.diag([1, exp(1j * pi / 4)]),
    "tdg": np.diag([1, exp(-1j * pi / 4)]),
    "sx": _SX,
    "sxdg": _SX.conj().T,
}
_CONTROLLED = {"cx": "x", "cy": "y", "cz": "z", "ch": "h", "cs": "s", "csdg": "sdg", "csx": "sx", "cp": "p"} | {
    f"cr{axis}": f"r{axis}" for axis in "xyz"
}

_OWN_INVERSE = ("id", "x", "y", "z", "h", "cx", "cy", "cz", "ch", "swap", "ccx", "ccz", "cswap", "barrier")
_DAGGERS = {"s": "sdg", "t": "tdg", "sx": "sxdg", "cs": "csdg"}
_INVERSES = _DAGGERS | {dagger: gate for gate, dagger in _DAGGERS.items()}


def unitary(operation: Operation) -> Complex128[np.ndarray, "d d"]:
    """The matrix of a gate, its first qubit the most significant. Raises KeyError for what is no gate."""
    gate, params = operation.gate, operation.params
    if gate == "rotation":
        return _rotation(operation.pauli, params[0])
    if gate in ("rxx", "ryy", "rzz"):
        return _rotation(gate[1:].upper(), params[0])
    if gate in _CONTROLLED:
        return _controlled(_single(_CONTROLLED[gate], params))
    if gate == "cu":
        return _controlled(exp(1j * params[3]) * _single("u", params[:3]))
    if gate in ("ccx", "ccz"):
        return _controlled(_controlled(_single(gate[2:], ())))
    swap = np.eye(4, dtype=np.complex128)[[0, 2, 1, 3]]
    if gate == "swap":
        return swap
    if gate == "iswap":
        return np.asarray(swap * np.array([[1, 1, 1, 1], [1, 1, 1j, 1], [1, 1j, 1, 1], [1, 1, 1, 1]]))
    if gate == "cswap":
        return _controlled(swap)
    return _single(gate, params)


def inverse(operation: Operation) -> tuple[Operation, ...]:
    """Gates that undo one, in their order; as many on two or three qubits as it is. Raises KeyError for what is no
    gate."""
    gate, on, params = operation.gate, operation.qubits, operation.params
    if gate in _OWN_INVERSE:
        return (operation,)
    if gate in _INVERSES:
        return (Operation(_INVERSES[gate], on),)
    if gate in ("rotation", "gphase") or GATES[gate][1] == 1:
        return (Operation(gate, on, (-params[0],), operation.pauli),)
    if gate in ("u", "cu"):
        theta, phi, lam, *phase = params
        return (Operation(gate, on, (-theta, -lam, -phi, *(-each for each in phase))),)
    if gate == "iswap":  # its square is ZZ
        return (operation, Operation("z", on[:1]), Operation("z", on[1:]))
    # csx: sxdg is -i Z sx Z, and the phase is one of the control
    z = Operation("z", on[1:])
    return (z, operation, z, Operation("sdg", on[:1]))


def _single(gate: str, params: tuple[float, ...]) -> Complex128[np.ndarray, "2 2"]:
    if gate in ("rx", "ry", "rz"):
        return _rotation(gate[1].upper(), params[0])
    if gate == "p":
        return np.asarray(np.diag([1, exp(1j * params[0])]))
    if gate == "u":
        theta, phi, lam = params
        c, s = np.cos(theta / 2), np.sin(theta / 2)
        return np.array([[c, -exp(1j * lam) * s], [exp(1j * phi) * s, exp(1j * (phi + lam)) * c]])
    return np.asarray(_SINGLE[gate], dtype=np.complex128)


def _rotation(pauli: str, angle: float) -> Complex128[np.ndarray, "d d"]:
    product = _string(pauli)
    return np.asarray(np.cos(angle / 2) * np.eye(len(product)) - 1j * np.sin(angle / 2) * product)


@lru_cache(maxsize=128)
def _string(pauli: str) -> Complex128[np.ndarray, "d d"]:
    product = np.eye(1, dtype=np.complex128)
    for letter in pauli:
        product = np.kron(product, PAULIS[letter])
    return product


def _controlled(matrix: Complex128[np.ndarray, "d d"]) -> Complex128[np.ndarray, "e e"]:
    d = len(matrix)
    out = np.eye(2 * d, dtype=np.complex128)
    out[d:, d:] = matrix
    return out
