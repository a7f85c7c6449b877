"""Presolve: variables that can be decided, or minimised out, without any search. Exact.

Rules, repeated to a fixpoint (Boros, Hammer & Tavares 2006, "Preprocessing of unconstrained quadratic
binary optimization", for the first; the others are dynamic programming on the graph):
- a field as strong as all couplings together decides its variable: |h_i| >= sum_j |J_ij|;
- a variable with one neighbour a is minimised out: min_s (h s + J s s_a) = -|h + J s_a|, a new field on a;
- one with two neighbours a, b becomes a field on each and a coupling between them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from qmosaic.codecs.model import SpinPolynomial
from qmosaic.processors.lift import Lift

ROUNDING = 1e-14
"""A coupling below this share of the terms it was summed from is the rounding of zero."""


@dataclass(frozen=True, eq=False)
class Presolved:
    """What is left: every sample of `core`, lifted, has the same energy in the model."""

    core: SpinPolynomial
    lift: Lift


def presolve(model: SpinPolynomial) -> Presolved:
    """The core that is left, in time linear in the couplings (about 1 s for a million).

    A model of higher order, or with constraints, is its own core.
    """
    n = model.n
    if model.higher or model.constraints:
        # The rules look at two variables at a time and would decide against a constraint.
        return Presolved(model, _lift(np.arange(n), [], [], []))
    ends, others = np.concatenate([model.rows, model.cols]), np.concatenate([model.cols, model.rows])
    J = np.concatenate([model.J, model.J])
    degree = np.bincount(ends, minlength=n)
    pull = np.bincount(ends, weights=np.abs(J), minlength=n)
    ready = np.flatnonzero((degree <= 2) | (np.abs(model.h) >= pull))
    if len(ready) == 0:
        return Presolved(model, _lift(np.arange(n), [], [], []))
    order = np.argsort(ends, kind="stable")
    bounds = np.concatenate([[0], np.cumsum(degree)]).tolist()
    keys, values = others[order].tolist(), J[order].tolist()
    near = [dict(zip(keys[a:b], values[a:b], strict=True)) for a, b in pairwise(bounds)]
    elimination = _Elimination(model.h.tolist(), near, pull.tolist(), model.offset)
    elimination.run(ready.tolist())
    return elimination.presolved()


class _Elimination:
    """The model while it shrinks: `near[i]` maps the neighbours of i to their couplings."""

    def __init__(self, h: list[float], near: list[dict[int, float]], pull: list[float], offset: float) -> None:
        self.h, self.near, self.pull, self.offset = h, near, pull, offset
        self.alive = [True] * len(h)
        self.eliminated: list[int] = []
        self.neighbours: list[tuple[int, int]] = []
        self.coefficients: list[tuple[float, float, float]] = []

    def run(self, ready: list[int]) -> None:
        queue, queued = deque(ready), set(ready)
        while queue:
            v = queue.popleft()
            queued.discard(v)
            touched = self._try(v) if self.alive[v] else ()
            for u in touched:
                # `pull` is kept by subtraction and may be rounded; `_try` sums it anew
                if u not in queued and (len(self.near[u]) <= 2 or abs(self.h[u]) >= self.pull[u] * (1 - 1e-9)):
                    queue.append(u)
                    queued.add(u)

    def _try(self, v: int) -> tuple[int, ...]:
        """Take v out, if a rule allows it; returns the variables whose surroundings changed."""
        field, around = self.h[v], self.near[v]
        if abs(field) >= sum(map(abs, around.values())):
            self._record(v, field)
            spin = -1.0 if field > 0 else 1.0
            self.offset += field * spin
            for u, J in around.items():
                self.h[u] += J * spin
        elif len(around) == 1:
            ((a, J),) = around.items()
            self._record(v, field, (a, J))
            up, down = abs(field + J), abs(field - J)
            self.offset -= (up + down) / 2
            self.h[a] -= (up - down) / 2
        elif len(around) == 2:
            (a, Ja), (b, Jb) = around.items()
            self._record(v, field, (a, Ja), (b, Jb))
            # f(s_a, s_b) = |field + Ja s_a + Jb s_b| as a polynomial in s_a, s_b
            uu, ud = abs(field + Ja + Jb), abs(field + Ja - Jb)
            du, dd = abs(field - Ja + Jb), abs(field - Ja - Jb)
            self.offset -= (uu + ud + du + dd) / 4
            self.h[a] -= (uu + ud - du - dd) / 4
            self.h[b] -= (uu - ud + du - dd) / 4
            self._couple(a, b, -(uu - ud - du + dd) / 4, abs(field) + abs(Ja) + abs(Jb))
        else:
            return ()
        self.alive[v] = False
        for u, J in around.items():
            del self.near[u][v]
            self.pull[u] -= abs(J)
        return tuple(around)

    def _couple(self, a: int, b: int, J: float, size: float) -> None:
        old = self.near[a].get(b, 0.0)
        new = old + J
        if abs(new) <= ROUNDING * (size + abs(old)):
            self.near[a].pop(b, None)
            self.near[b].pop(a, None)
            new = 0.0
        else:
            self.near[a][b] = self.near[b][a] = new
        self.pull[a] += abs(new) - abs(old)
        self.pull[b] += abs(new) - abs(old)

    def _record(self, v: int, field: float, *neighbours: tuple[int, float]) -> None:
        (a, Ja), (b, Jb) = (*neighbours, (-1, 0.0), (-1, 0.0))[:2]
        self.eliminated.append(v)
        self.neighbours.append((a, b))
        self.coefficients.append((field, Ja, Jb))

    def presolved(self) -> Presolved:
        variables = np.flatnonzero(self.alive)
        place = np.full(len(self.h), -1)
        place[variables] = np.arange(len(variables))
        sizes = [len(self.near[v]) for v in variables]
        rows = np.repeat(np.arange(len(variables)), sizes)
        cols = place[np.fromiter((u for v in variables for u in self.near[v]), np.int64, len(rows))]
        J = np.fromiter((J for v in variables for J in self.near[v].values()), np.float64, len(rows))
        once = rows < cols
        core = SpinPolynomial.of(
            len(variables),
            h=np.array(self.h)[variables],
            rows=rows[once],
            cols=cols[once],
            J=J[once],
            offset=self.offset,
        )
        return Presolved(core, _lift(variables, self.eliminated, self.neighbours, self.coefficients))


def _lift(variables: Any, eliminated: list[int], neighbours: list[Any], coefficients: list[Any]) -> Lift:
    return Lift(
        variables.astype(np.int32),
        np.array(eliminated, dtype=np.int32),
        np.array(neighbours, dtype=np.int32).reshape(-1, 2),
        np.array(coefficients, dtype=np.float64).reshape(-1, 3),
    )
