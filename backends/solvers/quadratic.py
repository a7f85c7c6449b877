"""A polynomial with terms of higher order and constraints as a plain quadratic one, for solvers of only those.

Extra variables stand behind the kernel's own; a sample is cut to those again, and judged by the kernel itself.

Terms of higher order: the pair of variables that is in most of them becomes one variable, until none is longer
than two. That p is the product of u and v costs ((u + v + p + 2a - 1) / 2)^2, at least 1 for a wrong p whatever
the auxiliary a, times 2 sum |value| over the terms that p went into. That is enough: in any state, wrong products
turn the signs of no other terms than those, by at most twice their values; so no state is below the energy that
the kernel has in its variables, and where all products are right it is equal. (`dimod.make_quadratic` does the
same with one strength for all, and chooses among pairs by the hashes of their names, which differ by process.)

Constraints with whole-number coefficients, sum a x = L + slack, cost (sum a x - L - slack)^2, at least 1 where
they are broken, times the most that two energies of the kernel can be apart; slack in binary, up to U - L.
(Both: Lucas 2014, "Ising formulations of many NP problems"; Rosenberg 1975 for the reduction of degree.)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Float64

from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.models.polynomial import Linear, SpinPolynomial

MAX_SLACK = 12
"""Bits of slack of one inequality."""
UNITS = (1, 2, 4, 5, 8, 10, 100, 1000)
"""What the coefficients of a constraint may have to be multiplied by to be whole numbers."""


def quadratised(kernel: SpinPolynomial, most: int, name: str, *, higher: bool = False) -> SpinPolynomial:
    """A quadratic polynomial without constraints whose minima, cut to the kernel's variables, are the kernel's.

    `most`: variables it may have, for the backend `name`; `higher`: that takes terms of higher order, so they stay.
    Raises BackendError.
    """
    if not kernel.constraints and (higher or not kernel.higher):
        return kernel
    model = _Model(kernel)
    if not higher:
        _reduce_degree(model, kernel)
    for constraint in kernel.constraints:
        _penalise(model, constraint, 2 * kernel.scale or 1.0, name)
    if model.n > most:
        raise BackendError(
            f"{name} would need {model.n} variables, {model.n - kernel.n} of them for terms of higher order and "
            f"constraints, and takes {most}",
            place="job.kernel",
            remedy="Choose a backend that takes them as they are, or a smaller kernel.",
        )
    return replace(model.finished(), higher=kernel.higher if higher else ())


class _Model:
    """The quadratic polynomial while it is built."""

    def __init__(self, kernel: SpinPolynomial) -> None:
        self.n, self.offset = kernel.n, kernel.offset
        self._linear = [(np.arange(kernel.n), kernel.h)]
        self._pairs = [(kernel.rows, kernel.cols, kernel.J)]

    def fresh(self, count: int) -> range:
        """So many new variables."""
        self.n += count
        return range(self.n - count, self.n)

    def add(self, term: Sequence[int], value: float) -> None:
        """A term of one or two variables."""
        if len(term) == 1:
            self._linear.append((np.array(term), np.array([value])))
        else:
            self._pairs.append((np.array(term[:1]), np.array(term[1:]), np.array([value])))

    def add_square(self, variables: Sequence[int], weights: Any, constant: float, strength: float) -> None:
        """strength (constant + sum_i weights_i s_i)^2."""
        places, weights = np.asarray(variables), np.asarray(weights, dtype=np.float64)
        a, b = np.triu_indices(len(places), 1)
        self._linear.append((places, 2 * strength * constant * weights))
        self._pairs.append((places[a], places[b], 2 * strength * weights[a] * weights[b]))
        self.offset += strength * float(constant**2 + (weights**2).sum())

    def finished(self) -> SpinPolynomial:
        """In canonical form."""
        places, values = (np.concatenate(parts) for parts in zip(*self._linear, strict=True))
        rows, cols, J = (np.concatenate(parts) for parts in zip(*self._pairs, strict=True))
        h = np.bincount(places, weights=values, minlength=self.n)
        return SpinPolynomial.of(self.n, h=h, rows=rows, cols=cols, J=J, offset=self.offset)


def _reduce_degree(model: _Model, kernel: SpinPolynomial) -> None:
    """Add the terms of higher order, products of variables in place of the variables."""
    rows = [set(row) for terms in kernel.higher for row in terms.index.tolist()]
    values = [value for terms in kernel.higher for value in terms.values.tolist()]
    users: dict[tuple[int, int], set[int]] = defaultdict(set)  # of a pair: the terms still too long that have it
    for k, row in enumerate(rows):
        for pair in combinations(sorted(row), 2):
            users[pair].add(k)
    while users:
        u, v = min(users, key=lambda pair: (-len(users[pair]), pair))
        chosen = sorted(users[u, v])
        p, a = model.fresh(2)
        for k in chosen:
            for pair in combinations(sorted(rows[k]), 2):
                users[pair].discard(k)
                if not users[pair]:
                    del users[pair]
            rows[k] = rows[k] - {u, v} | {p}
            if len(rows[k]) > 2:
                for pair in combinations(sorted(rows[k]), 2):
                    users[pair].add(k)
        model.add_square([u, v, p, a], [0.5, 0.5, 0.5, 1.0], -0.5, 2 * sum(abs(values[k]) for k in chosen))
    for row, value in zip(rows, values, strict=True):
        model.add(sorted(row), value)


def _penalise(model: _Model, constraint: Linear, strength: float, name: str) -> None:
    """Add a constraint's penalty."""
    a, lower, upper = _whole(constraint, name)
    lower, upper = max(lower, a.clip(max=0).sum()), min(upper, a.clip(min=0).sum())
    if lower > upper:
        raise BackendError(
            "a constraint cannot be kept, whatever its variables are",
            place="job.kernel",
            remedy="Check the constraints of the problem.",
        )
    room = int(upper - lower)
    if room == int(np.abs(a).sum()):
        return
    if (bits := room.bit_length()) > MAX_SLACK:
        raise BackendError(
            f"{name} would need {bits} bits of slack for an inequality, the limit is {MAX_SLACK}",
            place="job.kernel",
            remedy="Choose a backend that takes constraints as they are, or scale the inequality down.",
        )
    slack = [min(1 << k, room - (1 << k) + 1) for k in range(bits)]
    weights = np.append(a, np.negative(slack))
    variables = [*constraint.variables.tolist(), *model.fresh(bits)]
    model.add_square(variables, -weights / 2, float(weights.sum() / 2 - lower), strength)


def _whole(constraint: Linear, name: str) -> tuple[Float64[np.ndarray, " k"], float, float]:
    """Coefficients and bounds in the least unit in which the coefficients are whole numbers."""
    for unit in UNITS:
        scaled = unit * constraint.coefficients
        a = np.round(scaled)
        if np.allclose(a, scaled, rtol=0, atol=1e-9 * unit):
            lower, upper = unit * constraint.lower, unit * constraint.upper
            return a, float(np.ceil(lower - 1e-6)), float(np.floor(upper + 1e-6))
    raise BackendError(
        f"{name} takes constraints with coefficients that are whole numbers in units of 1/1000 or more",
        place="job.kernel",
        remedy="Choose a backend that takes constraints as they are, or round the coefficients.",
    )
