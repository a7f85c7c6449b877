"""Exact minima of sparse polynomials, by elimination of one variable after the other (dynamic programming).

Eliminating v leaves, for every state of the variables that share a term with it, the least that its terms can
contribute: a table, which is a term of those variables from then on. The largest has 2^w entries, where w is the
width of the tree decomposition that belongs to the order. (Bertelè and Brioschi 1972, "Nonserial Dynamic
Programming"; Dechter 1999, "Bucket elimination", Artificial Intelligence 113.)

The order is the better of two greedy ones: always the variable whose neighbours have the fewest pairs that are not
neighbours yet (min-fill), or the least share of them, which is often better by far on grids and other large graphs.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8

from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.models.polynomial import SpinPolynomial

MAX_VARIABLES = 2000
MAX_WIDTH = 22
MAX_ENTRIES = 1 << 28
"""The most of all tables together: what bounds the time."""
ENTRY_SECONDS, VARIABLE_SECONDS = 1e-8, 1e-4


@dataclass(frozen=True)
class Plan:
    """Variables in the order of their elimination, and beside each the `scope` of its table: the variables it shares a
    term with by then, those that are eliminated last first. `bytes`: held at most at once."""

    order: tuple[int, ...]
    scopes: tuple[tuple[int, ...], ...]
    bytes: int

    @property
    def width(self) -> int:
        """The width of the tree decomposition: the variables of the largest table."""
        return max(map(len, self.scopes))

    @property
    def entries(self) -> int:
        """The entries of all tables."""
        return sum(1 << len(scope) for scope in self.scopes)

    @property
    def seconds(self) -> float:
        """What it takes, roughly."""
        return ENTRY_SECONDS * self.entries + VARIABLE_SECONDS * len(self.order)


def plan(kernel: SpinPolynomial, name: str) -> Plan:
    """An order for the backend `name`. Raises BackendError for constraints, and where the tables would be too large."""
    n = kernel.n
    if kernel.constraints:
        raise _refusal(f"{name} takes {n} variables without constraints only")
    near = _neighbours(kernel)
    orders = [each for share in (False, True) if (each := _order(near, share)) is not None]
    if not orders:
        raise _refusal(f"{name} takes {n} variables up to a tree width of {MAX_WIDTH}, and found none so small")
    order, masks = min(orders, key=lambda each: sum(1 << mask.bit_count() for mask in each[1]))
    rank = {v: k for k, v in enumerate(order)}
    scopes = [sorted(_members(mask), key=rank.__getitem__, reverse=True) for mask in masks]
    found = Plan(tuple(order), tuple(map(tuple, scopes)), _bytes(rank, scopes))
    if found.entries > MAX_ENTRIES:
        raise _refusal(f"{name} would fill tables of {found.entries} entries, and takes {MAX_ENTRIES}")
    return found


def _refusal(message: str) -> BackendError:
    return BackendError(message, place="job.kernel", remedy="Reduce the problem further or choose another backend.")


def _neighbours(kernel: SpinPolynomial) -> list[int]:
    """The variables that each shares a term with: bit j for variable j."""
    near = [0] * kernel.n
    for i, j in zip(kernel.rows.tolist(), kernel.cols.tolist(), strict=True):
        near[i] |= 1 << j
        near[j] |= 1 << i
    for terms in kernel.higher:
        for row in terms.index.tolist():
            whole = sum(1 << i for i in row)
            for i in row:
                near[i] |= whole & ~(1 << i)
    return near


def _order(near: list[int], share: bool) -> tuple[list[int], list[int]] | None:
    """The order, and the neighbours that each variable has left when it goes; None where that has to be too many."""
    near = near.copy()
    edges = sum(mask.bit_count() for mask in near) // 2
    if edges > MAX_WIDTH * len(near):
        return None  # as below, before counting what takes longest where there are many

    def fill(v: int) -> int:
        """Twice the pairs of neighbours that are not joined."""
        return sum((near[v] & ~near[u]).bit_count() - 1 for u in _members(near[v]))

    def cost(v: int) -> float:
        return fill(v) / max(1, near[v].bit_count()) ** 2 if share else fill(v)

    costs = {v: cost(v) for v in range(len(near))}
    order, masks = [], []
    while costs:
        v = min(costs, key=costs.__getitem__)
        around = near[v]
        # what is left will be w wide at least where it has more than w edges for each variable
        if around.bit_count() > MAX_WIDTH or edges > MAX_WIDTH * len(costs):
            return None
        edges += fill(v) // 2 - around.bit_count()
        del costs[v]
        order.append(v)
        masks.append(around)
        changed = around
        for u in _members(around):
            near[u] = (near[u] | around) & ~(1 << u | 1 << v)
            changed |= near[u]
        for u in _members(changed):
            costs[u] = cost(u)
    return order, masks


def _members(mask: int) -> list[int]:
    out = []
    while mask:
        low = mask & -mask
        out.append(low.bit_length() - 1)
        mask ^= low
    return out


def _bytes(rank: dict[int, int], scopes: list[list[int]]) -> int:
    """Messages wait for the first variable of their scope that is eliminated; choices stay to the end."""
    waiting: dict[int, int] = defaultdict(int)
    live = choices = most = 0
    for place, scope in enumerate(scopes):
        size = 1 << len(scope)
        choices += 4 * size
        most = max(most, live + choices + 4 * 8 * size)
        live += 8 * size - waiting.pop(place, 0)
        if scope:
            waiting[rank[scope[-1]]] += 8 * size
    return most


def optima(kernel: SpinPolynomial, found: Plan, most: int, tie: float) -> UInt8[np.ndarray, "k n"]:
    """States within `tie` of the least energy: all of them, or `most` of them where there are more."""
    rank = {v: k for k, v in enumerate(found.order)}
    terms = _terms_by_first(kernel, rank)
    messages: dict[int, list[tuple[list[int], Any]]] = defaultdict(list)
    gaps = []  # of each variable: E of the best states where it is 1, less E where it is 0, by the state of its scope
    for v, scope in zip(found.order, found.scopes, strict=True):
        place = {u: k for k, u in enumerate(scope)}
        field = np.full((2,) * len(scope), kernel.h[v])
        for others, value in terms[v]:
            field += _spread(_signs(len(others)) * value, [place[u] for u in others], len(scope))
        low, high = field, -field
        for members, table in messages.pop(v, []):
            zero, one = table[..., 0], table[..., 1]
            axes = [place[u] for u in members[:-1]]
            low += _spread(zero, axes, len(scope))
            high += _spread(one, axes, len(scope))
        gaps.append((high - low).astype(np.float32))
        if scope:
            messages[scope[-1]].append((list(scope), np.minimum(low, high)))
    return _traced(found, gaps, most, tie)


def _terms_by_first(kernel: SpinPolynomial, rank: dict[int, int]) -> dict[int, list[tuple[list[int], float]]]:
    """The terms in which each variable is the first to be eliminated: their other variables, as in a scope."""
    out: dict[int, list[tuple[list[int], float]]] = defaultdict(list)
    pairs = np.stack([kernel.rows, kernel.cols], axis=1)
    for index, values in ((pairs, kernel.J), *((terms.index, terms.values) for terms in kernel.higher)):
        for row, value in zip(index.tolist(), values.tolist(), strict=True):
            *others, first = sorted(row, key=rank.__getitem__, reverse=True)
            out[first].append((others, value))
    return out


def _signs(k: int) -> Float64[np.ndarray, "..."]:
    """The product of k spins in all their states, one axis of two each."""
    signs = np.ones(())
    for _ in range(k):
        signs = np.multiply.outer(signs, np.array([1.0, -1.0]))
    return signs


def _spread(table: Any, axes: list[int], dimensions: int) -> Any:
    """A table over some axes, in ascending order, as one that has all and is constant along the others."""
    shape = [1] * dimensions
    for axis in axes:
        shape[axis] = 2
    return table.reshape(shape)


def _traced(found: Plan, gaps: list[Any], most: int, tie: float) -> UInt8[np.ndarray, "k n"]:
    """From the last variable back to the first, its better value; and the other where that stays within `tie`."""
    states = np.zeros((1, len(found.order)), np.uint8)
    excess = np.zeros(1)
    for v, scope, gap in reversed(list(zip(found.order, found.scopes, gaps, strict=True))):
        over = np.broadcast_to(gap[tuple(states[:, u] for u in scope)], len(states)).astype(np.float64)
        states = np.concatenate([states, states])
        states[len(over) :, v] = 1
        excess = np.concatenate([excess + np.maximum(-over, 0), excess + np.maximum(over, 0)])
        kept = np.flatnonzero(excess <= tie)
        kept = kept[np.argsort(excess[kept], kind="stable")][:most]
        states, excess = states[kept], excess[kept]
    return states
