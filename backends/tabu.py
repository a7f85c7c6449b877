"""`tabu` (target classical): multistart tabu search, by dwave-samplers (Palubeckis 2004)."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

from dwave.samplers import TabuSampler

from qmosaic.backends.annealing import Prepared, prepared, samples_by
from qmosaic.backends.base import Backend, Capabilities, Job, Result
from qmosaic.codecs.model import SpinPolynomial

MAX_READS = 8
"""A read is a whole search, worth far more than a shot: at most this many, whatever `shots` says."""
RESTARTS = 2
STEPS = 2000
"""Moves of one search, in units of the number of variables n, while n^2 of them stay below `MAX_WORK`."""
MAX_WORK = 400_000_000


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


def _search(job: Job, model: SpinPolynomial) -> Result:
    start = perf_counter()
    steps = max(4, min(STEPS, MAX_WORK // model.n**2))
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
