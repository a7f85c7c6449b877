"""Kept solvers that the baselines are held against: each a function of a problem, seconds and a seed.

One that has no answer to a problem of this kind gives None.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, islice
from math import comb
from typing import Any, NamedTuple

import numpy as np
from dwave.samplers import SimulatedAnnealingSampler, TabuSampler

from qmosaic.backends.solvers.annealing import samples_by, temperatures
from qmosaic.codecs.models.polynomial import SpinPolynomial
from qmosaic.processors.admit import Admission
from qmosaic.processors.families.labs.family import LabsInstance
from qmosaic.processors.families.portfolio.family import PortfolioInstance
from qmosaic.processors.families.routing.family import RouteInstance

MOST_SELECTIONS, LONGEST = 1_000_000, 21
"""Of a portfolio, and elements of a sequence, up to which all are looked at."""
CHUNK = 1 << 16
Peer = Callable[[Any, float, int], float | None]
"""From a problem, seconds and a seed to the objective that was found."""


class Posed(NamedTuple):
    """A problem as reduce has it, and as its family reads it."""

    name: str
    family: str
    admission: Admission
    model: Any


# -- polynomials -------------------------------------------------------------------------------------------------------


def polynomial(one: Posed) -> SpinPolynomial | None:
    """Its model, where that is a quadratic polynomial."""
    model = one.model if isinstance(one.model, SpinPolynomial) else None
    return model if model is not None and not model.higher and not model.constraints else None


def judged(one: Posed, bits: np.ndarray) -> float | None:
    """The objective of bits by the problem's own data."""
    instance: Any = one.admission.instance
    return float(instance.evaluate(instance.decode(bits)).objective)


def tabu(one: Posed, seconds: float, seed: int) -> float | None:
    """dwave-samplers' tabu search, with restarts, for as long."""
    model = polynomial(one)
    if model is None:
        return None
    options = {"num_reads": 1, "timeout": int(1000 * seconds), "seed": seed, "num_restarts": 1_000_000}
    return judged(one, samples_by(TabuSampler, model, **options)[0])


def annealed(one: Posed, seconds: float, seed: int) -> float | None:
    """dwave-samplers' simulated annealing, one run of 1,000 sweeps after the other."""
    model = polynomial(one)
    if model is None:
        return None
    until, best, least = time.monotonic() + seconds, None, np.inf
    options: dict[str, Any] = {"num_reads": 1, "num_sweeps": 1000, "beta_range": temperatures(model)}
    while best is None or time.monotonic() < until:
        seed += 1
        bits = samples_by(SimulatedAnnealingSampler, model, seed=seed, **options)
        energy = float(model.energy(bits)[0])
        if energy < least:
            best, least = bits[0], energy
    return judged(one, best)


def linearised(model: SpinPolynomial) -> Iterator[tuple[int, int, float]]:
    """The polynomial over bits: (i, i, weight) of a bit, (i, j, weight) of a product; less its constant."""
    linear = -2 * model.h  # a spin is 1 - 2 b
    np.add.at(linear, model.rows, -2 * model.J)
    np.add.at(linear, model.cols, -2 * model.J)
    yield from ((k, k, float(weight)) for k, weight in enumerate(linear))
    yield from zip(model.rows.tolist(), model.cols.tolist(), (4 * model.J).tolist(), strict=True)


def both_of(solver: Any, one: Any, other: Any, weight: float) -> Any:
    """A variable that is the product of two bits, in a program of HiGHS' that minimises with this weight of it."""
    both = solver.addVariable(0, 1)
    if weight > 0:
        solver.addConstr(both >= one + other - 1)
    else:
        solver.addConstr(both <= one)
        solver.addConstr(both <= other)
    return both


def highs(one: Posed, seconds: float, seed: int) -> float | None:
    """HiGHS on the linearised program."""
    import highspy

    model = polynomial(one)
    if model is None:
        return None
    solver = highspy.Highs()
    solver.silent()
    solver.setOptionValue("time_limit", seconds)
    solver.setOptionValue("threads", 1)
    solver.setOptionValue("random_seed", seed)
    bits = [solver.addBinary() for _ in range(model.n)]
    costs = []
    for i, j, weight in linearised(model):
        if i == j:
            costs.append(weight * bits[i])
            continue
        costs.append(weight * both_of(solver, bits[i], bits[j], weight))
    solver.minimize(sum(costs))
    values = solver.getSolution().col_value[: model.n]
    return judged(one, np.rint(values).astype(np.uint8)) if len(values) == model.n else None


