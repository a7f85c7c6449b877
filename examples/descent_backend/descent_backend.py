"""A backend of your own, in one file: steepest descent from random states. docs/backends.md tells how to plug it in."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

import numpy as np

from qmosaic.backends.base import Backend, Capabilities, Job, Result, check
from qmosaic.backends.solvers.quadratic import quadratised
from qmosaic.codecs.models.polynomial import SpinPolynomial

MAX_STARTS = 64


class Descent(Backend):
    """Flips the variable that lowers the energy most, until none does."""

    name = "example.descent"
    capabilities = Capabilities(target="classical", max_qubits=1_000, batch=16, uses_angles=False)

    def prepare(self, job: Job) -> tuple[Job, SpinPolynomial]:
        """The job and its kernel as a plain quadratic model: extra variables stand behind. Raises BackendError."""
        check(job, self.name, self.capabilities)
        return job, quadratised(job.polynomial, self.capabilities.max_qubits, self.name)

    def run(self, batch: Sequence[tuple[Job, SpinPolynomial]]) -> list[Result]:
        """At most `MAX_STARTS` descents for each job, from its own seed: no job depends on its neighbours."""
        return [_descend(*each) for each in batch]


def _descend(job: Job, model: SpinPolynomial) -> Result:
    start, kernel = perf_counter(), job.polynomial
    couplings = np.zeros((model.n, model.n))
    couplings[model.rows, model.cols] = couplings[model.cols, model.rows] = model.J
    generator = np.random.default_rng(job.seed)
    samples = np.empty((min(job.shots, MAX_STARTS), kernel.n), np.uint8)
    for row in samples:
        spins = generator.choice([-1.0, 1.0], model.n)
        while True:
            gain = 2 * spins * (model.h + couplings @ spins)  # what flipping each variable would save
            best = int(gain.argmax())
            if gain[best] <= 1e-12:
                break
            spins[best] = -spins[best]
        row[:] = spins[: kernel.n] < 0  # s = 1 - 2x
    return Result.of_samples(kernel, samples, perf_counter() - start)
