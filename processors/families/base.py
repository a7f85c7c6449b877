"""What a problem family is: one file that knows its own terms from event to answer.

A family's `parse` turns the public payload into an `Instance`, or says exactly what is wrong with it.
Encode and verify both start there. `evaluate` judges a solution by the problem's own data and shares
nothing with the solvers, which only ever see the `Ising` of `encode`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from jaxtyping import UInt8

from qmosaic.codecs.errors import Rejected
from qmosaic.codecs.events import Problem, Sense
from qmosaic.codecs.model import Ising


@dataclass(frozen=True)
class Limits:
    """What a single problem may be. Beyond: rejected with `too_large`."""

    variables: int = 10_000
    couplings: int = 1_000_000
    event_bytes: int = 8 * 1024 * 1024
    deadline_seconds: float = 86_400.0
    shots: int = 1_000_000


@dataclass(frozen=True)
class Evaluation:
    """A solution judged by the problem alone: objective in the producer's sense and scale."""

    objective: float
    feasible: bool
    violations: tuple[str, ...] = ()


class Instance(Protocol):
    """One problem, validated and canonical."""

    @property
    def sense(self) -> Sense:
        """Which way the producer's objective is meant."""
        ...

    @property
    def digest(self) -> str:
        """Content digest (hex): equal problems have equal ones, however they were written."""
        ...

    @property
    def notes(self) -> list[str]:
        """What the producer should know about how the problem was read."""
        ...

    def encode(self) -> Ising:
        """The compact model; its minimum is the problem's best answer."""
        ...

    def quick(self) -> UInt8[np.ndarray, " n"]:
        """A feasible answer in milliseconds, constructive: what goes out when nothing else is there."""
        ...

    def decode(self, bits: UInt8[np.ndarray, " n"]) -> Any:
        """A sample of the model in the family's terms, ready for JSON."""
        ...

    def evaluate(self, solution: Any) -> Evaluation:
        """Recompute objective and constraints, in float64, from the problem's own data."""
        ...


class Family(Protocol):
    """A registry entry."""

    @property
    def name(self) -> str:
        """What events call it."""
        ...

    def parse(self, problem: Problem, limits: Limits) -> Instance | Rejected:
        """Validate and canonicalise. Expected errors are values, never exceptions."""
        ...
