"""Reduce: a batch of polynomials in, for each the incumbent, the kernel and its circuit parameters out.

    presolve (exact) ──► search (tabu, or anneal for the large and sparse) ──► kernel ──► angles

Polynomials of higher order are not presolved, and have a tabu search of their own.

Deterministic: the same problem with the same seed goes through the same rounds; the clock only says after
which of them to stop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float64, UInt8

from qmosaic.codecs.models.bundle import Bundle
from qmosaic.codecs.models.memory import Memory, remembered
from qmosaic.codecs.models.polynomial import SpinPolynomial, bits_of, spins_of
from qmosaic.processors.families.base import Task
from qmosaic.processors.spins import angles, anneal, tabu, tabu_higher
from qmosaic.processors.spins.kernel import choose, restricted
from qmosaic.processors.spins.lift import Lift, apply, bits_of_state
from qmosaic.processors.spins.population import Pool, descended
from qmosaic.processors.spins.presolve import Presolved, presolve

Solver = Literal["presolve", "tabu", "anneal"]
SPARSE = 1 / 20
"""Share of the others that are neighbours, below which annealing beats tabu search (measured)."""


@dataclass(frozen=True, eq=False)
class Reduced:
    """What is known of a problem when it leaves reduce.

    `bits`, `energy`: the incumbent of the whole problem. `kernel`: None where presolve solved it all, and the
    incumbent is proven optimal; else its samples become samples of the whole problem, of the same energy, by
    `lift`. `seconds`: presolve and search; in a batch, those of the calls it took part in.
    """

    bits: UInt8[np.ndarray, " n"]
    energy: float
    solver: Solver
    seconds: float
    rounds: int
    kernel: SpinPolynomial | None
    lift: Lift
    gammas: Float64[np.ndarray, " p"]
    betas: Float64[np.ndarray, " p"]
    memory: Bundle | None = None


def reduce(
    tasks: Sequence[Task],
    *,
    max_kernel_qubits: int = 16,
    layers: int = 2,
) -> list[Reduced]:
    """One answer a task, in their order. Small problems are searched together, others one after the other."""
    if not tasks:
        return []
    clock = tasks[0].clock
    found = _found([_begun(task, clock) for task in tasks], clock)
    kernels = [_kernel(work, max_kernel_qubits) for work in found]
    tuned = iter(angles.tune([kernel for kernel, *_ in kernels if kernel is not None], layers))
    return [
        _reduced(work, kernel, lift, memory, *(next(tuned) if kernel is not None else (np.zeros(0), np.zeros(0))))
        for work, (kernel, lift, memory) in zip(found, kernels, strict=True)
    ]


@dataclass(frozen=True, eq=False)
class _Work:
    """One problem on its way: `seconds` spent so far."""

    task: Task
    presolved: Presolved
    solver: Solver
    pool: Pool
    memory: Memory
    seconds: float


def _begun(task: Task, clock: Callable[[], float]) -> _Work:
    start = clock()
    presolved = presolve(model_of(task))
    solver = _solver(presolved.core)
    pool = (anneal if solver == "anneal" else tabu).pool(presolved.core, task.seed)
    memory = remembered(task.memory, pool.model.n)
    if task.start is not None and pool.model.n:
        known = spins_of(bits_of_state(task.start)[presolved.lift.variables])
        pool.resume(spins_of(memory.samples), known, memory.counts)
    return _Work(task, presolved, solver, pool, memory, clock() - start)


def model_of(task: Task) -> SpinPolynomial:
    """The polynomial of a task; there is no other kind here."""
    assert isinstance(task.model, SpinPolynomial)
    return task.model


def _solver(core: SpinPolynomial) -> Solver:
    if core.n == 0:
        return "presolve"
    if core.higher:
        return "tabu"
    few_neighbours = 2 * len(core.J) / core.n < core.n * SPARSE
    if core.n > tabu.SIZES[-1] or (core.n > tabu.BATCHED and few_neighbours):
        return "anneal"
    return "tabu"


def _found(works: Sequence[_Work], clock: Callable[[], float]) -> list[_Work]:
    """The same problems, searched."""
    calls: dict[tuple[str, int], list[int]] = {}
    for i, work in enumerate(works):
        n = work.pool.model.n
        together = work.solver == "tabu" and n <= tabu.BATCHED and not work.pool.model.higher
        calls.setdefault(("batch", tabu.size(n)) if together else ("single", i), []).append(i)
    out = list(works)
    for members in calls.values():
        start, group = clock(), [works[i] for i in members]
        if group[0].pool.model.higher:
            tabu_higher.search(group[0].pool, group[0].task.seconds, clock)
        elif group[0].solver == "tabu":
            tabu.search([work.pool for work in group], [work.task.seconds for work in group], clock)
        elif group[0].solver == "anneal":
            anneal.search(group[0].pool, group[0].task.seconds, clock)
        for i, work in zip(members, group, strict=True):
            out[i] = replace(work, seconds=work.seconds + clock() - start)
    return out


def _kernel(work: _Work, most: int) -> tuple[SpinPolynomial | None, Lift, Bundle | None]:
    """The kernel around the champion, the lift from its samples, and what the next round is to remember."""
    pool, lift = work.pool, work.presolved.lift
    if work.solver == "presolve":
        return (None, lift, None) if work.presolved.proven else (*_unproven(work, most), None)
    pool.champion = descended(pool, pool.champion)
    chosen = choose(pool, most, work.memory.stale())
    memory = None
    if work.task.round is not None:
        memory = Memory(work.memory.tried, pool.spins < 0, pool.counts).packed(chosen, work.task.round)
    return restricted(pool.model, pool.champion, chosen), replace(lift, variables=lift.variables[chosen]), memory


def _unproven(work: _Work, most: int) -> tuple[SpinPolynomial, Lift]:
    """Where rounding may hide a better one: a look at the variables that presolve decided first when it went back."""
    model, lift = model_of(work.task), work.presolved.lift
    spins = spins_of(apply(lift, np.zeros(model.n, np.uint8), np.zeros(0, np.uint8)))
    chosen = np.sort(lift.eliminated[-most:])
    nothing = lift.eliminated[:0], lift.neighbours[:0], lift.coefficients[:0]
    return restricted(model, spins, chosen), Lift(chosen, *nothing)


def _reduced(
    work: _Work,
    kernel: SpinPolynomial | None,
    lift: Lift,
    memory: Bundle | None,
    gammas: Float64[np.ndarray, " p"],
    betas: Float64[np.ndarray, " p"],
) -> Reduced:
    bits = apply(work.presolved.lift, np.zeros(model_of(work.task).n, np.uint8), bits_of(work.pool.champion))
    energy = float(model_of(work.task).energy(bits))
    return Reduced(bits, energy, work.solver, work.seconds, work.pool.rounds, kernel, lift, gammas, betas, memory)


def warm_up(*, layers: int, slow: bool) -> None:
    """Compile what `reduce` may use, or load it from JAX's cache if one is configured.

    `slow`: for large problems, which come one by one (their cores may be small), instead of small ones in batches.
    """
    tabu.warm_up(slow)
    angles.warm_up(layers)
