"""QUBO: quadratic unconstrained binary optimisation.

    objective = offset + sum over the terms of q_ij x_i x_j,   x in {0, 1},   minimised unless `sense: max`

A term [i, i, q] is linear (x² = x). Terms given twice, in either order, are summed, as dimod does.
With x = (1 - s)/2:  q x_i x_j = q/4 (1 - s_i - s_j + s_i s_j). Payload: `terms`, `variables`, `offset`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import UInt8

from qmosaic.codecs.errors import Rejected
from qmosaic.codecs.events.hops import Answer
from qmosaic.codecs.events.public import Problem
from qmosaic.codecs.events.reasons import Sense
from qmosaic.codecs.models.bundle import Bundle
from qmosaic.codecs.models.polynomial import SpinPolynomial
from qmosaic.processors.families.base import Evaluation, Limits, Reduction, Task
from qmosaic.processors.families.payload import EXACT
from qmosaic.processors.families.quadratic.terms import Terms, greedy, light, read_terms
from qmosaic.processors.spins import family
from qmosaic.processors.spins.family import lifted_bits
from qmosaic.processors.spins.lift import bits_of_state, state_of


@dataclass(frozen=True, eq=False)
class QuboInstance:
    terms: Terms
    sense: Sense
    digest: str
    notes: list[str] = field(default_factory=list)

    def encode(self) -> SpinPolynomial:
        sign = -1.0 if self.sense == "max" else 1.0
        t, quarter, ends = self.terms, self.terms.values / 4, np.concatenate([self.terms.rows, self.terms.cols])
        field_ = -t.linear / 2 - np.bincount(ends, weights=np.concatenate([quarter, quarter]), minlength=t.n)
        offset = t.offset + t.linear.sum() / 2 + quarter.sum()
        # Quarters of whole numbers are added exactly; of others, each addition is rounded.
        exact = t.whole and t.size < EXACT / 4
        error = 0.0 if exact else 2.0**-53 * t.size * (1 + int(np.bincount(ends).max(initial=0)))
        return t.ising(sign, 0.25, sign * field_, sign * offset, error)

    @property
    def size(self) -> int:
        return self.terms.n

    def quick(self) -> Any:
        return self.decode(greedy(self.encode()))

    def solution(self, state: Bundle) -> Any:
        return self.decode(bits_of_state(state))

    def answered(self, state: Bundle, lift: Bundle, answer: Answer) -> Any:
        return self.decode(lifted_bits(state, lift, answer))

    def lifted(self, state: Bundle, lift: Bundle, answer: Answer) -> Bundle:
        return state_of(lifted_bits(state, lift, answer))

    def decode(self, bits: UInt8[np.ndarray, " n"]) -> Any:
        return self.terms.named(bits.tolist())

    def evaluate(self, solution: Any, evidence: Bundle | None = None) -> Evaluation:
        x = self.terms.positional(solution)
        if x.shape != (self.terms.n,) or not ((x == 0.0) | (x == 1.0)).all():
            return Evaluation(0.0, False, ("a variable is neither 0 nor 1",))
        t = self.terms
        pairs = t.values[(x[t.rows] == 1) & (x[t.cols] == 1)]
        return Evaluation(t.total(pairs, t.linear[x == 1], np.array([t.offset])), True)


class QuboFamily:
    name = "qubo"
    exact_shots = False

    def parse(self, problem: Problem, limits: Limits) -> QuboInstance | Rejected:
        terms = read_terms(problem.problem, limits, pairs="terms", count="variables", default=None, self_pairs=None)
        if isinstance(terms, Rejected):
            return terms
        sense = problem.sense or "min"
        return QuboInstance(terms, sense, terms.digest(self.name, sense), terms.notes("terms"))

    def light(self, problem: Problem) -> bool:
        return light(problem.problem, "terms", "variables")

    def reduce(self, tasks: Sequence[Task]) -> list[Reduction]:
        return family.reduce(tasks)

    def warm_up(self, layers: int, slow: bool) -> None:
        family.warm_up(layers, slow)
