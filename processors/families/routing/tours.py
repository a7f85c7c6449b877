"""Distances by TSPLIB's rules, and tours and routes made in milliseconds: NumPy only, verify uses it.

Sources: G. Reinelt, "TSPLIB 95" (1995); J. E. Beasley, "Route first, cluster second methods for vehicle routing",
Omega 11 (1983) 403; C. Prins, Computers & Operations Research 31 (2004) 1985 (the split as a shortest path).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from qmosaic.codecs.models.bundle import Bundle, array
from qmosaic.codecs.problems.route import Metric

WORK = 10**6
"""Exchanges that 2-opt may look at: some 0.1 s."""
SPLITS = 2 * 10**7
"""Ways to end a route, times vehicles, that a split with few vehicles may look at: some 0.2 s."""
NEAR = 8
"""The nearest nodes that it would join a node to."""

Order = Int64[np.ndarray, " n"]


@dataclass(frozen=True, eq=False)
class Distances:
    """From node to node: by `metric` between coordinates (n, 2), or as listed in a matrix (n, n)."""

    table: Float64[np.ndarray, "n columns"]
    metric: Metric | None

    @property
    def n(self) -> int:
        """Number of nodes."""
        return len(self.table)

    def between(self, a: Any, b: Any) -> Float64[np.ndarray, "..."]:
        """Distances from nodes `a` to nodes `b`, index arrays that broadcast; 0 from a node to itself."""
        if self.metric is None:
            return np.asarray(self.table[a, b])
        (x, y), (u, v) = np.moveaxis(self.table[a], -1, 0), np.moveaxis(self.table[b], -1, 0)
        return np.asarray(np.where(np.equal(a, b), 0.0, _METRICS[self.metric](x, y, u, v)))

    @cached_property
    def matrix(self) -> Float64[np.ndarray, "n n"]:
        """All of them, row to column."""
        nodes = np.arange(self.n)
        return self.between(nodes[:, None], nodes[None, :])


def _euclidean(x: Any, y: Any, u: Any, v: Any) -> Any:
    return np.hypot(x - u, y - v)


def _rounded(x: Any, y: Any, u: Any, v: Any) -> Any:
    return np.floor(np.sqrt((x - u) ** 2 + (y - v) ** 2) + 0.5)


def _ceiled(x: Any, y: Any, u: Any, v: Any) -> Any:
    return np.ceil(np.sqrt((x - u) ** 2 + (y - v) ** 2))


def _pseudo_euclidean(x: Any, y: Any, u: Any, v: Any) -> Any:
    exact = np.sqrt(((x - u) ** 2 + (y - v) ** 2) / 10.0)
    nearest = np.floor(exact + 0.5)
    return nearest + (nearest < exact)


def _geographical(x: Any, y: Any, u: Any, v: Any) -> Any:
    """Kilometres between latitudes x, u and longitudes y, v, written DDD.MM: degrees are truncated, as is the sum."""
    lat_a, lon_a, lat_b, lon_b = (_radians(angle) for angle in (x, y, u, v))
    q1, q2, q3 = np.cos(lon_a - lon_b), np.cos(lat_a - lat_b), np.cos(lat_a + lat_b)
    cosine = np.clip(0.5 * ((1.0 + q1) * q2 - (1.0 - q1) * q3), -1.0, 1.0)
    return np.trunc(6378.388 * np.arccos(cosine) + 1.0)


def _radians(angle: Any) -> Any:
    degrees = np.trunc(angle)
    return 3.141592 * (degrees + 5.0 * (angle - degrees) / 3.0) / 180.0  # TSPLIB's own value of pi


_METRICS = {
    "euclidean": _euclidean,
    "euc_2d": _rounded,
    "ceil_2d": _ceiled,
    "att": _pseudo_euclidean,
    "geo": _geographical,
}


def length(distances: Distances, order: Any) -> float:
    """The length of the closed tour through nodes in this order."""
    order = np.asarray(order, dtype=np.int64)
    return float(distances.between(order, np.roll(order, -1)).sum())


def tour(matrix: Float64[np.ndarray, "n n"], nodes: Any, *, directed: bool) -> list[int]:
    """A closed tour through `nodes`, from the first of them: the nearest next, then 2-opt while it gains."""
    nodes = np.asarray(nodes, dtype=np.int64)
    if len(nodes) < 4:
        return [int(node) for node in nodes]
    D = matrix[np.ix_(nodes, nodes)]
    order = _nearest(D)
    if not directed:
        order = _two_opt(D, order)
    return [int(node) for node in nodes[np.roll(order, -int(order.argmin()))]]


def _nearest(D: Float64[np.ndarray, "n n"]) -> Order:
    left = np.ones(len(D), bool)
    order = np.zeros(len(D), dtype=np.int64)
    left[0] = False
    for k in range(1, len(D)):
        order[k] = np.where(left, D[order[k - 1]], np.inf).argmin()
        left[order[k]] = False
    return order


def _two_opt(D: Float64[np.ndarray, "n n"], order: Order) -> Order:
    """The best exchange of two legs, among those that join a node to a near one, until none gains."""
    n = len(order)
    width = min(NEAR, n - 1)
    a = np.repeat(np.arange(n), width)
    b = np.argpartition(D + np.diag(np.full(n, np.inf)), width - 1, axis=1)[:, :width].ravel()
    least = 1e-9 * max(1.0, float(D.max()))
    for _ in range(1 + WORK // len(a)):
        place = np.empty(n, dtype=np.int64)
        place[order] = np.arange(n)
        best, cut = least, None
        for side in (1, -1):  # both legs towards the next nodes, or both towards those before
            other = order[(place + side) % n]
            legs = D[np.arange(n), other]
            gains = legs[a] + legs[b] - D[a, b] - D[other[a], other[b]]
            k = int(gains.argmax())
            if gains[k] > best:
                low, high = sorted((int(place[a[k]]), int(place[b[k]])))
                best, cut = gains[k], (low + 1, high + 1) if side == 1 else (low, high)
        if cut is None:
            break
        low, high = cut
        order = np.concatenate([order[:low], order[low:high][::-1], order[high:]])
    return order


def routes(
    matrix: Float64[np.ndarray, "n n"],
    demands: Float64[np.ndarray, " n"],
    capacity: float,
    vehicles: int,
    depot: int,
    *,
    directed: bool,
) -> list[list[int]] | None:
    """Routes from the depot: a tour of all, split at best; where that takes too many vehicles, packed by demand.

    None where neither finds enough room (which does not prove that there is none).
    """
    everyone = np.array([depot, *(k for k in range(len(demands)) if k != depot)])
    order = tour(matrix, everyone, directed=directed)[1:]
    found = _split(matrix, demands, capacity, vehicles, depot, order) or _packed(demands, capacity, vehicles, order)
    return found and [tour(matrix, [depot, *route], directed=directed)[1:] for route in found]


def _split(
    matrix: Float64[np.ndarray, "n n"],
    demands: Float64[np.ndarray, " n"],
    capacity: float,
    vehicles: int,
    depot: int,
    order: list[int],
) -> list[list[int]] | None:
    """The best cut of the order into at most `vehicles` routes; None where there is none, or it is not found in time.

    First without a bound on the routes, a shortest path; with one, paths are told apart by how many they have.
    """
    n, nodes = len(order), np.array(order, dtype=np.int64)
    loads = np.concatenate([[0.0], np.cumsum(demands[nodes])])
    reach = np.concatenate([[0.0], np.cumsum(matrix[nodes[:-1], nodes[1:]])])
    out, back = matrix[depot, nodes], matrix[nodes, depot]
    # customers i to j - 1 fit into one vehicle for all j up to ends[i]
    ends = np.maximum(np.searchsorted(loads, loads[:-1] + fits(capacity), side="right") - 1, np.arange(1, n + 1))

    def costs(i: int) -> Float64[np.ndarray, " r"]:
        """Lengths of the routes of the customers from i on, to each last one."""
        last = slice(i, int(ends[i]))
        return np.asarray(out[i] + (reach[last] - reach[i]) + back[last])

    for width in (1, vehicles + 1):
        if width > 1 and int((ends - np.arange(n)).sum()) * width > SPLITS:
            return None
        step = int(width > 1)  # with a bound, best[customers served, vehicles used]
        best = np.full((n + 1, width), np.inf)
        best[0, 0] = 0.0
        before = np.zeros((n + 1, width), dtype=np.int64)
        for i in range(n):
            total = best[i, None, : width - step] + costs(i)[:, None]
            here = (slice(i + 1, int(ends[i]) + 1), slice(step, None))
            better = total < best[here]
            best[here] = np.where(better, total, best[here])
            before[here] = np.where(better, i, before[here])
        used = int(best[n].argmin())
        if not np.isfinite(best[n, used]):
            return None
        found, stop = [], n
        while stop:
            start = int(before[stop, used])
            found.append(order[start:stop])
            stop, used = start, used - step
        if len(found) <= vehicles:
            return found[::-1]
    return None


def _packed(
    demands: Float64[np.ndarray, " n"], capacity: float, vehicles: int, order: list[int]
) -> list[list[int]] | None:
    """Best fit, the largest demands first."""
    room = np.full(vehicles, fits(capacity))
    found: list[list[int]] = [[] for _ in range(vehicles)]
    for node in sorted(order, key=lambda node: -demands[node]):
        left = room - demands[node]
        k = int(np.where(left >= 0, left, np.inf).argmin())
        if left[k] < 0:
            return None
        room[k] = left[k]
        found[k].append(node)
    return [route for route in found if route]


def fits(capacity: float) -> float:
    """The load up to which a vehicle is not over its capacity: sums of fractions are rounded."""
    return capacity * (1 + 1e-12)


@dataclass(frozen=True, eq=False)
class Fleet:
    """`demands` by node, none at the depot; each of at most `vehicles` vehicles holds `capacity`."""

    demands: Float64[np.ndarray, " n"]
    capacity: float
    vehicles: int


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


@dataclass(frozen=True, eq=False)
class Ask:
    """What `RouteInstance.encode` has packed."""

    distances: Distances
    directed: bool
    start: int
    fleet: Fleet | None

    @classmethod
    def of(cls, model: Any) -> Ask:
        values = model.values
        fleet = None
        if "capacity" in values:
            fleet = Fleet(array(model, "demands"), float(values["capacity"]), int(values["vehicles"]))
        return cls(Distances(array(model, "table"), values["metric"]), values["directed"], values["start"], fleet)
