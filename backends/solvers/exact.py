"""`exact` (target classical): an answer that is an optimum.

Any kernel of up to 26 variables: all 2^n states, block by block. Larger ones, without constraints: by elimination of
one variable after the other, where the terms are sparse enough for that (`elimination`).

In NumPy, which takes 0.1 s for all couplings between 26 variables. A compiled loop of JAX takes half of that, but its
import and compilation more, and double precision, without which ties cannot be told, would be on for the whole process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import product
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, UInt8
from scipy.linalg import hadamard

from qmosaic.backends.base import Backend, Capabilities, Estimate, Job, Result, check
from qmosaic.backends.estimates import refuse_memory
from qmosaic.backends.solvers import elimination
from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.models.arrays import bits_of_states
from qmosaic.codecs.models.polynomial import SpinPolynomial

MAX_OPTIMA = 64
"""The most optima a result lists."""
TIE = 1e-9
"""States this close to the least energy count as optima: in units of the largest |E| among all states, or of a bound
on it where they are not enumerated."""
BLOCK = 20
"""Bits of the states that are enumerated at once: 8 MiB of energies."""
NARROW_ENTRIES = 1 << 26
"""The most of all tables of an elimination: what takes a second, and some hundred MiB."""
STATE_SECONDS, HIGHER_SECONDS = 2e-9, 2e-8
"""For a state, and for one where there are terms of higher order or constraints."""


def energies(kernel: SpinPolynomial, head: Sequence[int] = ()) -> Float64[np.ndarray, " states"]:
    """E, offset included, of all states that begin with the bits `head`; state x at index x, the rest of it read as
    a binary number, its first bit first.

    Up to the couplings, E = A(left half of the bits) + B(right half) + the couplings across, which are one matrix
    product.
    """
    fixed = 1.0 - 2.0 * np.array(head)
    f = len(head)
    a, left, right = _halves(kernel.n - f)
    J = np.zeros((kernel.n, kernel.n))
    J[kernel.rows, kernel.cols] = kernel.J
    h = kernel.h[f:] + fixed @ J[:f, f:]
    offset = kernel.offset + fixed @ (kernel.h[:f] + J[:f, :f] @ fixed)
    J = J[f:, f:]
    left, right = 1.0 - 2.0 * left, 1.0 - 2.0 * right
    lefts = ((left @ J[:a, :a]) * left).sum(1) + left @ h[:a] + offset
    rights = ((right @ J[a:, a:]) * right).sum(1) + right @ h[a:]
    total = np.c_[left @ J[:a, a:], lefts, np.ones(len(left))] @ np.c_[right, np.ones(len(right)), rights].T
    if kernel.higher:
        total += _higher(kernel, fixed).reshape(total.shape)
    return np.asarray(total.ravel())


def _higher(kernel: SpinPolynomial, fixed: Float64[np.ndarray, " f"]) -> Float64[np.ndarray, " states"]:
    """The terms of higher order in all states: the Walsh-Hadamard transform of their coefficients."""
    free = kernel.n - len(fixed)
    signs, places = np.ones(kernel.n), np.zeros(kernel.n, np.int64)
    signs[: len(fixed)] = fixed
    places[len(fixed) :] = 1 << np.arange(free)[::-1]
    part = np.zeros(2**free)
    for terms in kernel.higher:
        np.add.at(part, places[terms.index].sum(axis=1), signs[terms.index].prod(axis=1) * terms.values)
    for done in range(0, free, 4):  # the first bits are transformed and go to the end, until all have been there
        size = 2 ** min(4, free - done)
        part = (part.reshape(size, -1).T @ hadamard(size)).ravel()
    return part


def feasible(kernel: SpinPolynomial, head: Sequence[int] = ()) -> Bool[np.ndarray, " states"]:
    """Which of all states that begin with `head` keep the constraints; order as in `energies`."""
    f = len(head)
    a, left, right = _halves(kernel.n - f)
    kept = np.ones((len(left), len(right)), bool)
    for constraint in kernel.constraints:
        weights = np.zeros(kernel.n)
        weights[constraint.variables] = constraint.coefficients
        start = np.array(head) @ weights[:f]
        kept &= constraint.allows((left @ weights[f : f + a] + start)[:, None] + right @ weights[f + a :])
    return kept.ravel()


def _halves(n: int) -> tuple[int, Any, Any]:
    """The size of the left half of n bits, and all states of both."""
    a = n // 2
    return a, bits_of_states(np.arange(2**a), a), bits_of_states(np.arange(2 ** (n - a)), n - a)


def _heads(kernel: SpinPolynomial) -> product[tuple[int, ...]]:
    """What the blocks of states begin with, in order."""
    return product((0, 1), repeat=max(0, kernel.n - BLOCK))


class Prepared(NamedTuple):
    """A job, and the order to eliminate its variables in; None where all states are enumerated."""

    job: Job
    plan: elimination.Plan | None


class Exact(Backend):
    """Lists the optima (at most `MAX_OPTIMA`, in the order of their bits; the first ones where all states are
    enumerated, else any), each counted once.

    Of a kernel with constraints: the best states that keep them.
    """

    name = "exact"
    capabilities = Capabilities(
        target="classical",
        max_qubits=26,
        batch=16,
        uses_angles=False,
        max_narrow_qubits=elimination.MAX_VARIABLES,
    )

    def prepare(self, job: Job) -> Prepared:
        """The job, checked. Raises BackendError, too where no state at all keeps the constraints."""
        plan = self._plan(job)
        kernel = job.polynomial
        if kernel.constraints and not any(feasible(kernel, head).any() for head in _heads(kernel)):
            raise BackendError(
                "no state keeps all constraints", place="job.kernel", remedy="Check the constraints of the problem."
            )
        return Prepared(job, plan)

    def run(self, batch: Sequence[Prepared]) -> list[Result]:
        """One search for each job; seed and shots do not matter."""
        return [_solve(*each) for each in batch]

    def estimate(self, job: Job) -> Estimate:
        """By the number of states, or of the entries of all tables. Raises BackendError."""
        plan = self._plan(job)
        kernel = job.polynomial
        if plan is None:
            each = HIGHER_SECONDS if kernel.higher or kernel.constraints else STATE_SECONDS
            seconds, needed = each * 2**kernel.n, 32 * 2 ** min(kernel.n, BLOCK)
        else:
            seconds, needed = plan.seconds, plan.bytes
        refuse_memory(self.name, job, needed)
        return Estimate(seconds, memory_bytes=needed)

    def _plan(self, job: Job) -> elimination.Plan | None:
        """None for what is enumerated. Raises BackendError."""
        if not isinstance(job.kernel, SpinPolynomial) or job.kernel.n <= self.capabilities.max_qubits:
            check(job, self.name, self.capabilities)
            return None
        check(job, self.name, replace(self.capabilities, max_qubits=self.capabilities.max_narrow_qubits))
        return elimination.plan(job.kernel, self.name)


def is_narrow(kernel: SpinPolynomial) -> bool:
    """Whether it has too many states to enumerate, and its variables can be eliminated within a second."""
    if not Exact.capabilities.max_qubits < kernel.n <= elimination.MAX_VARIABLES:
        return False
    try:
        return elimination.plan(kernel, Exact.name).entries <= NARROW_ENTRIES
    except BackendError:
        return False


def _solve(job: Job, plan: elimination.Plan | None) -> Result:
    start = perf_counter()
    kernel = job.polynomial
    if plan is None:
        samples = _enumerated(kernel)
    else:
        samples = elimination.optima(kernel, plan, MAX_OPTIMA, TIE * (kernel.scale + abs(kernel.offset)))
    return Result.of_samples(kernel, samples, perf_counter() - start)


def _enumerated(kernel: SpinPolynomial) -> UInt8[np.ndarray, "k n"]:
    """The first optima: the least energy of each block, then the states of those blocks that have such ones."""

    @lru_cache(maxsize=1)
    def block(head: tuple[int, ...]) -> tuple[Float64[np.ndarray, " states"], float]:
        values = energies(kernel, head)
        largest = max(abs(float(values.min())), abs(float(values.max())))
        if kernel.constraints:
            values[~feasible(kernel, head)] = np.inf
        return values, largest

    def seen(head: tuple[int, ...]) -> tuple[float, float]:
        values, largest = block(head)
        return float(values.min()), largest

    heads = list(_heads(kernel))
    least, largest = np.array([seen(head) for head in heads]).T
    bound = least.min() + TIE * largest.max()
    found: list[Any] = []
    for head, low in zip(heads, least, strict=True):
        if low <= bound and sum(map(len, found)) < MAX_OPTIMA:
            bits = bits_of_states(np.flatnonzero(block(head)[0] <= bound)[:MAX_OPTIMA], kernel.n - len(head))
            found.append(np.c_[np.tile(np.array(head, np.uint8), (len(bits), 1)), bits])
    return np.concatenate(found)[:MAX_OPTIMA]
