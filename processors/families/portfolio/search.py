"""Batched search over selections of assets: one compiled call moves every replica of every universe of a batch.

Tabu search by exchanges (Glover and Laguna 1997): each step lets the asset go that lowers the objective most (or
raises it least), takes in the one that is best beside the rest, and bars both from going back for a while. So the
size, what must be held and the caps of sectors are kept exactly at every step, and a step is two passes over a row.
Which sizes are searched is decided between the calls: each of those allowed at least once, then more and more those
of the best selections. Selections of a population are crossed: what two have in common stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32, Float64, Int64, UInt32

from qmosaic.backends.programs import program
from qmosaic.processors.families.portfolio.universe import Selection, Universe

ASSETS = (32, 64, 128, 256, 512, 1024, 2048)
"""Assets of the compiled programs; a universe is padded to the next."""
BATCHED, BATCH = 128, 4
"""Up to so many assets universes are searched together, so many in a call."""
WARM = 1024
"""Up to so many assets the programs are compiled before work comes."""
REPLICAS, STEPS = 32, 128
"""Selections of a population, and exchanges in a round."""
STALL, AGREE = 4, 3
"""Rounds without a gain that end a population, and populations that must end at the best to end the search."""
ELITE = 64
"""Good selections that are kept, for the kernel."""
MUTATION = 0.15
"""Share of the assets whose place in a child is left to chance."""
BARRED = 1e6
"""Cost of what is tabu: taken only where nothing else is allowed. Costs are scaled to about 1."""

Selections = Bool[np.ndarray, "r m"]


class Padded(NamedTuple):
    """A universe scaled by a power of two (exact), padded with assets that may never come in."""

    covariance: Float32[np.ndarray, "n n"]
    returns: Float32[np.ndarray, " n"]
    together: Float32[np.ndarray, "n n"]
    fixed: Bool[np.ndarray, " n"]  # held: may never go


def size(m: int) -> int:
    """The smallest compiled size for m assets. Raises ValueError above the largest."""
    if m > ASSETS[-1]:
        raise ValueError(f"expected at most {ASSETS[-1]} assets, got {m}")
    return next(n for n in ASSETS if n >= m)


def width_of(n: int) -> int:
    """How many universes of a compiled size go into one call."""
    return BATCH if n <= BATCHED else 1


class Pool:
    """The search state of one universe. Mutable; belongs to one search.

    `elite`, `values`: the best selections met, of all sizes, best first, in float64.
    """

    def __init__(self, universe: Universe, seed: int) -> None:
        self.universe = universe
        self.rng = np.random.default_rng(seed)
        self.elite: Selections = np.zeros((0, universe.m), bool)
        self.values: Float64[np.ndarray, " e"] = np.zeros(0)
        self.best_of_size = np.full(universe.m + 1, np.inf)
        self.population: Selections = np.zeros((0, universe.m), bool)
        self.lowest = np.inf  # of this population
        self.rounds = self.agreed = self._stalled = 0
        self.done = False

    @property
    def champion(self) -> Selection:
        """The best selection met."""
        best: Selection = self.elite[0]
        return best

    def resume(self, start: Selection, elite: Selections) -> None:
        """Go on from the best selection that is known, and other good ones of an earlier search. Raises ValueError for
        one that does not fit."""
        if start.shape != (self.universe.m,) or not start.any():
            raise ValueError(f"expected a selection of {self.universe.m} assets")
        every = np.unique(np.concatenate([start[None], elite[elite.any(axis=1)]]), axis=0)
        worth = self.universe.objective(every)
        np.minimum.at(self.best_of_size, every.sum(axis=1), worth)
        keep = np.argsort(worth, kind="stable")[:ELITE]
        self.elite, self.values = every[keep], worth[keep]
        self.population, self.lowest = self.elite[np.resize(np.arange(len(keep)), REPLICAS)], float(self.values[0])

    def starts(self) -> Selections:
        """Where the replicas of the next round begin."""
        sizes = self.universe.sizes
        fresh = sizes[np.isinf(self.best_of_size[sizes])]
        if len(fresh):  # every size once, from its greedy selection
            spread = fresh[np.unique(np.linspace(0, len(fresh) - 1, REPLICAS).astype(int))]
            rows = [self.universe.greedy(int(k)) for k in spread]
            return np.array(rows + [self._random(int(k)) for k in np.resize(spread, REPLICAS - len(rows))])
        if not len(self.population):
            return np.array([self._random(int(k)) for k in self._sizes()])
        mates = self.rng.permutation(REPLICAS)
        return np.array([self._child(r, int(mates[r]), int(k)) for r, k in enumerate(self._sizes())])

    def _sizes(self) -> Int64[np.ndarray, " r"]:
        """Half of the replicas at the best size, the others at those that are next best."""
        sizes = self.universe.sizes
        ranked = sizes[np.argsort(self.best_of_size[sizes], kind="stable")]
        return np.where(np.arange(REPLICAS) % 2, np.resize(ranked[: REPLICAS // 2], REPLICAS), ranked[0])

    def _random(self, k: int) -> Selection:
        return self.universe.filled(self.rng.permutation(self.universe.m), k)

    def _child(self, one: int, other: int, k: int) -> Selection:
        """What both parents have, then what one of them has, then the rest; some assets anywhere."""
        score = -(self.population[one].astype(float) + self.population[other]) + self.rng.random(self.universe.m)
        anywhere = self.rng.random(self.universe.m) < MUTATION
        score[anywhere] = 3 * self.rng.random(int(anywhere.sum())) - 2
        return self.universe.filled(np.argsort(score), k)

    def absorb(self, found: Selections) -> None:
        """End a round: `found` are the best selections of the replicas."""
        self.rounds += 1
        values = self.universe.objective(found)
        np.minimum.at(self.best_of_size, found.sum(axis=1), values)
        every = np.concatenate([self.elite, found])
        _, first = np.unique(np.packbits(every, axis=1), axis=0, return_index=True)
        worth = np.concatenate([self.values, values])[first]
        keep = np.argsort(worth, kind="stable")[:ELITE]
        known = self.values[0] if len(self.values) else np.inf
        self.elite, self.values = every[first[keep]], worth[keep]
        if self.values[0] < known - self._close:
            self.agreed = 0
        self.population = found
        self._stalled = 0 if values.min() < self.lowest - self._close else self._stalled + 1
        self.lowest = min(self.lowest, float(values.min()))
        if self._stalled >= STALL:
            self.agreed += self.lowest <= self.values[0] + self._close
            self.population, self.lowest, self._stalled = self.population[:0], np.inf, 0
        self.done = self.agreed >= AGREE

    @property
    def _close(self) -> float:
        return 1e-12 * float(np.abs(self.values[0])) if len(self.values) else 0.0


def search(pools: Sequence[Pool], seconds: Sequence[float], clock: Callable[[], float]) -> None:
    """Run rounds on universes of one `size`, each until it is done or its seconds are over (one round at least)."""
    start = clock()
    live = [(each, pad(each.universe), limit) for each, limit in zip(pools, seconds, strict=True)]
    while live:
        width = width_of(len(live[0][1].returns))
        for first in range(0, len(live), width):
            batch = live[first : first + width]
            found = improve(
                [each.universe for each, _, _ in batch],
                [padded for _, padded, _ in batch],
                [each.starts() for each, _, _ in batch],
                [int(each.rng.integers(2**32)) for each, _, _ in batch],
            )
            for (each, _, _), selections in zip(batch, found, strict=True):
                each.absorb(selections)
        spent = clock() - start
        live = [row for row in live if not row[0].done and spent < row[2]]


def pad(universe: Universe) -> Padded:
    """The arrays of the compiled programs."""
    m, n = universe.m, size(universe.m)
    risk, reward = universe.risk_aversion, 1 - universe.risk_aversion
    largest = max(risk * np.abs(universe.covariance).max(), reward * np.abs(universe.returns).max()) or 1.0
    scale = 2.0 ** -np.ceil(np.log2(largest))
    covariance, returns = np.zeros((n, n), np.float32), np.zeros(n, np.float32)
    covariance[:m, :m], returns[:m] = universe.covariance * (risk * scale), universe.returns * (reward * scale)
    together, fixed = np.eye(n, dtype=np.float32), np.zeros(n, bool)
    together[:m, :m], fixed[:m] = universe.together, universe.held
    return Padded(covariance, returns, together, fixed)


def improve(
    universes: Sequence[Universe],
    padded: Sequence[Padded],
    starts: Sequence[Selections],
    seeds: Sequence[int],
) -> list[Selections]:
    """One round for universes of one size, at most `width_of` it: the best selection on each replica's way."""
    arguments = _arguments(universes, padded, starts, seeds)
    if not _tabu.ready(*arguments):  # downhill alone, while there is no program
        return [np.array([one.descended(row) for row in rows]) for one, rows in zip(universes, starts, strict=True)]
    best = np.asarray(_tabu(*arguments))
    return [rows[:, : universe.m] for rows, universe in zip(best, universes, strict=False)]


