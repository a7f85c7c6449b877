"""Routes: the shortest closed tour through all nodes (TSP), or the shortest routes of vehicles (CVRP).

    objective = sum of the distances from each node to the next, by the instance's own metric,   minimised
    tour:   every node once
    routes: every customer once, each route from the depot and back with at most `capacity` of `demands`,
            at most `vehicles` of them

Inside, an answer is one cyclic `order` of node indices; with vehicles the depot stands before each route in it.
reduce (in `routing.reduce`) finds the incumbent with PyVRP and takes as the kernel which of a set of moves to make
together. Sources: Garey and Johnson ND22; Dantzig and Ramser, Management Science 6 (1959) 80; the distances, TSPLIB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import fsum
from typing import Any

import numpy as np
from jaxtyping import Int64

from qmosaic.codecs.errors import Rejected
from qmosaic.codecs.events.hops import Answer
from qmosaic.codecs.events.public import Problem
from qmosaic.codecs.events.reasons import Sense
from qmosaic.codecs.models.arrays import unpack_bits
from qmosaic.codecs.models.bundle import Bundle, array, bundle
from qmosaic.codecs.problems.route import Node, Route
from qmosaic.processors.families.base import QUICK, Evaluation, Limits, Reduction, Task
from qmosaic.processors.families.payload import converted, invalid, shown, unknown_field
from qmosaic.processors.families.routing.reading import FIELDS, digest_of, read_distances, read_fleet, read_names
from qmosaic.processors.families.routing.tours import Distances, Fleet, constructed, fits, length, moved

TOLD = 5
"""Nodes that are told of at most, where an answer visits them wrongly."""
LIGHT = 60
"""Nodes up to which a problem is judged in a few milliseconds."""


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
        return self.solution(self.lifted(state, lift, answer))

    def lifted(self, state: Bundle, lift: Bundle, answer: Answer) -> Bundle:
        if answer.bits is None:
            raise ValueError("expected a sample")
        return bundle({"order": moved(self._order(state), lift, unpack_bits(answer.bits))})

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


class RouteFamily:
    name = "route"
    exact_shots = False

    def parse(self, problem: Problem, limits: Limits) -> RouteInstance | Rejected:
        given = problem.problem
        if (unknown := unknown_field(given, FIELDS)) is not None:
            return unknown
        if problem.sense == "max":
            return Rejected("invalid_event", "routes are minimised", "$.sense", "Leave sense out.")
        data = converted(given, Route, "", "See the fields of the family route.")
        if isinstance(data, Rejected):
            return data
        distances = read_distances(data, limits)
        if isinstance(distances, Rejected):
            return distances
        names = read_names(data, distances.n)
        if isinstance(names, Rejected):
            return names
        if data.depot is not None and data.depot not in names:
            return invalid(f"{shown(data.depot)} is not a node", ".depot", "Name one of the nodes.")
        start = names.index(data.depot) if data.depot is not None else 0
        fleet = read_fleet(data, start, names)
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
        digest = digest_of(called, distances, data.directed, start, fleet)
        return RouteInstance(called, distances, data.directed, start, fleet, digest)

    def light(self, problem: Problem) -> bool:
        given = problem.problem
        listed = [given.get(name) for name in ("coordinates", "matrix", "nodes", "demands")]
        rows = [len(row) for each in listed if isinstance(each, list) for row in each[:LIGHT] if isinstance(row, list)]
        return all(len(each) <= LIGHT for each in listed if isinstance(each, list)) and max(rows, default=0) <= LIGHT

    def reduce(self, tasks: Sequence[Task]) -> list[Reduction]:
        from qmosaic.processors.families.routing import reduce

        return reduce.reduce(tasks)

    def warm_up(self, layers: int, slow: bool) -> None:
        from qmosaic.processors.families.routing import reduce

        reduce.warm_up(layers, slow)
