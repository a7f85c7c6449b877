"""The agents' insides: what each stage does with a micro-batch. Take a batch, call the pure step, say what to send.

A handler blocks the event loop for some milliseconds at most: numerical work goes to a thread, what holds Python's
lock to a process.
Heavy libraries are imported when a worker of that stage starts, and in no other.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Protocol

import msgspec

from qmosaic.codecs import events
from qmosaic.codecs.events import BackendStatus, Encoded, Failure, Incumbent, JobEvent, Proposal, Reduced, envelope
from qmosaic.codecs.kernels import Kind
from qmosaic.processors.admit import Record, deadline_claimed, is_light
from qmosaic.processors.encode import encode
from qmosaic.processors.execute import proposal_of
from qmosaic.processors.route import route
from qmosaic.streams import pool, processes
from qmosaic.streams.beside import Beside, BesideError
from qmosaic.streams.core import defaults_of, limits_of
from qmosaic.streams.records import Received, Send
from qmosaic.streams.settings import Settings
from qmosaic.streams.status import StatusReader

log = logging.getLogger("qmosaic.worker")

# Of problems, encoded on the event loop: some 20 ms. A thread would have to take turns with the loop for Python's lock.
INLINE_BYTES = 128 * 1024
LEAST_SECONDS = 0.1  # a run is given, even where the deadline is over
# The lanes of execute, in qubits of work: up to a tenth of a second, up to some seconds, and beyond.
KERNELS = (16, 20)


# The lanes of encode: what takes milliseconds, and what is encoded in a process beside.
LIGHT, HEAVY = 0, 1
RANKS = {b"high": 0, b"low": 2, "high": 0, "low": 2}


class Look(msgspec.Struct, frozen=True, gc=False):
    """A record at a first look: how much work it is, its class (0 goes first), and its deadline (epoch seconds)."""

    size: int
    rank: int
    deadline_at: float


class Handler(Protocol):
    """One stage's work. Made once a worker; `start` before it takes partitions, `stop` after the last batch."""

    async def start(self) -> asyncio.Task[None] | None:
        """Until it can handle what comes. What is returned is still being made ready, for a part of it that waits."""
        ...

    def look(self, record: Received) -> Look:
        """What decides about a record's lane and turn. Microseconds, and no exceptions, whatever it is."""
        ...

    async def handle(self, batch: Sequence[Received], lane: int) -> list[Send]:
        """What to send for a batch. Raises for what it does not know: the shell isolates the culprit. BrokenProcessPool
        where a process died at it: the shell tries it again, alone.

        `lane`: which of the stage's lanes it came through; each lane has one batch at a time, or as many as the
        stage's `concurrency` says.
        """
        ...

    def status(self) -> BackendStatus | None:
        """A sign of life to publish every second, for stages that are chosen by it."""
        ...

    async def stop(self) -> None: ...


def looked(record: Received) -> Look:
    """At a record of ours: its sender says it in headers. Without them it is small, and has its turn among the last."""
    said = record.headers
    try:
        size, deadline_at = int(said.get("ce_size", b"0")), float(said.get("ce_deadline", b"inf"))
    except ValueError:
        size, deadline_at = 0, math.inf
    return Look(
        size, RANKS.get(said.get("ce_priority", b""), 1), deadline_at if deadline_at == deadline_at else math.inf
    )


