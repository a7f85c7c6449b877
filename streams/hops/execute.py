"""The hop execute: jobs to proposals, on the backends of one target."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import msgspec

from qmosaic.codecs.events import reasons, wire
from qmosaic.codecs.events.control import BackendStatus
from qmosaic.codecs.events.hops import Failure, JobEvent, Proposal
from qmosaic.codecs.models.kernel import Kind
from qmosaic.processors.execute import advance, proposal_of
from qmosaic.streams.hops import jobs as pool
from qmosaic.streams.hops import processes
from qmosaic.streams.hops.hop import Look, looked, next_send
from qmosaic.streams.kafka.records import Received, Send
from qmosaic.streams.settings import Settings

LEAST_SECONDS = 0.1  # a run is given, even where the deadline is over

# The lanes of execute, in seconds of work: up to a tenth of a second, up to some seconds, and beyond.
LANES = (0.1, 1.6)


class Execute:
    """jobs.<target> → proposals, on the backends of one target; equal jobs of a batch run once.

    Lanes by size, so that a large circuit does not hold up the small ones; all but the first at lower priority. What
    holds Python's lock (Cirq) runs in processes, the rest in threads.
    """

    def __init__(self, settings: Settings, stage: str) -> None:
        self._settings = settings
        self._target = msgspec.convert(stage.removeprefix("execute."), reasons.Target)
        self._backends = settings.execute.backends.get(self._target, ())
        self._sizes: dict[str, dict[Kind, int]] = {}
        self._lanes = [self._executor(lane) for lane in range(len(LANES) + 1)]

    def _executor(self, lane: int) -> Executor:
        if self._target != "quantum":
            lower = processes.lower_priority if lane else None
            return ThreadPoolExecutor(1, thread_name_prefix="execute", initializer=lower)
        start = processes.background if lane else processes.foreground
        return start(self._settings.execute.processes)

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        cache = str(self._settings.compilation_cache)
        warmed = [loop.run_in_executor(lane, pool.warm_execute, self._backends, cache) for lane in self._lanes]
        self._sizes = (await asyncio.gather(*warmed))[0]

    def look(self, record: Received) -> Look:
        return looked(record)

    async def handle(self, batch: Sequence[Received], lane: int) -> list[Send]:
        values = [m.value or b"" for m in batch]
        jobs = [wire.decode(value, JobEvent) for value in values]
        try:
            answered = await self._run(jobs, values, lane)
        except BrokenProcessPool:
            self._lanes[lane] = self._executor(lane)
            raise
        found = [wire.decode(value, Proposal) for value in answered]
        ended = [advance(job, said.failure) if said.failure else said for job, said in zip(jobs, found, strict=True)]
        return [next_send(event, cause, self._settings.paid.backends) for cause, event in enumerate(ended)]

    async def _run(self, jobs: Sequence[JobEvent], values: Sequence[bytes], lane: int) -> list[bytes]:
        """Proposals in the order of the jobs. A run that nobody waits for any more, or for too long, is given up."""
        left = max(job.ref.deadline_at for job in jobs) - time.time()
        seconds = max(LEAST_SECONDS, min(left, self._settings.execute.max_seconds))
        loop = asyncio.get_running_loop()
        try:
            run = loop.run_in_executor(self._lanes[lane], pool.run_jobs, values)
            return await asyncio.wait_for(run, seconds)
        except TimeoutError:
            processes.abandon(self._lanes[lane])
            self._lanes[lane] = self._executor(lane)
            failure = Failure("execute", "execution_failed", f"no answer after {seconds:.1f} s")
            return [wire.encode(proposal_of(job, failure)) for job in jobs]

    def status(self) -> BackendStatus:
        return BackendStatus(worker="", target=self._target, backends=self._sizes, at=time.time())

    async def stop(self) -> None:
        for executor in self._lanes:
            executor.shutdown(wait=False, cancel_futures=True)
