"""How the reading of qubits goes wrong, each by itself, and what was measured put right: counts and observables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import product
from math import prod
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from qmosaic.backends.base import Answer, Expectations, Result
from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.models.circuit import PauliSum

LEAST_SIGNAL = 0.1
"""The chances of reading 0 and 1 rightly, less 1: with fewer, reading a qubit tells next to nothing."""


class Confusion(NamedTuple):
    """`flips`: how often |0> (first row) and |1> of each qubit were read wrongly, in so many `shots` of each."""

    flips: Float64[np.ndarray, "2 n"]
    shots: int

    @classmethod
    def of(cls, zeros: Answer, ones: Answer) -> Confusion:
        """From the samples of all qubits in |0>, and in |1>. Raises BackendError where they say nothing."""
        assert isinstance(zeros, Result)
        assert isinstance(ones, Result)
        read = [answer.counts @ answer.samples / answer.counts.sum() for answer in (zeros, ones)]
        found = cls(np.array([read[0], 1 - read[1]]), int(ones.counts.sum()))
        if (signal := 1 - found.flips.sum(axis=0)).min() < LEAST_SIGNAL:
            raise BackendError(
                f"qubit {signal.argmin()} is read nearly at random: |1> as 1 in {read[1][signal.argmin()]:.0%} of the "
                f"shots, |0> in {read[0][signal.argmin()]:.0%}",
                remedy="Choose other qubits, or another backend.",
            )
        return found

    def counts(
        self, rows: UInt8[np.ndarray, "k m"], counts: Int64[np.ndarray, " k"], qubits: Sequence[int]
    ) -> Int64[np.ndarray, " k"]:
        """How often each of some different values of `qubits` was there, as many in all as `counts`: M3."""
        matrix = np.ones((len(rows), len(rows)))
        for column, qubit in zip(rows.T, qubits, strict=True):
            zero, one = self.flips[:, qubit]
            matrix *= np.array([[1 - zero, one], [zero, 1 - one]])[column[:, None], column]
        shots = int(counts.sum())
        return rounded(nearest(np.linalg.solve(matrix / matrix.sum(axis=0), counts / shots)), shots)

    def observables(self, given: Sequence[PauliSum]) -> list[PauliSum]:
        """What to measure instead of each: what it is without errors, and how far it moves with a standard error of
        each of the flips that are not 0. `settled` puts them together."""
        zero, one = self.flips
        slope = 1 - zero - one  # a measured Z is (one - zero) + slope Z
        plain = np.array([zero - one, np.ones_like(zero)]) / slope
        # the derivatives of (Z - one + zero) / slope by the two flips
        by = [np.array([sign * slope - one + zero, np.ones_like(zero)]) / slope**2 for sign in (1, -1)]
        errors = np.sqrt(self.flips * (1 - self.flips) / self.shots)
        out = []
        for each in given:
            out.append(_replaced(each, plain))
            for state, qubit in np.argwhere(errors > 0).tolist():
                moved = plain.copy()
                moved[:, qubit] = by[state][:, qubit] * errors[state, qubit]
                out.append(_replaced(each, moved, only=qubit))
        return out


def settled(found: Expectations, observables: int) -> tuple[Float64[np.ndarray, " v"], Float64[np.ndarray, " v"]]:
    """Values and standard errors of observables, from those of `Confusion.observables`."""
    values, errors = (each.reshape(observables, -1) for each in (found.values, found.errors))
    return values[:, 0], np.sqrt(errors[:, 0] ** 2 + (values[:, 1:] ** 2).sum(axis=1))


def terms(given: Sequence[PauliSum]) -> int:
    """How many Pauli strings replacing their letters makes, equal ones counted each."""
    return sum(2 ** (len(pauli) - pauli.count("I")) for each in given for pauli in each.paulis)


def _replaced(given: PauliSum, factors: Float64[np.ndarray, "2 n"], only: int | None = None) -> PauliSum:
    """Each letter P on qubit q becomes factors[0, q] + factors[1, q] P; `only`: of the terms on that qubit."""
    total: dict[str, float] = defaultdict(float)
    for pauli, coefficient in zip(given.paulis, given.coefficients, strict=True):
        if only is not None and pauli[only] == "I":
            continue
        choices = [
            [(letter, 1.0)] if letter == "I" else [(letter, slope)] + ([("I", constant)] if constant else [])
            for letter, constant, slope in zip(pauli, *factors.tolist(), strict=True)
        ]
        for chosen in product(*choices):
            total["".join(letter for letter, _ in chosen)] += coefficient * prod(factor for _, factor in chosen)
    return PauliSum(given.qubits, tuple(total), tuple(total.values()))


def nearest(shares: Float64[np.ndarray, " k"]) -> Float64[np.ndarray, " k"]:
    """The nearest probability distribution (Smolin, Gambetta and Smith 2012): the same taken from all, none below 0."""
    falling = np.sort(shares)[::-1]
    excess = (np.cumsum(falling) - 1) / np.arange(1, len(shares) + 1)
    return np.asarray(np.maximum(shares - excess[falling > excess][-1], 0))


def rounded(shares: Float64[np.ndarray, " k"], total: int) -> Int64[np.ndarray, " k"]:
    """Whole numbers that sum to `total`, by largest remainders; `shares` sum to 1."""
    exact = shares * total
    found: Int64[np.ndarray, " k"] = np.floor(exact).astype(np.int64)
    found[np.argsort(found - exact, kind="stable")[: total - int(found.sum())]] += 1
    return found
