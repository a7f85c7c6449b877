"""The good samples of one problem while it is searched: what the two searches, tabu and anneal, share.

A *population* is started at random and improved round by round, each member by its own children alone, so
that the members stay different. When it has *settled* (all equal, or no gain for a while) a new one is
started. The best of all is the *champion*; a problem is done when several populations independently end
at it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Float64, Int8, Int32
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from qmosaic.codecs.models.polynomial import SpinPolynomial

EASY = 0.75
"""Share of a new population that must be at the champion after one, independent round to end the search."""
TOLERANCE = 1e-13
"""Energies closer than this share of the largest possible one are equal."""
GATHER = 50_000
"""Products above which energies are cheaper by sparse matrix product than by gathering."""

Spins = Int8[np.ndarray, "r n"]


class Pool:
    """The search state of one problem of at least one variable. Mutable; belongs to one search.

    `replicas`: members of a population; `stall`: rounds without a gain after which it has settled; `agree`:
    populations that must end at the champion before the problem is done.
    """

    def __init__(self, model: SpinPolynomial, seed: int, *, replicas: int, stall: int, agree: int) -> None:
        self.model, self.replicas, self.stall, self.agree = model, replicas, stall, agree
        self.rng = np.random.default_rng(seed)
        self.scale = model.scale or 1.0
        self.spins: Spins = np.zeros((0, model.n), np.int8)
        self.energies: Float64[np.ndarray, " r"] = np.zeros(0)
        self.champion: Int8[np.ndarray, " n"] = np.ones(model.n, np.int8)
        self.energy = np.inf
        self.rounds = self.populations = self.agreed = self._stalled = 0
        self.settled, self.done = True, False  # settled: the next round starts a population

    @cached_property
    def matrix(self) -> Any:
        """The couplings, symmetric, as a float64 CSR array."""
        m = self.model
        ends = np.concatenate([m.rows, m.cols]), np.concatenate([m.cols, m.rows])
        return csr_array((np.concatenate([m.J, m.J]), ends), shape=(m.n, m.n))

    @cached_property
    def pairs(self) -> tuple[Int32[np.ndarray, " m"], Int32[np.ndarray, " m"], Float64[np.ndarray, " m"]]:
        """Variables that share a term, and its size; in terms of higher order, all pairs."""
        m = self.model
        ends = [(m.rows, m.cols, np.abs(m.J))]
        for terms in m.higher:
            sizes = np.abs(terms.values)
            ends += [(terms.index[:, a], terms.index[:, b], sizes) for a, b in combinations(range(terms.order), 2)]
        rows, cols, sizes = (np.concatenate(part) for part in zip(*ends, strict=True))
        return rows, cols, sizes

    @cached_property
    def bonds(self) -> Any:
        """How strongly variables are coupled: the summed sizes of the terms they share, symmetric, CSR."""
        if not self.model.higher:
            return abs(self.matrix)
        rows, cols, sizes = self.pairs
        ends = np.concatenate([rows, cols]), np.concatenate([cols, rows])
        return csr_array((np.concatenate([sizes, sizes]), ends), shape=self.matrix.shape)

    @cached_property
    def mirrors(self) -> Any:
        """The components that may be flipped as a whole for free (no terms of odd order), as 0/1 columns (n, c)."""
        m = self.model
        count, label = connected_components(self.bonds, directed=False)
        odd = np.abs(m.h)
        for terms in m.higher:
            if terms.order % 2:
                odd = odd + np.bincount(terms.index[:, 0], weights=np.abs(terms.values), minlength=m.n)
        free = np.bincount(label, weights=odd, minlength=count) == 0
        inside = np.flatnonzero(free[label])
        columns = (np.cumsum(free) - 1)[label[inside]]
        return csr_array((np.ones(len(inside)), (inside, columns)), shape=(m.n, int(free.sum())))

    def resume(self, spins: Spins, start: Int8[np.ndarray, " n"], counts: Mapping[str, int]) -> None:
        """Go on where an earlier search ended: with its population, in which `start`, the best that is known, takes the
        place of the best there was. What that gained was not agreed upon."""
        energies, energy = self.energies_of(spins), float(self.energies_of(start[None])[0])
        close = TOLERANCE * self.scale
        self.champion, self.energy = start, energy
        if not len(spins):
            return
        if energy >= energies.min() - close:
            self.agreed = counts.get("agreed", 0)
        best = int(energies.argmin())
        self.spins, self.energies = np.array(spins), energies
        self.spins[best], self.energies[best] = start, energy
        self.populations, self._stalled = max(1, counts.get("populations", 1)), counts.get("stalled", 0)
        self.settled = bool(np.ptp(self.energies) <= close) or self._stalled >= self.stall
        self.done = self.agreed >= self.agree

    @property
    def counts(self) -> dict[str, int]:
        """How far the search is, for `resume`."""
        return {"populations": self.populations, "agreed": self.agreed, "stalled": self._stalled}

    def energies_of(self, spins: Spins) -> Float64[np.ndarray, " r"]:
        """E of each row, offset included."""
        m = self.model
        if m.higher or len(spins) * len(m.J) <= GATHER:
            return m.energy(spins < 0)
        columns = spins.T.astype(np.float64)
        couplings = np.einsum("nr,nr->r", columns, self.matrix @ columns) / 2
        return np.asarray(couplings + m.h @ columns + m.offset)

    def fields(self, spins: Int8[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
        """What each spin of a sample is multiplied with: its flip changes E by -2 spin field."""
        fields = self.model.h + self.matrix @ spins
        for terms in self.model.higher:
            signs = spins[terms.index]
            np.add.at(fields, terms.index, (terms.values * signs.prod(axis=1))[:, None] * signs)
        return np.asarray(fields)

    def random(self) -> Spins:
        """Where a new population starts."""
        return (1 - 2 * self.rng.integers(0, 2, (self.replicas, self.model.n))).astype(np.int8)

    def aligned(self, spins: Spins, to: Spins) -> Spins:
        """The mirror images, component by component, that are most like `to`."""
        if self.model.h.all() or self.mirrors.shape[1] == 0:
            return spins
        turn = (spins * to) @ self.mirrors < 0
        return np.where(turn @ self.mirrors.T > 0, -spins, spins).astype(np.int8)

    def recombined(self, spins: Int8[np.ndarray, " n"], mate: Int8[np.ndarray, " n"]) -> Int8[np.ndarray, " n"]:
        """The best of all mixtures of two samples that differ by whole clusters.

        Where they differ, the graph falls into components whose flips add up independently: each is flipped
        if that lowers the energy (partition crossover, Whitley et al. 2009; cluster moves of Houdayer 2001).
        """
        m = self.model
        differ = spins != mate
        if not differ.any():
            return spins
        rows, cols, _ = self.pairs
        both = differ[rows] & differ[cols]
        links = csr_array((np.ones(both.sum(), np.int8), (rows[both], cols[both])), shape=(m.n, m.n))
        count, label = connected_components(links, directed=False)
        # inside a component all spins flip together, so only the fields from outside it count
        field = m.h + self.matrix @ np.where(differ, 0, spins)
        gain = np.bincount(label, weights=np.where(differ, -2 * spins * field, 0), minlength=count)
        for terms in m.higher:
            inside = differ[terms.index]
            turned = inside.sum(axis=1) % 2 == 1
            index = terms.index[turned]
            where = label[index[np.arange(len(index)), inside[turned].argmax(axis=1)]]
            change = -2 * terms.values[turned] * spins[index].prod(axis=1)
            gain += np.bincount(where, weights=change, minlength=count)
        return np.where(differ & (gain < -TOLERANCE * self.scale)[label], -spins, spins).astype(np.int8)

    def absorb(self, children: Spins) -> None:
        """End a round: row i of the children takes the place of member i unless it is worse."""
        self.rounds += 1
        energies = self.energies_of(children)
        close = TOLERANCE * self.scale
        fresh, before = self.settled, np.inf
        if fresh:
            self.populations += 1
            self.spins, self.energies = children, energies
        else:
            before = float(self.energies.min())
            keep = energies > self.energies
            self.spins = np.where(keep[:, None], self.spins, children)
            self.energies = np.where(keep, self.energies, energies)
        self._stalled = 0 if self.energies.min() < before - close else self._stalled + 1
        self.settled = bool(np.ptp(self.energies) <= close) or self._stalled >= self.stall
        self._crown(close)
        at_best = int((self.energies <= self.energy + close).sum())
        self.agreed += self.settled and at_best > 0
        self.done = self.agreed >= self.agree or (fresh and at_best >= EASY * self.replicas)

    def _crown(self, close: float) -> None:
        best = self.spins[self.energies.argmin()]
        energy = float(self.energies.min())
        if self.populations > 1 and self.settled:
            best = self.recombined(best, self.aligned(self.champion[None], best[None])[0])
            energy = float(self.energies_of(best[None])[0])
        if energy < self.energy - close:
            self.agreed = 0
        if energy < self.energy:
            self.champion, self.energy = best, energy


def descended(pool: Pool, spins: Int8[np.ndarray, " n"]) -> Int8[np.ndarray, " n"]:
    """One-flip descent in float64: what the float32 searches could not see."""
    m, spins = pool.model, spins.copy()
    if m.higher:
        return _descended_by_terms(pool, spins)
    field, rounding = m.h.copy(), np.abs(m.h)
    for own, other in ((m.rows, m.cols), (m.cols, m.rows)):
        field += np.bincount(own, weights=m.J * spins[other], minlength=m.n)
        rounding += np.bincount(own, weights=np.abs(m.J), minlength=m.n)
    rounding *= 1e-12  # of each field by itself, so that the scales of others do not hide it
    while True:
        gains = spins * field - rounding
        v = int(gains.argmax())
        if gains[v] <= 0:
            return spins
        a, b = pool.matrix.indptr[v : v + 2]
        field[pool.matrix.indices[a:b]] -= 2.0 * spins[v] * pool.matrix.data[a:b]
        spins[v] = -spins[v]


def _descended_by_terms(pool: Pool, spins: Int8[np.ndarray, " n"]) -> Int8[np.ndarray, " n"]:
    rounding = np.abs(pool.model.h) + pool.bonds.sum(axis=1)
    while True:
        gains = spins * pool.fields(spins) - 1e-12 * rounding
        v = int(gains.argmax())
        if gains[v] <= 0:
            return spins
        spins[v] = -spins[v]
