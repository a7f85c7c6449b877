"""The moves that a kernel chooses from: reversals, relocations and exchanges, and what each pair of them comes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float64, Int64

from qmosaic.backends.programs import program
from qmosaic.processors.families.routing.tours import Ask

SIZES = (16, 32, 64, 128, 256, 512, 1024, 2048)
"""Places of an order that the compiled programs are made for."""
WARM = 512
"""The largest of them that is compiled before work begins."""
WINDOW = 10
"""The longest segment that a move re-orders."""
CARRIED = 3
"""The most nodes that a move carries from one end of a segment to the other."""
CANDIDATES = 512
"""Moves, the best by themselves, whose interactions are looked at."""


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


def _scores_by(
    xp: Any, A: Any, free: Any, route: Any, demand: Any, room: Any, count: Any, directed: bool
) -> tuple[Any, Any]:
    """Change of the length by every exchange (N, N) and every re-ordered window (N, kinds); inf where there is none.

    `A`: distances between places (N, N); `free`: places that are no depot; `count`: places in use. Moves that
    change no leg count a large number, so that they come last. `xp`: jax.numpy, or numpy.
    """
    size = len(A)
    p = xp.arange(size)
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
    exchange += xp.where(alone[:, None] & alone[None, :], unchanging, 0.0)
    exchange = xp.where(allowed, exchange, xp.inf)

    inside = (p[:, None] + xp.arange(WINDOW)) % count
    open_ = xp.cumprod(free[inside], axis=1)
    # the legs inside a window of each length, turned round
    turned = A[inside[:, 1:], inside[:, :-1]] - A[inside[:, :-1], inside[:, 1:]]
    turned = xp.concatenate([xp.zeros((size, 1)), xp.cumsum(turned, axis=1)], axis=1)
    length, carried = KINDS.T
    whole = carried == 0  # reversed
    begin = inside[:, np.where(whole, length - 1, carried)]
    end = inside[:, np.where(whole, 0, carried - 1)]
    first, last = inside[:, :1], inside[:, length - 1]
    left, right = before[:, None], (p[:, None] + length) % count
    within = xp.where(whole, turned[:, length - 1], A[last, first] - A[end, begin])
    change = A[left, begin] + A[end, right] - A[left, first] - A[last, right] + within
    same = (left == right) | (~free[left] & ~free[right])
    change += xp.where(whole & same & (not directed), unchanging, 0.0)
    fitting = (p[:, None] < count) & (length < count) & (open_[:, length - 1] > 0)
    return exchange, xp.where(fitting, change, xp.inf)


def _interactions_by(xp: Any, A: Any, blocks: Any, count: Any) -> Any:
    """What two moves change beyond the sum of both, (K, K): the legs between a block of one and one of the other."""
    first, last, begin, end = xp.moveaxis(blocks, -1, 0)  # each (K, 2)
    here = first >= 0

    def leg(a: Any, b: Any) -> Any:
        return A[a[:, None, :, None], b[None, :, None, :]]

    touch = ((last[:, None, :, None] + 1) % count == first[None, :, None, :]) & here[:, None, :, None]
    touch &= here[None, :, None, :]
    change = leg(end, begin) - leg(end, first) - leg(last, begin) + leg(last, first)
    one_way = xp.where(touch, change, 0.0).sum(axis=(2, 3))
    return one_way + one_way.T


@program(static_argnums=6)
def _scores(A: Any, free: Any, route: Any, demand: Any, room: Any, count: Any, directed: bool) -> tuple[Any, Any]:
    return _scores_by(jnp, A, free, route, demand, room, count, directed)


@program
def _interactions(A: Any, blocks: Any, count: Any) -> Any:
    return _interactions_by(jnp, A, blocks, count)


def candidates(ask: Ask, order: Int64[np.ndarray, " p"]) -> tuple[Moves, Float64[np.ndarray, "k k"]]:
    """The best moves by themselves, and how they interact."""
    count = len(order)
    size = next((size for size in SIZES if size >= count), count)
    A = np.zeros((size, size), np.float32)
    A[:count, :count] = ask.distances.matrix[np.ix_(order, order)]
    free = np.zeros(size, bool)
    free[:count] = True if ask.fleet is None else order != ask.start
    route, demand, room = np.zeros(size, np.int32), np.zeros(size, np.float32), np.zeros(size, np.float32)
    if ask.fleet is not None:
        numbers, loads = loads_of(ask, order)
        route[:count], demand[:count] = numbers, ask.fleet.demands[order]
        room[:count] = (ask.fleet.capacity - loads)[numbers]
    given = A, free, route, demand, room, np.int32(count), ask.directed
    scored = _scores(*given) if _scores.ready(*given) else _scores_by(np, *given)
    exchange, windows = (np.asarray(x) for x in scored)
    flat = np.concatenate([exchange.ravel(), windows.ravel()])
    kept = min(CANDIDATES, len(flat))
    best = np.argpartition(flat, kept - 1)[:kept]
    best = best[np.lexsort((best, flat[best]))]
    best = best[np.isfinite(flat[best])]
    moves = _described(order, best, size, flat[best].astype(np.float64))
    blocks = np.full((CANDIDATES, 2, 4), -1)
    blocks[: len(best)] = moves.blocks
    touching = A, blocks, np.int32(count)
    found = _interactions(*touching) if _interactions.ready(*touching) else _interactions_by(np, *touching)
    pairs = np.asarray(found, dtype=np.float64)
    return moves, pairs[: len(best), : len(best)]


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


def loads_of(ask: Ask, order: Int64[np.ndarray, " p"]) -> tuple[Int64[np.ndarray, " p"], Float64[np.ndarray, " r"]]:
    """The route of each place, and the load of each route."""
    assert ask.fleet is not None
    numbers = np.cumsum(order == ask.start) - 1
    return numbers, np.bincount(numbers, weights=ask.fleet.demands[order])
