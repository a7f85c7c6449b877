"""The stage of paid jobs: jobs.paid → proposals, each job sent to its vendor once, whatever worker it is that does it.

A job comes here twice. First its price is found out, by the vendor's own compiler and its estimate, and control is
asked (jobs.priced); what comes back has a reservation, which is looked up in the ledger, and is sent. Nothing is sent
without one. How it ended goes back to control (jobs.ended), for the books.

A job is picked up where the journal says the last worker left it. Long waits are waits on the event loop: a worker
has as many jobs under way as the stage's `concurrency` says. Stopping a worker leaves its jobs at the vendors, for the
next one.

Backends may be wrapped (`zne(ionq/qpu.forte-1)`): each run that a wrapper needs for a problem is a job of its own at
the vendor, sent once, too.

With a limit of money for one job, one whose estimate is over it is refused before control is asked.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from aiokafka.errors import KafkaError
from msgspec.structs import replace

from qmosaic.backends.base import Backend, Job, run_async
from qmosaic.backends.points import combined, estimated
from qmosaic.backends.registry import create, innermost, wrapped
from qmosaic.codecs.errors import (
    BackendError,
    JobCancelled,
    JobOutOfReach,
    JobTimedOut,
    JobUnknown,
    OverBudget,
    RateLimited,
    Unreachable,
)
from qmosaic.codecs.events import wire
from qmosaic.codecs.events.control import BackendStatus
from qmosaic.codecs.events.hops import Answer, Failure, FailureReason, JobEvent, PaidResult, Proposal
from qmosaic.codecs.events.ledger import Amounts, JobEnded, LedgerEntry, micros_of
from qmosaic.codecs.events.public import UsageInfo
from qmosaic.codecs.models.kernel import unpack_kernel
from qmosaic.processors.control.books import Books
from qmosaic.processors.control.breakers import Tallies
from qmosaic.processors.control.cache import PaidResults, key_of
from qmosaic.processors.execute import advance, answer_of, jobs_of, proposal_of
from qmosaic.streams.hops.hop import Look, attempt_step, looked, next_send
from qmosaic.streams.hops.steps import Noted, Steps
from qmosaic.streams.kafka.journal import KafkaJournal
from qmosaic.streams.kafka.records import Received, Send
from qmosaic.streams.kafka.tail import Tail
from qmosaic.streams.settings import Settings
from qmosaic.streams.watch.logs import sentence

if TYPE_CHECKING:
    from qmosaic.backends.clouds.remote import Journaled, RemoteBackend

log = logging.getLogger("qmosaic.paid")
NOT_CACHED = Failure("execute", "not_cached", "no result of an equal job is known here", refused=True)
T = TypeVar("T")

ENDED: dict[type[BackendError], Literal["timed_out", "cancelled", "unknown"] | None] = {
    JobTimedOut: "timed_out",
    JobCancelled: "cancelled",
    JobUnknown: "unknown",
    JobOutOfReach: "unknown",
    Unreachable: None,  # it never began
    RateLimited: None,
    OverBudget: None,
}
REASONS: dict[type[BackendError], FailureReason] = {
    JobOutOfReach: "unreachable",
    Unreachable: "unreachable",
    RateLimited: "rate_limited",
    OverBudget: "over_budget",
}
SOONER = 6
"""So much sooner vendors are looked at while one of them is not well."""


class ExecutePaid:
    """jobs.paid → jobs.priced; jobs.paid with a reservation → jobs.submitted, jobs.ended, proposals."""

    def __init__(self, settings: Settings, stage: str, clock: Callable[[], float] = time.time) -> None:
        """`clock`: seconds since the epoch."""
        self._settings, self._clock = settings, clock
        self._journal = KafkaJournal(settings, stage)
        self._results = Tail(settings, "results", PaidResult, PaidResults(settings.execute.cache_bytes), wait_ms=100)
        self._flights: dict[str, asyncio.Future[Answer | None]] = {}
        self._ledger = Tail(settings, "ledger", LedgerEntry, Books(), wait_ms=100, isolation="read_committed")
        self._backends: dict[str, RemoteBackend] = {}
        self._tallies = Tallies()
        self._compiler = ThreadPoolExecutor(1, thread_name_prefix="compile")

    async def start(self) -> asyncio.Task[None]:
        """The backends there are, and the journal up to its end; from then on how they are. Raises BackendError."""
        from qmosaic.backends.clouds.remote import RemoteBackend  # with Cirq: only this stage pays for it

        vendors: dict[str, Backend] = {}  # in whatever wrappers: what one says of its rate holds for all
        for name in self._settings.paid.backends:
            of = innermost(name)
            backend = vendors[of] if of in vendors else vendors.setdefault(of, create(of))
            if not isinstance(backend, RemoteBackend):
                raise BackendError(
                    f"{name} is none that is paid for",
                    place="paid.backends",
                    remedy="Name backends of clouds here; the others run in execute.",
                )
            backend.limits = self._settings.paid.limits
            self._backends[name] = backend
            wrapped(name, backend)  # it may not be fit for it
        await asyncio.gather(self._journal.start(), self._ledger.start(), self._results.start())
        return asyncio.create_task(self._watch(), name="how vendors are")

    async def _watch(self) -> None:
        """How vendors are: now and then, and sooner while one is not well. It takes one question each."""
        vendors = {id(vendor): vendor for vendor in self._backends.values()}.values()
        while True:
            for found in await asyncio.gather(*(vendor.look() for vendor in vendors), return_exceptions=True):
                if isinstance(found, Exception):  # of a vendor's library: anything may come
                    log.warning("a vendor cannot be looked at: %s", sentence(found))
            seconds = self._settings.paid.limits.look_seconds
            await asyncio.sleep(seconds / SOONER if any(vendor.condition for vendor in vendors) else seconds)

    def look(self, record: Received) -> Look:
        return looked(record)

    async def handle(self, batch: Sequence[Received], lane: int) -> list[Send]:
        sends: list[Send] = []
        for cause, record in enumerate(batch):
            event = wire.decode(record.value or b"", JobEvent)
            steps, started = Steps(self._clock), self._clock()
            work = self._alone(event, steps) if event.reservation else self._quoted(event, steps)
            found, ended = await work
            done = steps.taken()
            if found is not None and event.reservation and _was_tried(found):
                done = (attempt_step(event, found, started, self._clock(), *done),)
            if isinstance(found, Proposal) and found.answer is not None and not found.cached:
                size = len(wire.encode(found.answer))
                result = PaidResult(key=key_of(event), answer=found.answer, size=size)
                sends.append(Send("results", result, cause, key=result.key))
            if ended is not None:
                sends.append(Send("jobs.ended", ended, cause, key=ended.reservation))
            if found is not None:
                sends.append(next_send(found, cause, self._settings.paid.backends, done))
        return sends

    async def _quoted(self, event: JobEvent, steps: Steps) -> tuple[JobEvent | Proposal, None]:
        """The job with what it takes, on its way to control; or what follows where its backend refuses it."""
        from qmosaic.backends.clouds.price import check_cost

        paid, name = self._settings.paid, event.route.backend
        if event.ref.cache != "fresh":
            had = (await self._results.caught_up()).get(key_of(event))
            if had is not None:
                return proposal_of(event, had, 0.0, cached=True), None
            if event.ref.cache == "only":
                return advance(event, NOT_CACHED), None
        try:
            vendor = self._vendor(name)
            if event.candidates and vendor.condition == "unreachable":
                raise Unreachable(f"there is no way through the network to {vendor.name}", place=name)
            backend = wrapped(name, vendor)
            with steps.noting(f"estimate {name}"):
                estimate = await self._compiling(estimated, backend, jobs_of(event))
            check_cost(name, estimate.cost, paid.max_cost_usd, vendor.price_variable)
        except BackendError as error:
            return advance(event, _failed(error)), None
        quote = _amounts(estimate.cost, estimate.seconds, estimate.shots)
        return replace(event, quote=quote, sends=estimate.jobs), None

    async def _alone(self, event: JobEvent, steps: Steps) -> tuple[JobEvent | Proposal | None, JobEnded | None]:
        """A granted job. One that takes a result that was had before waits for an equal one that is under way here, and
        gives back what was reserved for it."""
        key = key_of(event)
        other = self._flights.get(key)
        if other is not None and event.ref.cache == "replay" and await self._journal.last(event.reservation) is None:
            left = event.ref.deadline_at - self._clock()
            had = None
            with suppress(TimeoutError):
                had = await asyncio.wait_for(asyncio.shield(other), max(0.0, left))
            if had is not None:
                given_back = JobEnded(
                    reservation=event.reservation, problem_id=event.ref.problem_id, ended="released", at=self._clock()
                )
                return proposal_of(event, had, 0.0, cached=True), given_back
        flight = self._flights[key] = asyncio.get_running_loop().create_future()
        answer = None
        try:
            found, ended = await self._granted(event, steps)
            answer = found.answer if isinstance(found, Proposal) else None
            return found, ended
        finally:
            flight.set_result(answer)
            if self._flights.get(key) is flight:
                del self._flights[key]

    async def _granted(self, event: JobEvent, steps: Steps) -> tuple[JobEvent | Proposal | None, JobEnded | None]:
        """What follows from a job with a reservation, and how it ended, where that is for the books."""
        name, of = event.route.backend, event.reservation
        try:
            jobs = jobs_of(event)
            vendor = self._vendor(name)
            if not await self._is_reserved(event):
                raise BackendError(f"there is no reservation {of} for it", place="jobs.paid")
        except BackendError as error:
            return advance(event, _failed(error)), None
        from qmosaic.backends.clouds.remote import Journaled

        left = min(event.not_before, event.ref.deadline_at) - self._clock()
        if left > 0 and await self._journal.last(of) is None:  # its vendor's rate has no room before
            with steps.noting(f"wait {name}"):
                await asyncio.sleep(left)
        noted = cast("RemoteBackend", Noted(vendor, steps))
        own = Journaled(
            noted, of, event.kernel_digest, self._journal, event.ref.deadline_at, name, insists=not event.candidates
        )
        try:
            found = await self._paid(event, jobs, own, steps)
            if found is not None and _is_the_devices(found, vendor):
                self._tallies.count(name, isinstance(found, Failure))
        except BackendError as error:  # what cannot be compiled for it says nothing of it
            found = _failed(error)
        except Exception as error:  # of a vendor's library: anything may come
            said = error if log.isEnabledFor(logging.INFO) else None
            log.error("%s broke: %s", name, sentence(error), exc_info=said)
            found = Failure("execute", "stage_failed", f"{name} raised {type(error).__name__}")
        if found is None:
            return None, None
        ended = await self._ended(event, found, own)
        began = max(event.ref.sent_at, event.not_before)  # when it was granted, or had its turn, on whatever worker
        seconds = max(0.0, self._clock() - began)
        if isinstance(found, Failure):
            return advance(event, found, seconds), ended
        return proposal_of(event, found, seconds), ended

    def _vendor(self, name: str) -> RemoteBackend:
        vendor = self._backends.get(name)
        if vendor is None:
            raise BackendError(f"{name} is not in paid.backends", place="paid.backends")
        return vendor

    async def _is_reserved(self, event: JobEvent) -> bool:
        """Whether the ledger knows of its reservation. One that is resolved is for a job that was begun, only."""
        known = self._ledger.state.reservations.get(event.reservation)
        if known is None:
            known = (await self._ledger.caught_up()).reservations.get(event.reservation)
        if known is None or (known.backend, known.problem_id) != (event.route.backend, event.ref.problem_id):
            return False
        return known.is_pending or await self._journal.last(event.reservation) is not None

    async def _compiling(self, work: Callable[..., T], *given: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._compiler, work, *given)

    async def _paid(
        self, event: JobEvent, jobs: Sequence[Job], own: Journaled, steps: Steps
    ) -> Answer | Failure | None:
        """The answer, or why there is none; None where the same problem and attempt are under way with another kernel
        or backend: a hop before this one was repeated, and what came of it first is what is paid for.

        Raises BackendError for what the vendor's backend refuses.
        """
        of, name = event.reservation, event.route.backend
        while True:
            own.begin_anew()
            backend = wrapped(name, own)  # of this problem alone: so are its calibrations
            with steps.noting(f"compile {name}"):
                prepared = [await self._compiling(backend.prepare, job) for job in jobs]
            try:
                last = await self._journal.last(of)
                if last is not None and (last.backend, last.job) != (name, event.kernel_digest):
                    log.warning("it is under way as another job, on %s", last.backend)
                    return None
                try:
                    found = await run_async(backend, prepared)
                    return answer_of(unpack_kernel(event.kernel), combined(found))
                except BackendError as error:
                    return _failed(await own.given_up(error), own.vendor_ids)
            except (KafkaError, TimeoutError) as error:
                log.warning("the journal does not answer: %s", error)
                await asyncio.sleep(self._settings.paid.limits.ask_seconds)  # what was written is there afterwards
            except Exception:
                await own.withdraw()  # nobody takes it up again
                raise

    async def _ended(self, event: JobEvent, found: Answer | Failure, own: Journaled) -> JobEnded:
        """For the books. What the vendor had and failed counts in full, unless it tells what it took of it."""
        usage = found.usage or UsageInfo()
        ended: Literal["settled", "released", "unknown"] = "settled"
        if isinstance(found, Failure):
            states = [await self._journal.last(of) for of in own.client_ids or [event.reservation]]
            had = any(entry is not None and entry.vendor_id for entry in states)
            ended = "unknown" if found.ended == "unknown" else "settled" if had else "released"
        return JobEnded(
            reservation=event.reservation,
            problem_id=event.ref.problem_id,
            ended=ended,
            amounts=_amounts(usage.cost_usd or 0.0, usage.device_seconds, 0),
            vendor_ids=usage.vendor_job_id,
            at=self._clock(),
        )

    def status(self) -> BackendStatus:
        sizes = {name: backend.capabilities.sizes for name, backend in self._backends.items()}
        tallies = self._tallies.told()
        now, rests = self._clock(), {name: vendor.rests_until for name, vendor in self._backends.items()}
        later = {name: until for name, until in rests.items() if until > now}
        how = {name: vendor.condition for name, vendor in self._backends.items() if vendor.condition is not None}
        return BackendStatus(
            worker="", target="quantum", backends=sizes, at=now, tallies=tallies, not_before=later, conditions=how
        )

    async def stop(self) -> None:
        self._compiler.shutdown(wait=False, cancel_futures=True)
        await asyncio.gather(self._journal.stop(), self._ledger.stop(), self._results.stop())


def _is_the_devices(found: Answer | Failure, vendor: RemoteBackend) -> bool:
    """Whether how a job ended says something of its device: not where it was never there or the network leaves it open,
    nor where it waited in vain while the device was retuned."""
    if not isinstance(found, Failure):
        return True
    waited = found.ended == "timed_out" and vendor.condition == "retuning"
    return found.reason not in ("rate_limited", "unreachable") and not waited


def _was_tried(found: JobEvent | Proposal) -> bool:
    """Whether it was an attempt, and not an answer that was had before."""
    return bool(found.tried) and not found.tried[-1].cached


def _amounts(usd: float, seconds: float, shots: int) -> Amounts:
    """What is 0 is not known."""
    return Amounts(
        micros=micros_of(usd) if usd > 0 else None,
        device_ms=math.ceil(1000 * seconds) if seconds > 0 else None,
        shots=shots or None,
    )


def _failed(error: BackendError, vendor_id: str = "") -> Failure:
    """The failure of a job that the vendor had under its id, or none. Whether it charged for it is not known."""
    return Failure(
        "execute",
        REASONS.get(type(error), "execution_failed"),
        str(error),
        ended=ENDED.get(type(error), "failed"),
        usage=UsageInfo(vendor_job_id=vendor_id) if vendor_id else None,
    )
