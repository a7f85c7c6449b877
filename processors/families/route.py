"""Routes: the shortest closed tour through all nodes (TSP), or the shortest routes of vehicles (CVRP).

    objective = sum of the distances from each node to the next, by the instance's own metric,   minimised
    tour:   every node once
    routes: every customer once, each route from the depot and back with at most `capacity` of `demands`,
            at most `vehicles` of them

Inside, an answer is one cyclic `order` of node indices; with vehicles the depot stands before each route in it.
reduce (in `route_reduce`) finds the incumbent with PyVRP and takes as the kernel which of a set of moves to make
together. Sources: Garey and Johnson ND22; Dantzig and Ramser, Management Science 6 (1959) 80; the distances, TSPLIB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from math import fsum
from typing import Any

import msgspec
import numpy as np
from jaxtyping import Float64, Int64

from qmosaic.codecs.arrays import unpack_bits
from qmosaic.codecs.bundle import Bundle, array, bundle
from qmosaic.codecs.errors import Rejected
from qmosaic.codecs.events import Answer, Problem, Sense
from qmosaic.codecs.problems.route import Node, Route
from qmosaic.processors.families.base import QUICK, Evaluation, Limits, Reduction, Task
from qmosaic.processors.families.checks import converted, invalid, shown, twice, unwritable
from qmosaic.processors.families.route_tours import Distances, fits, length, routes, tour

TOLD = 5
"""Nodes that are told of at most, where an answer visits them wrongly."""
LIGHT = 60
"""Nodes up to which a problem is judged in a few milliseconds."""
LARGEST = 2.0**52
"""Tours up to this length: whole distances are added exactly."""

_FIELDS = tuple(name for name in Route.__struct_fields__ if name != "sense")


@dataclass(frozen=True, eq=False)
class Fleet:
    """`demands` by node, none at the depot; each of at most `vehicles` vehicles holds `capacity`."""

    demands: Float64[np.ndarray, " n"]
    capacity: float
    vehicles: int


@dataclass(frozen=True, eq=False)
class RouteInstance:
    """`start`: the depot; of a tour without vehicles, where it is told from. `fleet` None: one tour of all."""

    names: tuple[Node, ...]
    distances: Distances
    directed: bool
    start: int
    fleet: Fleet | None
    digest: str
    sense: Sense = "min"
    notes: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        return QUICK + len(self.names)  # PyVRP takes a second or so even for ten nodes, and holds Python's lock

    def encode(self) -> Bundle:
        arrays = {"table": self.distances.table}
        values: dict[str, Any] = {"metric": self.distances.metric, "directed": self.directed, "start": self.start}
        if self.fleet is None:
            return bundle(arrays, **values)
        arrays["demands"] = self.fleet.demands
        return bundle(arrays, **values, capacity=self.fleet.capacity, vehicles=self.fleet.vehicles)

    def quick(self) -> Any:
        order = constructed(self.distances, self.directed, self.start, self.fleet)
        return None if order is None else self._told(order)

    def solution(self, state: Bundle) -> Any:
        return self._told(self._order(state).tolist())

    def answered(self, state: Bundle, lift: Bundle, answer: Answer) -> Any:
        if answer.bits is None:
            raise ValueError("expected a sample")
        return self._told(moved(self._order(state), lift, unpack_bits(answer.bits)).tolist())

    def _order(self, state: Bundle) -> Int64[np.ndarray, " p"]:
        order: Int64[np.ndarray, " p"] = array(state, "order")
        # each node once, and the depot once a route at most
        if order.dtype.kind != "i" or order.ndim != 1 or len(order) > 2 * len(self.names):
            raise ValueError("expected an order of nodes")
        return order

    def _told(self, order: Sequence[int]) -> Any:
        """An order in the problem's names, told in one way of the many that mean the same."""
        if min(order, default=0) < 0:
            raise ValueError("no node has a negative number")
        at = order.index(self.start)
        order = [*order[at:], *order[:at]]
        if self.fleet is None:
            return {"tour": [self.names[node] for node in self._forward(order, 1)]}
        found: list[list[int]] = [[]]
        for node in order:
            if node == self.start:
                found.append([])
            else:
                found[-1].append(node)
        found = sorted(self._forward(route, 0) for route in found if route)
        return {"routes": [[self.names[node] for node in route] for route in found]}

    def _forward(self, nodes: list[int], begin: int) -> list[int]:
        """The direction in which the lower of both ends comes first, where directions are equal."""
        back = [*nodes[:begin], *nodes[: begin - 1 if begin else None : -1]]
        return nodes if self.directed or len(nodes) < 2 or nodes[begin] < nodes[-1] else back

    def evaluate(self, solution: Any, evidence: Bundle | None = None) -> Evaluation:
        key = "tour" if self.fleet is None else "routes"
        if not isinstance(solution, dict) or set(solution) != {key}:
            return Evaluation(None, False, (f"expected a solution with {key!r} alone",))
        index = {name: k for k, name in enumerate(self.names)}
        trips = [solution[key]] if self.fleet is None else [[self.names[self.start], *r] for r in solution[key] if r]
        visits = [name for trip in trips for name in (trip if self.fleet is None else trip[1:])]
        due = set(self.names) if self.fleet is None else set(self.names) - {self.names[self.start]}
        wrong: list[str] = []
        for name in visits:
            if name not in due:
                wrong.append(f"node {shown(name)} is not to be visited, or is visited twice")
            due.discard(name)
        wrong += [f"node {shown(name)} is not visited" for name in self.names if name in due]
        violations = wrong[:TOLD] + ([f"and {len(wrong) - TOLD} more of the kind"] if len(wrong) > TOLD else [])
        if any(name not in index for name in visits):
            return Evaluation(None, False, tuple(violations))
        total = fsum(length(self.distances, [index[name] for name in trip]) for trip in trips)
        if self.fleet is None:
            return Evaluation(total, not violations, tuple(violations))
        loads = [fsum(self.fleet.demands[index[name]] for name in trip) for trip in trips]
        for k, load in enumerate(loads):
            if load > fits(self.fleet.capacity):
                violations.append(f"route {k + 1} carries {load:g}, a vehicle holds {self.fleet.capacity:g}")
        if len(trips) > self.fleet.vehicles:
            violations.append(f"{len(trips)} routes, there are {self.fleet.vehicles} vehicles")
        return Evaluation(total, not violations, tuple(violations), details={"vehicles": len(trips), "loads": loads})


