"""Ising: spins with fields and couplings.

    objective = offset + sum_i h_i s_i + sum J_ij s_i s_j,   s in {+1, -1},   minimised unless `sense: max`

Payload: `h` (a list, or a map by name), `J` ([i, j, value]), `variables`, `offset`. The solution is a list of
+1/-1 (or a map by name). Lucas, "Ising formulations of many NP problems", Front. Phys. 2 (2014).
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
from qmosaic.codecs.models.polynomial import SpinPolynomial, spins_of
from qmosaic.processors.families.base import Evaluation, Limits, Reduction, Task
from qmosaic.processors.families.quadratic.terms import Terms, greedy, light, read_terms
from qmosaic.processors.spins import family
from qmosaic.processors.spins.family import lifted_bits
from qmosaic.processors.spins.lift import bits_of_state, state_of


@dataclass(frozen=True, eq=False)
class IsingInstance:
    terms: Terms
    sense: Sense
    digest: str
    notes: list[str] = field(default_factory=list)

    def encode(self) -> SpinPolynomial:
        sign = -1.0 if self.sense == "max" else 1.0
        t = self.terms
        return t.ising(sign, 1.0, sign * t.linear, sign * t.offset)

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
        return self.terms.named(spins_of(bits).tolist())

    def evaluate(self, solution: Any, evidence: Bundle | None = None) -> Evaluation:
        s = self.terms.positional(solution)
        if s.shape != (self.terms.n,) or not (np.abs(s) == 1.0).all():
            return Evaluation(0.0, False, ("a spin is neither +1 nor -1",))
        t = self.terms
        aligned = np.where(s[t.rows] == s[t.cols], t.values, -t.values)
        return Evaluation(t.total(aligned, t.linear * s, np.array([t.offset])), True)


class IsingFamily:
    name = "ising"
    exact_shots = False

    def parse(self, problem: Problem, limits: Limits) -> IsingInstance | Rejected:
        terms = read_terms(
            problem.problem,
            limits,
            pairs="J",
            count="variables",
            default=None,
            self_pairs="a spin coupled to itself is a constant (s² = 1)",
            fields="h",
        )
        if isinstance(terms, Rejected):
            return terms
        sense = problem.sense or "min"
        return IsingInstance(terms, sense, terms.digest(self.name, sense), terms.notes("couplings"))

    def light(self, problem: Problem) -> bool:
        return light(problem.problem, "J", "h", "variables")

    def reduce(self, tasks: Sequence[Task]) -> list[Reduction]:
        return family.reduce(tasks)

    def warm_up(self, layers: int, slow: bool) -> None:
        family.warm_up(layers, slow)
