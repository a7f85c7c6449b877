"""Routing problems, reduced: the best tours found, and a kernel of moves that may make them better."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from qmosaic.codecs.models.bundle import array, bundle
from qmosaic.codecs.models.memory import remembered
from qmosaic.codecs.models.polynomial import SpinPolynomial
from qmosaic.processors.families.base import Reduction, Task
from qmosaic.processors.families.routing.kernel import kernel_of
from qmosaic.processors.families.routing.moves import SIZES, WARM
from qmosaic.processors.families.routing.search import PYVRP, descended, incumbent
from qmosaic.processors.families.routing.tours import Ask, Distances
from qmosaic.processors.spins import angles


def reduce(tasks: Sequence[Task]) -> list[Reduction]:
    """One after the other (PyVRP is one thread's work) in the time of one: each may take its share of what is left."""
    clock = tasks[0].clock
    deadline = clock() + min(task.seconds for task in tasks)
    found = [_reduced(task, (deadline - clock()) / (len(tasks) - k), clock) for k, task in enumerate(tasks)]
    kernels = [one.kernel for one in found if isinstance(one.kernel, SpinPolynomial)]
    tuned = iter(angles.tune(kernels, tasks[0].layers))
    out = []
    for one in found:
        gammas, betas = next(tuned) if one.kernel is not None else (one.gammas, one.betas)
        out.append(replace(one, gammas=gammas, betas=betas))
    return out


def _reduced(task: Task, share: float, clock: Callable[[], float]) -> Reduction:
    """Without angles yet."""
    began = clock()
    ask = Ask.of(task.model)
    known = None if task.start is None else array(task.start, "order")
    order, solver = incumbent(ask, task.seed, PYVRP * share, clock, known)
    if ask.distances.n <= 2 or (ask.distances.n == 3 and ask.fleet is None and not ask.directed):
        return Reduction(bundle({"order": order}), "enumeration", clock() - began, None)  # there is no other answer
    better = descended(ask, order, began + share, clock)
    if (better != order).any():
        order, solver = better, f"{solver}+moves"
    seconds = clock() - began
    before = remembered(task.memory, ask.distances.n)
    kernel, lift = kernel_of(ask, order, task.max_qubits, before.tried)
    memory = before.packed(np.unique(array(lift, "nodes")), task.round) if task.round is not None else None
    return Reduction(bundle({"order": order}), solver, seconds, kernel, lift, memory=memory)


def warm_up(layers: int, slow: bool) -> None:
    """Compile the programs for the usual sizes, or load them from JAX's cache. No tour is in the quick process."""
    if not slow:
        return
    points = np.random.default_rng(0).random((SIZES[-1], 2))
    for size in SIZES:
        if size <= WARM:
            ask = Ask(Distances(points[:size], "euclidean"), False, 0, None)
            kernel_of(ask, np.arange(size), 2)
    angles.warm_up(layers)