def _arguments(
    universes: Sequence[Universe], padded: Sequence[Padded], starts: Sequence[Selections], seeds: Sequence[int]
) -> tuple[Any, ...]:
    n = len(padded[0].returns)
    chosen = np.zeros((len(starts), REPLICAS, n), bool)
    room = np.zeros((len(starts), REPLICAS, n), np.float32)  # none for what is padding
    for row, space, start, universe in zip(chosen, room, starts, universes, strict=True):
        row[:, : universe.m] = start
        rooms = {int(k): universe.room(int(k)) for k in np.unique(start.sum(axis=1))}
        space[:, : universe.m] = [rooms[int(k)] for k in start.sum(axis=1)]
    idle = [0] * (width_of(n) - len(starts))  # the first one again
    index = np.array([*range(len(starts)), *idle])
    arrays = (np.stack(arrays)[index] for arrays in zip(*padded, strict=True))
    return *arrays, chosen[index], room[index], np.array(seeds, np.uint32)[index]


@program
def _tabu(
    covariance: Float32[Array, "b n n"],
    returns: Float32[Array, "b n"],
    together: Float32[Array, "b n n"],
    fixed: Bool[Array, "b n"],
    chosen: Bool[Array, "b r n"],
    room: Float32[Array, "b r n"],
    seeds: UInt32[Array, " b"],
) -> Bool[Array, "b r n"]:
    best: Array = jax.vmap(_tabu_one)(covariance, returns, together, fixed, chosen, room, seeds)
    return best


