"""Reduce for routes: PyVRP finds the incumbent, JAX scores moves in batches, those that could gain most together
are the kernel.

A *move* re-orders a segment of the order (reversed, or its first or last nodes carried to its other end) or
exchanges two nodes, be they of one route or of two. The kernel decides which of up to `max_qubits` moves to make,
none of which touches another's places. A leg of the order then depends on two moves at most, so

    length = offset + sum_k a_k x_k + sum_{k<l} b_kl x_k x_l          exactly, x_k = 1: move k is made

and every state is a tour or routes: no penalty is needed for that. Only loads can break: for each route in which
some states overfill the vehicle, the indicator of these states (a polynomial over the few moves that change the
load) is added, times a weight W. Reduce's order is the state 0 and feasible, no state is shorter than it by more
than G = sum of the negative coefficients, so with W > G no infeasible state is as low as the best feasible one.

Classically, moves that do not interact are compounded by dynamic programming (Ergun, Orlin and Steele-Feldman,
"Creating very large scale neighborhoods out of smaller ones by compounding moves", J. Heuristics 12 (2006) 115);
here they interact. The segment moves are those of Lin (1965) and Or (1976). PyVRP: Wouda, Lan and Kool, INFORMS
Journal on Computing 36 (2024) 943.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pyvrp
from jaxtyping import Float64, Int64
from pyvrp.stop import MaxRuntime, MultipleCriteria, NoImprovement

from qmosaic.codecs.bundle import Bundle, array, bundle
from qmosaic.codecs.model import SpinPolynomial
from qmosaic.processors import angles
from qmosaic.processors.families.base import QUICK, Reduction, Task
from qmosaic.processors.families.route import Fleet, constructed, ordered
from qmosaic.processors.families.route_tours import Distances, fits, length

SIZES = (16, 32, 64, 128, 256, 512, 1024, 2048)
"""Places of an order that the compiled programs are made for."""
SLOW = 512
"""The largest of them that is compiled before work begins."""
WINDOW = 10
"""The longest segment that a move re-orders."""
CARRIED = 3
"""The most nodes that a move carries from one end of a segment to the other."""
PYVRP = 0.9
"""Its share of the time; the rest is for single moves."""
CANDIDATES = 512
"""Moves, the best by themselves, whose interactions are looked at."""
LOADED = 4
"""The most moves that may change the load of a route that they could overfill: the order of its indicator."""
AGREED = 3
"""Searches that must end at the same best before it is believed."""
SEARCHES = 12
"""The most of them: where vehicles are filled to the brim, many end without an answer."""
WHOLE = 1e9
"""Distances up to this stay as they are where they are whole; PyVRP counts in integers."""


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


def reduce(tasks: Sequence[Task], clock: Callable[[], float] = monotonic) -> list[Reduction]:
    """One after the other (PyVRP is one thread's work) in the time of one: each may take its share of what is left."""
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
    order, solver = incumbent(ask, task.seed, PYVRP * share, clock)
    if ask.distances.n <= 2 or (ask.distances.n == 3 and ask.fleet is None and not ask.directed):
        return Reduction(bundle({"order": order}), "enumeration", clock() - began, None)  # there is no other answer
    better = descended(ask, order, began + share, clock)
    if (better != order).any():
        order, solver = better, f"{solver}+moves"
    seconds = clock() - began
    kernel, lift = kernel_of(ask, order, task.max_qubits)
    return Reduction(bundle({"order": order}), solver, seconds, kernel, lift)


# --- the incumbent -------------------------------------------------------------------------------------------------


def incumbent(
    ask: Ask, seed: int, seconds: float, clock: Callable[[], float] = monotonic
) -> tuple[Int64[np.ndarray, " p"], str]:
    """The best order of PyVRP's searches from several seeds, and what found it.

    A search ends when it has not improved for a number of rounds that grows with the nodes; the next begins
    until `AGREED` of them ended at the same best, there were `SEARCHES`, or the time is over.
    """
    n, deadline = ask.distances.n, clock() + seconds
    known = constructed(ask.distances, ask.directed, ask.start, ask.fleet)
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


# --- the moves -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Moves:
    """Move k puts `nodes[k]` at `places[k]`; by itself it changes the length by `deltas[k]`.

    Outwards it is up to two blocks of places: `blocks[k, b]` = (first place, last place, place of the node that
    comes first, place of the node that comes last), -1 where there is no second block.
    """

    places: list[Int64[np.ndarray, " m"]]
    nodes: list[Int64[np.ndarray, " m"]]
    deltas: Float64[np.ndarray, " k"]
    blocks: Int64[np.ndarray, "k 2 4"]


def _kinds() -> list[tuple[int, int]]:
    """How a window may be re-ordered: (length, 0) reversed, (length, s) with the first s nodes put behind the rest."""
    kinds = []
    for size in range(2, WINDOW + 1):
        carried = {s for s in range(1, CARRIED + 1) if s < size} if size > 2 else set()
        kinds += [(size, s) for s in sorted({0} | carried | {size - s for s in carried})]
    return kinds


KINDS = np.array(_kinds())


@partial(jax.jit, static_argnames="directed")
def _scores(A: Any, free: Any, route: Any, demand: Any, room: Any, count: Any, directed: bool) -> tuple[Any, Any]:
    """Change of the length by every exchange (N, N) and every re-ordered window (N, kinds); inf where there is none.

    `A`: distances between places (N, N); `free`: places that are no depot; `count`: places in use. Moves that
    change no leg count a large number, so that they come last.
    """
    size = len(A)
    p = jnp.arange(size)
    before, after = (p - 1) % count, (p + 1) % count
    unchanging = A.max() * 8 + 1

    gap = (p[None, :] - p[:, None]) % count
    into, out = A[before], A[:, after].T  # [p, q]: from p-1 to q, from q to p+1
    legs = A[before, p] + A[p, after]
    exchange = into + out + into.T + out.T - legs[:, None] - legs[None, :]
    heavier = demand[None, :] - demand[:, None]
    allowed = (p[:, None] < p[None, :]) & (gap >= 2) & (count - gap >= 2) & free[:, None] & free[None, :]
    allowed &= (route[:, None] == route[None, :]) | ((heavier <= room[:, None]) & (-heavier <= room[None, :]))
    alone = ~free[before] & ~free[after]
    exchange += jnp.where(alone[:, None] & alone[None, :], unchanging, 0.0)
    exchange = jnp.where(allowed, exchange, jnp.inf)

    inside = (p[:, None] + jnp.arange(WINDOW)) % count
    open_ = jnp.cumprod(free[inside], axis=1)
    # the legs inside a window of each length, turned round
    turned = A[inside[:, 1:], inside[:, :-1]] - A[inside[:, :-1], inside[:, 1:]]
    turned = jnp.concatenate([jnp.zeros((size, 1)), jnp.cumsum(turned, axis=1)], axis=1)
    length, carried = KINDS.T
    whole = carried == 0  # reversed
    begin = inside[:, np.where(whole, length - 1, carried)]
    end = inside[:, np.where(whole, 0, carried - 1)]
    first, last = inside[:, :1], inside[:, length - 1]
    left, right = before[:, None], (p[:, None] + length) % count
    within = jnp.where(whole, turned[:, length - 1], A[last, first] - A[end, begin])
    change = A[left, begin] + A[end, right] - A[left, first] - A[last, right] + within
    same = (left == right) | (~free[left] & ~free[right])
    change += jnp.where(whole & same & (not directed), unchanging, 0.0)
    fitting = (p[:, None] < count) & (length < count) & (open_[:, length - 1] > 0)
    return exchange, jnp.where(fitting, change, jnp.inf)


@jax.jit
def _interactions(A: Any, blocks: Any, count: Any) -> Any:
    """What two moves change beyond the sum of both, (K, K): the legs between a block of one and one of the other."""
    first, last, begin, end = jnp.moveaxis(blocks, -1, 0)  # each (K, 2)
    here = first >= 0

    def leg(a: Any, b: Any) -> Any:
        return A[a[:, None, :, None], b[None, :, None, :]]

    touch = ((last[:, None, :, None] + 1) % count == first[None, :, None, :]) & here[:, None, :, None]
    touch &= here[None, :, None, :]
    change = leg(end, begin) - leg(end, first) - leg(last, begin) + leg(last, first)
    one_way = jnp.where(touch, change, 0.0).sum(axis=(2, 3))
    return one_way + one_way.T


def _candidates(ask: Ask, order: Int64[np.ndarray, " p"]) -> tuple[Moves, Float64[np.ndarray, "k k"]]:
    """The best moves by themselves, and how they interact."""
    count = len(order)
    size = next((size for size in SIZES if size >= count), count)
    A = np.zeros((size, size), np.float32)
    A[:count, :count] = ask.distances.matrix[np.ix_(order, order)]
    free = np.zeros(size, bool)
    free[:count] = True if ask.fleet is None else order != ask.start
    route, demand, room = np.zeros(size, np.int32), np.zeros(size, np.float32), np.zeros(size, np.float32)
    if ask.fleet is not None:
        numbers, loads = _loads(ask, order)
        route[:count], demand[:count] = numbers, ask.fleet.demands[order]
        room[:count] = (ask.fleet.capacity - loads)[numbers]
    exchange, windows = (
        np.asarray(x) for x in _scores(A, free, route, demand, room, np.int32(count), directed=ask.directed)
    )
    flat = np.concatenate([exchange.ravel(), windows.ravel()])
    kept = min(CANDIDATES, len(flat))
    best = np.argpartition(flat, kept - 1)[:kept]
    best = best[np.lexsort((best, flat[best]))]
    best = best[np.isfinite(flat[best])]
    moves = _described(order, best, size, flat[best].astype(np.float64))
    blocks = np.full((CANDIDATES, 2, 4), -1)
    blocks[: len(best)] = moves.blocks
    pairs = np.asarray(_interactions(A, blocks, np.int32(count)), dtype=np.float64)
    return moves, pairs[: len(best), : len(best)]


def descended(
    ask: Ask, order: Int64[np.ndarray, " p"], deadline: float, clock: Callable[[], float] = monotonic
) -> Int64[np.ndarray, " p"]:
    """The order after the best moves, again and again, until none gains: a search that time cut off leaves such moves.

    What the kernel gains is then gained by moves that are made together. A round that has begun is finished.
    """
    total = length(ask.distances, order)
    while True:
        moves, _ = _candidates(ask, order)
        better = order.copy()
        for k in np.flatnonzero(moves.deltas < 0).tolist():
            if (better[moves.places[k]] == order[moves.places[k]]).all():
                tried = better.copy()
                tried[moves.places[k]] = moves.nodes[k]
                shorter = length(ask.distances, tried)
                if shorter < total * (1 - 1e-12) and _full(ask, tried) <= max(0.0, _full(ask, order)):
                    better, total = tried, shorter
        if (better == order).all() or clock() > deadline:
            return better
        order = better


def _full(ask: Ask, order: Int64[np.ndarray, " p"]) -> float:
    """By how much the fullest vehicle is overfilled; not above 0 where none is."""
    return 0.0 if ask.fleet is None else float(_loads(ask, order)[1].max() - fits(ask.fleet.capacity))


def _described(order: Any, chosen: Any, size: int, deltas: Float64[np.ndarray, " k"]) -> Moves:
    count = len(order)
    places, nodes, blocks = [], [], np.full((len(chosen), 2, 4), -1)
    for k, index in enumerate(chosen.tolist()):
        if index < size * size:
            p, q = divmod(index, size)
            at, new = np.array([p, q]), np.array([q, p])
            blocks[k] = [[p, p, q, q], [q, q, p, p]]
        else:
            begin, kind = divmod(index - size * size, len(KINDS))
            length, s = KINDS[kind].tolist()
            at = (begin + np.arange(length)) % count
            new = at[::-1] if s == 0 else np.roll(at, -s)
            blocks[k, 0] = [at[0], at[-1], new[0], new[-1]]
        places.append(at)
        nodes.append(order[new])
    return Moves(places, nodes, deltas, blocks)


def _loads(ask: Ask, order: Int64[np.ndarray, " p"]) -> tuple[Int64[np.ndarray, " p"], Float64[np.ndarray, " r"]]:
    """The route of each place, and the load of each route."""
    assert ask.fleet is not None
    numbers = np.cumsum(order == ask.start) - 1
    return numbers, np.bincount(numbers, weights=ask.fleet.demands[order])


def _chosen(ask: Ask, order: Any, moves: Moves, pairs: Any, most: int) -> list[int]:
    """At most `most` moves, grown from the two that are best together.

    Next comes the move that could gain most: by itself, and with those that are there already. Where not even two
    moves gain anything, only many could: then those that touch few places leave room for others.
    """
    cover = np.zeros((len(moves.places), len(order)), np.float32)
    for k, places in enumerate(moves.places):
        cover[k, places] = 1
    apart = cover @ cover.T == 0
    together = np.where(apart, moves.deltas[:, None] + moves.deltas[None, :] + pairs, np.inf)
    worth = moves.deltas.copy()
    small = cover.sum(axis=1) <= max(2, len(order) / most)
    if min(together.min(), worth.min()) >= 0 and small.any():
        worth[~small] = together[~small] = together[:, ~small] = np.inf
    best = divmod(int(together.argmin()), len(together))
    queue = list(best) if most > 1 and together[best] < np.inf else []
    room = _Room(ask, order, moves)
    chosen: list[int] = []
    while len(chosen) < most:
        k = queue.pop(0) if queue else int(worth.argmin())
        if worth[k] == np.inf:
            break
        if not room.takes(k):
            worth[k] = np.inf
            continue
        chosen.append(k)
        worth += np.minimum(0.0, pairs[k])
        worth[~apart[k]] = np.inf
    return chosen


class _Room:
    """Which moves change the loads of which routes, and whether another one keeps the indicators small."""

    def __init__(self, ask: Ask, order: Any, moves: Moves) -> None:
        self.changes: list[dict[int, float]] = [{} for _ in moves.places]
        self.taken: dict[int, list[int]] = {}
        self.slack = np.zeros(0)
        if ask.fleet is None:
            return
        numbers, loads = _loads(ask, order)
        self.slack = fits(ask.fleet.capacity) - loads
        for k, (places, nodes) in enumerate(zip(moves.places, moves.nodes, strict=True)):
            change = np.zeros(len(loads))
            np.add.at(change, numbers[places], ask.fleet.demands[nodes] - ask.fleet.demands[order[places]])
            self.changes[k] = {int(r): float(change[r]) for r in np.flatnonzero(change)}

    def takes(self, k: int) -> bool:
        after = {r: [*self.taken.get(r, []), k] for r in self.changes[k]}
        if any(len(members) > LOADED and self.tight(r, members) for r, members in after.items()):
            return False
        self.taken |= after
        return True

    def tight(self, r: int, members: Sequence[int]) -> bool:
        """Whether some of these moves together overfill the route."""
        return bool(sum(max(0.0, self.changes[k][r]) for k in members) > self.slack[r])


# --- the kernel ----------------------------------------------------------------------------------------------------


def kernel_of(ask: Ask, order: Int64[np.ndarray, " p"], most: int) -> tuple[SpinPolynomial, Bundle]:
    """The kernel around an order, at most `most` variables, and the lift for `route.moved`."""
    moves, pairs = _candidates(ask, order)
    chosen = _chosen(ask, order, moves, pairs, most)
    places, nodes = [moves.places[k] for k in chosen], [moves.nodes[k] for k in chosen]
    bounds = np.cumsum([0, *(len(p) for p in places)])
    lift = bundle({"places": np.concatenate(places), "nodes": np.concatenate(nodes), "bounds": bounds})
    return _polynomial(ask, order, places, nodes), lift


def _polynomial(
    ask: Ask, order: Int64[np.ndarray, " p"], places: Sequence[Any], nodes: Sequence[Any]
) -> SpinPolynomial:
    """The length, exactly, over the bits that say which of the moves are made; see the module."""
    n = len(places)
    owner, other = np.full(len(order), n), order.copy()  # n: moved by none, a bit that is always 0
    for k in range(n):
        owner[places[k]], other[places[k]] = k, nodes[k]
    a, b = owner, np.roll(owner, -1)
    here, there = (order, other), (np.roll(order, -1), np.roll(other, -1))
    leg = [[ask.distances.between(here[x], there[y]) for y in (0, 1)] for x in (0, 1)]
    linear, square = np.zeros(n + 1), np.zeros((n + 1, n + 1))
    same = a == b
    np.add.at(linear, a[same], (leg[1][1] - leg[0][0])[same])
    np.add.at(linear, a[~same], (leg[1][0] - leg[0][0])[~same])
    np.add.at(linear, b[~same], (leg[0][1] - leg[0][0])[~same])
    both = leg[1][1] - leg[1][0] - leg[0][1] + leg[0][0]
    np.add.at(square, (np.minimum(a, b)[~same], np.maximum(a, b)[~same]), both[~same])
    c, q = linear[:n], square[:n, :n]
    offset = float(leg[0][0].sum())
    # x = (1 - s) / 2
    h = -c / 2 - (q.sum(axis=0) + q.sum(axis=1)) / 4
    rows, cols = np.nonzero(q)
    indicators = _overfilled(ask, order, places, nodes)
    gain = -float(np.minimum(c, 0).sum() + np.minimum(q, 0).sum())
    weight = gain + max(1.0, offset) / len(order)
    if _full(ask, order) > 0:
        weight += float(np.maximum(c, 0).sum() + np.maximum(q, 0).sum())  # state 0 is none to compare with
    return SpinPolynomial.of(
        n,
        h=h,
        rows=rows,
        cols=cols,
        J=q[rows, cols] / 4,
        offset=offset + float(c.sum() / 2 + q.sum() / 4),
        higher=[(key, weight * value) for key, value in indicators],
    )


def _overfilled(
    ask: Ask, order: Any, places: Sequence[Any], nodes: Sequence[Any]
) -> list[tuple[tuple[int, ...], float]]:
    """For each route, the polynomial over spins that is 1 where its load is above the capacity, else 0."""
    moves = Moves(list(places), list(nodes), np.zeros(len(places)), np.zeros((0, 2, 4), dtype=np.int64))
    room = _Room(ask, order, moves)
    for k in range(len(places)):
        room.takes(k)
    terms = []
    for r, members in room.taken.items():
        if not room.tight(r, members):
            continue
        m = len(members)
        bits = (np.arange(2**m)[:, None] >> np.arange(m)) & 1
        over = bits @ np.array([room.changes[k][r] for k in members]) > room.slack[r]
        spins = 1 - 2 * bits
        for subset in bits.astype(bool):  # by Walsh-Hadamard: the mean of the function times the product of its spins
            value = float((over * spins[:, subset].prod(axis=1)).mean())
            terms.append((tuple(members[i] for i in np.flatnonzero(subset)), value))
    return terms


def warm_up(layers: int, slow: bool) -> None:
    """Compile the programs for orders of up to `QUICK` places, or for those above, or load them from JAX's cache."""
    points = np.random.default_rng(0).random((SIZES[-1], 2))
    for size in SIZES:
        if (QUICK < size <= SLOW) if slow else size <= QUICK:
            ask = Ask(Distances(points[:size], "euclidean"), False, 0, None)
            kernel_of(ask, np.arange(size), 2)
    angles.warm_up(layers)
