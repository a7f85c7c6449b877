"""What a problem family is: one file that knows its own terms from event to answer.

A family's `parse` turns the public payload into an `Instance`, or says exactly what is wrong with it; encode and
verify both start there. `reduce` takes the compact models to incumbents and kernels; it alone may be slow or
import heavy libraries, inside itself. `evaluate` judges a solution by the problem's own data and shares nothing
with the solvers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import msgspec
import numpy as np
from jaxtyping import Float64

from qmosaic.codecs.errors import Rejected
from qmosaic.codecs.events.hops import Answer
from qmosaic.codecs.events.public import Problem
from qmosaic.codecs.events.reasons import Sense
from qmosaic.codecs.models.bundle import Bundle
from qmosaic.codecs.models.circuit import Circuit
from qmosaic.codecs.models.kernel import Kernel
from qmosaic.codecs.models.polynomial import SpinPolynomial

QUICK = 128
"""Up to this `size` a problem shares the process of the quick ones in reduce; beyond, it must not hold them up."""

SLOW = 256
"""Up to this `size` a problem takes about a second or two; beyond, it may take as long as its deadline allows."""

Model = SpinPolynomial | Circuit | Bundle
"""What encode sends to reduce. A `Bundle` where only the family's own `reduce` knows what to do with it."""


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a single problem may be. Beyond: rejected with `too_large`."""

    variables: int = 10_000
    couplings: int = 1_000_000
    event_bytes: int = 8 * 1024 * 1024
    deadline_seconds: float = 86_400.0
    shots: int = 1_000_000


@dataclass(frozen=True)
class Evaluation:
    """A solution judged by the problem alone: objective in the producer's sense and scale.

    `error`: the objective's standard error, 0 if it is exact. `details` go out with the outcome. `verdict` is for
    families whose answers cannot be better or worse, only right or wrong. `best_known`: an objective that classical
    computation reaches, known beside the solution that is judged; None: nothing besides.
    """

    objective: float | None
    feasible: bool
    violations: tuple[str, ...] = ()
    error: float = 0.0
    details: dict[str, Any] = field(default_factory=dict)
    verdict: Literal["verified", "unverified", "mismatch"] | None = None
    best_known: float | None = None


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

    @property
    def size(self) -> int:
        """How much work reduce has with it, in variables of a max-cut; its lanes go by that."""
        ...

    def encode(self) -> Model:
        """The compact model; its minimum is the problem's best answer."""
        ...

    def quick(self) -> Any:
        """A feasible solution in milliseconds, constructive: what goes out when nothing else is there.

        None where there can be none.
        """
        ...

    def solution(self, state: Bundle) -> Any:
        """The incumbent that reduce found, in the family's terms, ready for JSON; None where it found none.

        May raise ValueError, LookupError or TypeError for a state that does not fit.
        """
        ...

    def answered(self, state: Bundle, lift: Bundle, answer: Answer) -> Any:
        """A backend's answer to the kernel, lifted to the whole problem, in the family's terms.

        May raise ValueError, LookupError or TypeError for an answer that does not fit.
        """
        ...

    def evaluate(self, solution: Any, evidence: Bundle | None = None) -> Evaluation:
        """Recompute objective and constraints, in float64, from the problem's own data.

        `evidence`: the incumbent's state, for families that judge an answer by an independent run.
        """
        ...


@runtime_checkable
class HasRounds(Protocol):
    """What an instance has besides whose answers are improved by one kernel after the other."""

    def lifted(self, state: Bundle, lift: Bundle, answer: Answer) -> Bundle:
        """What `answered` gives as a state, where the next round begins. May raise as that does."""
        ...


@runtime_checkable
class IsVariational(Protocol):
    """What an instance has instead of `HasRounds` whose rounds are updates of parameters: a backend evaluates, and an
    optimiser goes on from every answer, be it better or not. Its state is what a `Reduction` remembers."""

    def stepped(self, memory: Bundle, answer: Answer) -> Bundle:
        """The optimiser after an answer to the kernel that `memory` made, where the next round begins. May raise
        ValueError, LookupError or TypeError for what does not fit."""
        ...

    def has_converged(self, state: Bundle) -> bool:
        """Whether there is nothing left to gain, by the optimiser. May raise as `stepped` does."""
        ...


@dataclass(frozen=True, eq=False)
class Task:
    """One problem to reduce. `seconds` by `clock`: what it may take; a step that has begun is finished.

    `max_qubits`: the largest kernel wanted; `layers`: of the QAOA circuit. `round`: which one this is; None where there
    are none, and nothing need be remembered. From the second on, `start` is the best state known, or the optimiser's
    where it `IsVariational`, and `memory` what the last `Reduction` remembers.
    """

    model: Model
    seed: int
    seconds: float
    shots: int = 1024
    target: Literal["auto", "classical", "gpu", "quantum"] = "auto"
    max_qubits: int = 16
    layers: int = 2
    round: int | None = None
    start: Bundle | None = None
    memory: Bundle | None = None
    clock: Callable[[], float] = field(kw_only=True)


@dataclass(frozen=True, eq=False)
class Reduction:
    """What is known of a problem when it leaves reduce: the incumbent's `state`, and the kernel.

    `kernel` None: the incumbent is proven optimal. Else `lift` is what makes a solution of the kernel's answer.
    `memory`: where there are rounds, what was tried, and where the search stands; bounded.
    """

    state: Bundle
    solver: str
    seconds: float
    kernel: Kernel | None
    lift: Bundle = field(default_factory=Bundle)
    gammas: Float64[np.ndarray, " p"] = field(default_factory=lambda: np.zeros(0))
    betas: Float64[np.ndarray, " p"] = field(default_factory=lambda: np.zeros(0))
    memory: Bundle | None = None


class Family(Protocol):
    """A registry entry."""

    @property
    def name(self) -> str:
        """What events call it."""
        ...

    @property
    def exact_shots(self) -> bool:
        """Whether a problem may ask for 0 shots, the exact expectation."""
        ...

    def parse(self, problem: Problem, limits: Limits) -> Instance | Rejected:
        """Validate and canonicalise. Expected errors are values, never exceptions."""
        ...

    def light(self, problem: Problem) -> bool:
        """Whether `parse`, `encode`, `quick` and `evaluate` take milliseconds at most: by a look at sizes and words,
        before anything is checked. What is not light is admitted and judged in a process with limits of its own.
        """
        ...

    def reduce(self, tasks: Sequence[Task]) -> list[Reduction]:
        """One for each task, in their order; a micro-batch of problems whose models are of one type.

        Deterministic by the tasks' seeds, except for where the seconds end. Families whose model is a
        polynomial share `spins.reduce`.
        """
        ...

    def warm_up(self, layers: int, slow: bool) -> None:
        """Compile, or load from JAX's cache, what `reduce` uses; `layers` of QAOA circuits.

        `slow`: for problems of the slow lane (`size` above `QUICK`) instead of those below it, which have a
        process of their own.
        """
        ...


def violated(checks: Iterable[tuple[bool, str]]) -> tuple[str, ...]:
    """The sentences of the checks that do not hold."""
    return tuple(sentence for holds, sentence in checks if not holds)
