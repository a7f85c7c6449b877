"""Reduce for portfolios: the search over selections, and the kernel of the assets it does not agree on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float64, Int32

from qmosaic.codecs.models.bundle import Bundle, array, bundle
from qmosaic.codecs.models.memory import remembered
from qmosaic.codecs.models.polynomial import Linear, SpinPolynomial
from qmosaic.processors.families.base import Reduction, Task
from qmosaic.processors.families.portfolio import search as searching
from qmosaic.processors.families.portfolio.search import Pool
from qmosaic.processors.families.portfolio.universe import Selection, Universe, state_of, unpack_universe
from qmosaic.processors.spins import angles


def reduce(tasks: Sequence[Task]) -> list[Reduction]:
    """One for each task, in their order; universes of about one size are searched together."""
    pools = [Pool(unpack_universe(_bundle(task)), task.seed) for task in tasks]
    memories = [remembered(task.memory, pool.universe.m) for pool, task in zip(pools, tasks, strict=True)]
    for pool, task, memory in zip(pools, tasks, memories, strict=True):
        if task.start is not None:
            pool.resume(array(task.start, "chosen") != 0, memory.samples)
    seconds = _searched(pools, tasks)
    champions = [pool.universe.descended(pool.champion) for pool in pools]
    chosen = [
        contested(pool, one, task.max_qubits, memory.stale())
        for pool, one, task, memory in zip(pools, champions, tasks, memories, strict=True)
    ]
    kernels = [
        kernel_of(pool.universe, one, variables) if len(variables) else None
        for pool, one, variables in zip(pools, champions, chosen, strict=True)
    ]
    tuned = iter(angles.tune([kernel for kernel in kernels if kernel is not None], tasks[0].layers))
    out = []
    for k, (one, variables, kernel, spent) in enumerate(zip(champions, chosen, kernels, seconds, strict=True)):
        gammas, betas = next(tuned) if kernel is not None else (np.zeros(0), np.zeros(0))
        lift, keeps, number = bundle({"variables": variables}), None, tasks[k].round
        if number is not None:
            keeps = replace(memories[k], samples=pools[k].elite).packed(variables, number)
        out.append(Reduction(state_of(one), "tabu", spent, kernel, lift, gammas, betas, keeps))
    return out


def _bundle(task: Task) -> Bundle:
    assert isinstance(task.model, Bundle)
    return task.model


def _searched(pools: Sequence[Pool], tasks: Sequence[Task]) -> list[float]:
    """Search all; the seconds of the calls that each took part in."""
    groups: dict[int, list[int]] = {}
    for i, pool in enumerate(pools):
        groups.setdefault(searching.size(pool.universe.m), []).append(i)
    seconds = [0.0] * len(pools)
    for members in groups.values():
        clock = tasks[members[0]].clock
        start = clock()
        searching.search([pools[i] for i in members], [tasks[i].seconds for i in members], clock)
        for i in members:
            seconds[i] = clock() - start
    return seconds


def contested(
    pool: Pool, champion: Selection, most: int, stale: Float64[np.ndarray, " m"] | float = 0.0
) -> Int32[np.ndarray, " q"]:
    """At most `most` assets, ascending, that good selections of the champion's size do not agree on.

    Sample persistence (Karimi and Rosenberg 2017). Where too few are contested, those follow whose exchange costs
    least. None at all where there is only one selection; where there is none besides of this size, one asset. `stale`:
    from 0 for those that no kernel had yet to 1 for those that the last one had: they come last.
    """
    universe, k = pool.universe, int(champion.sum())
    out, into, change = universe.swaps(champion)
    if not change.size or not np.isfinite(change).any():
        return np.flatnonzero(champion)[: 1 if len(universe.sizes) > 1 else 0].astype(np.int32)
    good = pool.elite[pool.elite.sum(axis=1) == k]
    against = (good != champion).mean(axis=0) if len(good) else np.zeros(universe.m)
    cost = np.full(universe.m, np.inf)
    cost[out], cost[into] = change.min(axis=1), change.min(axis=0)
    typical = cost[np.isfinite(cost)].mean() or 1.0
    worth = 4 * against * (1 - against) + 0.01 / (1 + np.maximum(cost, 0) / typical) - 4 * stale
    worth[universe.held] = -np.inf
    best = np.unravel_index(change.argmin(), change.shape)  # with this pair in it, the kernel has a choice
    worth[[out[best[0]], into[best[1]]]] = np.inf
    chosen = np.argsort(-worth, kind="stable")[: max(2, most)]
    chosen = np.sort(chosen[np.isfinite(cost[chosen])])
    inside = np.zeros(universe.m, bool)
    inside[chosen] = True
    outside = universe.together[champion & ~inside].sum(axis=0)
    free = outside[chosen] < universe.room(k)[chosen]  # a sector full without the kernel keeps its others out
    return np.asarray(chosen[free], dtype=np.int32)


def kernel_of(universe: Universe, champion: Selection, variables: Int32[np.ndarray, " q"]) -> SpinPolynomial:
    """The objective over some assets, the others as in the champion, of whose size the selection stays.

    For every state that keeps the constraints, the energy is the objective. Fields and couplings are without their
    mean, which the cardinality makes a constant: what is left is what the states differ by.
    """
    q, k = len(variables), int(champion.sum())
    inside = np.zeros(universe.m, bool)
    inside[variables] = True
    fixed = champion & ~inside
    ones = k - int(fixed.sum())
    risk, reward = universe.risk_aversion / k**2, (1 - universe.risk_aversion) / k
    sigma, mu = universe.covariance, universe.returns
    linear = risk * (np.diag(sigma) + 2 * sigma[fixed].sum(axis=0))[variables] - reward * mu[variables]
    # with x = (1 − s)/2
    coupling = risk * sigma[np.ix_(variables, variables)] / 2
    np.fill_diagonal(coupling, 0.0)
    field = -linear / 2 - coupling.sum(axis=1)
    rows, cols = np.triu_indices(q, 1)
    pairs = coupling[rows, cols]
    total = q - 2 * ones  # Σ s, and (Σ s)² = q + 2 Σ s_i s_j
    mean_field, mean_pair = field.mean(), pairs.mean() if q > 1 else 0.0
    constant = risk * sigma[np.ix_(fixed, fixed)].sum() - reward * mu[fixed].sum() + linear.sum() / 2 + pairs.sum()
    return SpinPolynomial.of(
        q,
        h=field - mean_field,
        rows=rows,
        cols=cols,
        J=pairs - mean_pair,
        offset=float(constant + mean_field * total + mean_pair * (total**2 - q) / 2),
        constraints=[Linear.exactly(np.arange(q), ones), *_caps(universe, fixed, variables, k)],
    )


def _caps(universe: Universe, fixed: Selection, variables: Int32[np.ndarray, " q"], k: int) -> list[Linear]:
    """At most so many of each sector's assets in the kernel as its cap leaves; where it leaves enough, nothing."""
    out = []
    for s, cap in enumerate(universe.caps_at(k)):
        members = np.flatnonzero(universe.sector[variables] == s).astype(np.int32)
        left = int(cap) - int((fixed & (universe.sector == s)).sum())
        if len(members) > left:
            out.append(Linear(members, np.ones(len(members)), 0.0, float(left)))
    return out


def warm_up(layers: int, slow: bool) -> None:
    """Compile, or load from JAX's cache, the programs of `reduce` for the quick or for the slow lane."""
    searching.warm_up(slow)
    angles.warm_up(layers)
