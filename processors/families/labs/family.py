"""LABS, low autocorrelation binary sequences: n signs as unlike shifted copies of themselves as possible.

    objective = E(s) = sum_{k=1}^{n-1} C_k^2,   C_k = sum_{i=0}^{n-1-k} s_i s_{i+k},   s_i in {+1, -1};   minimised

Payload: `n`. The solution is `{"sequence": [1, -1, …], "run_lengths": […]}`, the second being how many equal signs
follow one another; the merit factor n^2 / (2 E) is in the outcome's details. As a polynomial it is of order four:

    E(s) = n (n-1) / 2 + 2 sum_{i, a} s_i s_{i+2a} + 4 sum_{i, a < b} s_i s_{i+a} s_{i+b} s_{i+a+b}

over all a, b >= 1 that stay in the sequence. Sources: Golay, IEEE Trans. Inf. Theory 28 (1982) 543; Packebusch &
Mertens, J. Phys. A 49 (2016) 165001 (optima up to n = 66).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8

from qmosaic.codecs.errors import Rejected
from qmosaic.codecs.events.hops import Answer
from qmosaic.codecs.events.public import Problem
from qmosaic.codecs.events.reasons import Sense
from qmosaic.codecs.models.bundle import Bundle
from qmosaic.codecs.models.polynomial import SpinPolynomial, spins_of
from qmosaic.processors.families.base import Evaluation, Limits, Reduction, Task
from qmosaic.processors.families.labs.sequences import descended, legendre, polynomial, run_lengths, terms
from qmosaic.processors.families.payload import shown, unknown_field
from qmosaic.processors.spins.family import lifted_bits
from qmosaic.processors.spins.lift import bits_of_state, state_of

LEAST, MOST = 3, 128
"""Lengths: the terms grow with n^3, and 170,000 of them are what an event between the hops should hold."""
LIGHT = 40
"""Up to this length the terms and the quick answer take a few milliseconds."""


@dataclass(frozen=True)
class LabsInstance:
    n: int

    sense: Sense = "min"

    @property
    def digest(self) -> str:
        return sha256(b"qmosaic.labs/1:%d" % self.n).hexdigest()[:32]

    @property
    def notes(self) -> list[str]:
        return []

    @property
    def size(self) -> int:
        return self.n**2 // 8  # a search of 32 elements takes as long as that of a max-cut of 128 nodes

    def encode(self) -> SpinPolynomial:
        return polynomial(self.n)

    def quick(self) -> Any:
        return _solution(descended(legendre(self.n)))

    def solution(self, state: Bundle) -> Any:
        return _solution(self._spins(bits_of_state(state)))

    def answered(self, state: Bundle, lift: Bundle, answer: Answer) -> Any:
        return _solution(self._spins(lifted_bits(state, lift, answer)))

    def lifted(self, state: Bundle, lift: Bundle, answer: Answer) -> Bundle:
        return state_of(lifted_bits(state, lift, answer))

    def evaluate(self, solution: Any, evidence: Bundle | None = None) -> Evaluation:
        if not isinstance(solution, dict) or solution.keys() != {"sequence", "run_lengths"}:
            return Evaluation(None, False, ("a solution has a sequence and its run lengths",))
        sequence = solution["sequence"]
        if not isinstance(sequence, list) or not all(type(s) is int and s in (1, -1) for s in sequence):
            return Evaluation(None, False, ("an element is neither 1 nor -1",))
        if len(sequence) != self.n:
            return Evaluation(None, False, (f"{len(sequence)} elements, expected {self.n}",))
        if solution["run_lengths"] != run_lengths(sequence):
            return Evaluation(None, False, ("the run lengths are not those of the sequence",))
        total = 0
        for k in range(1, self.n):
            total += sum(a * b for a, b in zip(sequence, sequence[k:], strict=False)) ** 2
        return Evaluation(float(total), True, details={"merit_factor": self.n**2 / (2 * total)})

    def _spins(self, bits: UInt8[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
        if bits.shape != (self.n,):
            raise ValueError(f"expected {self.n} bits, got {bits.shape}")
        return np.asarray(spins_of(bits), dtype=np.int64)


class LabsFamily:
    name = "labs"
    exact_shots = False

    def parse(self, problem: Problem, limits: Limits) -> LabsInstance | Rejected:
        if problem.sense == "max":
            return Rejected("invalid_problem", "the energy of a sequence is minimised", "$.sense", "Leave sense out.")
        if (unknown := unknown_field(problem.problem, ["n"])) is not None:
            return unknown
        n = problem.problem.get("n")
        if not isinstance(n, int) or isinstance(n, bool) or n < LEAST:
            message = (
                f"expected a length of at least {LEAST}, got {shown(n)}" if "n" in problem.problem else "no length"
            )
            return Rejected("invalid_problem", message, "$.problem.n", f"Send a whole number from {LEAST} to {MOST}.")
        most = min(MOST, limits.variables)
        if n > most:
            return Rejected(
                "too_large", f"{shown(n)} elements, the limit is {most}", "$.problem.n", "Send a smaller n."
            )
        if terms(n) > limits.couplings:
            message = f"{n} elements make {terms(n)} terms, the limit is {limits.couplings}"
            return Rejected("too_large", message, "$.problem.n", "Send a smaller n, or raise limits.couplings.")
        return LabsInstance(n)

    def light(self, problem: Problem) -> bool:
        n = problem.problem.get("n")
        return not isinstance(n, int) or n <= LIGHT or n > MOST

    def reduce(self, tasks: Sequence[Task]) -> list[Reduction]:
        from qmosaic.processors.families.labs import reduce as labs_reduce

        return labs_reduce.reduce(tasks)

    def warm_up(self, layers: int, slow: bool) -> None:
        from qmosaic.processors.families.labs import reduce as labs_reduce

        labs_reduce.warm_up(layers, slow)


def _solution(spins: Int64[np.ndarray, " n"]) -> dict[str, list[int]]:
    sequence = spins.tolist()
    return {"sequence": sequence, "run_lengths": run_lengths(sequence)}