def cp_sat(one: Posed, seconds: float, seed: int) -> float | None:
    """OR-Tools' CP-SAT, on one core, where all weights are whole."""
    from ortools.sat.python import cp_model

    model = polynomial(one)
    if model is None or any(weight != round(weight) for *_, weight in linearised(model)):
        return None
    program = cp_model.CpModel()
    bits = [program.new_bool_var("") for _ in range(model.n)]
    costs = []
    for i, j, weight in linearised(model):
        if i == j:
            costs.append(int(weight) * bits[i])
            continue
        both = program.new_bool_var("")
        if weight > 0:
            program.add_bool_or(both, ~bits[i], ~bits[j])
        else:
            program.add_implication(both, bits[i])
            program.add_implication(both, bits[j])
        costs.append(int(weight) * both)
    program.minimize(sum(costs))
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds, solver.parameters.num_workers = seconds, 1
    solver.parameters.random_seed = seed
    if solver.solve(program) not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return None
    return judged(one, np.array([solver.value(bit) for bit in bits], np.uint8))


# -- routes and molecules ----------------------------------------------------------------------------------------------


def routing(one: Posed, seconds: float, seed: int) -> float | None:
    """OR-Tools' routing: savings, then guided local search. It has no seed."""
    from ortools.constraint_solver import pywrapcp, routing_enums_pb2

    instance = one.admission.instance
    if not isinstance(instance, RouteInstance):
        return None
    matrix, fleet = np.rint(instance.distances.matrix).astype(int), instance.fleet
    vehicles = fleet.vehicles if fleet is not None else 1
    manager = pywrapcp.RoutingIndexManager(len(matrix), min(vehicles, len(matrix)), instance.start)
    model = pywrapcp.RoutingModel(manager)
    node = manager.IndexToNode
    cost = model.RegisterTransitCallback(lambda a, b: int(matrix[node(a), node(b)]))
    model.SetArcCostEvaluatorOfAllVehicles(cost)
    if fleet is not None:
        demand = model.RegisterUnaryTransitCallback(lambda a: int(fleet.demands[node(a)]))
        model.AddDimensionWithVehicleCapacity(demand, 0, [int(fleet.capacity)] * vehicles, True, "load")
    asked = pywrapcp.DefaultRoutingSearchParameters()
    asked.first_solution_strategy = routing_enums_pb2.FirstSolutionStrategy.SAVINGS
    asked.local_search_metaheuristic = routing_enums_pb2.LocalSearchMetaheuristic.GUIDED_LOCAL_SEARCH
    asked.time_limit.FromMilliseconds(int(1000 * seconds))
    found = model.SolveWithParameters(asked)
    return float(found.ObjectiveValue()) if found else None


def configurations(one: Posed, seconds: float, seed: int) -> float | None:
    """PySCF's full configuration interaction, of integrals: exact, and done in milliseconds at these sizes."""
    from pyscf import ao2mo, fci

    asked = one.admission.problem.problem
    given = asked.get("integrals")
    if given is None:
        return None
    n, electrons, spin = given["orbitals"], asked["electrons"], asked.get("spin", 0)
    one_body, two_body = np.zeros((n, n)), np.zeros((n,) * 4)
    for p, q, value in given["one"]:
        one_body[p, q] = one_body[q, p] = value
    for p, q, r, s, value in given["two"]:
        for a, b, c, d in ((p, q, r, s), (q, p, r, s), (p, q, s, r), (q, p, s, r)):
            two_body[a, b, c, d] = two_body[c, d, a, b] = value
    count = (electrons + spin) // 2, (electrons - spin) // 2
    packed = ao2mo.restore(8, two_body, n)
    energy, _ = fci.direct_spin1.kernel(one_body, packed, n, count, ecore=given.get("core", 0.0))
    return float(energy)


