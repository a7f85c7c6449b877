"""Reduce for LABS: tabu walks over sequences, many at once, and the kernel of the weakest elements.

One-flip tabu search with random restarts (Gallardo, Cotta & Fernández 2009, "Finding low autocorrelation binary
sequences with memetic algorithms"). A step looks at all n flips in n^2 multiplications: with C_k = sum_i s_i s_{i+k}
and zeros beyond the ends, flipping s_i changes the energy by

    4 (n - 1) + 8 sum_k s_{i-k} s_{i+k} - 4 s_i sum_k C_k (s_{i-k} + s_{i+k}),      k >= 1

which sums over shifted copies of the sequence; the walks lie side by side in memory, so that a processor takes
several of them at once. On two cores a step costs 0.4 µs for n = 32 and 3 µs for n = 128, a hundredth of what it
costs on the n^3 / 24 terms of the polynomial.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int8, Int32, UInt8

from qmosaic.backends.programs import program
from qmosaic.codecs.models.bundle import Bundle
from qmosaic.codecs.models.memory import remembered
from qmosaic.codecs.models.polynomial import SpinPolynomial, bits_of, spins_of
from qmosaic.processors.families.base import Reduction, Task
from qmosaic.processors.families.labs.sequences import energy, flips
from qmosaic.processors.spins import angles
from qmosaic.processors.spins.kernel import restricted
from qmosaic.processors.spins.lift import Lift, bits_of_state, pack_lift, state_of

SIZES = (16, 32, 48, 64, 96, 128)
"""Elements of the compiled programs, multiples of `CHUNK`; a sequence is padded to the next."""
QUICK_SIZES = 2
"""How many of them are for problems of the quick lane."""
WALKS = 64
"""Walks of a round, from random sequences."""
STEPS = 32
"""Steps of a walk, in units of the size."""
AGREE, EFFORT, GROWTH = 4, 8e6, 1.34
"""The search ends when so many walks have ended at the lowest energy, but not before it has taken
`EFFORT * GROWTH^(n - 40)` steps: the next best energies have more sequences than the best, and are met first. One
walk in the best takes 100,000 steps for n = 34 and 500,000 for n = 40 (measured; growth: Gallardo et al.).
"""
CHUNK = 16
"""Lags summed by one pass over memory."""

Sequences = Int8[np.ndarray, "r n"]


def reduce(tasks: Sequence[Task]) -> list[Reduction]:
    """One after the other in the time of one: each may take its share of what is left."""
    clock = tasks[0].clock
    deadline = clock() + min(task.seconds for task in tasks)
    found = [_searched(task, (deadline - clock()) / (len(tasks) - k)) for k, task in enumerate(tasks)]
    kernels = [kernel for _, _, kernel, *_ in found]
    tuned = angles.tune(kernels, tasks[0].layers)
    return [
        Reduction(state_of(bits_of(champion)), "tabu", seconds, kernel, pack_lift(lift), *pair, memory)
        for (champion, seconds, kernel, lift, memory), pair in zip(found, tuned, strict=True)
    ]


def _searched(task: Task, share: float) -> tuple[Int8[np.ndarray, " n"], float, SpinPolynomial, Lift, Bundle | None]:
    """The best sequence in a `share` of seconds, those it took, the kernel around it with its lift, and what is to be
    remembered."""
    assert isinstance(task.model, SpinPolynomial)
    clock, n = task.clock, task.model.n
    began = clock()
    known = None if task.start is None else spins_of(bits_of_state(task.start))
    champion = search(n, task.seed, share, clock, known)
    seconds = clock() - began
    before = remembered(task.memory, n)
    variables = weakest(champion, task.max_qubits, before.tried)
    memory = before.packed(variables, task.round) if task.round is not None else None
    nothing = np.zeros(0, np.int32)
    lift = Lift(variables, nothing, np.zeros((0, 2), np.int32), np.zeros((0, 3)))
    return champion, seconds, restricted(task.model, champion, variables), lift, memory


def weakest(
    champion: Int8[np.ndarray, " n"], most: int, tried: UInt8[np.ndarray, " n"] | None = None
) -> Int32[np.ndarray, " q"]:
    """At most `most` elements, ascending: those whose flips cost least, of those that were `tried` least recently.

    Good sequences have nothing in common, so there is no agreement among them to go by.
    """
    cost = flips(champion[None].astype(np.int64))[0]
    order = np.lexsort((cost, np.zeros(len(cost)) if tried is None else tried))
    return np.sort(order[:most]).astype(np.int32)


def search(
    n: int,
    seed: int,
    seconds: float,
    clock: Callable[[], float],
    known: Int8[np.ndarray, " n"] | None = None,
) -> Int8[np.ndarray, " n"]:
    """Rounds of walks until enough agree on the lowest energy, or the seconds are over; one at least. What is `known`
    is to be beaten."""
    start, rng = clock(), np.random.default_rng(seed)
    champion, lowest, agreed = np.ones(n, np.int8), np.inf, 0
    if known is not None:
        champion, lowest = known, int(energy(known[None].astype(np.int64))[0])
    steps, enough = 0.0, EFFORT * GROWTH ** (n - 40)
    while agreed < AGREE or steps < enough:
        first, seed = (1 - 2 * rng.integers(0, 2, (WALKS, n))).astype(np.int8), int(rng.integers(2**32))
        ends = walks(first, seed) if _walks.ready(*_arguments(first, seed)) else plain_walks(first, seed)
        energies = energy(ends.astype(np.int64))
        if energies.min() < lowest:
            champion, lowest, agreed = ends[energies.argmin()], energies.min(), 0
        agreed += int((energies == lowest).sum())
        steps += WALKS * STEPS * size_of(n)
        if clock() - start >= seconds:
            break
    return champion


def size_of(n: int) -> int:
    """The smallest compiled size for n elements."""
    return next(size for size in SIZES if size >= n)


def walks(first: Sequences, seed: int) -> Sequences:
    """The best sequence on each walk's way, its start included."""
    return np.asarray(_walks(*_arguments(first, seed)))[: first.shape[1]].T.astype(np.int8)