class Encode:
    """problems → problems.encoded; what is not valid is left to verify."""

    def __init__(self, settings: Settings, stage: str) -> None:
        self._settings = settings
        self._limits, self._defaults = limits_of(settings), defaults_of(settings)

    async def start(self) -> None:
        beside = self._settings.beside
        self._beside = Beside(beside.memory_bytes, beside.seconds)

    def look(self, record: Received) -> Look:
        # By what the event itself says: headers of strangers are theirs.
        said = envelope(record.value)
        deadline_at = deadline_claimed(said, record.timestamp, self._limits, self._defaults)
        light = is_light(record.value, self._limits)
        return Look(LIGHT if light else HEAVY, RANKS.get(said.priority, 1) if said else 1, deadline_at)

    async def handle(self, batch: Sequence[Received], lane: int) -> list[Send]:
        records = [Record(m.topic, m.partition, m.offset, m.timestamp, m.value) for m in batch]
        if lane == HEAVY:
            encoded = [await self._encode_beside(record) for record in records]
        elif sum(len(m.value or b"") for m in batch) <= INLINE_BYTES:
            encoded = encode(records, self._limits, self._defaults)
        else:
            encoded = await asyncio.to_thread(encode, records, self._limits, self._defaults)
        return [
            Send("problems.encoded", event, cause, key=event.ref.problem_id, size=event.size)
            for cause, event in enumerate(encoded)
            if event is not None
        ]

    async def _encode_beside(self, record: Record) -> Encoded | None:
        try:
            # What is too late was dropped just now, and there is nothing before it in this lane.
            encoded = await self._beside.run(math.inf, encode, [record], self._limits, self._defaults)
        except BesideError as error:
            log.warning("%s %s:%s is not encoded: %s", record.topic, record.partition, record.offset, error)
            return None  # verify finds the same, and refuses it
        return encoded[0]

    def status(self) -> None:
        return None

    async def stop(self) -> None:
        self._beside.stop()


class Reduce:
    """problems.encoded → incumbents, problems.reduced. JAX, in threads: it releases Python's lock.

    The last two lanes, of problems that take a second and of those that take many, have processes of their own and
    lower priority: a tour or a molecule must not be felt by those that take milliseconds, nor a tour feel a molecule.
    """

    def __init__(self, settings: Settings, stage: str) -> None:
        self._settings = settings
        self._lanes: list[Executor] = [
            ThreadPoolExecutor(1, thread_name_prefix="reduce"),
            ThreadPoolExecutor(1, thread_name_prefix="reduce"),
            processes.background(1),
            processes.background(1),
        ]

    async def start(self) -> asyncio.Task[None]:
        """Small problems do not wait for the programs of the large: after a crash that is most of the time."""
        large = asyncio.create_task(self._start_large())
        await asyncio.get_running_loop().run_in_executor(self._lanes[0], pool.warm_reduce, self._settings, False)
        return large

    async def _start_large(self) -> None:
        """In the processes that large problems wait for. What the first has compiled, the second finds in the cache."""
        for lane in self._lanes[2:]:
            await asyncio.get_running_loop().run_in_executor(lane, pool.warm_reduce, self._settings, True)

    def look(self, record: Received) -> Look:
        return looked(record)

    async def handle(self, batch: Sequence[Received], lane: int) -> list[Send]:
        values = [m.value or b"" for m in batch]
        try:
            pairs = await self._run(values, lane)
        except BrokenProcessPool:
            self._lanes[lane] = processes.background(1)
            raise
        out: list[Send] = []
        for cause, (incumbent, reduced) in enumerate(pairs):
            ref = incumbent.ref
            out.append(Send("incumbents", incumbent, cause, key=ref.problem_id, partition=ref.partition))
            if reduced is not None:
                out.append(Send("problems.reduced", reduced, cause, key=ref.tenant))
        return out

    async def _run(self, values: Sequence[bytes], lane: int) -> list[tuple[Incumbent, Reduced | None]]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._lanes[lane], pool.run_reduce, values, self._settings.reduce, time.time()
        )

    def status(self) -> None:
        return None

    async def stop(self) -> None:
        for executor in self._lanes:
            executor.shutdown(wait=False, cancel_futures=True)


