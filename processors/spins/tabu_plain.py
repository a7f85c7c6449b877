"""The rounds of `tabu` and `tabu_higher` in NumPy: slower by far, and nothing has to be compiled for them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Float64, Int64

from qmosaic.codecs.models.polynomial import SpinPolynomial
from qmosaic.processors.spins.population import Spins

STEPS = 64
"""Flips in a round at least; more for small problems."""
WORK = 1_000_000
"""Variables looked at in a round, about: some tens of milliseconds."""


def improve(model: SpinPolynomial, starts: Spins, seed: int) -> Spins:
    """One round: the best sample on each replica's way, its start included."""
    rng = np.random.default_rng(seed)
    n, replicas = model.n, len(starts)
    count = int(min(4 * n, max(STEPS, WORK // (n * replicas))))
    spins, rows = starts.astype(np.float64), np.arange(replicas)
    terms = _terms(model)
    tenures = min(20, n // 4) + rng.integers(0, int(np.clip(n // 8, 1, 10)), (count, replicas))
    energy, lowest = np.zeros(replicas), np.zeros(replicas)
    until, best = np.zeros((replicas, n), np.int64), spins.copy()
    tolerance = 1e-9 * (model.scale or 1.0)
    for moment in range(count):
        change = -2 * spins * _fields(model, terms, spins)
        allowed = (until <= moment) | (energy[:, None] + change < lowest[:, None] - tolerance)
        flip = np.where(allowed, change, np.inf).argmin(axis=1)
        energy += change[rows, flip]
        spins[rows, flip] *= -1
        until[rows, flip] = moment + 1 + tenures[moment]
        better = energy < lowest - tolerance
        lowest[better], best[better] = energy[better], spins[better]
    return best.astype(np.int8)


Terms = tuple[Float64[np.ndarray, "n n"], list[tuple[Int64[np.ndarray, "m k"], Float32[np.ndarray, " m"]]]]


def _terms(model: SpinPolynomial) -> Terms:
    """The couplings, dense, and the terms of higher order by their order."""
    J = np.zeros((model.n, model.n))
    J[model.rows, model.cols] = J[model.cols, model.rows] = model.J
    return J, [(terms.index, terms.values) for terms in model.higher]


def _fields(model: SpinPolynomial, terms: Terms, spins: Float64[np.ndarray, "r n"]) -> Float64[np.ndarray, "r n"]:
    """Of each variable the sum of its terms, without itself: s times it is what its flip would take from the energy."""
    J, higher = terms
    fields: Float64[np.ndarray, "r n"] = spins @ J + model.h
    for index, values in higher:
        product = values * spins[:, index].prod(axis=2)
        for place in range(index.shape[1]):
            variables = index[:, place]
            each = product * spins[:, variables]
            for row, own in zip(fields, each, strict=True):
                row += np.bincount(variables, weights=own, minlength=model.n)
    return fields
