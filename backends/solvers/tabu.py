"""`tabu` (target classical): multistart tabu search, by dwave-samplers (Palubeckis 2004)."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

from dwave.samplers import TabuSampler

from qmosaic.backends.base import Backend, Capabilities, Estimate, Job, Result
from qmosaic.backends.estimates import refuse_memory
from qmosaic.backends.solvers.annealing import COUPLING_BYTES, Prepared, prepared, samples_by
from qmosaic.codecs.models.polynomial import SpinPolynomial

MAX_READS = 8
"""A read is a whole search, worth far more than a shot: at most this many, whatever `shots` says."""
RESTARTS = 2
STEPS = 2000
"""Moves of one search, in units of the number of variables n, while n^2 of them stay below `MAX_WORK`."""
MAX_WORK = 400_000_000
MOVE_SECONDS, PAIR_SECONDS = 1e-8, 4e-8
"""For one variable that a move looks at, and for each pair of variables of a read: its matrix is dense."""


class Tabu(Backend):
    """Independent searches from random states, bounded by moves and not by time, so that seeds decide."""

    name = "tabu"
    capabilities = Capabilities(target="classical", max_qubits=2_000, batch=16, uses_angles=False)

    def prepare(self, job: Job) -> Prepared:
        """The job with the quadratic model to search. Raises BackendError."""
        return prepared(job, self.name, self.capabilities)

    def run(self, batch: Sequence[Prepared]) -> list[Result]:
        """`min(shots, MAX_READS)` searches for each job."""
        return [_search(*each) for each in batch]

    def estimate(self, job: Job) -> Estimate:
        """By the moves looked at. Raises BackendError."""
        model = self.prepare(job).model
        needed = 16 * model.n**2 + COUPLING_BYTES * len(model.J)
        refuse_memory(self.name, job, needed)
        read = MOVE_SECONDS * (1 + RESTARTS / 4) * _steps(model.n) * model.n + PAIR_SECONDS * model.n**2
        return Estimate(min(job.shots, MAX_READS) * read, memory_bytes=needed)


def _steps(n: int) -> int:
    return max(4, min(STEPS, MAX_WORK // n**2))


def _search(job: Job, model: SpinPolynomial) -> Result:
    start = perf_counter()
    steps = _steps(model.n)
    samples = samples_by(
        TabuSampler,
        model,
        num_reads=min(job.shots, MAX_READS),
        seed=job.seed % 2**32,
        timeout=None,
        num_restarts=RESTARTS,
        coefficient_z_first=steps,
        coefficient_z_restart=steps // 4,
        lower_bound_z=0,
    )
    return Result.of_samples(job.polynomial, samples[:, : job.polynomial.n], perf_counter() - start)