# -- portfolios and sequences ------------------------------------------------------------------------------------------


def universe_of(one: Posed) -> tuple[PortfolioInstance, Any, int] | None:
    """Of a portfolio of equal weights without other rules: the instance, its numbers, and how many assets it holds."""
    instance = one.admission.instance
    if not isinstance(instance, PortfolioInstance) or instance.rules.bounds is not None:
        return None
    universe = instance.rules.universe
    if len(universe.sizes) != 1 or universe.held.any() or len(universe.caps):
        return None
    return instance, universe, int(universe.sizes[0])


def held(instance: PortfolioInstance, chosen: Sequence[int]) -> float | None:
    """The objective of equal weights of some of the admissible assets, by the problem's own data."""
    assets = [instance.market.called(int(i)) for i in instance.rules.admissible[sorted(chosen)]]
    return instance.evaluate({"assets": assets, "weights": [1 / len(assets)] * len(assets)}).objective


def selected(one: Posed, seconds: float, seed: int) -> float | None:
    """HiGHS on the linearised program of a portfolio: which assets, of so many."""
    import highspy

    found = universe_of(one)
    if found is None:
        return None
    instance, universe, k = found
    solver = highspy.Highs()
    solver.silent()
    solver.setOptionValue("time_limit", seconds)
    solver.setOptionValue("threads", 1)
    solver.setOptionValue("random_seed", seed)
    risk, n = universe.risk_aversion, universe.m
    bits = [solver.addBinary() for _ in range(n)]
    solver.addConstr(sum(bits) == k)
    costs = []
    for i in range(n):
        own = risk * universe.covariance[i, i] / k**2 - (1 - risk) * universe.returns[i] / k
        costs.append(float(own) * bits[i])
        for j in range(i):
            weight = float(2 * risk * universe.covariance[i, j] / k**2)
            costs.append(weight * both_of(solver, bits[i], bits[j], weight))
    solver.minimize(sum(costs))
    values = solver.getSolution().col_value[:n]
    chosen = [i for i, value in enumerate(values) if value > 0.5]
    return held(instance, chosen) if len(chosen) == k else None


def every(one: Posed, seconds: float, seed: int) -> float | None:
    """The best of all there are, whatever time that takes: portfolios of equal weights, and sequences."""
    instance = one.admission.instance
    if isinstance(instance, LabsInstance) and instance.n <= LONGEST:
        return float(min(_lowest(instance.n, start) for start in range(0, 1 << (instance.n - 1), CHUNK)))
    found = universe_of(one)
    if found is None or comb(found[1].m, found[2]) > MOST_SELECTIONS:
        return None
    portfolio, universe, k = found
    risk, best, least = universe.risk_aversion, (), np.inf
    rows = combinations(range(universe.m), k)
    while len(chosen := np.array(list(islice(rows, CHUNK)), np.int64)):
        variance = universe.covariance[chosen[:, :, None], chosen[:, None, :]].sum(axis=(1, 2))
        values = risk * variance / k**2 - (1 - risk) * universe.returns[chosen].sum(axis=1) / k
        if values.min() < least:
            best, least = chosen[int(values.argmin())].tolist(), float(values.min())
    return held(portfolio, best)


def _lowest(n: int, start: int) -> int:
    """The least energy of the sequences with these numbers; the last sign is fixed, as the opposite is no better."""
    numbers = np.arange(start, min(start + CHUNK, 1 << (n - 1)))
    signs = 1 - 2 * (numbers[:, None] >> np.arange(n) & 1)
    shifted = [(signs[:, : n - k] * signs[:, k:]).sum(axis=1) ** 2 for k in range(1, n)]
    return int(np.sum(shifted, axis=0).min())


PEERS: dict[str, tuple[Peer, str]] = {
    "dwave tabu": (tabu, "dwave"),
    "dwave SA": (annealed, "dwave"),
    "HiGHS": (highs, "highspy"),
    "CP-SAT": (cp_sat, "ortools"),
    "OR-Tools routing": (routing, "ortools"),
    "PySCF FCI": (configurations, "pyscf"),
    "HiGHS, selection": (selected, "highspy"),
    "all": (every, "numpy"),
}