class Route:
    """problems.reduced → jobs.*, or straight to proposals where no backend is alive."""

    def __init__(self, settings: Settings, stage: str) -> None:
        self._settings = settings
        self._alive = StatusReader(settings)

    async def start(self) -> None:
        await self._alive.start()

    def look(self, record: Received) -> Look:
        return looked(record)

    async def handle(self, batch: Sequence[Received], lane: int) -> list[Send]:
        policy, paid = self._settings.route, self._settings.paid.backends
        decided = route(
            [events.decode(m.value or b"", Reduced) for m in batch],
            now=time.time(),
            rules=policy.rules,
            preference=policy.preference,
            alive=self._alive.alive(max(m.timestamp for m in batch)),
            paid=paid,
        )
        out: list[Send] = []
        for cause, event in enumerate(decided):
            if isinstance(event, JobEvent):
                attributes = {
                    "qmosaic__route__reason": event.route.reason,
                    "qmosaic__route__target": event.route.target,
                    "qmosaic__backend__name": event.route.backend,
                }
                topic = "jobs.paid" if event.route.backend in paid else f"jobs.{event.route.target}"
                out.append(Send(topic, event, cause, key=event.kernel_digest, attributes=attributes, size=event.size))
            else:
                out.append(proposal_send(event, cause))
        return out

    def status(self) -> None:
        return None

    async def stop(self) -> None:
        await self._alive.stop()


class Execute:
    """jobs.<target> → proposals, on the backends of one target; equal jobs of a batch run once.

    Lanes by size, so that a large circuit does not hold up the small ones; all but the first at lower priority. What
    holds Python's lock (Cirq) runs in processes, the rest in threads.
    """

    def __init__(self, settings: Settings, stage: str) -> None:
        self._settings = settings
        self._target = msgspec.convert(stage.removeprefix("execute."), events.Target)
        self._backends = settings.execute.backends.get(self._target, ())
        self._sizes: dict[str, dict[Kind, int]] = {}
        self._lanes = [self._executor(lane) for lane in range(len(KERNELS) + 1)]

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
        try:
            answered = await self._run(values, lane)
        except BrokenProcessPool:
            self._lanes[lane] = self._executor(lane)
            raise
        return [proposal_send(events.decode(value, Proposal), cause) for cause, value in enumerate(answered)]

    async def _run(self, values: Sequence[bytes], lane: int) -> list[bytes]:
        """Proposals in the order of the jobs. A run that nobody waits for any more, or for too long, is given up."""
        jobs = [events.decode(value, JobEvent) for value in values]
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
            return [events.encode(proposal_of(job, failure)) for job in jobs]

    def status(self) -> BackendStatus:
        return BackendStatus(worker="", target=self._target, backends=self._sizes, at=time.time())

    async def stop(self) -> None:
        for executor in self._lanes:
            executor.shutdown(wait=False, cancel_futures=True)


def proposal_send(event: Proposal, cause: int) -> Send:
    """A proposal on its way to verify, and what its span says."""
    ref, ran = event.ref, event.answer or event.failure
    circuit, usage = event.answer.circuit if event.answer else None, ran.usage if ran else None
    attributes = {
        "qmosaic__backend__name": event.route.backend if event.route else None,
        "qmosaic__circuit__qubits": circuit.qubits if circuit else None,
        "qmosaic__circuit__depth": circuit.depth if circuit else None,
        "qmosaic__circuit__two_qubit_gates": circuit.two_qubit_gates if circuit else None,
        "qmosaic__circuit__shots": circuit.shots if circuit else None,
        "qmosaic__execute__queue_seconds": usage.queue_seconds if usage else None,
        "qmosaic__execute__device_seconds": usage.device_seconds if usage else None,
        "qmosaic__execute__cost_usd": usage.cost_usd if usage else None,
        "qmosaic__execute__vendor_job_id": usage.vendor_job_id if usage else None,
        "qmosaic__failure__reason": event.failure.reason if event.failure else None,
        "qmosaic__route__reason": event.failure.route_reason if event.failure else None,
    }
    return Send("proposals", event, cause, key=ref.problem_id, partition=ref.partition, attributes=attributes)