def _arguments(first: Sequences, seed: int) -> tuple[Any, ...]:
    n = first.shape[1]
    size = size_of(n)
    padded = np.zeros((size, WALKS), np.float32)
    padded[:n] = first.T
    return padded, np.int32(n), np.uint32(seed), STEPS * size


def plain_walks(first: Sequences, seed: int) -> Sequences:
    """The same in NumPy, of fewer steps, while there is no program."""
    n, rows = first.shape[1], np.arange(len(first))
    spins = first.astype(np.int64)
    tenures = 1 + n // 10 + np.random.default_rng(seed).integers(0, max(2, n // 4), (n, len(first)))
    value = energy(spins)
    lowest, best, until = value.copy(), spins.copy(), np.zeros(first.shape, np.int64)
    for moment in range(n):
        change = flips(spins)
        allowed = (until <= moment) | (value[:, None] + change < lowest[:, None])
        flip = np.where(allowed, change, np.iinfo(np.int64).max).argmin(axis=1)
        value += change[rows, flip]
        spins[rows, flip] *= -1
        until[rows, flip] = moment + 1 + tenures[moment]
        better = value < lowest
        lowest[better], best[better] = value[better], spins[better]
    return best.astype(np.int8)


@program(static_argnums=3)
def _walks(first: Float32[Array, "n r"], length: Any, seed: Any, steps: int) -> Float32[Array, "n r"]:
    size, replicas = first.shape
    place = jnp.arange(size, dtype=jnp.int32)[:, None]
    lag = place + 1
    low, spread = length // 10, jnp.maximum(2, length // 4)
    tenures = 1 + low + jax.random.randint(jax.random.key(seed), (steps, replicas), 0, spread)

    def padded(spins: Any) -> Any:
        return jnp.pad(spins, ((size, size + CHUNK), (0, 0)))

    def changes(spins: Any, line: Any, correlations: Any) -> Any:
        def lags(chunk: Any, sums: Any) -> Any:
            done = chunk * CHUNK
            left = jax.lax.dynamic_slice(line, (size - done - CHUNK, 0), (size + CHUNK - 1, replicas))
            right = jax.lax.dynamic_slice(line, (size + done + 1, 0), (size + CHUNK - 1, replicas))
            weights = jax.lax.dynamic_slice(correlations, (done, 0), (CHUNK, replicas))
            fields, mirrored = sums
            for k in range(CHUNK):
                a, b = left[CHUNK - 1 - k :][:size], right[k:][:size]
                fields, mirrored = fields + weights[k] * (a + b), mirrored + a * b
            return fields, mirrored

        fields, mirrored = jax.lax.fori_loop(0, size // CHUNK, lags, (jnp.zeros_like(spins), jnp.zeros_like(spins)))
        return 4 * (length - 1) + 8 * mirrored - 4 * spins * fields

    def step(state: Any, now: Any) -> Any:
        spins, correlations, until, energy, lowest, best = state
        moment, tenure = now
        line = padded(spins)
        change = changes(spins, line, correlations)
        allowed = (until <= moment) | (energy + change < lowest)
        cost = jnp.where(allowed & (place < length), change, jnp.inf)
        least = cost.min(0)
        flip = jnp.where(cost == least, place, size - 1).min(0)
        chosen = place == flip
        spin = jnp.where(chosen, spins, 0).sum(0)
        around = sum(jnp.take_along_axis(line, size + flip + side * lag, axis=0) for side in (-1, 1))
        correlations = correlations - 2 * spin * around
        spins = jnp.where(chosen, -spins, spins)
        energy = energy + least
        better = energy < lowest
        return (
            spins,
            correlations,
            jnp.where(chosen, moment + 1 + tenure, until),
            energy,
            jnp.where(better, energy, lowest),
            jnp.where(better, spins, best),
        ), None

    shifted = padded(first)[size + lag + place.T]  # (lag, element, walk)
    correlations = (first * shifted).sum(1)
    energy = (correlations**2).sum(0)
    state = (first, correlations, jnp.zeros(first.shape, jnp.int32), energy, energy, first)
    state, _ = jax.lax.scan(step, state, (jnp.arange(steps, dtype=jnp.int32), tenures))
    best: Float32[Array, "n r"] = state[-1]
    return best


def warm_up(layers: int, slow: bool) -> None:
    """Compile, or load from JAX's cache, the programs of `reduce` for the quick or for the slow lane."""
    for size in SIZES[QUICK_SIZES:] if slow else SIZES[:QUICK_SIZES]:
        walks(np.ones((WALKS, size), np.int8), 0)
    angles.warm_up(layers)