def constructed(distances: Distances, directed: bool, start: int, fleet: Fleet | None) -> list[int] | None:
    """An order in milliseconds; None where none was found that keeps capacity and vehicles."""
    matrix = distances.matrix
    if fleet is None:
        return tour(matrix, [start, *(k for k in range(distances.n) if k != start)], directed=directed)
    found = routes(matrix, fleet.demands, fleet.capacity, fleet.vehicles, start, directed=directed)
    return None if found is None else ordered(found, start)


def ordered(found: Sequence[Sequence[int]], depot: int) -> list[int]:
    """Routes as one cyclic order, the depot before each."""
    return [node for route in found for node in (depot, *route)]


def moved(order: Int64[np.ndarray, " p"], lift: Bundle, bits: Any) -> Int64[np.ndarray, " p"]:
    """The order with those moves made whose bit is 1; move k puts nodes[a:b] at places[a:b], a, b = bounds[k:k+2].

    Raises ValueError or LookupError where they do not fit.
    """
    places, nodes, bounds = (array(lift, name) for name in ("places", "nodes", "bounds"))
    if any(each.ndim != 1 or each.dtype.kind != "i" for each in (places, nodes, bounds)):
        raise ValueError("expected lists of places, nodes and bounds")
    if len(bits) != len(bounds) - 1:
        raise ValueError(f"expected {len(bounds) - 1} bits, got {len(bits)}")
    order = np.array(order)
    for k in np.flatnonzero(bits):
        order[places[bounds[k] : bounds[k + 1]]] = nodes[bounds[k] : bounds[k + 1]]
    return order


