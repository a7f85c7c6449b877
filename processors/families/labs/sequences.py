"""Low-autocorrelation binary sequences: their energy, the polynomial of it, and classical ones."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from jaxtyping import Int64

from qmosaic.codecs.models.polynomial import Monomials, SpinPolynomial


def terms(n: int) -> int:
    """Terms of the polynomial, without the constant."""
    four = sum((total - 1) // 2 * (n - total) for total in range(3, n))
    return four + sum(n - 2 * a for a in range(1, (n + 1) // 2))


def polynomial(n: int) -> SpinPolynomial:
    """E of sequences of n elements."""
    a, b = np.triu_indices(n, 1)
    a, b = a[a > 0], b[a > 0]
    a, b = a[a + b < n], b[a + b < n]
    starts = n - a - b
    i = np.arange(starts.sum()) - np.repeat(starts.cumsum() - starts, starts)
    a, b = np.repeat(a, starts), np.repeat(b, starts)
    index = np.stack([i, i + a, i + b, i + a + b], axis=1).astype(np.int32)
    index = index[np.lexsort(index.T[::-1])]
    rows, cols = np.triu_indices(n, 2)
    even = (cols - rows) % 2 == 0
    rows, cols = rows[even].astype(np.int32), cols[even].astype(np.int32)
    higher = (Monomials(index, np.full(len(index), 4.0)),) if len(index) else ()
    return SpinPolynomial(np.zeros(n), rows, cols, np.full(len(rows), 2.0), n * (n - 1) / 2, higher)


def energy(spins: Int64[np.ndarray, "r n"]) -> Int64[np.ndarray, " r"]:
    """E of each row."""
    return np.asarray(sum((spins[:, k:] * spins[:, :-k]).sum(axis=1) ** 2 for k in range(1, spins.shape[1])))


def flips(spins: Int64[np.ndarray, "r n"]) -> Int64[np.ndarray, "r n"]:
    """How E of each row changes with the flip of each element."""
    n = spins.shape[1]
    fields, mirrored = np.zeros_like(spins), np.zeros_like(spins)
    for k in range(1, n):
        before, after = np.zeros_like(spins), np.zeros_like(spins)
        before[:, k:], after[:, :-k] = spins[:, :-k], spins[:, k:]
        fields += (spins * before).sum(axis=1, keepdims=True) * (before + after)
        mirrored += before * after
    return np.asarray(4 * (n - 1) + 8 * mirrored - 4 * spins * fields)


def descended(spins: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """Flip what lowers E most until nothing does."""
    spins = spins.copy()
    while True:
        change = flips(spins[None])[0]
        best = int(change.argmin())
        if change[best] >= 0:
            return spins
        spins[best] *= -1


def legendre(n: int) -> Int64[np.ndarray, " n"]:
    """The Legendre sequence of the next prime, rotated by a quarter: merit factor 6 in the limit (Golay 1983)."""
    prime = next(p for p in range(max(n, 3), 2 * n + 3) if all(p % d for d in range(2, int(p**0.5) + 1)))
    squares = np.isin(np.arange(prime), np.arange(prime) ** 2 % prime)
    return np.roll(np.where(squares, 1, -1), -(prime // 4))[:n].astype(np.int64)


def run_lengths(sequence: Sequence[int]) -> list[int]:
    """How many equal elements follow one another."""
    return [len(list(run)) for _, run in groupby(sequence)]
