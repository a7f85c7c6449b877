"""What reduce says about the distribution of a circuit, and how verify compares counts with it. NumPy only.

The evidence divides the values of the classical bits into classes and has the exact probability of each: the `LISTED`
likeliest values by themselves, all others by `HASHES` parities of their bits, chosen at random. For Clifford circuits,
whose values are uniform on an affine space, the classes are parities of its coordinates. Counts and probabilities of
classes have a Hellinger fidelity, F = (sum_i sqrt(p_i q_i))^2. Classes can only raise it: what differs in them differs
in the whole.

How low F gets with perfect sampling depends on the distribution and the shots, so it is *tried*: `TRIES` multinomial
draws give its mean and spread. Counts pass with F of 0.99, or, where perfect sampling cannot be relied on for that,
with `SIGMAS` deviations below its mean. Besides, each bit has to be 1 as often as it should, within `SIGMAS`
deviations: this sees a bit that is stuck even where nearly every value is drawn once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from qmosaic.backends.tableau import Affine, reduced
from qmosaic.codecs.bundle import Bundle, array, bundle

LISTED = 4096
HASHES = 10
TRIES = 128
SIGMAS = 6.0
ENOUGH = 0.99
"""The fidelity that is asked for where shots allow it."""


class Verdict(NamedTuple):
    """`fidelity` as far as classes tell; `threshold`: what perfect sampling reaches; `bits_fit`: the second test."""

    fidelity: float
    threshold: float
    bits_fit: bool


def of_list(
    rows: UInt8[np.ndarray, "k bits"], probabilities: Float64[np.ndarray, " k"], shots: int, seed: int
) -> Bundle:
    """The evidence of a distribution that is known value by value (all different)."""
    generator = np.random.default_rng(seed)
    probabilities = probabilities / probabilities.sum()
    order = np.argsort(-probabilities, kind="stable")
    top, rest = order[:LISTED], order[LISTED:]
    parities = generator.integers(2, size=(rows.shape[1], HASHES), dtype=np.uint8)
    tail = np.bincount(_hashed(rows[rest], parities), probabilities[rest], 2**HASHES) if len(rest) else np.zeros(0)
    return _evidence(
        {
            "listed": np.packbits(rows[top], axis=1),
            "parities": parities,
            "probabilities": np.concatenate([probabilities[top], tail]),
            "ones": _ones(rows, probabilities),
        },
        shots,
        generator,
    )


def of_affine(space: Affine, shots: int, seed: int) -> Bundle:
    """The evidence of a distribution that is uniform on an affine space."""
    k, bits = space.basis.shape
    if 2**k <= LISTED:
        flips = ((np.arange(2**k)[:, None] >> np.arange(k)) & 1).astype(np.uint8)
        return of_list((flips @ space.basis & 1) ^ space.offset, np.full(2**k, 2.0**-k), shots, seed)
    generator = np.random.default_rng(seed)
    # parities of the coordinates, which are the bits at the pivots: independent, so that all classes are equally likely
    pivots = space.basis.argmax(axis=1)
    parities = np.zeros((bits, HASHES), np.uint8)
    while len(reduced(parities.T)) < HASHES:
        parities[pivots] = generator.integers(2, size=(k, HASHES), dtype=np.uint8)
    return _evidence(
        {
            "offset": space.offset,
            "basis": np.packbits(space.basis, axis=1),
            "parities": parities,
            "probabilities": np.full(2**HASHES, 2.0**-HASHES),
            "ones": np.where(space.basis.any(axis=0), 0.5, space.offset),
        },
        shots,
        generator,
    )


def _evidence(arrays: dict[str, np.ndarray], shots: int, generator: np.random.Generator) -> Bundle:
    p = arrays["probabilities"]
    drawn = generator.multinomial(shots, p / p.sum(), size=TRIES)
    overlaps = np.sqrt(drawn / shots) @ np.sqrt(p)
    lowest = float(overlaps.mean() - SIGMAS * overlaps.std())
    return bundle(arrays, shots=shots, reachable=max(lowest, 0.0) ** 2)


def judged(evidence: Bundle, rows: UInt8[np.ndarray, "k bits"], counts: Int64[np.ndarray, " k"]) -> Verdict:
    """Counts of different values against the evidence. Raises LookupError or ValueError where they do not fit."""
    shots = int(counts.sum())
    if shots != evidence.values["shots"]:
        raise ValueError(f"expected {evidence.values['shots']} shots, got {shots}")
    p = array(evidence, "probabilities")
    classes = _classes(evidence, rows)
    inside = classes >= 0
    seen = np.bincount(classes[inside], counts[inside], len(p))
    fidelity = float(np.sqrt(p * seen / shots).sum() ** 2)
    ones = array(evidence, "ones")
    deviation = np.sqrt(np.maximum(ones * (1 - ones), 1e-6) / shots) + 1 / shots
    fit = np.abs(_ones(rows, counts / shots) - ones) <= SIGMAS * deviation
    return Verdict(min(fidelity, 1.0), min(ENOUGH, float(evidence.values["reachable"])), bool(fit.all()))


def _classes(evidence: Bundle, rows: UInt8[np.ndarray, "k bits"]) -> Int64[np.ndarray, " k"]:
    """The class of each value; -1 for one that never happens."""
    hashed = _hashed(rows, array(evidence, "parities"))
    if "basis" in evidence.arrays:
        offset = array(evidence, "offset")
        basis = np.unpackbits(array(evidence, "basis"), axis=1, count=len(offset))
        shifted = rows ^ offset
        coordinates = shifted[:, basis.argmax(axis=1)]
        again = _product(coordinates, basis)
        return np.where((again == shifted).all(axis=1), _hashed(rows, array(evidence, "parities")), -1)
    listed = array(evidence, "listed")
    places = {row.tobytes(): k for k, row in enumerate(listed)}
    tail = len(array(evidence, "probabilities")) > len(listed)
    found = [places.get(row.tobytes(), -1) for row in np.packbits(rows, axis=1)]
    classes = np.array(found, np.int64)
    return np.where(classes < 0, len(listed) + hashed, classes) if tail else classes


def _hashed(rows: UInt8[np.ndarray, "k bits"], parities: UInt8[np.ndarray, "bits h"]) -> Int64[np.ndarray, " k"]:
    return np.asarray(_product(rows, parities).astype(np.int64) @ (1 << np.arange(parities.shape[1])))


def _product(a: UInt8[np.ndarray, "k m"], b: UInt8[np.ndarray, "m n"]) -> UInt8[np.ndarray, "k n"]:
    """Over GF(2); float32 has a fast product and counts exactly up to 2^24."""
    return (a.astype(np.float32) @ b.astype(np.float32)).astype(np.int64).astype(np.uint8) & 1


def _ones(rows: UInt8[np.ndarray, "k bits"], weights: Any) -> Float64[np.ndarray, " bits"]:
    """How often each bit is 1."""
    return np.asarray(rows.T.astype(np.float64) @ weights)


def strings(rows: UInt8[np.ndarray, "k bits"]) -> list[str]:
    """Values of bits as Qiskit prints them: bit 0 on the right."""
    width = rows.shape[1]
    text = np.ascontiguousarray(rows[:, ::-1] + ord("0")).tobytes().decode()
    return [text[k * width : (k + 1) * width] for k in range(len(rows))]


def rows_of(texts: Sequence[str], width: int) -> UInt8[np.ndarray, "k bits"]:
    """The inverse of `strings`. Raises ValueError where one is of another length or has other characters."""
    if any(len(text) != width or text.strip("01") for text in texts):
        raise ValueError(f"expected strings of {width} characters 0 and 1")
    data = np.frombuffer("".join(texts).encode(), np.uint8).reshape(len(texts), width)
    return np.ascontiguousarray(data[:, ::-1]) - ord("0")
