"""The classical search for tours: PyVRP, and descent where it does not apply."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyvrp
from jaxtyping import Float64, Int64
from pyvrp.stop import MaxRuntime, MultipleCriteria, NoImprovement

from qmosaic.processors.families.routing.moves import candidates, loads_of
from qmosaic.processors.families.routing.tours import Ask, constructed, fits, length, ordered

PYVRP = 0.9
"""Its share of the time; the rest is for single moves."""
AGREED = 3
"""Searches that must end at the same best before it is believed."""
SEARCHES = 12
"""The most of them: where vehicles are filled to the brim, many end without an answer."""
WHOLE = 1e9
"""Distances up to this stay as they are where they are whole; PyVRP counts in integers."""


def incumbent(
    ask: Ask,
    seed: int,
    seconds: float,
    clock: Callable[[], float],
    start: Int64[np.ndarray, " p"] | None = None,
) -> tuple[Int64[np.ndarray, " p"], str]:
    """The best order of PyVRP's searches from several seeds, and what found it. `start`: the best that is known.

    A search ends when it has not improved for a number of rounds that grows with the nodes; the next begins
    until `AGREED` of them ended at the same best, there were `SEARCHES`, or the time is over.
    """
    n, deadline = ask.distances.n, clock() + seconds
    known = start.tolist() if start is not None else constructed(ask.distances, ask.directed, ask.start, ask.fleet)
    if known is not None and n <= 2:
        return np.array(known), "enumeration"
    data, customers = _posed(ask)
    warm = None if known is None else pyvrp.Solution(data, _visits(known, customers, ask.start))
    best, agreed, runs = None, 0, 0
    while agreed < AGREED and runs < SEARCHES and (runs == 0 or clock() < deadline):
        stop = MultipleCriteria([NoImprovement(300 + 50 * n), MaxRuntime(max(0.0, deadline - clock()))])
        # the first search goes on from what is known, so that little time is enough; later ones begin anew
        found = pyvrp.solve(
            data, stop, seed=(seed + runs) % 2**32, collect_stats=False, initial_solution=warm if runs == 0 else None
        )
        runs += 1
        if best is None or (not best.is_feasible(), best.cost()) > (not found.is_feasible(), found.cost()):
            best, agreed = found, 0
        agreed += found.cost() == best.cost()
    assert best is not None
    visited = [[customers[visit.idx] for visit in route if visit.is_client()] for route in best.best.routes()]
    if ask.fleet is not None:
        return np.array(ordered(visited, ask.start)), "pyvrp"
    return np.array([ask.start, *visited[0]]), "pyvrp"


def _posed(ask: Ask) -> tuple[Any, list[int]]:
    """PyVRP's form of the problem, and the node of each of its clients. A tour is a vehicle without a capacity."""
    n = ask.distances.n
    customers = [k for k in range(n) if k != ask.start]
    scale = _scale(ask.distances.matrix)
    matrix: Any = np.rint(ask.distances.matrix * scale).astype(np.int64)
    demands: list[list[int]] = [[] for _ in range(n)]
    capacity: list[int] = []
    vehicles = 1
    if ask.fleet is not None:
        unit = 1.0 if _whole(ask.fleet.demands) else 1e6 / ask.fleet.capacity  # fractions are rounded to the safe side
        demands = [[int(np.ceil(demand * unit - 1e-6))] for demand in ask.fleet.demands]
        capacity, vehicles = [int(ask.fleet.capacity * unit + 1e-6)], ask.fleet.vehicles
    data = pyvrp.ProblemData(
        [pyvrp.Location(0, 0)] * n,
        [pyvrp.Client(k, delivery=demands[k]) for k in customers],
        [pyvrp.Depot(ask.start)],
        [pyvrp.VehicleType(vehicles, capacity)],
        [matrix],
        [np.zeros_like(matrix)],
    )
    return data, customers


def _scale(matrix: Float64[np.ndarray, "n n"]) -> float:
    """What makes integers of the distances: 1 where they are."""
    largest = float(matrix.max(initial=0.0))
    return 1.0 if largest == 0 or (largest <= WHOLE and _whole(matrix)) else WHOLE / largest


def _whole(values: Float64[np.ndarray, "..."]) -> bool:
    return bool((values == np.floor(values)).all())


def _visits(order: Sequence[int], customers: Sequence[int], start: int) -> list[list[int]]:
    """An order as PyVRP's routes: clients by their index."""
    client = {node: k for k, node in enumerate(customers)}
    visits: list[list[int]] = [[]]
    for node in order:
        if node == start:
            visits.append([])
        else:
            visits[-1].append(client[node])
    return [route for route in visits if route]


def descended(
    ask: Ask, order: Int64[np.ndarray, " p"], deadline: float, clock: Callable[[], float]
) -> Int64[np.ndarray, " p"]:
    """The order after the best moves, again and again, until none gains: a search that time cut off leaves such moves.

    What the kernel gains is then gained by moves that are made together. A round that has begun is finished.
    """
    total = length(ask.distances, order)
    while True:
        moves, _ = candidates(ask, order)
        better = order.copy()
        for k in np.flatnonzero(moves.deltas < 0).tolist():
            if (better[moves.places[k]] == order[moves.places[k]]).all():
                tried = better.copy()
                tried[moves.places[k]] = moves.nodes[k]
                shorter = length(ask.distances, tried)
                if shorter < total * (1 - 1e-12) and full_routes(ask, tried) <= max(0.0, full_routes(ask, order)):
                    better, total = tried, shorter
        if (better == order).all() or clock() > deadline:
            return better
        order = better


def full_routes(ask: Ask, order: Int64[np.ndarray, " p"]) -> float:
    """By how much the fullest vehicle is overfilled; not above 0 where none is."""
    return 0.0 if ask.fleet is None else float(loads_of(ask, order)[1].max() - fits(ask.fleet.capacity))
