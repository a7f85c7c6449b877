"""The QAOA circuit of a kernel as a device would run it: which gates act at once, and what that counts to.

A start, then for each pair of angles the couplings as ZZ rotations in as few moments as a greedy edge colouring
finds, the fields as Z rotations, the terms of higher order as ZZ rotations between parities, and the mixer; and a
measurement. Every gate acts on one or two qubits, so that what is counted is what would run.

Constraints that say how many of their variables are 1 are *held*: their variables start in the Dicke state of
that weight (Bärtschi & Eidenbenz 2019, "Deterministic preparation of Dicke states"), and the mixer moves their
ones along a ring (Hadfield et al. 2019; Wang, Rubin, Dominy & Rieffel 2020, "XY mixers"), so that no sample breaks
them. All other variables start in |+> and are mixed by X rotations, as in a kernel without constraints.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from math import acos, sqrt
from typing import NamedTuple

import numpy as np

from qmosaic.backends.base import Figures, Job
from qmosaic.codecs.models.polynomial import SpinPolynomial


class Group(NamedTuple):
    """Variables of which `ones` are 1."""

    variables: tuple[int, ...]
    ones: int


class Gate(NamedTuple):
    """One of these, `number` an angle in radians where it is one:

    `h`, `x`, `cx` (control, target), `ry` (exp(-i angle Y / 2)), `givens` (|01> to cos |01> + sin |10>) to start;
    `zz` for the term of place `number`; `mix_x` (exp(-i beta X)), `mix_xy` (exp(-i beta (XX + YY) / 2)).
    """

    name: str
    qubits: tuple[int, ...]
    number: float = 0.0


Moments = tuple[tuple[Gate, ...], ...]


@dataclass(frozen=True)
class Plan:
    """The gates of a kernel's circuit, whatever its angles and weights are.

    `start` once; `couplings` (places in the list of couplings), `higher` (places in the terms of higher order, one
    order after the other) and `mixer` in every layer, in this order, the fields before `higher`.
    """

    start: Moments
    couplings: tuple[tuple[int, ...], ...]
    higher: Moments
    mixer: Moments

    @cached_property
    def depth(self) -> tuple[int, int]:
        """Moments of the start, and of a layer without fields."""
        return len(self.start), len(self.couplings) + len(self.higher) + len(self.mixer)

    @cached_property
    def two_qubit_gates(self) -> tuple[int, int]:
        """In the start, and in a layer."""
        start, higher, mixer = (
            sum(len(gate.qubits) == 2 for moment in moments for gate in moment)
            for moments in (self.start, self.higher, self.mixer)
        )
        return start, sum(map(len, self.couplings)) + higher + mixer


def held(kernel: SpinPolynomial) -> tuple[Group, ...]:
    """The constraints that the circuit holds: of those that fix how many of their variables are 1, each in its
    turn, unless it shares a variable with one before. What breaks another constraint may still be sampled."""
    groups: list[Group] = []
    taken: set[int] = set()
    for constraint in kernel.constraints:
        ones, variables = constraint.cardinality, tuple(constraint.variables.tolist())
        if ones is not None and 0 <= ones <= len(variables) > 0 and not taken.intersection(variables):
            groups.append(Group(variables, ones))
            taken.update(variables)
    return tuple(groups)


def rings(groups: Sequence[Group]) -> list[list[tuple[int, int]]]:
    """Pairs of variables that the mixer joins, in the order it does: those of one moment share none.

    Of a group with variables v_0 v_1 …: first (v_0 v_1), (v_2 v_3), …; then (v_1 v_2), (v_3 v_4), …, with the pair
    that closes the ring, (v_last v_0), where their number is even; where it is odd that pair comes third.
    """
    moments: list[list[tuple[int, int]]] = [[], [], []]
    for variables, ones in groups:
        if not 0 < ones < len(variables):
            continue
        line = list(pairwise(variables))
        moments[0] += line[0::2]
        moments[1] += line[1::2]
        if len(variables) > 2:
            moments[2 if len(variables) % 2 else 1].append((variables[-1], variables[0]))
    return [moment for moment in moments if moment]


def plan(kernel: SpinPolynomial) -> Plan:
    """The plan of a kernel; it depends on its size, on which variables its terms join, and on what is held."""
    higher = tuple((terms.order, np.ascontiguousarray(terms.index, np.int32).tobytes()) for terms in kernel.higher)
    return _plan(kernel.n, kernel.rows.tobytes(), kernel.cols.tobytes(), higher, held(kernel))


def figures(job: Job) -> Figures:
    """Qubits, depth (the measurement is not counted), two-qubit gates and shots of a job's circuit."""
    kernel, layers = job.polynomial, len(job.gammas)
    made = plan(kernel)
    start, layer = made.depth
    first, each = made.two_qubit_gates
    return Figures(kernel.n, start + layers * (layer + bool(kernel.h.any())), first + layers * each, job.shots)


