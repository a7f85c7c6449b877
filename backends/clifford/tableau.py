"""Clifford circuits of any size, exactly, in NumPy: every run at once, with the coin flips as unknowns.

A stabilizer tableau (Aaronson and Gottesman, Phys. Rev. A 70 (2004) 052328) whose signs are sums over GF(2) of the
random results so far (Fang and Ying, arXiv:2311.03906). So one pass gives each classical bit as a constant plus a sum
of coin flips: the whole distribution is uniform on an affine space. Measurements, resets and Pauli gates that
depend on one measured bit may stand anywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import product
from math import pi
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, UInt8

from qmosaic.codecs.models.circuit import PAULIS, Circuit, Operation, unitary

TOLERANCE = 1e-9
"""How close to a Clifford gate a matrix has to be."""


class Affine(NamedTuple):
    """Values of bits: `offset` plus any sum of rows of `basis` (independent, in reduced echelon form), all equally
    likely."""

    offset: UInt8[np.ndarray, " bits"]
    basis: UInt8[np.ndarray, "k bits"]

    def sample(self, shots: int, generator: np.random.Generator) -> UInt8[np.ndarray, "shots bits"]:
        """Independent draws."""
        flips = generator.integers(2, size=(shots, len(self.basis)), dtype=np.uint8)
        # float32 counts exactly up to 2^24 and has a fast matrix product
        sums = flips.astype(np.float32) @ self.basis.astype(np.float32)
        return np.asarray((sums.astype(np.int64) & 1).astype(np.uint8) ^ self.offset)


def reduced(rows: UInt8[np.ndarray, "r bits"]) -> UInt8[np.ndarray, "k bits"]:
    """A basis of the rows over GF(2), in reduced echelon form."""
    matrix, rank = np.array(rows, dtype=np.uint8), 0
    for column in range(matrix.shape[1]):
        below = np.flatnonzero(matrix[rank:, column])
        if not len(below):
            continue
        matrix[[rank, rank + below[0]]] = matrix[[rank + below[0], rank]]
        others = np.flatnonzero(matrix[:, column])
        matrix[others[others != rank]] ^= matrix[rank]
        rank += 1
    return matrix[:rank]


def outcomes(circuit: Circuit, going_on: Callable[[], bool] = lambda: True) -> Affine | None:
    """The distribution of the classical bits; None if the circuit is not Clifford, or when `going_on` says no."""
    tableau = _evolved(circuit, going_on)
    if tableau is None:
        return None
    bits = np.zeros((circuit.bits, tableau.symbols), np.uint8)
    for bit, value in tableau.bits.items():
        bits[bit, : len(value)] = value
    return Affine(bits[:, 0].copy(), reduced(bits[:, 1:].T))


def expectations(circuit: Circuit, going_on: Callable[[], bool] = lambda: True) -> Float64[np.ndarray, " v"] | None:
    """The values of the observables, exactly; None as for `outcomes`."""
    tableau = _evolved(circuit, going_on)
    if tableau is None:
        return None
    return np.array(
        [
            sum(c * tableau.expectation(pauli) for c, pauli in zip(each.coefficients, each.paulis, strict=True))
            for each in circuit.observables
        ],
        dtype=np.float64,
    )


def is_clifford(circuit: Circuit) -> bool:
    """Whether `outcomes` takes the circuit, by its gates; conditions on several bits show only there."""
    return all(_understood(operation) for operation in circuit.operations)


def _understood(operation: Operation) -> bool:
    if operation.gate in ("measure", "reset", "barrier", "gphase"):
        return operation.condition is None or operation.gate in ("barrier", "gphase")
    if operation.gate == "rotation":
        quarter = _quarters(operation.params[0])
        return quarter is not None and (operation.condition is None or quarter % 2 == 0)
    action = _action(operation.gate, operation.params)
    return action is not None and (operation.condition is None or _pauli(action) is not None)


def _evolved(circuit: Circuit, going_on: Callable[[], bool]) -> _Tableau | None:
    if not is_clifford(circuit):
        return None
    tableau = _Tableau(circuit.qubits)
    for k, operation in enumerate(circuit.operations):
        if k % 64 == 0 and not going_on():
            return None
        if operation.gate == "measure":
            for qubit, bit in zip(operation.qubits, operation.bits, strict=True):
                if not going_on():
                    return None
                tableau.bits[bit] = tableau.measure(qubit)
        elif operation.gate == "reset":
            for qubit in operation.qubits:
                tableau.flip(tableau.z[qubit], tableau.measure(qubit))
        elif operation.gate not in ("barrier", "gphase") and not tableau.apply(operation):
            return None
    return tableau


class _Tableau:
    """Rows are i^phase X^x Z^z; the first n are the destabilizers, the others the stabilizers.

    `x`, `z`: [qubit, row]; `signs`: [row, symbol], where symbol k is coin flip k, and 0 is not used: constants are in
    `phase`. A value of a bit is a vector over the symbols, symbol 0 being its constant.
    """

    def __init__(self, n: int) -> None:
        self.n = n
        self.x = np.zeros((n, 2 * n), bool)
        self.z = np.zeros((n, 2 * n), bool)
        self.x[np.arange(n), np.arange(n)] = True
        self.z[np.arange(n), n + np.arange(n)] = True
        self.phase = np.zeros(2 * n, np.uint8)
        self.signs = np.zeros((2 * n, 64), bool)
        self.symbols = 1
        self.bits: dict[int, Bool[np.ndarray, " s"]] = {}

    def flip(self, rows: Bool[np.ndarray, " r"], by: Bool[np.ndarray, " s"]) -> None:
        """The sign of these rows times (-1) to the value `by`."""
        self.phase[rows] = (self.phase[rows] + 2 * by[0]) & 3
        self.signs[np.ix_(rows, np.flatnonzero(by[1:]) + 1)] ^= True

    def apply(self, operation: Operation) -> bool:
        """False where the condition is none that can be followed."""
        by = np.ones(1, bool)
        if operation.condition is not None:
            (bits, value) = operation.condition
            if len(bits) != 1:
                return False
            by = np.array(self.bits.get(bits[0], np.zeros(1, bool)))
            by[0] ^= value == 0
        if operation.gate == "rotation":
            letters = operation.pauli
            quarter = _quarters(operation.params[0]) or 0
            x = np.array([letter in "XY" for letter in letters])
            z = np.array([letter in "YZ" for letter in letters])
            turned = self.anticommuting(operation.qubits, x, z)
            if quarter == 2:
                self.flip(turned, by)
            elif quarter:  # R becomes -i P R, or i P R
                self.times(operation.qubits, x, z, (3 if quarter == 1 else 1) + int((x & z).sum()), turned)
            return True
        action = _action(operation.gate, operation.params) or ()
        if operation.condition is not None:
            x, z = _pauli(action) or (np.zeros(0, bool), np.zeros(0, bool))
            self.flip(self.anticommuting(operation.qubits, x, z), by)
            return True
        self.conjugate(operation.qubits, action)
        return True

    def anticommuting(
        self, qubits: tuple[int, ...], x: Bool[np.ndarray, " k"], z: Bool[np.ndarray, " k"]
    ) -> Bool[np.ndarray, " r"]:
        on = list(qubits)
        return np.asarray(np.logical_xor.reduce((self.x[on] & z[:, None]) ^ (self.z[on] & x[:, None]), axis=0))

    def times(
        self,
        qubits: tuple[int, ...],
        x: Bool[np.ndarray, " k"],
        z: Bool[np.ndarray, " k"],
        phase: int,
        rows: Bool[np.ndarray, " r"],
    ) -> None:
        """Rows multiplied from the left by i^phase X^x Z^z on these qubits."""
        on = list(qubits)
        crossed = np.logical_xor.reduce(self.x[on] & z[:, None], axis=0)
        self.phase[rows] = (self.phase[rows] + phase + 2 * crossed[rows]) & 3
        self.x[on] ^= x[:, None] & rows
        self.z[on] ^= z[:, None] & rows

    def conjugate(self, qubits: tuple[int, ...], action: _Action) -> None:
        """Each X and Z of a row becomes its image, in the order X^x Z^z of qubit after qubit."""
        on = list(qubits)
        old_x, old_z = self.x[on], self.z[on]
        x, z = np.zeros_like(old_x), np.zeros_like(old_z)
        phase = np.zeros(2 * self.n, np.uint8)
        for k in range(len(on)):
            for present, (image_x, image_z, image_phase) in ((old_x[k], action[2 * k]), (old_z[k], action[2 * k + 1])):
                crossed = np.zeros(2 * self.n, bool)
                for j in np.flatnonzero(image_x):
                    crossed ^= z[j]
                phase += np.where(present, image_phase + 2 * crossed, 0).astype(np.uint8)
                for j in np.flatnonzero(image_x):
                    x[j] ^= present
                for j in np.flatnonzero(image_z):
                    z[j] ^= present
        self.x[on], self.z[on] = x, z
        self.phase = np.asarray((self.phase + phase) & 3, np.uint8)

    def measure(self, qubit: int) -> Bool[np.ndarray, " s"]:
        """The result, as a value: known, or a new coin flip."""
        n = self.n
        random = np.flatnonzero(self.x[qubit, n:])
        if not len(random):
            return self.product(self.x[qubit, :n])
        pivot = n + int(random[0])
        others = np.array(self.x[qubit])
        others[pivot] = False
        x, z = self.x[:, pivot].copy(), self.z[:, pivot].copy()
        crossed = np.logical_xor.reduce(self.x[np.ix_(z, others)], axis=0)
        self.phase[others] = (self.phase[others] + self.phase[pivot] + 2 * crossed) & 3
        self.signs[others] ^= self.signs[pivot]
        self.x[np.ix_(x, others)] ^= True
        self.z[np.ix_(z, others)] ^= True
        partner = pivot - n
        self.x[:, partner], self.z[:, partner] = x, z
        self.phase[partner], self.signs[partner] = self.phase[pivot], self.signs[pivot]
        self.x[:, pivot], self.z[:, pivot] = False, False
        self.z[qubit, pivot] = True
        self.phase[pivot], self.signs[pivot] = 0, False
        if self.symbols == self.signs.shape[1]:
            self.signs = np.concatenate([self.signs, np.zeros_like(self.signs)], axis=1)
        result = np.zeros(self.symbols + 1, bool)
        result[self.symbols] = True
        self.signs[pivot, self.symbols] = True
        self.symbols += 1
        return result

    def product(self, chosen: Bool[np.ndarray, " n"], phase: int = 0) -> Bool[np.ndarray, " s"]:
        """The value of the product of some stabilizers, which is i^-phase times a string of Z and the like."""
        rows = self.n + np.flatnonzero(chosen)
        result = np.zeros(self.symbols, bool)
        x, z = self.x[:, rows], self.z[:, rows]
        before = np.logical_xor.accumulate(z, axis=1)[:, :-1]  # of the rows before each
        total = int(self.phase[rows].astype(np.int64).sum()) + 2 * int((before & x[:, 1:]).sum()) - phase
        result[1:] = np.logical_xor.reduce(self.signs[rows, 1 : self.symbols], axis=0)
        result[0] = total % 4 == 2
        return result

    def expectation(self, pauli: str) -> float:
        """The value of a Pauli string, without random results: 1, -1 or 0."""
        x = np.array([letter in "XY" for letter in pauli])
        z = np.array([letter in "YZ" for letter in pauli])
        touched = self.anticommuting(tuple(range(self.n)), x, z)
        if touched[self.n :].any():
            return 0.0
        return -1.0 if self.product(touched[: self.n], int((x & z).sum()))[0] else 1.0


_Image = tuple[Bool[np.ndarray, " k"], Bool[np.ndarray, " k"], int]
_Action = tuple[_Image, ...]
"""What X and Z of each qubit become, as i^phase X^x Z^z."""


@lru_cache(maxsize=4096)
def _action(gate: str, params: tuple[float, ...]) -> _Action | None:
    """The action of a gate, from its matrix; None for what is no Clifford gate."""
    matrix = unitary(Operation(gate, (), params))
    k = len(matrix).bit_length() - 1
    images = []
    for place in range(k):
        for letter in "XZ":
            image = matrix @ _dense("I" * place + letter + "I" * (k - place - 1)) @ matrix.conj().T
            found = _as_pauli(image, k)
            if found is None:
                return None
            images.append(found)
    return tuple(images)


def _as_pauli(matrix: np.ndarray, k: int) -> _Image | None:
    for letters in product("IXYZ", repeat=k):
        weight = np.trace(_dense("".join(letters)) @ matrix) / 2**k
        if abs(abs(weight) - 1) < TOLERANCE:
            x = np.array([letter in "XY" for letter in letters])
            z = np.array([letter in "YZ" for letter in letters])
            return x, z, (int((x & z).sum()) + (2 if weight.real < 0 else 0)) & 3
        if abs(weight) > TOLERANCE:
            return None
    return None


@lru_cache(maxsize=256)
def _dense(letters: str) -> np.ndarray:
    out = np.eye(1, dtype=np.complex128)
    for letter in letters:
        out = np.kron(out, PAULIS[letter])
    return out


def _pauli(action: _Action) -> tuple[Bool[np.ndarray, " k"], Bool[np.ndarray, " k"]] | None:
    """The Pauli string that a gate is, if it is one: it turns the signs of what anticommutes with it."""
    k = len(action) // 2
    eye = np.eye(k, dtype=bool)
    for place in range(k):
        (ax, az, _), (bx, bz, _) = action[2 * place], action[2 * place + 1]
        if az.any() or bx.any() or (ax != eye[place]).any() or (bz != eye[place]).any():
            return None
    z = np.array([action[2 * place][2] == 2 for place in range(k)])
    x = np.array([action[2 * place + 1][2] == 2 for place in range(k)])
    return x, z


def _quarters(angle: float) -> int | None:
    """An angle in quarters of a turn, 0 to 3; None where it is none."""
    turns = angle / (pi / 2)
    return round(turns) % 4 if abs(turns - round(turns)) < TOLERANCE else None
