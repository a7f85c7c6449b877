"""The stage of paid jobs: jobs.paid → proposals, each job sent to its vendor once, whatever worker it is that does it.

A job is picked up where the journal says the last worker left it. Long waits are waits on the event loop: a worker
has as many jobs under way as the stage's `concurrency` says. Stopping a worker leaves its jobs at the vendors, for the
next one.

Backends may be wrapped (`zne(ionq/qpu.forte-1)`): each run that a wrapper needs for a problem is a job of its own at
the vendor, sent once, too.

With a limit of money, a job whose estimate is over it is refused before anything of it is written or sent. What is
under way already goes on, for it may be paid for.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from aiokafka.errors import KafkaError

from qmosaic.backends.base import Job, run_async
from qmosaic.backends.registry import create, innermost, wrapped
from qmosaic.codecs.errors import BackendError, JobCancelled, JobTimedOut, JobUnknown, OverBudget
from qmosaic.codecs.events import wire
from qmosaic.codecs.events.control import BackendStatus
from qmosaic.codecs.events.hops import Answer, Failure, JobEvent, Proposal
from qmosaic.codecs.events.public import UsageInfo
from qmosaic.processors.execute import advance, answer_of, job_of, proposal_of
from qmosaic.streams.hops.hop import Look, looked, next_send
from qmosaic.streams.kafka.journal import KafkaJournal
from qmosaic.streams.kafka.records import Received, Send
from qmosaic.streams.settings import Settings

if TYPE_CHECKING:
    from qmosaic.backends.clouds.remote import RemoteBackend

log = logging.getLogger("qmosaic.paid")
T = TypeVar("T")

ENDED: dict[type[BackendError], Literal["timed_out", "cancelled", "unknown"] | None] = {
    JobTimedOut: "timed_out",
    JobCancelled: "cancelled",
    JobUnknown: "unknown",
    OverBudget: None,  # it never began
}


def client_id(namespace: str, event: JobEvent) -> str:
    """Our id of a job at its vendor: of the problem where it arrived, and the attempt."""
    ref = event.ref
    of = (namespace, ref.problem_id, ref.digest, ref.partition, ref.offset, ref.received_at, event.attempt)
    return f"qm-{sha256(repr(of).encode()).hexdigest()[:40]}"


class ExecutePaid:
    """jobs.paid → jobs.submitted, proposals."""

    def __init__(self, settings: Settings, stage: str, clock: Callable[[], float] = time.time) -> None:
        """`clock`: seconds since the epoch."""
        self._settings, self._clock = settings, clock
        self._journal = KafkaJournal(settings, stage)
        self._backends: dict[str, RemoteBackend] = {}
        self._compiler = ThreadPoolExecutor(1, thread_name_prefix="compile")

    async def start(self) -> None:
        """The backends there are, and the journal up to its end. Raises BackendError."""
        from qmosaic.backends.clouds.remote import RemoteBackend  # with Cirq: only this stage pays for it

        for name in self._settings.paid.backends:
            backend = create(innermost(name))
            if not isinstance(backend, RemoteBackend):
                raise BackendError(
                    f"{name} is none that is paid for",
                    place="paid.backends",
                    remedy="Name backends of clouds here; the others run in execute.",
                )
            backend.limits = self._settings.paid.limits
            self._backends[name] = backend
            wrapped(name, backend)  # it may not be fit for it
        await self._journal.start()

    def look(self, record: Received) -> Look:
        return looked(record)

    async def handle(self, batch: Sequence[Received], lane: int) -> list[Send]:
        found = [await self._one(wire.decode(record.value or b"", JobEvent)) for record in batch]
        paid = self._settings.paid.backends
        return [next_send(event, cause, paid) for cause, event in enumerate(found) if event is not None]

    async def _one(self, event: JobEvent) -> JobEvent | Proposal | None:
        job, name = job_of(event), event.route.backend
        try:
            vendor = self._backends.get(name)
            if vendor is None:
                raise BackendError(f"{name} is not in paid.backends", place="paid.backends")
            found = await self._paid(event, job, vendor)
        except BackendError as error:
            found = _failed(error)
        if found is None:
            return None
        return advance(event, found) if isinstance(found, Failure) else proposal_of(event, found)

    async def _compiling(self, work: Callable[..., T], *given: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._compiler, work, *given)

    async def _paid(self, event: JobEvent, job: Job, vendor: RemoteBackend) -> Answer | Failure | None:
        """The answer, or why there is none; None where the same problem and attempt are under way with another kernel
        or backend: a hop before this one was repeated, and what came of it first is what is paid for.

        Raises BackendError for what the vendor's backend refuses, or what costs too much.
        """
        from qmosaic.backends.clouds.price import check_cost
        from qmosaic.backends.clouds.remote import Journaled

        paid, of, name = self._settings.paid, client_id(self._settings.namespace, event), event.route.backend
        while True:
            own = Journaled(vendor, of, event.kernel_digest, self._journal, event.ref.deadline_at, name)
            backend = wrapped(name, own)  # of this problem alone: so are its calibrations
            prepared = await self._compiling(backend.prepare, job)
            try:
                last = await self._journal.last(of)
                if last is not None and (last.backend, last.job) != (name, event.kernel_digest):
                    log.warning("%s is under way as another job, on %s", event.ref.problem_id, last.backend)
                    return None
                if last is None and paid.max_cost_usd:
                    await self._compiling(check_cost, backend, job, paid.max_cost_usd, vendor.price_variable)
                try:
                    (found,) = await run_async(backend, [prepared])
                    return answer_of(job.kernel, found)
                except BackendError as error:
                    return _failed(await own.given_up(error), own.vendor_ids)
            except (KafkaError, TimeoutError) as error:
                log.warning("the journal does not answer: %s", error)
                await asyncio.sleep(paid.limits.ask_seconds)  # what was written is there when it answers again
            except Exception:
                await own.withdraw()  # nobody takes it up again
                raise

    def status(self) -> BackendStatus:
        sizes = {name: backend.capabilities.sizes for name, backend in self._backends.items()}
        return BackendStatus(worker="", target="quantum", backends=sizes, at=self._clock())

    async def stop(self) -> None:
        self._compiler.shutdown(wait=False, cancel_futures=True)
        await self._journal.stop()


def _failed(error: BackendError, vendor_id: str = "") -> Failure:
    """The failure of a job that the vendor had under its id, or none. Whether it charged for it is not known."""
    return Failure(
        "execute",
        "over_budget" if isinstance(error, OverBudget) else "execution_failed",
        str(error),
        ended=ENDED.get(type(error), "failed"),
        usage=UsageInfo(vendor_job_id=vendor_id) if vendor_id else None,
    )
