"""The compact model that travels between the hops: a polynomial over spins, of any order.

    E(s) = offset + sum_i h_i s_i + sum_{i<j} J_ij s_i s_j + sum_{i<j<k} ...,      s_i in {+1, -1},  minimised

Its quadratic case is the Ising model. Linear constraints, over bits, stand beside it: what breaks one is no
answer, however low its energy. States are bits `x` in {0, 1} with `s = 1 - 2x`; bit i of a sample is variable i
(big-endian, as in Cirq).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from math import prod
from typing import Any

import msgspec
import numpy as np
from jaxtyping import Bool, Float64, Int32, Int64, Shaped, UInt8

from qmosaic.codecs.models.arrays import Packed, pack, unpack


def summed(
    keys: Int64[np.ndarray, " k"], values: Float64[np.ndarray, " k"]
) -> tuple[Int64[np.ndarray, " m"], Float64[np.ndarray, " m"], int]:
    """Distinct keys in order, the sum of each one's values, sums of zero left out; and how many were repeats.

    Each sum is taken in the order of its values, so that rounding leaves no trace of the order given.
    """
    order = keys.argsort(kind="stable")
    distinct, total = keys[order], values[order]
    differs = distinct[1:] != distinct[:-1]
    if not differs.all():
        order = np.lexsort((values, keys))
        where = np.concatenate([[0], np.cumsum(differs)])
        distinct = distinct[np.concatenate([[True], differs])]
        total = np.bincount(where, weights=values[order], minlength=len(distinct))
    repeats = len(keys) - len(distinct)
    keep = total != 0
    return (distinct, total, repeats) if keep.all() else (distinct[keep], total[keep], repeats)


@dataclass(frozen=True, eq=False)
class Monomials:
    """All terms of one order k >= 3: rows of `index` ascend, are sorted, none is there twice, no value is zero."""

    index: Int32[np.ndarray, "m k"]
    values: Float64[np.ndarray, " m"]

    @property
    def order(self) -> int:
        """Variables in each term."""
        return int(self.index.shape[1])


@dataclass(frozen=True, eq=False)
class Linear:
    """lower <= sum_i coefficients_i x_i <= upper over bits x in {0, 1}; `variables` differ."""

    variables: Int32[np.ndarray, " k"]
    coefficients: Float64[np.ndarray, " k"]
    lower: float
    upper: float

    @classmethod
    def exactly(cls, variables: Any, ones: int) -> Linear:
        """`ones` of the variables are 1."""
        chosen = np.asarray(variables, dtype=np.int32)
        return cls(chosen, np.ones(len(chosen)), float(ones), float(ones))

    @property
    def cardinality(self) -> int | None:
        """How many of the variables are 1, where that is all it says."""
        plain = self.lower == self.upper and float(self.lower).is_integer() and (self.coefficients == 1).all()
        return int(self.lower) if plain else None

    def holds(self, bits: Shaped[np.ndarray, "*batch n"]) -> Bool[np.ndarray, "*batch"]:
        """Whether samples keep it, up to rounding."""
        return self.allows(np.asarray(bits, dtype=np.float64)[..., self.variables] @ self.coefficients)

    def allows(self, totals: Float64[np.ndarray, "*batch"]) -> Bool[np.ndarray, "*batch"]:
        """Whether sums of its coefficients are within its bounds, up to rounding."""
        close = 1e-9 * (1.0 + np.abs(self.coefficients).sum())
        return np.asarray((totals >= self.lower - close) & (totals <= self.upper + close))


@dataclass(frozen=True, eq=False)
class SpinPolynomial:
    """Canonical: couplings with `rows < cols`, sorted, none twice, none zero; `higher` by ascending order.

    Build with `SpinPolynomial.of`.
    """

    h: Float64[np.ndarray, " n"]
    rows: Int32[np.ndarray, " m"]
    cols: Int32[np.ndarray, " m"]
    J: Float64[np.ndarray, " m"]
    offset: float = 0.0
    higher: tuple[Monomials, ...] = ()
    constraints: tuple[Linear, ...] = ()
    error: float = 0.0  # how far the energy of a state may be from the problem's, but for a constant: by rounding

    @classmethod
    def of(
        cls,
        n: int,
        *,
        h: Any = None,
        rows: Any = (),
        cols: Any = (),
        J: Any = (),
        offset: float = 0.0,
        higher: Mapping[Any, float] | Iterable[tuple[Sequence[int], float]] = (),
        constraints: Iterable[Linear] = (),
    ) -> SpinPolynomial:
        """Canonical form of any list of terms: order of indices free, repeated ones summed.

        `higher`: terms of any order, as (indices, value); an index that is there twice goes away (s^2 = 1).
        """
        a, b = np.asarray(rows, dtype=np.int64), np.asarray(cols, dtype=np.int64)
        lo, hi = np.minimum(a, b), np.maximum(a, b)
        if len(lo) and (lo.min() < 0 or hi.max() >= n or (lo == hi).any()):
            raise ValueError("couplings must join two different variables in range")
        values = np.asarray(J, dtype=np.float64)
        field = np.zeros(n) if h is None else np.array(h, dtype=np.float64)
        if field.shape != (n,):
            raise ValueError(f"h: expected shape ({n},), got {field.shape}")
        terms = _reduced_terms(n, higher)
        for (i,), value in terms.pop(1, {}).items():
            field[i] += value
        pairs = terms.pop(2, {})
        if pairs:
            ends = np.array(list(pairs), dtype=np.int64)
            lo, hi = np.append(lo, ends[:, 0]), np.append(hi, ends[:, 1])
            values = np.append(values, list(pairs.values()))
        offset += sum(terms.pop(0, {}).values())
        keys, total, _ = summed(lo * n + hi, values)
        return cls(
            field,
            (keys // n).astype(np.int32),
            (keys % n).astype(np.int32),
            total,
            float(offset),
            tuple(_monomials(terms[order]) for order in sorted(terms) if any(terms[order].values())),
            tuple(constraints),
        )

    @property
    def n(self) -> int:
        """Number of variables."""
        return len(self.h)

    @property
    def order(self) -> int:
        """The most variables in one term: 2 for an Ising model."""
        if self.higher:
            return self.higher[-1].order
        return 2 if len(self.J) else int(bool(self.h.any()))

    @property
    def density(self) -> float:
        """Share of the possible couplings that are there, 0 to 1."""
        return 2 * len(self.J) / (self.n * (self.n - 1)) if self.n > 1 else 0.0

    @property
    def scale(self) -> float:
        """The sum of all coefficients' sizes: no two states are further apart than twice that."""
        return float(np.abs(self.h).sum() + np.abs(self.J).sum() + sum(np.abs(t.values).sum() for t in self.higher))

    def energy(self, bits: Shaped[np.ndarray, "*batch n"]) -> Float64[np.ndarray, "*batch"]:
        """E of samples of 0/1 values, any number of leading axes."""
        bits = np.asarray(bits)
        # a row for each variable: picking rows is picking memory, picking columns is not
        spins = np.subtract(1, 2 * bits.reshape(prod(bits.shape[:-1]), self.n).T.astype(np.int8), order="C")
        energy = self.J @ (spins[self.rows] * spins[self.cols]) + self.h @ spins + self.offset
        for terms in self.higher:
            energy += terms.values @ spins[terms.index].prod(axis=1, dtype=np.int8)
        return np.asarray(energy.reshape(bits.shape[:-1]))

    def feasible(self, bits: Shaped[np.ndarray, "*batch n"]) -> Bool[np.ndarray, "*batch"]:
        """Whether samples keep all constraints."""
        kept = np.ones(np.asarray(bits).shape[:-1], bool)
        for constraint in self.constraints:
            kept = kept & constraint.holds(bits)
        return np.asarray(kept)

    @cached_property
    def digest(self) -> str:
        """Content digest (hex): equal models have equal digests, whatever order they were given in."""
        hasher = sha256(b"qmosaic.ising/1" if not self.higher and not self.constraints else b"qmosaic.polynomial/1")
        arrays: list[Any] = [
            np.array([self.n]),
            self.h + 0.0,
            self.rows,
            self.cols,
            self.J,
            np.array([self.offset + 0.0]),
        ]
        for terms in self.higher:
            arrays += [np.array(terms.index.shape), terms.index, terms.values]
        for one in self.constraints:
            arrays += [np.array([len(one.variables)]), one.variables, one.coefficients]
            arrays.append(np.array([one.lower, one.upper]))
        for array in arrays:
            hasher.update(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes())
        return hasher.hexdigest()[:32]


