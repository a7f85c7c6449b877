"""`annealing` (target classical): simulated annealing, by dwave-samplers."""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from dimod import SPIN, BinaryQuadraticModel
from dwave.samplers import SimulatedAnnealingSampler
from jaxtyping import UInt8

from qmosaic.backends.base import Backend, Capabilities, Estimate, Job, Result, check
from qmosaic.backends.estimates import refuse_memory
from qmosaic.backends.solvers.quadratic import quadratised
from qmosaic.codecs.models.polynomial import SpinPolynomial, bits_of

MAX_READS = 64
"""A read is a whole annealing run, worth far more than a shot: at most this many, whatever `shots` says."""
SWEEPS = 1000
MAX_UPDATES = 50_000_000
"""Spin updates of one job, about a second; fewer reads for kernels that would need more."""
UPDATE_SECONDS, NEIGHBOUR_SECONDS = 1.5e-8, 4e-10
"""For one update of a spin, and for every coupling it has."""
COUPLING_BYTES = 100
"""For one coupling, or field, in the model and in the sampler's own form."""


class Prepared(NamedTuple):
    """A job, and its kernel as a quadratic model; the kernel's variables are the model's first."""

    job: Job
    model: SpinPolynomial


class Annealing(Backend):
    """Independent annealing runs from random states, geometric in the inverse temperature."""

    name = "annealing"
    capabilities = Capabilities(target="classical", max_qubits=20_000, batch=16, uses_angles=False)

    def prepare(self, job: Job) -> Prepared:
        """The job with the quadratic model to anneal. Raises BackendError."""
        return prepared(job, self.name, self.capabilities)

    def run(self, batch: Sequence[Prepared]) -> list[Result]:
        """At most `min(shots, MAX_READS)` annealing runs for each job."""
        return [_anneal(*each) for each in batch]

    def estimate(self, job: Job) -> Estimate:
        """By the updates of spins. Raises BackendError."""
        model = self.prepare(job).model
        needed = COUPLING_BYTES * (model.n + len(model.J))
        refuse_memory(self.name, job, needed)
        sweep = UPDATE_SECONDS * model.n + NEIGHBOUR_SECONDS * 2 * len(model.J)
        return Estimate(_reads(job, model) * SWEEPS * sweep, memory_bytes=needed)


def prepared(job: Job, name: str, capabilities: Capabilities) -> Prepared:
    """A job for a solver of quadratic models. Raises BackendError."""
    check(job, name, capabilities)
    return Prepared(job, quadratised(job.polynomial, capabilities.max_qubits, name))


def samples_by(sampler: Any, model: SpinPolynomial, **options: Any) -> UInt8[np.ndarray, "reads n"]:
    """Samples of a quadratic model by a dimod sampler class, with that sampler's own options."""
    couplings = (model.rows, model.cols, model.J)
    found = sampler().sample(BinaryQuadraticModel.from_numpy_vectors(model.h, couplings, model.offset, SPIN), **options)
    return np.asarray(bits_of(found.samples(sorted_by=None)[:, list(range(model.n))]))


def temperatures(model: SpinPolynomial) -> tuple[float, float]:
    """First and last inverse temperature.

    Hot: a flip against the strongest possible local field is taken half the time. Cold: of the flips
    against the weakest bias, one in a hundred is left. Biases below a thousandth of the strongest local
    field do not count, so that one tiny weight does not freeze most of the schedule.
    """
    fields = np.abs(model.h)
    np.add.at(fields, model.rows, np.abs(model.J))
    np.add.at(fields, model.cols, np.abs(model.J))
    strongest = float(fields.max())
    if strongest == 0:
        return 0.1, 1.0
    biases = np.abs(np.concatenate([model.h, model.J]))
    weakest = float(biases[biases >= strongest / 1000].min(initial=strongest))
    return log(2) / (2 * strongest), log(100) / (2 * weakest)


def _reads(job: Job, model: SpinPolynomial) -> int:
    return max(1, min(job.shots, MAX_READS, MAX_UPDATES // (SWEEPS * model.n)))


def _anneal(job: Job, model: SpinPolynomial) -> Result:
    start = perf_counter()
    samples = samples_by(
        SimulatedAnnealingSampler,
        model,
        beta_range=temperatures(model),
        num_reads=_reads(job, model),
        num_sweeps=SWEEPS,
        seed=job.seed % 2**31,
    )
    return Result.of_samples(job.polynomial, samples[:, : job.polynomial.n], perf_counter() - start)
