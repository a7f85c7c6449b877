"""Where a circuit's qubits lie on a device, and the SWAPs that bring those together that share a gate.

Placement: one qubit after the other, those with the most gates first, each next to what is placed already and where
its gates would cost least; every start is tried. Distances are sums of the pairs' calibrated errors, so that good
pairs are preferred. Routing, within the qubits chosen: of the gates that come next the nearest is brought together, by
those SWAPs that serve the gates after it best (after Li, Ding and Xie, arXiv:1809.02573; each brings it nearer, so that
it ends). A segment that undoes the one before goes the same way back, so that a folded circuit has as many times the
SWAPs, and ends where the circuit itself does.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple, cast

import cirq
import networkx as nx
import numpy as np

from qmosaic.backends.base import Placed
from qmosaic.codecs.errors import BackendError

Pairs = tuple[tuple[int, int], ...]
"""Qubits of gates on two, in their order."""
Parts = tuple[tuple[cirq.Operation, ...], ...]
"""Gates on one or two line qubits, between barriers."""


AHEAD = 20
"""Gates that a SWAP is judged by."""

COMPACT = 0.05
"""What nearness to a qubit counts that shares no gate, in gates: patches with room for SWAPs, and no long arms."""


class Step(NamedTuple):
    """Gate number `gate` of a segment, or a SWAP where that is -1, on these two."""

    gate: int
    on: tuple[cirq.Qid, cirq.Qid]


class Route(NamedTuple):
    """Where each qubit starts, the steps of each segment, and where each qubit ends."""

    start: tuple[cirq.Qid, ...]
    segments: tuple[tuple[Step, ...], ...]
    end: tuple[cirq.Qid, ...]


class Router:
    """The router of one device: `graph` has an edge for each pair, with its `error`; `readout` is each qubit's own."""

    def __init__(self, graph: nx.Graph[cirq.Qid], readout: dict[cirq.Qid, float]) -> None:
        self.graph = graph
        self.nodes = sorted(graph)
        self.readout = np.array([readout[qubit] for qubit in self.nodes])
        errors = nx.to_numpy_array(graph, self.nodes, weight="error", nonedge=np.inf)
        self.adjacent = np.isfinite(errors)
        # a SWAP is three gates
        self.distances = np.minimum(errors, 3 * nx.floyd_warshall_numpy(graph, self.nodes, weight="error"))
        self.route = lru_cache(maxsize=256)(self._route)
        """The route for so many qubits and the pairs of each segment; equal structures are routed once. `on`: numbers
        of the nodes to start on."""

    def check(self, name: str, n: int, on: tuple[int, ...]) -> None:
        """Refuse qubits to start on that n cannot. Raises BackendError; `name` is the backend's."""
        known = len(on) == len(set(on)) == n and set(on) <= set(range(len(self.nodes)))
        if on and not (known and nx.is_connected(self.graph.subgraph(self.nodes[k] for k in on))):
            raise BackendError(
                f"{name}: expected {n} different qubits that lie together, got {on}",
                place="job.on",
                remedy="Choose them by capabilities.connectivity, or leave it to the backend.",
            )

    def routed(self, n: int, parts: Parts, on: tuple[int, ...]) -> Route:
        """The route of gates; of equal structures, the same one."""
        pairs = tuple(
            tuple((_number(a), _number(b)) for a, b in (each.qubits for each in part if len(each.qubits) == 2))
            for part in parts
        )
        return self.route(n, pairs, on)

    def placed(self, route: Route) -> Placed:
        """Where it starts and ends, by the numbers of the nodes."""
        number = {qubit: k for k, qubit in enumerate(self.nodes)}
        return Placed(tuple(number[q] for q in route.start), tuple(number[q] for q in route.end))

    def _route(self, n: int, segments: tuple[Pairs, ...], on: tuple[int, ...] = ()) -> Route:
        gates = np.zeros((n, n))
        for a, b in (pair for segment in segments for pair in segment):
            gates[a, b] += 1
            gates[b, a] += 1
        start = [self.nodes[place] for place in on or self._placed(gates)]
        where, out, ways = list(start), [], list[tuple[Pairs, list[Step], list[cirq.Qid]]]()
        hops = dict(nx.all_pairs_shortest_path_length(self.graph.subgraph(start)))
        for segment in segments:
            if ways and ways[-1][0] == segment[::-1]:
                there, steps, where = ways.pop()
                back = len(there) - 1
                out.append(tuple(Step(back - gate if gate >= 0 else gate, pair) for gate, pair in reversed(steps)))
                continue
            before = where
            steps, where = self._steps(segment, where, hops)
            ways.append((segment, steps, before))
            out.append(tuple(steps))
        return Route(tuple(start), tuple(out), tuple(where))

    def _steps(
        self, segment: Pairs, where: list[cirq.Qid], hops: dict[cirq.Qid, dict[cirq.Qid, int]]
    ) -> tuple[list[Step], list[cirq.Qid]]:
        left, steps = list(enumerate(segment)), list[Step]()
        while True:
            blocked, front, later = set[int](), list[tuple[int, int]](), list[tuple[int, tuple[int, int]]]()
            for gate, (a, b) in left:
                free = a not in blocked and b not in blocked
                if free and hops[where[a]][where[b]] == 1:
                    steps.append(Step(gate, (where[a], where[b])))
                    continue
                if free:
                    front.append((a, b))
                blocked.update((a, b))
                later.append((gate, (a, b)))
            if not later:
                return steps, where
            left = later
            a, b = min(front, key=lambda pair: hops[where[pair[0]]][where[pair[1]]])
            nearer = [
                (place, beside)
                for place, other in ((where[a], where[b]), (where[b], where[a]))
                for beside in hops
                if hops[place][beside] == 1 and hops[beside][other] < hops[place][other]
            ]
            choices = [(self._cost(left, swapped(where, swap), hops, swap), swap) for swap in nearer]
            _, swap = min(choices)
            steps.append(Step(-1, swap))
            where = swapped(where, swap)

    def _cost(
        self,
        left: list[tuple[int, tuple[int, int]]],
        where: list[cirq.Qid],
        hops: dict[cirq.Qid, dict[cirq.Qid, int]],
        swap: tuple[cirq.Qid, cirq.Qid],
    ) -> float:
        """The errors of the gates to come, the later the less; and that of the SWAP itself."""
        ahead = sum(0.9**k * hops[where[a]][where[b]] for k, (_, (a, b)) in enumerate(left[:AHEAD]))
        return ahead + float(self.graph.edges[swap]["error"])

    def _placed(self, gates: np.ndarray) -> list[int]:
        """The best of greedy placements from every start."""
        order = [int(gates.sum(1).argmax())]
        while len(order) < len(gates):
            # of equals the neighbour of what was placed first: a ring grows at both ends, and they stay side by side
            tied = _rounded(gates[:, order] @ 0.99 ** np.arange(len(order)) + 1e-6 * gates.sum(1))
            tied[order] = -1
            order.append(int(tied.argmax()))
        best, cheapest = list[int](), np.inf
        for first in range(len(self.nodes)):
            chosen, cost = [first], self.readout[first]
            for k, qubit in enumerate(order[1:], 1):
                asked = self.distances[:, chosen] @ (gates[qubit, order[:k]] + COMPACT) + self.readout
                asked[~self.adjacent[chosen].any(0)] = np.inf
                asked[chosen] = np.inf
                chosen.append(int(_rounded(asked).argmin()))
                cost += asked[chosen[-1]]
            if _rounded(cost) < cheapest:
                best, cheapest = chosen, _rounded(cost)
        return [best[order.index(qubit)] for qubit in range(len(gates))]


