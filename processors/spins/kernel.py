"""The kernel: the few variables that good samples do not agree on, with all others fixed.

Sample persistence (Karimi & Rosenberg 2017, "Boosting quantum annealer performance via sample
persistence"): what all good samples agree on is most likely right; what is left is worth a closer look.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int8, Int32

from qmosaic.codecs.models.polynomial import Linear, SpinPolynomial
from qmosaic.processors.spins.population import Pool

TIRED = 4.0
"""What the last round's variables count less: more than all else together."""
ROOM = 1e-3
"""What a variable without a coupling into the cluster counts, against one with the strongest."""


def choose(pool: Pool, most: int, stale: Float64[np.ndarray, " n"] | float = 0.0) -> Int32[np.ndarray, " q"]:
    """At most `most` variables, ascending: all, if there are no more, else a cluster of the most contested.

    Grown from the most contested variable: next comes the one that is contested most and coupled most
    strongly to those chosen. Where too few are contested, those held most weakly (lowest cost of a flip) and
    coupled most strongly follow. `stale`: from 0 for those that no kernel had yet to 1 for those that the last one had:
    they come last.
    """
    n = pool.model.n
    if n <= most:
        return np.arange(n, dtype=np.int32)
    contested, worth = _worth(pool)
    matrix = pool.bonds
    bonds, chosen = np.zeros(n), np.zeros(n, bool)
    for _ in range(most):
        strongest = bonds.max() or 1.0
        wanted = 2.0 * contested + worth * (ROOM + bonds / strongest) - TIRED * stale
        v = int(np.where(chosen, -np.inf, wanted).argmax())
        chosen[v] = True
        a, b = matrix.indptr[v], matrix.indptr[v + 1]
        bonds[matrix.indices[a:b]] += matrix.data[a:b]
        bonds[chosen] = 0
    return np.flatnonzero(chosen).astype(np.int32)


def _worth(pool: Pool) -> tuple[Bool[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
    """Which variables are contested, and what each is worth: how evenly contested, and how weakly held."""
    samples = pool.aligned(pool.spins, pool.champion[None])
    against = (samples != pool.champion).mean(axis=0)
    held = np.abs(pool.fields(pool.champion))
    weak = 1 / (1 + held / (held.mean() or 1.0))
    return against > 0, np.asarray(4 * against * (1 - against) + 0.01 * weak)


def restricted(
    model: SpinPolynomial, spins: Int8[np.ndarray, " n"], variables: Int32[np.ndarray, " q"]
) -> SpinPolynomial:
    """The model of some variables, the others fixed as in `spins`: same energies, offset included.

    A constraint that is left without variables is kept: the fixed ones may break it.
    """
    if len(variables) == model.n:
        return model
    place = np.full(model.n, -1)
    place[variables] = np.arange(len(variables))
    a, b = place[model.rows], place[model.cols]
    inside = (a >= 0) & (b >= 0)
    field = model.h[variables].copy()
    for own, other in ((a, model.cols), (b, model.rows)):
        edge = (own >= 0) & ~inside
        np.add.at(field, own[edge], model.J[edge] * spins[other[edge]])
    outside = (a < 0) & (b < 0)
    fixed = model.h[place < 0] @ spins[place < 0] + model.J[outside] @ (
        spins[model.rows[outside]] * spins[model.cols[outside]]
    )
    return SpinPolynomial.of(
        len(variables),
        h=field,
        rows=a[inside],
        cols=b[inside],
        J=model.J[inside],
        offset=model.offset + float(fixed),
        higher=_restricted_terms(model, spins, place),
        constraints=[_restricted_constraint(one, spins, place) for one in model.constraints],
    )


def _restricted_terms(model: SpinPolynomial, spins: Any, place: Any) -> list[tuple[list[int], float]]:
    """The terms of higher order on the variables that are left, the spins of the others multiplied in."""
    out: list[tuple[list[int], float]] = []
    for terms in model.higher:
        inside = place[terms.index]
        values = terms.values * np.where(inside < 0, spins[terms.index], 1).prod(axis=1)
        out += [
            ([i for i in row if i >= 0], value) for row, value in zip(inside.tolist(), values.tolist(), strict=True)
        ]
    return out


def _restricted_constraint(one: Linear, spins: Any, place: Any) -> Linear:
    inside = place[one.variables] >= 0
    fixed = float(one.coefficients[~inside] @ (spins[one.variables[~inside]] < 0))
    return Linear(
        place[one.variables[inside]].astype(np.int32), one.coefficients[inside], one.lower - fixed, one.upper - fixed
    )
