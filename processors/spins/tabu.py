"""Batched tabu search: one compiled call moves every replica of every problem of a batch.

One-flip tabu search (Glover & Hao 2010; Palubeckis 2004): each step flips the variable that lowers the
energy most, or raises it least, and not again for a while. Between the calls each member of a population
is crossed with another (Wang, Lü, Glover & Hao 2012, "Path relinking for unconstrained binary quadratic
programming", in its simplest form). The couplings are dense: a step is one pass over a row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int8, Int32, UInt32

from qmosaic.backends.programs import program
from qmosaic.codecs.models.polynomial import SpinPolynomial
from qmosaic.processors.spins import tabu_plain
from qmosaic.processors.spins.population import Pool, Spins

SIZES = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
"""Variables of the compiled programs; a problem is padded to the next."""
BATCHED = 128
"""Up to this size problems are searched together, above it one at a time."""
BATCH = 16
"""Problems in a call of the batched programs; there is one for a single problem, too."""
REPLICAS, STALL, AGREE = 16, 20, 3
"""See `Pool`."""
MUTATION = 0.02
"""Share of the variables that a child has from neither parent."""
NEVER = 2**30


class Padded(NamedTuple):
    """A model scaled by a power of two (exact) so that no coefficient is above 1, padded with idle spins."""

    h: Float32[np.ndarray, " n"]
    J: Float32[np.ndarray, "n n"]
    variables: int


def pool(model: SpinPolynomial, seed: int) -> Pool:
    """Where the search of a problem begins."""
    return Pool(model, seed, replicas=REPLICAS, stall=STALL, agree=AGREE)


def search(pools: Sequence[Pool], seconds: Sequence[float], clock: Callable[[], float]) -> None:
    """Run rounds on problems of one `size`, each until it is done or its seconds are over (one round at least)."""
    start = clock()
    live = [(each, pad(each.model), limit) for each, limit in zip(pools, seconds, strict=True) if not each.done]
    while live:
        width = BATCH if len(live) > 1 else 1
        for first in range(0, len(live), width):
            batch = live[first : first + width]
            pad_rows = [batch[0]] * (width - len(batch))
            starts = [each.random() if each.settled else children(each) for each, _, _ in batch]
            seeds = [int(each.rng.integers(2**32)) for each, _, _ in batch]
            padded = [model for _, model, _ in [*batch, *pad_rows]]
            if is_compiled(padded):
                improved = improve(padded, [*starts, *starts[:1] * len(pad_rows)], [*seeds, *seeds[:1] * len(pad_rows)])
            else:
                improved = [
                    tabu_plain.improve(each.model, start, seed)
                    for (each, _, _), start, seed in zip(batch, starts, seeds, strict=True)
                ]
            for (each, _, _), spins in zip(batch, improved, strict=False):
                each.absorb(spins)
        spent = clock() - start
        live = [row for row in live if not row[0].done and spent < row[2]]


def size(n: int) -> int:
    """The smallest compiled size for n variables, n at most 4096."""
    return next(size for size in SIZES if size >= n)


def pad(model: SpinPolynomial) -> Padded:
    """The dense form of a model."""
    n = size(model.n)
    largest = max(np.abs(model.h).max(initial=0), np.abs(model.J).max(initial=0)) or 1.0
    scale = 2.0 ** -max(-1000.0, np.ceil(np.log2(largest)))
    h, J = np.zeros(n, np.float32), np.zeros((n, n), np.float32)
    h[: model.n] = model.h * scale
    J[model.rows, model.cols] = J[model.cols, model.rows] = model.J * scale
    return Padded(h, J, model.n)


def improve(models: Sequence[Padded], starts: Sequence[Spins], seeds: Sequence[int]) -> list[Spins]:
    """One round for models of one size: the best sample on each replica's way, its start included."""
    n = len(models[0].h)
    first = np.ones((len(models), REPLICAS, n), np.int8)
    for row, start in zip(first, starts, strict=True):
        row[:, : start.shape[1]] = start
    flips, length = _tabu(*_arguments(models, first, seeds))
    # a spin is turned if it was flipped an odd number of times up to the best moment
    taken = np.arange(steps(n))[:, None] < np.asarray(length)[:, None, :]
    replicas = np.arange(first[..., 0].size).reshape(first.shape[0], 1, REPLICAS)
    count = np.bincount((replicas * n + np.asarray(flips))[taken], minlength=first.size).reshape(first.shape)
    best = np.where(count % 2, -first, first).astype(np.int8)
    return [rows[:, : model.variables] for rows, model in zip(best, models, strict=True)]


