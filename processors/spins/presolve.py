"""Presolve: variables that can be decided, or minimised out, without any search. Exact.

Rules, repeated to a fixpoint (Boros, Hammer & Tavares 2006, "Preprocessing of unconstrained quadratic
binary optimization", for the first two; the others are dynamic programming on the graph):
- a field as strong as all couplings together decides its variable: |h_i| >= sum_j |J_ij|;
- a coupling as strong as all else at one of its ends ties that end to the other: |J_ia| >= |h_i| + sum_{j != a} |J_ij|;
- a variable with one neighbour a is minimised out: min_s (h s + J s s_a) = -|h + J s_a|, a new field on a;
- one with two neighbours a, b becomes a field on each and a coupling between them.

All of it is done in whole numbers, which float64 are, in units of a power of two: so nothing small is lost beside
something large. With whole coefficients all energies are of one parity; that holds for what is left after each
step, too, whose coefficients therefore are multiples of 1/2. In half units every division here is exact.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from qmosaic.codecs.models.polynomial import SpinPolynomial
from qmosaic.processors.spins.lift import Lift

MEMORY = 2**30
"""Bits of all numbers together up to which a model is worth it: beyond, many tiny ones are beside huge ones."""
FEW = 8
"""Neighbours up to which a variable is looked at again for a strong coupling, when its surroundings changed."""
SAME = 1e-9, 1e-12
"""How close two objectives are equal to verify: relative, and around zero."""


@dataclass(frozen=True, eq=False)
class Presolved:
    """What is left: every sample of `core`, lifted, has the same energy in the model.

    `proven`: nothing is left, and what the model itself was rounded by cannot matter: the lifted sample is optimal.
    """

    core: SpinPolynomial
    lift: Lift
    proven: bool = False


def presolve(model: SpinPolynomial) -> Presolved:
    """The core that is left, in time linear in the couplings (about 1 s for a million).

    A model of higher order, or with constraints, is its own core.
    """
    n = model.n
    whole = Presolved(model, _lift(np.arange(n), [], [], []))
    if model.higher or model.constraints:
        # The rules look at two variables at a time and would decide against a constraint.
        return whole
    ends, others = np.concatenate([model.rows, model.cols]), np.concatenate([model.cols, model.rows])
    J = np.concatenate([model.J, model.J])
    degree = np.bincount(ends, minlength=n)
    field, sizes = np.abs(model.h), np.abs(J)
    pull = np.bincount(ends, weights=sizes, minlength=n)
    strongest = np.zeros(n)
    np.maximum.at(strongest, ends, sizes)
    close = 1 - 1e-9  # these sums are rounded; `_try` looks at exact ones
    ready = np.flatnonzero((degree <= 2) | (field >= pull * close) | (2 * strongest >= (pull + field) * close))
    numbers = _whole(np.concatenate([model.h, model.J])) if len(ready) else None
    if numbers is None:
        return whole
    integers, unit = numbers
    order = np.argsort(ends, kind="stable")
    bounds = np.concatenate([[0], np.cumsum(degree)]).tolist()
    coupling = integers[n:]
    m = len(coupling)
    keys, values = others[order].tolist(), [coupling[k if k < m else k - m] for k in order.tolist()]
    near = [dict(zip(keys[a:b], values[a:b], strict=True)) for a, b in pairwise(bounds)]
    elimination = _Elimination(integers[:n], near)
    elimination.run(ready.tolist())
    return elimination.presolved(model, unit)


def _whole(values: Any) -> tuple[list[int], int] | None:
    """The values in units of 2^unit, all of them even, and that unit; None where they take more than `MEMORY`."""
    mantissa, exponent = np.frexp(values)
    digits = np.ldexp(mantissa, 53).astype(np.int64)  # value = digits 2^(exponent - 53)
    some = digits != 0
    if not some.any():
        return [0] * len(values), 0
    zeros = np.bitwise_count((digits & -digits) - 1).astype(np.int64)
    unit = int((exponent + zeros)[some].min()) - 53 - 1
    bits = int(exponent[some].max()) - unit
    if bits * len(values) > MEMORY:
        return None
    if bits < 63:
        return np.ldexp(values, -unit).astype(np.int64).tolist(), unit
    shifts = (exponent.astype(np.int64) - 53 - unit).tolist()
    return [d << s if s >= 0 else d >> -s for d, s in zip(digits.tolist(), shifts, strict=True)], unit


class _Elimination:
    """The model while it shrinks, in whole units: `near[i]` maps the neighbours of i to their couplings."""

    def __init__(self, h: list[int], near: list[dict[int, int]]) -> None:
        self.h, self.near, self.gained = h, near, 0
        self.pull = [sum(map(abs, around.values())) for around in near]
        self.alive = [True] * len(h)
        self.eliminated: list[int] = []
        self.neighbours: list[tuple[int, int]] = []
        self.coefficients: list[tuple[float, float, float]] = []

    def run(self, ready: list[int]) -> None:
        queue, queued = deque(ready), set(ready)
        while queue:
            v = queue.popleft()
            queued.discard(v)
            for u in self._try(v) if self.alive[v] else ():
                if u not in queued and self._easy(u):
                    queue.append(u)
                    queued.add(u)

    def _easy(self, u: int) -> bool:
        around, field = self.near[u], abs(self.h[u])
        if len(around) <= 2 or field >= self.pull[u]:
            return True
        return len(around) <= FEW and 2 * max(map(abs, around.values())) >= self.pull[u] + field

    def _try(self, v: int) -> tuple[int, ...]:
        """Take v out, if a rule allows it; returns the variables whose surroundings changed."""
        field, around = self.h[v], self.near[v]
        if abs(field) >= self.pull[v]:
            self._record(v, field)
            spin = -1 if field > 0 else 1
            self.gained += field * spin
            for u, J in around.items():
                self.h[u] += J * spin
        elif len(around) == 1:
            ((a, J),) = around.items()
            self._record(v, field, (a, J))
            up, down = abs(field + J), abs(field - J)
            self.gained -= (up + down) // 2
            self.h[a] -= (up - down) // 2
        elif len(around) == 2:
            (a, Ja), (b, Jb) = around.items()
            self._record(v, field, (a, Ja), (b, Jb))
            # f(s_a, s_b) = |field + Ja s_a + Jb s_b| as a polynomial in s_a, s_b
            uu, ud = abs(field + Ja + Jb), abs(field + Ja - Jb)
            du, dd = abs(field - Ja + Jb), abs(field - Ja - Jb)
            self.gained -= (uu + ud + du + dd) // 4
            self.h[a] -= (uu + ud - du - dd) // 4
            self.h[b] -= (uu - ud + du - dd) // 4
            self._couple(a, b, -(uu - ud - du + dd) // 4)
        else:
            a = max(around, key=lambda u: abs(around[u]))
            J = around[a]
            if 2 * abs(J) < self.pull[v] + abs(field):
                return ()
            self._record(v, 0, (a, J))
            tied = -1 if J > 0 else 1  # s_v = tied s_a
            self.gained -= abs(J)
            self.h[a] += tied * field
            for u, Ju in around.items():
                if u != a:
                    self._couple(a, u, tied * Ju)
        self.alive[v] = False
        for u, J in around.items():
            del self.near[u][v]
            self.pull[u] -= abs(J)
        return tuple(around)

    def _couple(self, a: int, b: int, J: int) -> None:
        old = self.near[a].get(b, 0)
        new = old + J
        if new:
            self.near[a][b] = self.near[b][a] = new
        elif old:
            del self.near[a][b], self.near[b][a]
        self.pull[a] += abs(new) - abs(old)
        self.pull[b] += abs(new) - abs(old)

    def _record(self, v: int, field: int, *neighbours: tuple[int, int]) -> None:
        """Only the sign of c0 + c1 s_a + c2 s_b counts of the coefficients: small ones with the same signs are exact.

        The means of that sign, and of its products with s_a and with s_b, are such (Chow 1961).
        """
        (a, Ja), (b, Jb) = (*neighbours, (-1, 0), (-1, 0))[:2]
        uu, ud, du, dd = (1 if field + x * Ja + y * Jb > 0 else -1 for x in (1, -1) for y in (1, -1))
        self.eliminated.append(v)
        self.neighbours.append((a, b))
        self.coefficients.append(((uu + ud + du + dd) / 4, (uu + ud - du - dd) / 4, (uu - ud + du - dd) / 4))

    def presolved(self, model: SpinPolynomial, unit: int) -> Presolved:
        variables = np.flatnonzero(self.alive)
        place = np.full(len(self.h), -1)
        place[variables] = np.arange(len(variables))
        sizes = [len(self.near[v]) for v in variables]
        rows = np.repeat(np.arange(len(variables)), sizes)
        cols = place[np.fromiter((u for v in variables for u in self.near[v]), np.int64, len(rows))]
        J = np.array([_float(J, unit) for v in variables for J in self.near[v].values()])
        once = rows < cols
        core = SpinPolynomial.of(
            len(variables),
            h=[_float(self.h[v], unit) for v in variables],
            rows=rows[once],
            cols=cols[once],
            J=J[once],
            offset=model.offset + _float(self.gained, unit),
        )
        relative, around_zero = SAME
        proven = core.n == 0 and 2 * model.error <= max(around_zero, relative * abs(core.offset))
        lift = _lift(variables, self.eliminated, self.neighbours, self.coefficients)
        return Presolved(core, lift, proven)


def _float(number: int, unit: int) -> float:
    """number 2^unit, rounded once."""
    return number / (1 << -unit) if unit < 0 else float(number << unit)


def _lift(variables: Any, eliminated: list[int], neighbours: list[Any], coefficients: list[Any]) -> Lift:
    return Lift(
        variables.astype(np.int32),
        np.array(eliminated, dtype=np.int32),
        np.array(neighbours, dtype=np.int32).reshape(-1, 2),
        np.array(coefficients, dtype=np.float64).reshape(-1, 3),
    )
