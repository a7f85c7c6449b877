"""`exact` (target classical): all 2^n states, so its answer is an optimum. For kernels of up to 22 variables."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any

import numpy as np
from jaxtyping import Float64

from qmosaic.backends.base import Capabilities, Job, Result, check
from qmosaic.codecs.model import SpinPolynomial

MAX_OPTIMA = 64
"""The most optima a result lists."""
TIE = 1e-9
"""States this close to the least energy, in units of the largest |E|, count as optima."""


def energies(kernel: SpinPolynomial) -> Float64[np.ndarray, " states"]:
    """E of all 2^n states, offset included; state x at index x read as a binary number, bit 0 first.

    E = A(left half of the bits) + B(right half) + the couplings across, which are one matrix product.
    """
    n, a = kernel.n, kernel.n // 2
    J = np.zeros((n, n))
    J[kernel.rows, kernel.cols] = kernel.J
    left, right = (1.0 - 2.0 * _bits(np.arange(2**size), size) for size in (a, n - a))
    total = (left @ J[:a, a:]) @ right.T
    total += ((left @ J[:a, :a]) * left).sum(1)[:, None] + (left @ kernel.h[:a])[:, None]
    total += ((right @ J[a:, a:]) * right).sum(1) + right @ kernel.h[a:] + kernel.offset
    return np.asarray(total.ravel())


def _bits(states: Any, n: int) -> Any:
    return ((states[:, None] >> np.arange(n)[::-1]) & 1).astype(np.uint8)


class Exact:
    """Lists the optima (at most `MAX_OPTIMA`, in the order of their bits), each counted once."""

    name = "exact"
    capabilities = Capabilities(target="classical", max_qubits=22, batch=16, uses_angles=False)

    def prepare(self, job: Job) -> Job:
        """The job itself, checked. Raises BackendError."""
        check(job, self.name, self.capabilities)
        return job

    def run(self, batch: Sequence[Job]) -> list[Result]:
        """One enumeration for each job; seed and shots do not matter."""
        return [_solve(job.polynomial) for job in batch]

    def warm_up(self) -> None:
        """Nothing to warm."""

    def close(self) -> None:
        """Nothing to give back."""


def _solve(kernel: SpinPolynomial) -> Result:
    start = perf_counter()
    values = energies(kernel)
    least = values.min()
    optima = np.flatnonzero(values <= least + TIE * max(abs(least), abs(values.max())))[:MAX_OPTIMA]
    return Result.of_samples(kernel, _bits(optima, kernel.n), perf_counter() - start)