def _tabu_one(covariance: Any, returns: Any, together: Any, fixed: Any, chosen: Any, room: Any, seed: Any) -> Any:
    replicas, n = chosen.shape
    own, index = jnp.diag(covariance), jnp.arange(n, dtype=jnp.int32)
    first = chosen.astype(jnp.float32)
    k = first.sum(-1, keepdims=True)
    risk, reward = 1 / k**2, returns / k
    free = (chosen & ~fixed).sum(-1)  # how many may go
    outside = (room > 0).sum(-1) - k[:, 0]  # how many may come
    # an asset that came in stays for up to half of those that may go, one that went out stays out a while
    drawn = jax.random.uniform(jax.random.key(seed), (STEPS, 2, replicas))
    stay = (drawn[:, 0] * (free / 2)).astype(jnp.int32)
    away = (drawn[:, 1] * jnp.minimum(outside / 2, 12)).astype(jnp.int32) + 1

    def step(state: Any, now: Any) -> Any:
        x, sums, members, until, value, lowest, best = state
        moment, stay, away = now
        tabu = BARRED * (until > moment)
        leave = risk * (own - 2 * sums) + reward
        out, may = _least(jnp.where((x > 0) & ~fixed, leave + tabu, jnp.inf), index)
        gone = (index == out[:, None]) & may
        less = jnp.where(may, sums - covariance[out], sums)
        fewer = jnp.where(may, members - together[out], members)
        # a selection below the best of this replica may take in what is barred
        enter = risk * (own + 2 * less) - reward
        base = value + jnp.where(gone, leave, 0).sum(-1)
        aspires = base[:, None] + enter < lowest[:, None] - 1e-6 * jnp.abs(lowest[:, None])
        open_ = ((x == 0) | gone) & (fewer < room) & may
        came, _ = _least(jnp.where(open_, enter + jnp.where(aspires & ~gone, 0, tabu), jnp.inf), index)
        come = (index == came[:, None]) & may
        value = base + jnp.where(come, enter, 0).sum(-1)
        x = jnp.where(come, 1, jnp.where(gone, 0, x))
        until = jnp.where(come, moment + 1 + stay[:, None], jnp.where(gone, moment + 1 + away[:, None], until))
        better = value < lowest
        return (
            x,
            jnp.where(may, less + covariance[came], less),
            jnp.where(may, fewer + together[came], fewer),
            until,
            value,
            jnp.where(better, value, lowest),
            jnp.where(better[:, None], x, best),
        ), None

    sums = jnp.dot(first, covariance, precision="highest")
    value = (risk[:, 0] * (first * sums).sum(-1)) - (first * reward).sum(-1)
    state = (first, sums, jnp.dot(first, together), jnp.zeros((replicas, n), jnp.int32), value, value, first)
    moments = jnp.arange(STEPS, dtype=jnp.int32)
    return jax.lax.scan(step, state, (moments, stay, away))[0][-1] > 0


def _least(cost: Any, index: Any) -> Any:
    """Where the least cost of each row is, and whether there is one: two plain reductions beat argmin."""
    least = cost.min(-1, keepdims=True)
    return jnp.where(cost == least, index, cost.shape[-1] - 1).min(-1), jnp.isfinite(least)


def warm_up(slow: bool) -> None:
    """Compile, or load from JAX's cache, the programs up to `WARM` assets. None is for the quick process."""
    if not slow:
        return
    for n in ASSETS:
        if n <= WARM:
            none = np.zeros(n, bool)
            universe = Universe(
                np.zeros(n), np.eye(n), 1.0, none, np.full(n, -1), np.zeros(0), none[:0], np.array([1], np.int64)
            )
            improve([universe], [pad(universe)], [np.tile(np.arange(n) == 0, (REPLICAS, 1))], [0])
