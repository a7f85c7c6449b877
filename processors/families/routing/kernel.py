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

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8

from qmosaic.codecs.models.bundle import Bundle, bundle
from qmosaic.codecs.models.polynomial import SpinPolynomial
from qmosaic.processors.families.routing.moves import Moves, candidates, loads_of
from qmosaic.processors.families.routing.search import full_routes
from qmosaic.processors.families.routing.tours import Ask, fits

CHOICE = 4
"""Moves for each variable of the kernel, at least, that there is a choice from when there are rounds."""
LOADED = 4
"""The most moves that may change the load of a route that they could overfill: the order of its indicator."""


# --- the incumbent -------------------------------------------------------------------------------------------------


# --- the moves -----------------------------------------------------------------------------------------------------


def _chosen(ask: Ask, order: Any, moves: Moves, pairs: Any, most: int, tried: Any) -> list[int]:
    """At most `most` moves, grown from the two that are best together; of nodes that were `tried` least recently.

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
    if tried.any():
        last = np.array([tried[nodes].max() for nodes in moves.nodes])
        recent = last > np.partition(last, min(len(last) - 1, CHOICE * most))[min(len(last) - 1, CHOICE * most)]
        worth[recent] = together[recent] = together[:, recent] = np.inf
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
        numbers, loads = loads_of(ask, order)
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


def kernel_of(
    ask: Ask, order: Int64[np.ndarray, " p"], most: int, tried: UInt8[np.ndarray, " n"] | None = None
) -> tuple[SpinPolynomial, Bundle]:
    """The kernel around an order, at most `most` variables, and the lift for `route.moved`. `tried`: by node, the round
    whose kernel it was in last."""
    moves, pairs = candidates(ask, order)
    chosen = _chosen(ask, order, moves, pairs, most, np.zeros(ask.distances.n) if tried is None else tried)
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
    if full_routes(ask, order) > 0:
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
