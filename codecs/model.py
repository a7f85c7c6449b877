"""The compact model that travels between the hops: a quadratic polynomial over spins.

    E(s) = offset + sum_i h_i s_i + sum_{i<j} J_ij s_i s_j,      s_i in {+1, -1},  minimised

States are bits `x` in {0, 1} with `s = 1 - 2x`; bit i of a sample is variable i (big-endian, as in Cirq).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

import msgspec
import numpy as np
from jaxtyping import Float64, Int32, Int64, Shaped, UInt8

from qmosaic.codecs.arrays import Packed, pack, unpack


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
class Ising:
    """Canonical: couplings with `rows < cols`, sorted, none twice, none zero. Build with `Ising.of`."""

    h: Float64[np.ndarray, " n"]
    rows: Int32[np.ndarray, " m"]
    cols: Int32[np.ndarray, " m"]
    J: Float64[np.ndarray, " m"]
    offset: float = 0.0

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
    ) -> Ising:
        """Canonical form of any list of couplings: order of indices free, repeated ones summed."""
        a, b = np.asarray(rows, dtype=np.int64), np.asarray(cols, dtype=np.int64)
        lo, hi = np.minimum(a, b), np.maximum(a, b)
        if len(lo) and (lo.min() < 0 or hi.max() >= n or (lo == hi).any()):
            raise ValueError("couplings must join two different variables in range")
        keys, total, _ = summed(lo * n + hi, np.asarray(J, dtype=np.float64))
        field = np.zeros(n) if h is None else np.array(h, dtype=np.float64)
        if field.shape != (n,):
            raise ValueError(f"h: expected shape ({n},), got {field.shape}")
        return cls(field, (keys // n).astype(np.int32), (keys % n).astype(np.int32), total, float(offset))

    @property
    def n(self) -> int:
        """Number of variables."""
        return len(self.h)

    @property
    def density(self) -> float:
        """Share of the possible couplings that are there, 0 to 1."""
        return 2 * len(self.J) / (self.n * (self.n - 1)) if self.n > 1 else 0.0

    def energy(self, bits: Shaped[np.ndarray, "*batch n"]) -> Float64[np.ndarray, "*batch"]:
        """E of samples of 0/1 values, any number of leading axes."""
        spins = 1.0 - 2.0 * np.asarray(bits, dtype=np.float64)
        quadratic = (spins[..., self.rows] * spins[..., self.cols]) @ self.J
        return np.asarray(quadratic + spins @ self.h + self.offset)

    @cached_property
    def digest(self) -> str:
        """Content digest (hex): equal models have equal digests, whatever order they were given in."""
        hasher = sha256(b"qmosaic.ising/1")
        for array in (
            np.array([self.n]),
            self.h + 0.0,
            self.rows,
            self.cols,
            self.J,
            np.array([self.offset + 0.0]),
        ):
            hasher.update(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes())
        return hasher.hexdigest()[:32]


class PackedIsing(msgspec.Struct, frozen=True):
    """An `Ising` on the wire."""

    h: Packed
    rows: Packed
    cols: Packed
    J: Packed
    offset: float


def pack_ising(model: Ising) -> PackedIsing:
    """To the wire."""
    return PackedIsing(pack(model.h), pack(model.rows), pack(model.cols), pack(model.J), model.offset)


def unpack_ising(packed: PackedIsing) -> Ising:
    """From the wire; it was canonical when it left."""
    return Ising(unpack(packed.h), unpack(packed.rows), unpack(packed.cols), unpack(packed.J), packed.offset)


def spins_of(bits: UInt8[np.ndarray, "*batch n"]) -> Any:
    """0/1 to +1/-1 (int8): s = 1 - 2x."""
    return (1 - 2 * bits.astype(np.int8)).astype(np.int8)


def bits_of(spins: Shaped[np.ndarray, "*batch n"]) -> Any:
    """+1/-1 to 0/1 (uint8)."""
    return (np.asarray(spins) < 0).astype(np.uint8)
