"""Where a circuit's qubits lie on a device, and the SWAPs that bring those together that share a gate.

Placement: one qubit after the other, those with the most gates first, each next to what is placed already and where
its gates would cost least; every start is tried. Distances are sums of the pairs' calibrated errors, so that good
pairs are preferred. Routing: `cirq.RouteCQC` (Cowtan et al., arXiv:1902.08091) within the qubits chosen.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import cirq
import networkx as nx
import numpy as np

Pairs = tuple[tuple[int, int], ...]
"""Qubits of gates on two, in their order."""


class Step(NamedTuple):
    """Gate number `gate` of a segment, or a SWAP where that is -1, on these two."""

    gate: int
    on: tuple[cirq.Qid, cirq.Qid]


class Route(NamedTuple):
    """Where each qubit starts, and the steps of each segment."""

    start: tuple[cirq.Qid, ...]
    segments: tuple[tuple[Step, ...], ...]


class Router:
    """Of one device: `graph` has an edge for each pair, with its `error`; `readout` is each qubit's own."""

    def __init__(self, graph: nx.Graph[cirq.Qid], readout: dict[cirq.Qid, float]) -> None:
        self.graph = graph
        self.nodes = sorted(graph)
        self.readout = np.array([readout[qubit] for qubit in self.nodes])
        self.distances = nx.floyd_warshall_numpy(graph, self.nodes, weight="error")
        self.adjacent = np.array([[graph.has_edge(a, b) for b in self.nodes] for a in self.nodes])
        self.route = lru_cache(maxsize=256)(self._route)
        """The route for so many qubits and the pairs of each segment; equal structures are routed once."""

    def _route(self, n: int, segments: tuple[Pairs, ...]) -> Route:
        gates = np.zeros((n, n))
        for a, b in (pair for segment in segments for pair in segment):
            gates[a, b] += 1
            gates[b, a] += 1
        start = [self.nodes[place] for place in self._placed(gates)]
        patch, line = self.graph.subgraph(start), cirq.LineQubit.range(n)
        where: dict[cirq.Qid, cirq.Qid] = dict(zip(line, start, strict=True))
        out = []
        for segment in segments:
            steps = list[Step]()
            if segment:
                marked = cirq.Circuit(cirq.CZ(line[a], line[b]).with_tags(k) for k, (a, b) in enumerate(segment))
                routed, _, moved = cirq.RouteCQC(patch).route_circuit(
                    marked, initial_mapper=cirq.HardCodedInitialMapper(where), tag_inserted_swaps=True
                )
                for operation in routed.all_operations():
                    (tag,), (one, other) = operation.tags, operation.qubits
                    steps.append(Step(tag if isinstance(tag, int) else -1, (one, other)))
                where = {qubit: moved.get(place, place) for qubit, place in where.items()}
            out.append(tuple(steps))
        return Route(tuple(start), tuple(out))

    def _placed(self, gates: np.ndarray) -> list[int]:
        """The best of greedy placements from every start."""
        order = [int(gates.sum(1).argmax())]
        while len(order) < len(gates):
            tied = gates[:, order].sum(1) + 1e-6 * gates.sum(1)
            tied[order] = -1
            order.append(int(tied.argmax()))
        best, cheapest = list[int](), np.inf
        for first in range(len(self.nodes)):
            chosen, cost = [first], self.readout[first]
            for k, qubit in enumerate(order[1:], 1):
                asked = self.distances[:, chosen] @ gates[qubit, order[:k]] + self.readout
                asked[~self.adjacent[chosen].any(0)] = np.inf
                asked[chosen] = np.inf
                chosen.append(int(asked.argmin()))
                cost += asked[chosen[-1]]
            if cost < cheapest:
                best, cheapest = chosen, cost
        return [best[order.index(qubit)] for qubit in range(len(gates))]
