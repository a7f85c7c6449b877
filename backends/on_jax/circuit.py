"""Circuits as state vectors in JAX, by the programs of `jax_gates`.

Measurements and resets in the middle are followed in branches, outside of the programs (`Branches`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float64, UInt8

from qmosaic.backends.base import Expectations, Job, Result
from qmosaic.backends.circuits import measurement
from qmosaic.backends.circuits.counting import (
    draw,
    final,
    marginal,
    merged,
    probabilities,
    result_of,
    rows_of,
    unmeasured,
)
from qmosaic.backends.on_jax.gates import advance, begin, plan, reached, weights
from qmosaic.backends.on_jax.steps import Step, Turn
from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.models.circuit import Circuit, Operation
from qmosaic.codecs.models.circuit import condition as condition_of

MAX_BRANCHES = 8192
"""Branches of one circuit."""
MAX_WAITING_BYTES = 2**30
"""The most that states of branches take which are still to be followed."""
NEVER = 1e-9
"""A result that is less likely is an effect of rounding."""


@dataclass(frozen=True)
class Leaf:
    """Where a branch ends: its `weight`, the bits already known, and the distribution of those measured at the end
    (`bits`, the first the most significant)."""

    weight: Any
    known: UInt8[np.ndarray, " width"]
    bits: tuple[int, ...]
    probabilities: Float[np.ndarray, " M"]


@dataclass(eq=False)
class Branches:
    """Follows a circuit: a measurement in the middle divides a branch in two, by `divide(weight, probability of 1)`."""

    circuit: Circuit
    divide: Callable[[Any, float], tuple[Any, Any]]
    going_on: Callable[[], bool] = lambda: True
    double: bool = False
    across: int = 1
    waiting: list[tuple[Any, int, Any, UInt8[np.ndarray, " width"]]] = field(default_factory=list)

    def leaves(self, weight: Any) -> Iterator[Leaf]:
        """Raises BackendError where they get too many, TimeoutError when `going_on` says no."""
        operations, width = _single_measurements(self.circuit)
        late = final(operations)
        self.waiting = [(weight, 0, begin(self.circuit.qubits, self.double, self.across), np.zeros(width, np.uint8))]
        for _ in range(MAX_BRANCHES):
            if not self.waiting:
                return
            yield self._follow(operations, late, *self.waiting.pop())
        if self.waiting:
            raise BackendError(
                f"measurements in the middle divide the circuit into more than {MAX_BRANCHES} branches",
                place="job.kernel",
                remedy="Ask for fewer shots, or measure less in the middle.",
            )

    def _follow(
        self,
        operations: Sequence[Operation],
        late: frozenset[int],
        weight: Any,
        place: int,
        state: Any,
        known: UInt8[np.ndarray, " width"],
    ) -> Leaf:
        n, todo, ends = self.circuit.qubits, list[Operation](), list[tuple[int, int]]()
        for here in range(place, len(operations)):
            operation = operations[here]
            if any(known[bit] != value for bit, value in operation.wanted.items()):
                continue
            if operation.gate != "measure":
                todo.append(operation)
                continue
            (qubit,), (bit,) = operation.qubits, operation.bits
            if here in late:
                ends.append((qubit, bit))
                continue
            state = advance(state, plan(todo, n, self.across), self.going_on)
            todo = []
            weight, state, known = self._divided(weight, here + 1, state, known, 1 << (n - 1 - qubit), bit)
        state = advance(state, plan(todo, n, self.across), self.going_on)
        found = marginal(probabilities(np.asarray(state)[: 2**n]), [qubit for qubit, _ in ends])
        written = [bit for _, bit in ends]
        known = known[: self.circuit.bits].copy()
        known[written] = 0  # whatever was measured into them before
        return Leaf(weight, known, tuple(written), found)

    def _divided(
        self, weight: Any, place: int, state: Any, known: UInt8[np.ndarray, " width"], qubit: int, bit: int
    ) -> tuple[Any, Any, UInt8[np.ndarray, " width"]]:
        zero, one = weights(state, qubit)
        share = one / (zero + one)
        parts = self.divide(weight, 0.0 if share < NEVER else 1.0 if share > 1 - NEVER else float(share))
        chosen = 0 if parts[0] else 1
        branches = []
        for value in (0, 1):
            after = known.copy()
            after[bit] = value
            factor = 1 / np.sqrt(one if value else zero) if parts[value] else 0.0
            d = (0.0, factor) if value else (factor, 0.0)
            branches.append((after, Step(0, qubit, 0, d, (0, 0))))
        if all(parts):
            after, step = branches[1]
            if (len(self.waiting) + 1) * state.nbytes > MAX_WAITING_BYTES:
                raise BackendError(
                    "measurements in the middle divide the circuit into more branches than memory holds",
                    place="job.kernel",
                    remedy="Use fewer qubits, or measure less in the middle.",
                )
            self.waiting.append((parts[1], place, advance(jnp.array(state, copy=True), [step]), after))
        after, step = branches[chosen]
        return parts[chosen], advance(state, [step]), after


def _single_measurements(circuit: Circuit) -> tuple[list[Operation], int]:
    """Measurements of one qubit each, and no resets: these are measurements into bits of their own (after those of the
    circuit), and an x where that is 1. Also how many bits that makes."""
    out: list[Operation] = []
    touched, width = set[int](), circuit.bits
    for operation in circuit.operations:
        condition = operation.condition
        if operation.gate == "measure":
            out += [
                Operation("measure", (qubit,), bits=(bit,), condition=condition)
                for qubit, bit in zip(operation.qubits, operation.bits, strict=True)
            ]
        elif operation.gate == "reset":
            for qubit in touched.intersection(operation.qubits):
                out.append(Operation("measure", (qubit,), bits=(width,), condition=condition))
                out.append(Operation("x", (qubit,), condition=condition_of({**operation.wanted, width: 1})))
                width += 1
        else:
            out.append(operation)
        if operation.gate != "barrier":
            touched.update(operation.qubits)
    return out, width


def sampled(
    circuit: Circuit, shots: int, generator: np.random.Generator, double: bool = False, across: int = 1
) -> tuple[UInt8[np.ndarray, "k bits"], Any]:
    """Values of the classical bits in `shots` runs, and how often each was seen. Raises BackendError.

    A measurement in the middle divides the shots binomially, so no branch is followed that no shot takes.
    """

    def divide(shots_: int, one: float) -> tuple[int, int]:
        ones = int(generator.binomial(shots_, one))
        return shots_ - ones, ones

    rows, counts = [], []
    for leaf in Branches(circuit, divide, double=double, across=across).leaves(shots):
        states, seen = draw(leaf.probabilities, leaf.weight, generator)
        rows.append(rows_of(states, leaf.bits, circuit.bits) | leaf.known)
        counts.append(seen)
    return np.concatenate(rows), np.concatenate(counts).astype(np.int64)


def distribution(
    circuit: Circuit, going_on: Callable[[], bool]
) -> tuple[UInt8[np.ndarray, "k bits"], Float64[np.ndarray, " k"]]:
    """Every value of the classical bits that happens, and its probability. Raises BackendError for too many branches,
    TimeoutError when `going_on` says no."""
    rows, shares = [], []
    for leaf in Branches(circuit, lambda weight, one: (weight * (1 - one), weight * one), going_on).leaves(1.0):
        states = np.flatnonzero(leaf.probabilities > NEVER / len(leaf.probabilities))
        rows.append(rows_of(states, leaf.bits, circuit.bits) | leaf.known)
        shares.append(leaf.weight * leaf.probabilities[states])
    if len(rows) == 1:
        return rows[0], shares[0]
    return merged(np.concatenate(rows), np.concatenate(shares))


class Prepared(NamedTuple):
    """A job whose kernel is a circuit, the devices that share its state, and the plan where it is known beforehand."""

    job: Job
    across: int
    plan: Sequence[Step | Turn] | None = None


def prepare(job: Job, across: int = 1) -> Prepared:
    """Raises BackendError for a circuit that cannot be run."""
    if not job.circuit.observables:
        return Prepared(job, across)
    return Prepared(job, across, plan(unmeasured(job.circuit).operations, job.circuit.qubits, across))


def run(prepared: Prepared, double: bool = False) -> Result | Expectations:
    """The answer to a prepared job. Raises BackendError."""
    start, (job, across, todo) = perf_counter(), prepared
    if todo is not None:
        return measurement.of_state(job, reached(job.circuit.qubits, todo, lambda: True, double, across), start)
    rows, counts = sampled(job.circuit, job.shots, np.random.default_rng(job.seed), double, across)
    return result_of(job.circuit, rows, counts, perf_counter() - start)
