"""What reduce says about the distribution of a circuit, and how verify compares counts with it. NumPy only.

The evidence divides the values of the classical bits into classes and has the exact probability p of each: the `LISTED`
likeliest values by themselves, all others by `HASHES` parities of their bits, chosen at random. For Clifford circuits,
whose values are uniform on an affine space, the classes are parities of its coordinates. Counts, as shares q of the
classes, have a Hellinger fidelity F = (sum_i sqrt(p_i q_i))^2. Classes can only raise it: what differs in them differs
in the whole.

How low F gets with perfect sampling depends on the distribution and the shots, so it is *tried*, by `TRIES` multinomial
draws. Where these reach 0.99, that is what counts have to reach. Where they do not, because there are more values than
shots, counts have to be within `SIGMAS` deviations of their mean F, and two more tests have to hold, since F alone
cannot tell a broad distribution from noise there:
- the likelihood: the mean score log(p / u), u the share of a class in uniform noise, is what it should be, within
  `SIGMAS` deviations (as cross-entropy benchmarking does: Boixo et al., Nature Physics 14 (2018) 595);
- each bit is 1 as often as it should be, likewise: this sees a bit that is stuck.
If even noise would pass these, the shots are too few to say anything, and the verdict is `unverified`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from qmosaic.backends.clifford.tableau import Affine, reduced
from qmosaic.codecs.models.bundle import Bundle, array, bundle

LISTED = 2**15
ENUMERATED = 2**12
"""Values of an affine space that are listed."""
HASHES = 10
TRIES = 128
SIGMAS = 6.0
ENOUGH = 0.99
"""The fidelity that is asked for where the shots allow it."""
LEAST_SCORE = -5.0


class Verdict(NamedTuple):
    """`fidelity` as far as classes tell, `threshold` what perfect sampling reaches. `deviation`: of the likelihood and
    the bits, the largest, in standard deviations, where they are tested. `tells`: whether noise would be seen."""

    fidelity: float
    threshold: float
    deviation: float | None
    tells: bool


def of_list(
    rows: UInt8[np.ndarray, "k bits"], probabilities: Float64[np.ndarray, " k"], shots: int, seed: int
) -> Bundle:
    """The evidence of a distribution that is known value by value (all different)."""
    generator, bits = np.random.default_rng(seed), rows.shape[1]
    probabilities = probabilities / probabilities.sum()
    order = np.argsort(-probabilities, kind="stable")
    top, rest = order[:LISTED], order[LISTED:]
    parities = generator.integers(2, size=(bits, HASHES), dtype=np.uint8)
    tail = np.bincount(_hashed(rows[rest], parities), probabilities[rest], 2**HASHES) if len(rest) else np.zeros(0)
    p = np.concatenate([probabilities[top], tail])
    noise = np.full(len(p), 2.0**-bits)
    if len(rest):
        noise[len(top) :] = (1 - len(top) * 2.0**-bits) / 2**HASHES
    apart = np.abs(probabilities - 2.0**-bits).sum() / 2 + (1 - len(rows) * 2.0**-bits) / 2
    arrays = {"listed": np.packbits(rows[top], axis=1), "parities": parities, "ones": _ones(rows, probabilities)}
    return _evidence(arrays, p, noise, apart, shots, generator)


def of_affine(space: Affine, shots: int, seed: int) -> Bundle:
    """The evidence of a distribution that is uniform on an affine space."""
    k, bits = space.basis.shape
    if 2**k <= ENUMERATED:
        flips = ((np.arange(2**k)[:, None] >> np.arange(k)) & 1).astype(np.uint8)
        return of_list((flips @ space.basis & 1) ^ space.offset, np.full(2**k, 2.0**-k), shots, seed)
    generator = np.random.default_rng(seed)
    # parities of the coordinates, which are the bits at the pivots: independent, so that all classes are equally likely
    pivots = space.basis.argmax(axis=1)
    parities = np.zeros((bits, HASHES), np.uint8)
    while len(reduced(parities.T)) < HASHES:
        parities[pivots] = generator.integers(2, size=(k, HASHES), dtype=np.uint8)
    arrays = {
        "offset": space.offset,
        "basis": np.packbits(space.basis, axis=1),
        "parities": parities,
        "ones": np.where(space.basis.any(axis=0), 0.5, space.offset),
    }
    p = np.full(2**HASHES, 2.0**-HASHES)
    # noise outside of the space shows as values that never happen; inside, it is what should be
    return _evidence(arrays, p, p * 2.0 ** max(k - bits, -64), 0.0, shots, generator)


def _evidence(
    arrays: dict[str, np.ndarray],
    p: Float64[np.ndarray, " c"],
    noise: Float64[np.ndarray, " c"],
    apart: float,
    shots: int,
    generator: np.random.Generator,
) -> Bundle:
    """`noise`: shares of the classes in uniform noise; `apart`: its total variation distance from the distribution."""
    drawn = generator.multinomial(shots, p / p.sum(), size=TRIES)
    overlaps = np.sqrt(drawn / shots) @ np.sqrt(p)
    reachable = max(float(overlaps.mean() - SIGMAS * overlaps.std()), 0.0) ** 2
    score = _scores(p, noise)
    mean, spread = float(p @ score), float(np.sqrt(max(p @ score**2 - (p @ score) ** 2, 0.0) / shots))
    seen = mean - float(noise @ score) - (1 - noise.sum()) * LEAST_SCORE > (SIGMAS + 2) * spread + 1 / shots
    return bundle(
        {**arrays, "probabilities": p.astype(np.float32), "noise": noise[[0, -1]]},
        shots=shots,
        reachable=reachable,
        likelihood=[mean, spread],
        tells=bool(reachable >= ENOUGH or seen or apart < 0.1),
    )


def _scores(p: Any, noise: Any) -> Float64[np.ndarray, " c"]:
    with np.errstate(divide="ignore"):
        return np.asarray(np.maximum(np.log(p) - np.log(noise), LEAST_SCORE))


def judged(evidence: Bundle, rows: UInt8[np.ndarray, "k bits"], counts: Int64[np.ndarray, " k"]) -> Verdict:
    """Counts of different values against the evidence. Raises LookupError or ValueError where they do not fit."""
    shots, said = int(counts.sum()), evidence.values
    if shots != said["shots"]:
        raise ValueError(f"expected {said['shots']} shots, got {shots}")
    p = array(evidence, "probabilities").astype(np.float64)
    if p.ndim != 1 or array(evidence, "parities").shape != (rows.shape[1], HASHES):
        raise ValueError("the evidence is of another circuit")
    classes = _classes(evidence, rows)
    inside = classes >= 0
    seen = np.bincount(classes[inside], counts[inside], len(p))
    fidelity = min(float(np.sqrt(p * seen / shots).sum() ** 2), 1.0)
    reachable = float(said["reachable"])
    if reachable >= ENOUGH:
        return Verdict(fidelity, ENOUGH, None, True)
    listed, tail = array(evidence, "noise")
    noise = np.where(np.arange(len(p)) < len(_listed(evidence)), listed, tail)
    score = (seen @ _scores(p, noise) + counts[~inside].sum() * LEAST_SCORE) / shots
    mean, spread = said["likelihood"]
    ones = array(evidence, "ones")
    off = np.abs(_ones(rows, counts / shots) - ones) / (np.sqrt(ones * (1 - ones) / shots) + 1 / shots)
    deviation = max(abs(score - mean) / (spread + 1 / shots), float(off.max()))
    return Verdict(fidelity, reachable, float(deviation), bool(said["tells"]))


def _listed(evidence: Bundle) -> Any:
    """The values that are classes by themselves, packed."""
    return array(evidence, "listed") if "listed" in evidence.arrays else ()


def _classes(evidence: Bundle, rows: UInt8[np.ndarray, "k bits"]) -> Int64[np.ndarray, " k"]:
    """The class of each value; -1 for one that never happens."""
    hashed = _hashed(rows, array(evidence, "parities"))
    if "basis" in evidence.arrays:
        offset = array(evidence, "offset")
        basis = np.unpackbits(array(evidence, "basis"), axis=1, count=len(offset))
        shifted = rows ^ offset
        coordinates = shifted[:, basis.argmax(axis=1)]
        again = _product(coordinates, basis)
        return np.where((again == shifted).all(axis=1), hashed, -1)
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
