"""Z2 symmetries of a Pauli operator, and the qubits they taper off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int64

from qmosaic.codecs.models.paulis import Masks, PauliOperator, odd


def lowest(matrix: Any, most_dense: int = 256) -> tuple[float, Any]:
    """The lowest eigenvalue of a Hermitian sparse matrix and its vector; deterministic."""
    n = matrix.shape[0]
    if matrix.nnz == 0:
        return 0.0, np.eye(1, n)[0]
    if n > most_dense:
        from scipy.sparse.linalg import ArpackError, eigsh

        start = np.random.default_rng(0).standard_normal(n)
        try:
            values, vectors = eigsh(matrix, k=1, which="SA", v0=start, tol=1e-10)
        except ArpackError:
            if n > 4 * most_dense:
                raise
        else:
            return float(values[0]), vectors[:, 0]
    values, vectors = np.linalg.eigh(matrix.toarray())
    return float(values[0]), vectors[:, 0]


@dataclass(frozen=True, eq=False)
class Span:
    """The basis states that flips can reach from a reference: reference ^ (any XOR of `rows`).

    `rows` are in reduced echelon form: `pivots[k]` is a bit that of all rows only row k has. So the pivot bits of a
    state are its coordinates, and the state is an index of `len(rows)` bits, row 0 the highest.
    """

    rows: Masks
    pivots: Masks

    @classmethod
    def of(cls, flips: Any) -> Span:
        """The span of some masks."""
        rows: dict[int, int] = {}  # pivot bit: row
        for mask in np.unique(np.asarray(flips, np.int64)).tolist():
            for pivot, row in rows.items():
                if mask & pivot:
                    mask ^= row
            if mask:
                pivot = 1 << (mask.bit_length() - 1)
                rows = {p: row ^ mask if row & pivot else row for p, row in rows.items()}
                rows[pivot] = mask
        order = sorted(rows, reverse=True)
        return cls(np.array([rows[p] for p in order], np.int64), np.array(order, np.int64))

    @property
    def rank(self) -> int:
        return len(self.rows)

    def states(self, reference: int) -> Masks:
        """All 2^rank states, in the order of their coordinates."""
        states = np.array([reference ^ int(self.expand(self.coordinates(reference)))], np.int64)
        for row in self.rows[::-1]:
            states = np.concatenate([states, states ^ row])
        return states

    def coordinates(self, masks: Any) -> Any:
        """Pivot bits of masks, compressed to an index."""
        masks = np.asarray(masks, np.int64)
        index = np.zeros_like(masks)
        for pivot in self.pivots:
            index = (index << 1) | ((masks & pivot) != 0)
        return index

    def expand(self, coordinates: Any) -> Any:
        """The member of the span with these coordinates."""
        coordinates = np.asarray(coordinates, np.int64)
        masks = np.zeros_like(coordinates)
        for k, row in enumerate(self.rows.tolist()):
            masks = masks ^ np.where((coordinates >> (self.rank - 1 - k)) & 1, row, 0)
        return masks


@dataclass(frozen=True, eq=False)
class Tapering:
    """Fewer qubits by Z2 symmetries (Bravyi, Gambetta, Mezzacapo, Temme 2017), those that are products of Z.

    A product of Z commutes with the operator if it has an even overlap with all of its flips; in the sector of a
    reference state it is the number +1 or -1. Each `symmetry` has one qubit, `dropped`, that no other has: there
    its Z equals the sign times the other Zs of the product, and what is left of the operator only flips it
    together with others. So no Clifford frame is needed: the tapered register is the remaining qubits of the
    old one, `kept`, and basis states stay basis states.
    """

    n: int
    span: Span
    kept: tuple[int, ...]
    dropped: Masks
    symmetries: Masks
    signs: Int64[np.ndarray, " k"]

    @classmethod
    def of(cls, operator: PauliOperator, reference: int) -> Tapering:
        """By all symmetries of the operator, in the sector of a basis state."""
        n, span = operator.n, Span.of(operator.x)
        dropped = [1 << i for i in range(n) if 1 << i not in span.pivots]
        # The null space of the flips: a free bit, and the pivots of the rows that flip it.
        symmetries = [bit | sum(p for p, row in zip(*_lists(span), strict=True) if row & bit) for bit in dropped]
        masks = np.array(symmetries, np.int64)
        kept = tuple(i for i in range(n) if 1 << (n - 1 - i) in span.pivots)
        return cls(n, span, kept, np.array(dropped, np.int64), masks, 1 - 2 * odd(masks & reference))

    @property
    def qubits(self) -> int:
        """How many are left."""
        return len(self.kept)

    def taper(self, x: Any, z: Any) -> tuple[Masks, Masks, Int64[np.ndarray, " k"]]:
        """Strings that commute with all symmetries, on the tapered register: their masks and signs."""
        x, z = np.asarray(x, np.int64), np.asarray(z, np.int64)
        count = np.bitwise_count(x & z).astype(np.int64)
        sign = np.ones_like(x)
        for bit, symmetry, value in zip(self.dropped, self.symmetries, self.signs, strict=True):
            has = (z & bit) != 0
            z = np.where(has, z ^ symmetry, z)
            sign = np.where(has, sign * value, sign)
        x, z = self.span.coordinates(x), self.span.coordinates(z)
        # X^x Z^z keeps its value, and the phase i^|x & z| between it and the string changes by a power of -1.
        return x, z, sign * (1 - ((count - np.bitwise_count(x & z).astype(np.int64)) & 2))

    def operator(self, operator: PauliOperator) -> PauliOperator:
        """The operator on the tapered register: its spectrum there is that of the sector."""
        x, z, sign = self.taper(operator.x, operator.z)
        return PauliOperator.of(self.qubits, x, z, operator.coefficients * sign)

    def lift(self, x: Any, z: Any) -> tuple[Masks, Masks]:
        """Strings of the tapered register on the whole one: they act on the sector as the given ones do."""
        spread = np.zeros_like(np.asarray(z, np.int64))
        for k, pivot in enumerate(self.span.pivots.tolist()):
            spread |= np.where((np.asarray(z, np.int64) >> (self.qubits - 1 - k)) & 1, pivot, 0)
        return self.span.expand(x), spread


def _lists(span: Span) -> tuple[list[int], list[int]]:
    return span.pivots.tolist(), span.rows.tolist()
