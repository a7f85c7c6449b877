"""Sums of Pauli strings as bit masks: algebra, matrices on chosen basis states, and Z2 symmetries.

A mask is an index into a state vector in Cirq's order: qubit i of n is bit n-1-i, so the leftmost letter of a
string is the highest bit. The string of the masks (x, z) is

    P = i^|x & z| X^x Z^z,    P |b> = i^|x & z| (-1)^|z & b| |b ^ x>

with X where only x is set, Z where only z is, Y where both are; |.| counts bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Complex128, Float64, Int64

PHASES = np.array([1, 1j, -1, -1j])
NEGLIGIBLE = 1e-12
"""Coefficients below this are rounding, and are left out."""

Masks = Int64[np.ndarray, " k"]


def odd(masks: Any) -> Any:
    """1 where a mask has an odd number of bits, else 0."""
    return np.bitwise_count(masks).astype(np.int64) & 1


@dataclass(frozen=True, eq=False)
class PauliOperator:
    """sum_k coefficients_k P(x_k, z_k) on n qubits. Canonical: sorted by (x, z), none twice, none negligible."""

    n: int
    x: Int64[np.ndarray, " m"]
    z: Int64[np.ndarray, " m"]
    coefficients: Float64[np.ndarray, " m"]

    @classmethod
    def of(cls, n: int, x: Any, z: Any, coefficients: Any) -> PauliOperator:
        """Canonical; equal strings are summed."""
        keys, place = np.unique((np.asarray(x, np.int64) << n) | np.asarray(z, np.int64), return_inverse=True)
        total = np.bincount(place, weights=np.asarray(coefficients, np.float64), minlength=len(keys))
        kept = np.abs(total) > NEGLIGIBLE
        return cls(n, keys[kept] >> n, keys[kept] & ((1 << n) - 1), total[kept])

    @classmethod
    def of_strings(cls, n: int, paulis: Sequence[str], coefficients: Any) -> PauliOperator:
        """From strings of n letters I, X, Y, Z; the leftmost is qubit 0."""
        return cls.of(n, *masks(paulis), coefficients)

    def strings(self) -> tuple[str, ...]:
        """The strings, in the order of the coefficients."""
        return strings(self.n, self.x, self.z)

    @property
    def real(self) -> bool:
        """Whether the matrix is real: no string has an odd number of Y."""
        return not odd(self.x & self.z).any()

    def parts(self, states: Masks) -> Iterator[tuple[int, Any]]:
        """By flips: (x, d) for each distinct x, so that the operator is the sum of |b ^ x> d(b) <b| over b in `states`.

        d is real where the operator is.
        """
        flips, first = np.unique(self.x, return_index=True)
        edges = [*first.tolist(), len(self.x)]
        for x, a, b in zip(flips.tolist(), edges[:-1], edges[1:], strict=True):
            z = self.z[a:b]
            weights = self.coefficients[a:b] * PHASES[np.bitwise_count(x & z) & 3]
            weights = weights.real if self.real else weights
            if (b - a) * len(states) <= self.n << self.n:
                yield x, weights @ (1 - 2 * odd(z[:, None] & states))
            else:  # many strings of one flip: all states at once
                table = np.zeros(1 << self.n, weights.dtype)
                table[z] = weights
                yield x, walsh(table)[states]

    def diagonal(self) -> Float64[np.ndarray, " s"]:
        """<b|H|b> of all 2^n basis states."""
        table, own = np.zeros(1 << self.n), self.x == 0
        table[self.z[own]] = self.coefficients[own]
        return np.asarray(walsh(table))

    def matrix(self, states: Masks) -> Any:
        """The operator between the basis states `states` (ascending), as a sparse matrix (CSR).

        What leads out of the states is left out.
        """
        from scipy.sparse import csr_array  # here: most who read this module need no SciPy

        rows, cols, values = [], [], []
        own = np.arange(len(states), dtype=np.int32)
        for x, d in self.parts(states):
            target = np.minimum(np.searchsorted(states, states ^ x), len(states) - 1)
            kept = (states[target] == states ^ x) & (np.abs(d) > NEGLIGIBLE)
            rows.append(target[kept].astype(np.int32))
            cols.append(own[kept])
            values.append(d[kept])
        if not values:
            return csr_array((len(states), len(states)))
        entries = (np.concatenate(rows), np.concatenate(cols))
        return csr_array((np.concatenate(values), entries), shape=(len(states), len(states)))


def walsh(values: Any) -> Any:
    """Walsh-Hadamard transform: out[z] = sum_b (-1)^|z & b| values[b]."""
    n = len(values)
    half = 1
    while half < n:
        pairs = values.reshape(-1, 2, half)
        values = np.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], axis=1).reshape(n)
        half *= 2
    return values


_X_BITS = str.maketrans("IXYZ", "0110")
_Z_BITS = str.maketrans("IXYZ", "0011")


def masks(paulis: Sequence[str]) -> tuple[Masks, Masks]:
    """The masks (x, z) of strings of the letters I, X, Y, Z."""
    x, z = ([int(pauli.translate(bits), 2) for pauli in paulis] for bits in (_X_BITS, _Z_BITS))
    return np.array(x, np.int64), np.array(z, np.int64)


def strings(n: int, x: Any, z: Any) -> tuple[str, ...]:
    """Pauli strings of n letters for the masks."""
    out = []
    for a, b in zip(np.asarray(x).tolist(), np.asarray(z).tolist(), strict=True):
        bits = zip(f"{a:0{n}b}", f"{b:0{n}b}", strict=True) if n else ()
        out.append("".join("IZXY"[2 * int(s) + int(t)] for s, t in bits))
    return tuple(out)


def rotated(
    amplitudes: Complex128[np.ndarray, " states"], states: Masks, flip: int, x: int, z: int, angle: float
) -> Complex128[np.ndarray, " states"]:
    """exp(-i angle/2 P(x, z)) on amplitudes by basis state, where `states[j ^ flip] == states[j] ^ x` for all j."""
    source = np.arange(len(states)) ^ flip
    moved = PHASES[(x & z).bit_count() & 3] * (1 - 2 * odd(z & states[source])) * amplitudes[source]
    return np.asarray(np.cos(angle / 2) * amplitudes - 1j * np.sin(angle / 2) * moved)