Terms = dict[tuple[int, ...], float]


def _reduced_terms(n: int, given: Mapping[Any, float] | Iterable[tuple[Sequence[int], float]]) -> dict[int, Terms]:
    """By order: ascending indices to the sum of their values."""
    parts: dict[tuple[int, ...], list[float]] = defaultdict(list)
    for indices, value in given.items() if isinstance(given, Mapping) else given:
        odd: set[int] = set()
        for index in indices:
            odd ^= {int(index)}
            if not 0 <= index < n:
                raise ValueError(f"a term has the variable {index}, there are {n}")
        parts[tuple(sorted(odd))].append(float(value))
    out: dict[int, Terms] = defaultdict(dict)
    for key, values in parts.items():
        out[len(key)][key] = sum(sorted(values))  # in the order of the values: no trace of the order given
    return out


def _monomials(terms: Terms) -> Monomials:
    kept = sorted(key for key, value in terms.items() if value != 0)
    return Monomials(np.array(kept, dtype=np.int32), np.array([terms[key] for key in kept], dtype=np.float64))


class PackedMonomials(msgspec.Struct, frozen=True):
    """`Monomials` on the wire."""

    index: Packed
    values: Packed


class PackedLinear(msgspec.Struct, frozen=True):
    """`Linear` on the wire; an open bound is None."""

    variables: Packed
    coefficients: Packed
    lower: float | None
    upper: float | None


