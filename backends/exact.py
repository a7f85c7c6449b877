"""`exact` (target classical): all 2^n states, so its answer is an optimum. For kernels of up to 22 variables."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64
from scipy.linalg import hadamard

from qmosaic.backends.base import Backend, Capabilities, Job, Result, check
from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.model import SpinPolynomial

MAX_OPTIMA = 64
"""The most optima a result lists."""
TIE = 1e-9
"""States this close to the least energy, in units of the largest |E|, count as optima."""


def energies(kernel: SpinPolynomial) -> Float64[np.ndarray, " states"]:
    """E of all 2^n states, offset included; state x at index x read as a binary number, bit 0 first.

    Up to the couplings, E = A(left half of the bits) + B(right half) + the couplings across, which are one matrix
    product.
    """
    n, a = kernel.n, kernel.n // 2
    J = np.zeros((n, n))
    J[kernel.rows, kernel.cols] = kernel.J
    left, right = (1.0 - 2.0 * _bits(np.arange(2**size), size) for size in (a, n - a))
    total = (left @ J[:a, a:]) @ right.T
    total += ((left @ J[:a, :a]) * left).sum(1)[:, None] + (left @ kernel.h[:a])[:, None]
    total += ((right @ J[a:, a:]) * right).sum(1) + right @ kernel.h[a:] + kernel.offset
    if kernel.higher:
        total += _higher(kernel).reshape(total.shape)
    return np.asarray(total.ravel())


def _higher(kernel: SpinPolynomial) -> Float64[np.ndarray, " states"]:
    """The terms of higher order in all states: the Walsh-Hadamard transform of their coefficients."""
    n = kernel.n
    part = np.zeros(2**n)
    for terms in kernel.higher:
        part[(1 << (n - 1 - terms.index)).sum(axis=1)] = terms.values
    for before in range(0, n, 4):
        size = 2 ** min(4, n - before)
        part = (hadamard(size) @ part.reshape(2**before, size, -1)).ravel()
    return part


def feasible(kernel: SpinPolynomial) -> Bool[np.ndarray, " states"]:
    """Which of all 2^n states keep the constraints; order as in `energies`."""
    n, a = kernel.n, kernel.n // 2
    left, right = (_bits(np.arange(2**size), size) for size in (a, n - a))
    kept = np.ones((len(left), len(right)), bool)
    for constraint in kernel.constraints:
        weights = np.zeros(n)
        weights[constraint.variables] = constraint.coefficients
        kept &= constraint.allows((left @ weights[:a])[:, None] + right @ weights[a:])
    return kept.ravel()


def _bits(states: Any, n: int) -> Any:
    return ((states[:, None] >> np.arange(n)[::-1]) & 1).astype(np.uint8)


class Prepared(NamedTuple):
    """A job, and which states keep its constraints; None where there are none."""

    job: Job
    kept: Bool[np.ndarray, " states"] | None


class Exact(Backend):
    """Lists the optima (at most `MAX_OPTIMA`, in the order of their bits), each counted once.

    Of a kernel with constraints: the best states that keep them.
    """

    name = "exact"
    capabilities = Capabilities(target="classical", max_qubits=22, batch=16, uses_angles=False)

    def prepare(self, job: Job) -> Prepared:
        """The job, checked. Raises BackendError, too where no state at all keeps the constraints."""
        check(job, self.name, self.capabilities)
        if not job.polynomial.constraints:
            return Prepared(job, None)
        kept = feasible(job.polynomial)
        if not kept.any():
            raise BackendError(
                "no state keeps all constraints", place="job.kernel", remedy="Check the constraints of the problem."
            )
        return Prepared(job, kept)

    def run(self, batch: Sequence[Prepared]) -> list[Result]:
        """One enumeration for each job; seed and shots do not matter."""
        return [_solve(job.polynomial, kept) for job, kept in batch]


def _solve(kernel: SpinPolynomial, kept: Bool[np.ndarray, " states"] | None) -> Result:
    start = perf_counter()
    values = energies(kernel)
    largest = max(abs(values.min()), abs(values.max()))
    if kept is not None:
        values[~kept] = np.inf
    optima = np.flatnonzero(values <= values.min() + TIE * largest)[:MAX_OPTIMA]
    return Result.of_samples(kernel, _bits(optima, kernel.n), perf_counter() - start)
