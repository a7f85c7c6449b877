"""Simulated annealing of large sparse problems, colour class by colour class.

Variables of one colour share no coupling, so a whole class of all replicas is updated at once, exactly as
if one after the other: one sparse matrix product. The members of a population are recombined cluster by
cluster (see `Pool.recombined`) and annealed again from half way up. SciPy, not JAX: compiled gathers and
scatters of XLA are slower on CPUs than its sparse products.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Int64

from qmosaic.codecs.models.polynomial import SpinPolynomial
from qmosaic.processors.spins.population import Pool, Spins

STALL, AGREE = 3, 3
"""See `Pool`."""
REPLICAS = 4, 16
"""Fewest and most members of a population: fewer where a sweep is long."""
MATES = 3
"""Other members a child is recombined with, besides its own parent."""
LOOSE = 24
"""Mean number of neighbours up to which samples differ by many clusters, so that recombining them pays."""
HOT, COLD = 0.4, 4.0
"""First inverse temperature times a typical field, last one times a small coupling."""
REHEAT = 0.5
"""Where, on the way from hot to cold, a member is annealed again from."""
SWEEPS = 30, 300
"""Fewest and most sweeps of the first population; each next one takes twice as many."""
DOUBLED = 10
"""Populations, from which on a search that goes on has as many sweeps."""
WORK = 4_000_000
"""Couplings of all replicas to visit in a sweep, within the bounds on them."""
SPEED = 200_000_000
"""Couplings visited in a second, a careful guess: the first anneal should fit into the time there is."""


def pool(model: SpinPolynomial, seed: int) -> Pool:
    """Where the search of a problem begins."""
    few, many = REPLICAS
    replicas = min(many, max(few, WORK // visits(model)))
    return Pool(model, seed, replicas=replicas, stall=STALL, agree=AGREE)


def visits(model: SpinPolynomial) -> int:
    """What a sweep of one replica looks at."""
    return model.n + 2 * len(model.J)


def search(state: Pool, seconds: float, clock: Callable[[], float]) -> None:
    """Run rounds until the problem is done or the seconds are over (one round at least)."""
    end = clock() + seconds

    def over() -> bool:
        return clock() >= end

    model = state.model
    annealer = Annealer(state)
    few, many = SWEEPS
    sweeps = min(many, max(few, int(SPEED * seconds) // (visits(model) * state.replicas)))
    sweeps <<= max(0, min(state.populations, DOUBLED) - 1)  # where an earlier search was
    loose = 2 * len(model.J) <= LOOSE * model.n
    while not state.done and not (state.rounds and over()):
        if state.settled:
            sweeps *= 1 + (state.populations > 0)
            state.absorb(annealer.run(state.random(), sweeps, 0.0, over))
        else:
            children = annealer.run(state.spins, sweeps, REHEAT, over)
            state.absorb(_recombined(state, children) if loose else children)


def _recombined(state: Pool, children: Spins) -> Spins:
    out = children.copy()
    for i in range(len(children)):
        others = state.rng.choice(len(children), MATES, replace=False)
        mates = state.aligned(state.spins[[i, *others]], out[i : i + 1])
        for mate in mates:
            out[i] = state.recombined(out[i], mate)
    return out


class Annealer:
    """The couplings of one problem, sorted by colour."""

    def __init__(self, state: Pool) -> None:
        colour = coloured(state.matrix)
        self._rng = state.rng
        self._order = np.argsort(colour, kind="stable")
        ends = np.concatenate([[0], np.cumsum(np.bincount(colour))]).tolist()
        self._classes = [slice(a, b) for a, b in pairwise(ends)]
        size = float(np.abs(state.model.J).max())
        matrix = (state.matrix / size).astype(np.float32)[self._order][:, self._order].tocsr()
        self._blocks = [matrix[rows] for rows in self._classes]
        self._h = (state.model.h / size).astype(np.float32)[self._order, None]
        typical = float(np.sqrt(np.mean(matrix.power(2).sum(axis=1))))
        small = max(float(np.quantile(np.abs(state.model.J), 0.25)) / size, 1e-3)
        self._hot, self._cold = HOT / typical, COLD / small

    def run(self, start: Spins, sweeps: int, warm: float, over: Callable[[], bool]) -> Spins:
        """Anneal every row of `start`, from share `warm` of the way on; cut short when `over()`."""
        spins = start.T[self._order].astype(np.float32)
        for k in range(sweeps):
            if over():
                break
            share = warm + (1 - warm) * k / max(1, sweeps - 1)
            temperature = 1 / (self._hot * (self._cold / self._hot) ** share)
            # a flip lowers the energy by 2 s f; probability exp(2 s f / T) is s f > -T x / 2 with x ~ Exp(1)
            bar = self._rng.standard_exponential(spins.shape, dtype=np.float32)
            bar *= np.float32(-temperature / 2)
            self._sweep(spins, bar)
        out = np.empty(start.shape, np.int8)
        out[:, self._order] = spins.T
        return out

    def _sweep(self, spins: Any, bar: Any) -> None:
        for rows, block in zip(self._classes, self._blocks, strict=True):
            pull = block @ spins
            pull += self._h[rows]
            pull *= spins[rows]
            np.negative(spins[rows], out=spins[rows], where=pull > bar[rows])


def coloured(matrix: Any) -> Int64[np.ndarray, " n"]:
    """A colour for each variable, none equal to a neighbour's: greedy, most neighbours first."""
    n = matrix.shape[0]
    colour = [-1] * n
    bounds, near = matrix.indptr.tolist(), matrix.indices.tolist()
    for v in np.argsort(-np.diff(matrix.indptr), kind="stable").tolist():
        taken = {colour[u] for u in near[bounds[v] : bounds[v + 1]]}
        c = 0
        while c in taken:
            c += 1
        colour[v] = c
    return np.array(colour, dtype=np.int64)
