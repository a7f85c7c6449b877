"""`fake`: a backend for the tests of your own pipeline. Random samples, scripted answers, scripted failures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from jaxtyping import UInt8

from qmosaic.backends.base import Backend, Capabilities, Job, Result, Target, check
from qmosaic.codecs.errors import BackendError

Answer = Callable[[Job], UInt8[np.ndarray, "shots n"]]


def random_samples(job: Job) -> UInt8[np.ndarray, "shots n"]:
    """`shots` uniformly random samples from the job's seed."""
    return np.random.default_rng(job.seed).integers(2, size=(job.shots, job.polynomial.n), dtype=np.uint8)


class Fake(Backend):
    """Deterministic, instant, and it remembers what it was given.

    `answer`: the samples of a job. `failures`: what each call of `run` in turn raises, None for none;
    after the last one all succeed. `batches`: the jobs of every call of `run`, failed ones too.
    """

    name = "fake"
    capabilities = Capabilities(target="classical", max_qubits=10_000, batch=64, uses_angles=False)

    def __init__(
        self,
        answer: Answer = random_samples,
        failures: Iterable[BackendError | None] = (),
        target: Target = "classical",
    ) -> None:
        self.capabilities = Capabilities(target, max_qubits=10_000, batch=64, uses_angles=False)
        self.batches: list[list[Job]] = []
        self._answer, self._failures = answer, iter(failures)

    def prepare(self, job: Job) -> Job:
        """The job itself, checked. Raises BackendError."""
        check(job, self.name, self.capabilities)
        return job

    def run(self, batch: Sequence[Job]) -> list[Result]:
        """The scripted answers. Raises the next scripted failure."""
        self.batches.append(list(batch))
        if failure := next(self._failures, None):
            raise failure
        return [Result.of_samples(job.polynomial, self._answer(job), work_seconds=0.0) for job in batch]