def _rounded(costs: Any) -> Any:
    """Equal costs are equal on every processor: a sum's last digits depend on its order in BLAS."""
    return np.round(costs, 12)


def swapped(where: list[cirq.Qid], swap: tuple[cirq.Qid, cirq.Qid]) -> list[cirq.Qid]:
    """Places after a SWAP of two of them."""
    one, other = swap
    return [{one: other, other: one}.get(place, place) for place in where]


def on_pairs(parts: Iterable[Iterable[cirq.Operation]]) -> Parts:
    """Gates decomposed until each is on one or two qubits."""
    return tuple(tuple(cirq.decompose(part, keep=lambda each: cirq.num_qubits(each) < 3)) for part in parts)


def _number(qubit: cirq.Qid) -> int:
    return cast(cirq.LineQubit, qubit).x


def on_device(route: Route, parts: Parts) -> list[list[cirq.Operation]]:
    """Gates on one or two line qubits moved along their route."""
    where, out = list(route.start), []
    for part, steps in zip(parts, route.segments, strict=True):
        before: dict[int, list[cirq.Operation]] = {}  # of each gate on two: those on one that come first
        waiting: list[list[cirq.Operation]] = [[] for _ in where]
        joint, moved = list[cirq.Operation](), list[cirq.Operation]()
        for each in part:
            if len(each.qubits) == 2:
                before[len(joint)] = [one for qubit in each.qubits for one in waiting[_number(qubit)]]
                for qubit in each.qubits:
                    waiting[_number(qubit)] = []
                joint.append(each)
            else:
                waiting[_number(each.qubits[0])].append(each)
        for gate, on in steps:
            if gate < 0:
                moved.append(cirq.SWAP(*on))
                where = swapped(where, on)
            else:
                moved += [
                    each.with_qubits(*(where[_number(q)] for q in each.qubits)) for each in (*before[gate], joint[gate])
                ]
        moved += [each.with_qubits(where[q]) for q, those in enumerate(waiting) for each in those]
        out.append(moved)
    return out
