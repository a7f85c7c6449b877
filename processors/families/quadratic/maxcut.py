"""Max-cut: split the nodes of a weighted graph in two so that the edges between the parts weigh most.

    objective = sum_{(u,v) in E} w_uv [x_u != x_v],   maximised (or minimised, with `sense: min`)
    with s = 1 - 2x:  [x_u != x_v] = (1 - s_u s_v) / 2

Payload: `edges` ([u, v] or [u, v, w]), `nodes` (a count, or a list of names). Source: Garey and Johnson ND16.
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
from qmosaic.processors.families.quadratic.terms import Terms, greedy, light, read_terms
from qmosaic.processors.spins import family
from qmosaic.processors.spins.family import lifted_bits
from qmosaic.processors.spins.lift import bits_of_state, state_of


@dataclass(frozen=True, eq=False)
class MaxCutInstance:
    terms: Terms
    sense: Sense
    digest: str
    notes: list[str] = field(default_factory=list)

    def encode(self) -> SpinPolynomial:
        sign = -1.0 if self.sense == "max" else 1.0
        return self.terms.ising(-sign, 0.5, np.zeros(self.terms.n), sign * self.terms.values.sum() / 2)

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
        side = self.terms.positional(solution)
        if side.shape != (self.terms.n,) or not ((side == 0.0) | (side == 1.0)).all():
            return Evaluation(0.0, False, ("a side is neither 0 nor 1",))
        cut = side[self.terms.rows] != side[self.terms.cols]
        return Evaluation(self.terms.total(self.terms.values[cut]), True)


class MaxCutFamily:
    name = "maxcut"
    exact_shots = False

    def parse(self, problem: Problem, limits: Limits) -> MaxCutInstance | Rejected:
        terms = read_terms(
            problem.problem,
            limits,
            pairs="edges",
            count="nodes",
            default=1.0,
            self_pairs="a self-loop can never be cut",
            has_offset=False,
        )
        if isinstance(terms, Rejected):
            return terms
        sense = problem.sense or "max"
        return MaxCutInstance(terms, sense, terms.digest(self.name, sense), terms.notes("edges"))

    def light(self, problem: Problem) -> bool:
        return light(problem.problem, "edges", "nodes")

    def reduce(self, tasks: Sequence[Task]) -> list[Reduction]:
        return family.reduce(tasks)

    def warm_up(self, layers: int, slow: bool) -> None:
        family.warm_up(layers, slow)