class PackedPolynomial(msgspec.Struct, frozen=True, omit_defaults=True, tag="spins"):
    """A `SpinPolynomial` on the wire."""

    h: Packed
    rows: Packed
    cols: Packed
    J: Packed
    offset: float
    higher: tuple[PackedMonomials, ...] = ()
    constraints: tuple[PackedLinear, ...] = ()
    error: float = 0.0


def pack_polynomial(model: SpinPolynomial) -> PackedPolynomial:
    """To the wire."""
    return PackedPolynomial(
        pack(model.h),
        pack(model.rows),
        pack(model.cols),
        pack(model.J),
        model.offset,
        tuple(PackedMonomials(pack(terms.index), pack(terms.values)) for terms in model.higher),
        tuple(
            PackedLinear(pack(one.variables), pack(one.coefficients), _closed(one.lower), _closed(one.upper))
            for one in model.constraints
        ),
        model.error,
    )


def unpack_polynomial(packed: PackedPolynomial) -> SpinPolynomial:
    """From the wire; it was canonical when it left."""
    return SpinPolynomial(
        unpack(packed.h),
        unpack(packed.rows),
        unpack(packed.cols),
        unpack(packed.J),
        packed.offset,
        tuple(Monomials(unpack(terms.index), unpack(terms.values)) for terms in packed.higher),
        tuple(
            Linear(
                unpack(one.variables),
                unpack(one.coefficients),
                -np.inf if one.lower is None else one.lower,
                np.inf if one.upper is None else one.upper,
            )
            for one in packed.constraints
        ),
        packed.error,
    )


def _closed(bound: float) -> float | None:
    return float(bound) if np.isfinite(bound) else None  # JSON has no infinity


def spins_of(bits: UInt8[np.ndarray, "*batch n"]) -> Any:
    """0/1 to +1/-1 (int8): s = 1 - 2x."""
    return (1 - 2 * bits.astype(np.int8)).astype(np.int8)


def bits_of(spins: Shaped[np.ndarray, "*batch n"]) -> Any:
    """+1/-1 to 0/1 (uint8)."""
    return (np.asarray(spins) < 0).astype(np.uint8)