class RouteFamily:
    name = "route"
    exact_shots = False

    def parse(self, problem: Problem, limits: Limits) -> RouteInstance | Rejected:
        given = problem.problem
        if unknown := sorted(given.keys() - set(_FIELDS)):
            remedy = f"Known fields: {', '.join(_FIELDS)}."
            return invalid(f"unknown field {shown(unknown[0])}", f".{unknown[0]}", remedy)
        if problem.sense == "max":
            return Rejected("invalid_event", "routes are minimised", "$.sense", "Leave sense out.")
        data = converted(given, Route, "", "See the fields of the family route.")
        if isinstance(data, Rejected):
            return data
        distances = _distances(data, limits)
        if isinstance(distances, Rejected):
            return distances
        names = _names(data, distances.n)
        if isinstance(names, Rejected):
            return names
        if data.depot is not None and data.depot not in names:
            return invalid(f"{shown(data.depot)} is not a node", ".depot", "Name one of the nodes.")
        start = names.index(data.depot) if data.depot is not None else 0
        fleet = _fleet(data, start, names)
        if isinstance(fleet, Rejected):
            return fleet
        # in the order of the names, so that the order of the data leaves no trace
        rank = sorted(range(len(names)), key=lambda k: (isinstance(names[k], str), names[k]))
        table = distances.table[rank] if distances.metric else distances.table[np.ix_(rank, rank)]
        if fleet is not None:
            fleet = replace(fleet, demands=fleet.demands[rank])
        called = tuple(names[k] for k in rank)
        start = 0 if fleet is None and data.depot is None else rank.index(start)
        distances = Distances(np.ascontiguousarray(table), distances.metric)
        digest = _digest(called, distances, data.directed, start, fleet)
        return RouteInstance(called, distances, data.directed, start, fleet, digest)

    def light(self, problem: Problem) -> bool:
        given = problem.problem
        listed = [given.get(name) for name in ("coordinates", "matrix", "nodes", "demands")]
        rows = [len(row) for each in listed if isinstance(each, list) for row in each[:LIGHT] if isinstance(row, list)]
        return all(len(each) <= LIGHT for each in listed if isinstance(each, list)) and max(rows, default=0) <= LIGHT

    def reduce(self, tasks: Sequence[Task]) -> list[Reduction]:
        from qmosaic.processors.families import route_reduce

        return route_reduce.reduce(tasks)

    def warm_up(self, layers: int, slow: bool) -> None:
        from qmosaic.processors.families import route_reduce

        route_reduce.warm_up(layers, slow)


def _distances(data: Route, limits: Limits) -> Distances | Rejected:
    if (data.coordinates is None) == (data.matrix is None):
        return invalid("expected coordinates or a matrix, one of them", "", "Send `coordinates` or `matrix`.")
    field_ = "matrix" if data.coordinates is None else "coordinates"
    listed: Sequence[Sequence[float]] = data.matrix if data.matrix is not None else data.coordinates or ()
    n = len(listed)
    if n == 0:
        return Rejected("empty_problem", "there is no node at all", f"$.problem.{field_}", "Send at least one node.")
    pairs = n * (n - 1) // (1 if data.directed else 2)
    if n > limits.variables or pairs > limits.couplings:
        return Rejected(
            "too_large",
            f"{n} nodes are {pairs} distances, the limits are {limits.variables} and {limits.couplings}",
            f"$.problem.{field_}",
            "Send a smaller problem, or raise limits.variables and limits.couplings.",
        )
    if data.matrix is not None:
        return _listed(data)
    if data.directed:
        return invalid("distances between points are the same both ways", ".directed", "Send a matrix.")
    table = np.array(listed, dtype=np.float64)
    reach = (90.0, 180.0) if data.metric == "geo" else (1e12, 1e12)
    if len(at := np.argwhere(~(np.abs(table) <= reach))):
        k, axis = (int(i) for i in at[0])
        return invalid(
            f"{listed[k][axis]:g} is beyond ±{reach[axis]:g}",
            f".coordinates[{k}][{axis}]",
            "With geo, send latitude and longitude as DDD.MM." if data.metric == "geo" else "Scale the points down.",
        )
    return Distances(table, data.metric)


