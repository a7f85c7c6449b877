"""What all mitigations share: a backend around another one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from qmosaic.backends.base import Answer, Backend, Estimate, Health, Job, Placed, Usage, run_async
from qmosaic.codecs.models.circuit import Circuit


class Prepared(NamedTuple):
    """A job, what the inner backend made of it, and on which of its qubits it is measured."""

    job: Job
    parts: tuple[Any, ...]
    on: tuple[int, ...] = ()


class Wrapper(Backend):
    """Everything is the inner backend's, unless a mitigation says otherwise."""

    kind: str

    def __init__(self, inner: Backend) -> None:
        self.inner = inner
        self.name = f"{self.kind}({inner.name})"
        self.capabilities = inner.capabilities

    def placed(self, job: Job) -> Placed:
        """That of the inner backend."""
        return self.inner.placed(job)

    def health(self) -> Health:
        """That of the inner backend."""
        return self.inner.health()

    def warm_up(self) -> None:
        """That of the inner backend."""
        self.inner.warm_up()

    def close(self) -> None:
        """That of the inner backend."""
        self.inner.close()

    async def _answers(self, parts: Sequence[Any]) -> list[Answer]:
        """The inner backend's, in batches no larger than it wants."""
        size = max(1, self.inner.capabilities.batch)
        batches = (parts[start : start + size] for start in range(0, len(parts), size))
        return [answer for batch in batches for answer in await run_async(self.inner, batch)]


def observed(job: Job) -> bool:
    """Whether a job asks for expectation values."""
    return isinstance(job.kernel, Circuit) and bool(job.kernel.observables)


def with_work(answer: Answer, spent: Sequence[Answer]) -> Answer:
    """An answer with the work and the usage of all that it took."""
    usage = Usage(
        sum(each.usage.queue_seconds for each in spent),
        sum(each.usage.device_seconds for each in spent),
        sum(each.usage.cost for each in spent),
        " ".join(each.usage.job_id for each in spent if each.usage.job_id),
    )
    return replace(answer, work_seconds=sum(each.work_seconds for each in spent), usage=usage)


def summed(estimates: Iterable[Estimate]) -> Estimate:
    """One after the other; the first is of the job itself."""
    each = list(estimates)
    return Estimate(
        sum(one.seconds for one in each),
        sum(one.cost for one in each),
        each[0].fidelity,
        max(one.memory_bytes for one in each),
        sum(one.shots for one in each),
        sum(one.jobs for one in each),
    )
