"""Batched tabu search for polynomials of higher order: `search` with the terms as they are, one problem at a time.

Each replica keeps the value of every term and, of every variable, the sum of the values of its terms: half of what
its flip would lower the energy by. A flip turns the signs of its variable's terms, and corrects the sums of their
variables; so a step takes (terms of a variable) x (variables of a term) additions, whatever the order is. A program is
compiled for each shape (powers of two and four) when it first comes; JAX's cache keeps it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int8, Int32

from qmosaic.backends.programs import program
from qmosaic.codecs.models.polynomial import SpinPolynomial
from qmosaic.processors.spins import tabu as quadratic
from qmosaic.processors.spins import tabu_plain
from qmosaic.processors.spins.population import Pool, Spins

UPDATES = 20_000_000
"""Additions in a round, about, for large problems: less than a second."""


class Padded(NamedTuple):
    """All terms of a model, those of one and two variables too, values scaled so that none is above 1.

    Row i of `terms` lists the variables of term i, row v of `members` the terms of variable v; unused places name a
    variable and a term beyond the last, of value 0.
    """

    terms: Int32[np.ndarray, "m k"]
    values: Float32[np.ndarray, " m"]
    members: Int32[np.ndarray, "n d"]
    variables: int

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """n, m, d, k: what a program is compiled for."""
        return len(self.members), len(self.terms), self.members.shape[1], self.terms.shape[1]


def search(pool: Pool, seconds: float, clock: Callable[[], float]) -> None:
    """Rounds until the pool is done or the seconds are over; one at least."""
    start, model = clock(), pad(pool.model)
    while True:
        begin = pool.random() if pool.settled else quadratic.children(pool)
        seed = int(pool.rng.integers(2**32))
        compiled = _tabu.ready(*_arguments(model, begin, seed))
        pool.absorb(improve(model, begin, seed) if compiled else tabu_plain.improve(pool.model, begin, seed))
        if pool.done or clock() - start >= seconds:
            return


def pad(model: SpinPolynomial) -> Padded:
    """The model in the next larger shape: n a power of two, terms and terms of a variable powers of four."""
    fields = np.flatnonzero(model.h)
    parts = [
        (fields[:, None], model.h[fields]),
        (np.stack([model.rows, model.cols], axis=1), model.J),
        *((terms.index, terms.values) for terms in model.higher),
    ]
    count = sum(len(values) for _, values in parts)
    order = max(4, 1 << (model.order - 1).bit_length())
    n, m = max(16, 1 << (model.n - 1).bit_length()), _power_of_four(count + 1)
    index, values = np.full((m, order), n, np.int32), np.zeros(m, np.float32)
    largest = max(np.abs(value).max(initial=0) for _, value in parts) or 1.0
    scale = 2.0 ** -max(-1000.0, np.ceil(np.log2(largest)))
    start = 0
    for variables, value in parts:
        rows = slice(start, start + len(value))
        index[rows, : variables.shape[1]], values[rows] = variables, value * scale
        start += len(value)
    return Padded(index, values, _members(index, n, m), model.n)


def _members(index: Int32[np.ndarray, "m k"], n: int, m: int) -> Int32[np.ndarray, "n d"]:
    terms, places = np.nonzero(index < n)
    owners = index[terms, places]
    order = np.argsort(owners, kind="stable")
    degree = np.bincount(owners, minlength=n)
    members = np.full((n, min(m, _power_of_four(int(degree.max(initial=1))))), m - 1, np.int32)
    rank = np.arange(len(owners)) - np.repeat(degree.cumsum() - degree, degree)
    members[owners[order], rank] = terms[order]
    return members


def _power_of_four(count: int) -> int:
    size = 16
    while size < count:
        size *= 4
    return size


def improve(model: Padded, starts: Spins, seed: int) -> Spins:
    """One round: the best sample on each replica's way, its start included."""
    return np.asarray(_tabu(*_arguments(model, starts, seed)))[:, : model.variables]


def _arguments(model: Padded, starts: Spins, seed: int) -> tuple[Any, ...]:
    n, _, degree, order = model.shape
    first = np.ones((len(starts), n), np.int8)
    first[:, : model.variables] = starts
    steps = int(max(16, min(4 * n, 1024, UPDATES // (len(starts) * degree * order))))
    return *model[:3], np.int32(model.variables), first, np.uint32(seed), steps


@program(static_argnums=6)
def _tabu(
    terms: Any, values: Any, members: Any, variables: Any, first: Any, seed: Any, steps: int
) -> Int8[Array, "r n"]:
    replicas, n = first.shape
    place = jnp.arange(n, dtype=jnp.int32)
    shortest = jnp.minimum(20, variables // 4)  # as in `search`
    tenures = shortest + jax.random.randint(jax.random.key(seed), (steps, replicas), 0, jnp.clip(variables // 8, 1, 10))

    def one(spins: Any, tenures: Any) -> Any:
        def step(state: Any, now: Any) -> Any:
            spins, products, sums, until, energy, lowest, best = state
            moment, tenure = now
            change = -2 * sums[:n]
            allowed = ((until <= moment) | (energy + change < lowest - 1e-6)) & (place < variables)
            cost = jnp.where(allowed, change, jnp.inf)
            least = cost.min()
            flip = jnp.where(cost == least, place, n - 1).min()
            its = members[flip]
            turned = products[its]
            sums = sums.at[terms[its]].add(-2 * turned[:, None])
            spins = jnp.where(place == flip, -spins, spins)
            energy = energy + least
            better = energy < lowest
            return (
                spins,
                products.at[its].set(-turned),
                sums,
                jnp.where(place == flip, moment + 1 + tenure, until),
                energy,
                jnp.where(better, energy, lowest),
                jnp.where(better, spins, best),
            ), None

        products = values * jnp.append(spins, jnp.int8(1))[terms].prod(1).astype(jnp.float32)
        sums = jnp.zeros(n + 1).at[terms].add(products[:, None])
        zero = jnp.float32(0)
        state = (spins, products, sums, jnp.zeros(n, jnp.int32), zero, zero, spins)
        state, _ = jax.lax.scan(step, state, (jnp.arange(steps, dtype=jnp.int32), tenures))
        return state[-1]

    best: Int8[Array, "r n"] = jax.vmap(one, (0, 1))(first, tenures)
    return best