def _listed(data: Route) -> Distances | Rejected:
    rows = data.matrix or ()
    n = len(rows)
    if data.metric != "euclidean":
        return invalid("a matrix has no metric", ".metric", "Leave it out, or send coordinates.")
    for k, row in enumerate(rows):
        if len(row) != n:
            return invalid(f"expected {n} values, got {len(row)}", f".matrix[{k}]", "Send a square matrix.")
    table = np.array(rows, dtype=np.float64)
    if len(at := np.argwhere(~np.isfinite(table) | (table < 0))):
        i, j = (int(k) for k in at[0])
        if i != j or not np.isfinite(table[i, j]):
            return invalid(
                f"{rows[i][j]:g} is no distance", f".matrix[{i}][{j}]", "Send finite numbers, none negative."
            )
    np.fill_diagonal(table, 0.0)
    if not data.directed and len(at := np.argwhere(table != table.T)):
        i, j = (int(k) for k in at[0])
        return invalid(
            f"{rows[i][j]:g} from {i} to {j}, {rows[j][i]:g} back",
            f".matrix[{i}][{j}]",
            "Correct the matrix, or set `directed` where both are meant.",
        )
    if table.max(initial=0.0) * n > LARGEST:
        return invalid(
            "the distances add up to more than a float64 holds exactly", ".matrix", "Scale the distances down."
        )
    return Distances(table, None)


def _names(data: Route, n: int) -> tuple[Node, ...] | Rejected:
    if data.nodes is None:
        return tuple(range(n))
    if len(data.nodes) != n:
        return invalid(f"expected {n} names, got {len(data.nodes)}", ".nodes", "Name every node.")
    names = tuple(data.nodes)
    if (k := twice(names)) is not None:
        return invalid(f"{shown(names[k])} is there twice", f".nodes[{k}]", "Give every node its own name.")
    if (k := unwritable(names)) is not None:
        return invalid(f"{shown(names[k])} is no name", f".nodes[{k}]", "Send valid UTF-8, or integers of 64 bits.")
    return names


def _fleet(data: Route, start: int, names: Sequence[Node]) -> Fleet | Rejected | None:
    if data.demands is None or data.capacity is None:
        for name in ("demands", "capacity", "vehicles"):
            if getattr(data, name) is not None:
                return invalid(
                    f"{name} without {'capacity' if name == 'demands' else 'demands and capacity'}",
                    f".{name}",
                    "Send demands and capacity, or leave all out for one tour.",
                )
        return None
    n = len(names)
    if not 0 < data.capacity <= LARGEST:
        return invalid(f"expected a positive number, got {data.capacity:g}", ".capacity", "Say what a vehicle holds.")
    if data.vehicles is not None and data.vehicles < 1:
        return invalid(f"expected at least 1, got {shown(data.vehicles)}", ".vehicles", "Leave it out for no limit.")
    if len(data.demands) != n:
        return invalid(f"expected {n} values, got {len(data.demands)}", ".demands", "Send one for each node.")
    if n == 1:
        return Rejected("empty_problem", "there is no customer", "$.problem", "Send the depot and at least one more.")
    for k, demand in enumerate(data.demands):
        if not 0 <= demand < np.inf:
            return invalid(f"{demand:g} is no demand", f".demands[{k}]", "Send finite numbers, none negative.")
        if k == start and demand:
            return invalid(f"the depot {shown(names[k])} has the demand {demand:g}", f".demands[{k}]", "Set it to 0.")
        if demand > data.capacity:
            return invalid(
                f"node {shown(names[k])} demands {demand:g}, a vehicle holds {data.capacity:g}",
                f".demands[{k}]",
                "Split the demand, or raise the capacity.",
            )
    vehicles = min(data.vehicles or n - 1, n - 1)
    if (total := fsum(data.demands)) > vehicles * fits(data.capacity):
        return invalid(
            f"the demands are {total:g}, {vehicles} vehicles hold {vehicles * data.capacity:g}",
            ".vehicles",
            "Raise vehicles or capacity.",
        )
    return Fleet(np.array(data.demands, dtype=np.float64), float(data.capacity), vehicles)


def _digest(names: Sequence[Node], distances: Distances, directed: bool, start: int, fleet: Fleet | None) -> str:
    limits = None if fleet is None else (fleet.capacity, fleet.vehicles)
    plain = ("qmosaic.route/1", names, distances.table.shape, distances.metric, directed, start, limits)
    hasher = sha256(msgspec.json.encode(plain))
    for numbers in (distances.table, fleet.demands if fleet else np.zeros(0)):
        hasher.update((np.ascontiguousarray(numbers, dtype="<f8") + 0.0).tobytes())
    return hasher.hexdigest()[:32]