@lru_cache(maxsize=1024)
def _plan(n: int, rows: bytes, cols: bytes, higher: tuple[tuple[int, bytes], ...], groups: tuple[Group, ...]) -> Plan:
    free = sorted(set(range(n)).difference(*(group.variables for group in groups)))
    rows_, cols_ = (np.frombuffer(end, np.int32).tolist() for end in (rows, cols))
    terms = [term for order, index in higher for term in np.frombuffer(index, np.int32).reshape(-1, order).tolist()]
    mixer = [[Gate("mix_xy", pair) for pair in moment] for moment in rings(groups)] or [[]]
    mixer[0] += [Gate("mix_x", (i,)) for i in free]
    return Plan(
        start=_scheduled([Gate("h", (i,)) for i in free] + [gate for group in groups for gate in dicke(group)]),
        couplings=_matchings(n, list(zip(rows_, cols_, strict=True))),
        higher=_scheduled(gate for place, term in enumerate(terms) for gate in _phase(term, place)),
        mixer=tuple(tuple(moment) for moment in mixer if moment),
    )


def dicke(group: Group) -> list[Gate]:
    """From |0…0> to the even mixture of all states of a group's variables with that many ones: O(k n) gates.

    More than half of them ones: that many zeros, and every variable turned over.
    """
    variables, ones = group
    n, k = len(variables), min(ones, len(variables) - ones)
    gates = [Gate("x", (i,)) for i in variables[n - k :]] if k else []
    for m in range(n, 1, -1) if k else ():
        last = variables[m - 1]
        gates.append(Gate("givens", (variables[m - 2], last), acos(sqrt(1 / m))))
        for j in range(2, min(k, m - 1) + 1):
            target, control = variables[m - j - 1], variables[m - j]
            gates.append(Gate("cx", (target, last)))
            # a Y rotation controlled by two qubits, in four: their signs cancel unless both are 1
            for sign, source in ((1, control), (-1, last), (1, control), (-1, last)):
                gates += [Gate("ry", (target,), sign * acos(sqrt(j / m)) / 2), Gate("cx", (source, target))]
            gates.append(Gate("cx", (target, last)))
    return gates + [Gate("x", (i,)) for i in variables] * (k != ones)


def _phase(term: Sequence[int], place: int) -> list[Gate]:
    """exp(-i angle Z…Z): parities gathered pair by pair until two are left, those turned, and all undone."""
    live, gates = list(term), []
    while len(live) > 2:
        folds = min(len(live) // 2, len(live) - 2)
        pairs = list(zip(live[: 2 * folds : 2], live[1 : 2 * folds : 2], strict=True))
        gates += [Gate("cx", pair) for pair in pairs]
        live = [target for _, target in pairs] + live[2 * folds :]
    return [*gates, Gate("zz", (live[0], live[1]), place), *reversed(gates)]


def _scheduled(gates: Iterable[Gate]) -> Moments:
    """Each gate in the first moment in which its qubits have nothing left to do."""
    moments: list[list[Gate]] = []
    ready: dict[int, int] = {}
    for gate in gates:
        at = max(ready.get(i, 0) for i in gate.qubits)
        if at == len(moments):
            moments.append([])
        moments[at].append(gate)
        ready.update((i, at + 1) for i in gate.qubits)
    return tuple(map(tuple, moments))


def _matchings(n: int, pairs: Sequence[tuple[int, int]]) -> tuple[tuple[int, ...], ...]:
    layers: list[list[int]] = []
    busy: list[set[int]] = [set() for _ in range(n)]
    for k, (i, j) in enumerate(pairs):
        layer = next(c for c in range(len(layers) + 1) if c not in busy[i] and c not in busy[j])
        if layer == len(layers):
            layers.append([])
        layers[layer].append(k)
        busy[i].add(layer)
        busy[j].add(layer)
    return tuple(map(tuple, layers))