def is_compiled(models: Sequence[Padded]) -> bool:
    """Whether a round of so many models of this size need not wait for a compiler."""
    n = len(models[0].h)
    return _tabu.ready(*_arguments(models, np.ones((len(models), REPLICAS, n), np.int8), [0] * len(models)))


def _arguments(models: Sequence[Padded], first: Int8[np.ndarray, "b r n"], seeds: Sequence[int]) -> tuple[Any, ...]:
    return (
        np.stack([model.h for model in models]),
        np.stack([model.J for model in models]),
        np.array([model.variables for model in models], np.int32),
        first,
        np.array(seeds, np.uint32),
        steps(first.shape[-1]),
    )


def steps(n: int) -> int:
    """Flips in a round."""
    return min(4 * n, 1024)


def children(parents: Pool) -> Spins:
    """Each member crossed with another: what both have in common, the rest from either, a few mutations."""
    order = parents.rng.permutation(len(parents.spins))
    mates = np.empty_like(order)
    mates[order] = np.roll(order, 1)
    mate = parents.aligned(parents.spins[mates], parents.spins)
    child = np.where(parents.rng.random(mate.shape, np.float32) < 0.5, parents.spins, mate)
    return np.where(parents.rng.random(mate.shape, np.float32) < MUTATION, -child, child).astype(np.int8)


@program(static_argnums=5)
def _tabu(
    h: Float32[Array, "b n"],
    J: Float32[Array, "b n n"],
    variables: Int32[Array, " b"],
    first: Int8[Array, "b r n"],
    seeds: UInt32[Array, " b"],
    count: int,
) -> tuple[Int32[Array, "b t r"], Int32[Array, "b r"]]:
    """The flips of each step, and after how many of them the best sample was met."""
    flips, length = jax.vmap(partial(_tabu_one, count=count))(h, J, variables, first, seeds)
    return flips, length


def _tabu_one(h: Any, J: Any, variables: Any, first: Any, seed: Any, *, count: int) -> Any:
    replicas, n = first.shape
    spins = first.astype(jnp.float32)
    index = jnp.arange(n, dtype=jnp.int32)
    shortest = jnp.minimum(20, variables // 4)  # Palubeckis' tenure, and a random part against cycles
    spread = jnp.clip(variables // 8, 1, 10)
    tenures = shortest + jax.random.randint(jax.random.key(seed), (count, replicas), 0, spread)

    def step(state: Any, now: Any) -> Any:
        spins, fields, until, energy, lowest, length = state
        moment, tenure = now
        change = -2 * spins * fields
        allowed = (until <= moment) | (energy[:, None] + change < lowest[:, None] - 1e-6)
        cost = jnp.where(allowed & (until < NEVER), change, jnp.inf)
        least = cost.min(-1, keepdims=True)
        # first index of the least cost, in two plain reductions: argmin is not vectorised on CPUs
        flip = jnp.where(cost == least, index, n - 1).min(-1)
        chosen = index == flip[:, None]
        spin = jnp.where(chosen, spins, 0).sum(-1, keepdims=True)
        energy = energy + least[:, 0]
        better = energy < lowest
        return (
            jnp.where(chosen, -spins, spins),
            fields - 2 * spin * J[flip],
            jnp.where(chosen, moment + 1 + tenure[:, None], until),
            energy,
            jnp.where(better, energy, lowest),
            jnp.where(better, moment + 1, length),
        ), flip

    state = (
        spins,
        jnp.dot(spins, J, precision="highest") + h,
        jnp.broadcast_to(jnp.where(index < variables, 0, NEVER), (replicas, n)),
        jnp.zeros(replicas),
        jnp.zeros(replicas),
        jnp.zeros(replicas, jnp.int32),
    )
    state, flips = jax.lax.scan(step, state, (jnp.arange(count, dtype=jnp.int32), tenures))
    return flips, state[-1]


def warm_up(slow: bool) -> None:
    """Compile, or load from JAX's cache, the programs for single problems of any size, or those for `BATCHED` ones."""
    for n in SIZES if slow else SIZES[: SIZES.index(BATCHED) + 1]:
        model = Padded(np.zeros(n, np.float32), np.zeros((n, n), np.float32), n)
        start = np.ones((REPLICAS, n), np.int8)
        for width in (1,) if slow else (1, BATCH):
            improve([model] * width, [start] * width, [0] * width)
