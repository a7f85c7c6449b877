"""The hop execute: jobs to proposals, on the backends of one target."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from time import perf_counter

import msgspec

from qmosaic.codecs.events import reasons, wire
from qmosaic.codecs.events.control import BackendStatus
from qmosaic.codecs.events.hops import Answer, Failure, FailureReason, JobEvent, Proposal
from qmosaic.codecs.models.kernel import Kind
from qmosaic.processors.control.breakers import Tallies
from qmosaic.processors.control.cache import Results, key_of
from qmosaic.processors.execute import advance, proposal_of
from qmosaic.streams.hops import jobs as pool
from qmosaic.streams.hops import processes
from qmosaic.streams.hops.hop import Look, attempt_step, looked, next_send
from qmosaic.streams.kafka.records import Received, Send, Step
from qmosaic.streams.settings import Settings, needs_programs

SLOW, SLOW_SECONDS = 10.0, 2.0
"""An attempt that takes so many times what was estimated, and so many seconds at least, counts as slow."""
FAIR_SECONDS = 1.0
"""What is given up after less than this, or less than `SLOW` times the estimate, had no fair time before its deadline:
on a machine that has too much to do that says nothing about the backend."""
NOT_CACHED = Failure("execute", "not_cached", "no result of an equal job is known here", refused=True)
LEAST_SECONDS = 0.1  # a run is given, even where the deadline is over
LEAST_COMPILING = 0.001  # seconds that are worth a span

# The lanes of execute, in seconds of work: up to a tenth of a second, up to some seconds, and beyond.
LANES = (0.1, 1.6)


class Execute:
    """jobs.<target> → proposals, on the backends of one target; equal jobs of a batch run once.

    Lanes by size, so that a large circuit does not hold up the small ones; all but the first at lower priority. What
    holds Python's lock (Cirq, and what is not ours) runs in processes, the rest in threads.
    """

    def __init__(self, settings: Settings, stage: str, clock: Callable[[], float] = time.time) -> None:
        """`clock`: seconds since the epoch."""
        self._settings, self._clock = settings, clock
        self._target = msgspec.convert(stage.removeprefix("execute."), reasons.Target)
        self._backends = settings.execute.backends.get(self._target, ())
        self._sizes: dict[str, dict[Kind, int]] = {}
        self._tallies = Tallies()
        self._results = Results(settings.execute.cache_bytes)
        self._apart = tuple(name for name in self._backends if self._target == "quantum" or name.startswith("cirq."))
        self._lanes = [self._threads(lane) for lane in range(len(LANES) + 1)]
        self._helpers = [self._processes(lane) for lane in range(len(LANES) + 1)]

    def _threads(self, lane: int) -> Executor:
        lower = processes.lower_priority if lane else None
        return ThreadPoolExecutor(1, thread_name_prefix="execute", initializer=lower)

    def _processes(self, lane: int) -> Executor:
        start = processes.background if lane else processes.foreground
        return start(self._settings.execute.processes)

    async def start(self) -> asyncio.Task[None] | None:
        """The others are there as soon as they are loaded: those that need Cirq, or compiled programs."""
        loop = asyncio.get_running_loop()
        programs = partial(pool.use_programs, self._settings.compiled_programs, self._settings.usual_programs)
        if any(map(needs_programs, self._backends)):
            await loop.run_in_executor(self._lanes[0], programs)
        at_once = [name for name in self._backends if name not in self._apart]
        self._sizes = await loop.run_in_executor(self._lanes[0], pool.sizes_of, at_once)
        warm = [name for name in at_once if not needs_programs(name)]  # programs are loaded when they are used first
        await asyncio.gather(*(loop.run_in_executor(lane, pool.loaded, warm) for lane in self._lanes))
        if not self._apart:
            return None
        loading = asyncio.create_task(self._load())
        if not at_once:
            await loading
        return loading

    async def _load(self) -> None:
        loop = asyncio.get_running_loop()
        self._sizes |= await loop.run_in_executor(self._helpers[0], pool.loaded, self._apart)

    def look(self, record: Received) -> Look:
        return looked(record)

    async def handle(self, batch: Sequence[Received], lane: int) -> list[Send]:
        values = [m.value or b"" for m in batch]
        jobs = [wire.decode(value, JobEvent) for value in values]
        ended, again = self._had_before(jobs)
        rest = [k for k in range(len(jobs)) if k not in ended and k not in again]
        answered: dict[str, Answer] = {}
        failed: dict[str, Failure] = {}
        answers: dict[int, bytes] = {}
        times: dict[int, tuple[float, float]] = {}
        steps: dict[int, tuple[Step, ...]] = {}
        began = perf_counter()
        for apart in (False, True):
            members = [k for k in rest if (jobs[k].route.backend in self._apart) is apart]
            if members:
                part, started = ([jobs[k] for k in members], [values[k] for k in members]), self._clock()
                answers |= zip(members, await self._run(*part, lane, apart), strict=True)
                times |= dict.fromkeys(members, (started, self._clock()))
        seconds = (perf_counter() - began) / max(1, len(rest))
        for k in rest:
            job, said = jobs[k], wire.decode(answers[k], Proposal)
            self._count(job, said.failure, seconds)
            key = key_of(job)
            if said.answer is not None:
                answered[key] = said.answer
                self._results.put(key, said.answer, len(answers[k]))
            if said.failure is not None:
                failed[key] = said.failure
            ended[k] = advance(job, said.failure, seconds) if said.failure else _timed(said, seconds)
            steps[k] = (_step(job, ended[k], *times[k], said.compile_seconds),)
        for k in again:
            key = key_of(jobs[k])
            answer = answered.get(key) or failed[key]
            ended[k] = (
                proposal_of(jobs[k], answer, 0.0, cached=True)
                if isinstance(answer, Answer)
                else advance(jobs[k], answer)
            )
        paid = self._settings.paid.backends
        return [next_send(ended[cause], cause, paid, steps.get(cause, ())) for cause in sorted(ended)]

    def _had_before(self, jobs: Sequence[JobEvent]) -> tuple[dict[int, JobEvent | Proposal], list[int]]:
        """By number, what follows from jobs that take results that were had before; and which others of them will have
        the result of an equal one that runs now."""
        ended: dict[int, JobEvent | Proposal] = {}
        running, again = set[str](), []
        for k, job in enumerate(jobs):
            if job.ref.cache == "fresh":
                continue
            key = key_of(job)
            found = self._results.get(key)
            if found is not None:
                ended[k] = proposal_of(job, found, 0.0, cached=True)
            elif job.ref.cache == "only":
                ended[k] = advance(job, NOT_CACHED)
            elif key in running:
                again.append(k)
            else:
                running.add(key)
        return ended, again

    def _count(self, job: JobEvent, failure: Failure | None, seconds: float) -> None:
        """One attempt more. What was refused was none, nor what came too late. Solvers take the time they are given:
        they are never slow."""
        if failure is not None and (failure.refused or failure.reason == "deadline"):
            return
        is_slow = self._target != "classical" and seconds > max(SLOW_SECONDS, SLOW * job.work_seconds)
        self._tallies.count(job.route.backend, failure is not None, is_slow)

    async def _run(self, jobs: Sequence[JobEvent], values: Sequence[bytes], lane: int, apart: bool) -> list[bytes]:
        """Proposals in the order of the jobs. A run that nobody waits for any more, or for too long, is given up."""
        left, most = max(job.ref.deadline_at for job in jobs) - self._clock(), self._settings.execute.max_seconds
        seconds = max(LEAST_SECONDS, min(left, most))
        loop = asyncio.get_running_loop()
        try:
            run = loop.run_in_executor((self._helpers if apart else self._lanes)[lane], pool.run_jobs, values)
            return await asyncio.wait_for(run, seconds)
        except TimeoutError:
            if apart:
                processes.abandon(self._helpers[lane])
                self._helpers[lane] = self._processes(lane)
            else:
                processes.abandon(self._lanes[lane])
                self._lanes[lane] = self._threads(lane)
            fair = max(FAIR_SECONDS, SLOW * sum(job.work_seconds for job in jobs))
            reason: FailureReason = "execution_failed" if seconds >= min(fair, most) else "deadline"
            failure = Failure("execute", reason, f"no answer after {seconds:.1f} s")
            return [wire.encode(proposal_of(job, failure)) for job in jobs]

    def status(self) -> BackendStatus:
        there = {name: sizes for name, sizes in self._sizes.items() if not needs_programs(name) or pool.compiled()}
        return BackendStatus(
            worker="", target=self._target, backends=there, at=self._clock(), tallies=self._tallies.told()
        )

    async def stop(self) -> None:
        for executor in (*self._lanes, *self._helpers):
            executor.shutdown(wait=False, cancel_futures=True)


def _step(job: JobEvent, led_to: JobEvent | Proposal, started: float, ended: float, compiling: float) -> Step:
    """The attempt, and where it is worth a word, that it was compiled first."""
    if compiling < LEAST_COMPILING:
        return attempt_step(job, led_to, started, ended)
    compiled = Step(f"compile {job.route.backend}", started, min(started + compiling, ended))
    return attempt_step(job, led_to, started, ended, compiled)


def _timed(proposal: Proposal, seconds: float) -> Proposal:
    """Its last attempt took so long, of a batch in equal parts."""
    *before, last = proposal.tried
    return msgspec.structs.replace(proposal, tried=[*before, msgspec.structs.replace(last, seconds=round(seconds, 6))])
