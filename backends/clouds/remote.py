"""What all backends in a cloud share: `run` on its own, JSON over HTTP with bounds, secrets, prices.

A subclass compiles (`prepare`) and says five things of its vendor: `submit`, `find`, `poll`, `fetch`, `cancel`, single
requests that are sent once (`paid.Vendor`). When which of them is called, and what is never sent twice, is `paid`'s.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import RLock
from typing import Any, Literal, TypeVar
from uuid import uuid4

from qmosaic.backends.base import Answer, Backend, Estimate, Health, Job, Placed
from qmosaic.backends.clouds.job import WALL, WITHDRAWN, Clock, NotAccepted, PaidJob, Status, Unclear, Waits
from qmosaic.backends.clouds.journal import Journal, Memory
from qmosaic.backends.clouds.price import Price
from qmosaic.codecs.errors import BackendError, JobUnknown
from qmosaic.codecs.events.reasons import Condition

T = TypeVar("T")
WAIT_SECONDS = 3600.0
"""How long `run` waits for its jobs."""
HEALTH_SECONDS = 5.0
COMPILING = RLock()
"""One circuit at a time: compilers take a core, and backends are for one thread."""


class RemoteBackend(Backend):
    """A paid backend. Subclasses set `name`, `capabilities`, `price_variable`, and write what is abstract here."""

    price_variable: str
    """The environment's variable that `price` is read from."""
    can_find = True
    can_cancel = True
    price = Price()
    limits = Waits()
    clock: Clock = WALL
    rests_until = 0.0
    is_reached = True
    """Whether the last request got there."""
    says: Literal["retuning", "offline"] | None = None
    """How it is, if not ready, by its vendor's last word."""

    def heard(self, reached: bool) -> None:
        """Whether a request got there."""
        self.is_reached = reached

    @property
    def condition(self) -> Condition | None:
        """How it is, if not as it should be, as far as this process knows."""
        return self.says if self.is_reached else "unreachable"

    async def look(self) -> None:
        """Ask how it is, once."""
        try:
            health = await _bounded(self.status())
        except (NotAccepted, Unclear) as error:
            self.heard(not error.network)
        except (BackendError, TimeoutError):
            self.heard(True)  # our key, or its patience
        else:
            self.heard(True)
            self.says = None if health.ok else "retuning" if health.retuning else "offline"

    def rest(self, until: float) -> None:
        """It takes no job before (seconds since the epoch)."""
        self.rests_until = max(self.rests_until, until)

    @abstractmethod
    async def submit(self, prepared: Any, client_id: str) -> str:
        """Send a job under our id; the vendor's id of it."""

    async def find(self, client_id: str) -> str | None:
        """The vendor's id of the job with our id; None if it says there is none. Where it reads a list, `Listing` reads
        it once for all."""
        raise NotImplementedError

    @abstractmethod
    async def poll(self, vendor_id: str) -> tuple[Status, str]:
        """How a job is doing, and what the vendor says about it."""

    @abstractmethod
    async def fetch(self, vendor_id: str, prepared: Any) -> Answer:
        """The answer of a completed job."""

    async def cancel(self, vendor_id: str) -> None:
        """Ask the vendor to stop a job; one that has ended is left as it is."""
        raise NotImplementedError

    async def bill(self, vendor_id: str) -> float | None:
        """US dollars that the vendor says an ended job costs; None: it does not tell. As `poll`, one request."""
        return None

    @abstractmethod
    async def status(self) -> Health:
        """One question whether it takes jobs."""

    async def run(self, batch: Sequence[Any]) -> list[Answer]:
        """All jobs at once, each sent once. What fails, or is cancelled, cancels the others at the vendor.

        Raises BackendError. What happened is known to this process alone: where it may be killed, let a worker run it.
        """
        own = Journaled(self, f"qm-{uuid4().hex}", "", Memory(), self.clock.now() + WAIT_SECONDS)
        try:
            return await own.run(batch)
        except BackendError as error:
            raise await own.given_up(error) from None
        except BaseException:
            await own.withdraw()
            raise

    def estimate(self, job: Job) -> Estimate:
        """Dollars and seconds of the device by `price` (0: none is set); how long it waits there, `health` tells."""
        prepared = self.prepare(job)
        shots = sum(each.shots for each in prepared.circuits)
        return Estimate(self.price.shot_seconds * shots, cost=self.price.of(prepared), shots=shots)

    def health(self) -> Health:
        """Asks the vendor, for some seconds at most."""
        try:
            return _in_thread(_bounded(self.status()))
        except (BackendError, NotAccepted, Unclear, TimeoutError) as error:
            return Health(False, str(error) or "no answer")


class Journaled(Backend):
    """A remote backend for one problem until its `deadline` (seconds since the epoch). Its jobs are under `client_id`,
    `client_id-1`, … in a journal, so that whoever runs the same jobs in the same order goes on where the last one was.

    `job`: of what they are, in the journal. `backend`: their name there, if not the vendor's. `insists`: they wait for
    a way through the network.
    """

    def __init__(
        self,
        vendor: RemoteBackend,
        client_id: str,
        job: str,
        journal: Journal,
        deadline: float,
        backend: str = "",
        insists: bool = True,
    ) -> None:
        self.name, self.capabilities = vendor.name, vendor.capabilities
        self._vendor, self._id = vendor, client_id
        self._job = partial(
            PaidJob,
            job=job,
            journal=journal,
            deadline=deadline,
            limits=vendor.limits,
            clock=vendor.clock,
            backend=backend,
            insists=insists,
        )
        self._jobs: list[PaidJob] = []

    def begin_anew(self) -> None:
        """From the first of its jobs, as another process would: what happened to them the journal knows."""
        self._jobs = []

    @property
    def client_ids(self) -> list[str]:
        """Our ids of its jobs up to now."""
        return [job.client_id for job in self._jobs]

    @property
    def vendor_ids(self) -> str:
        """The vendor's ids, with spaces between them, as far as they are known."""
        return " ".join(job.vendor_id for job in self._jobs if job.vendor_id)

    def prepare(self, job: Job) -> Any:
        """The vendor's, for one thread at a time."""
        with COMPILING:
            return self._vendor.prepare(job)

    def estimate(self, job: Job) -> Estimate:
        """The vendor's, for one thread at a time."""
        with COMPILING:
            return self._vendor.estimate(job)

    def placed(self, job: Job) -> Placed:
        """The vendor's, for one thread at a time."""
        with COMPILING:
            return self._vendor.placed(job)

    def health(self) -> Health:
        """The vendor's."""
        return self._vendor.health()

    async def run(self, batch: Sequence[Any]) -> list[Answer]:
        """All jobs at once. Where one fails, or failed before, the others are as they are: see `given_up`.

        Raises BackendError, and what the journal raises.
        """
        jobs = []
        for prepared in batch:
            count = len(self._jobs)
            jobs.append(self._job(self._vendor, prepared, f"{self._id}-{count}" if count else self._id))
            self._jobs.append(jobs[-1])
        if len(jobs) > 1:
            await jobs[0].begin()  # who looks at the first sees that something is under way
        bad = [error for error in await asyncio.gather(*(job.ended_badly() for job in jobs)) if error is not None]
        if bad:  # the first to fail, not one that was withdrawn because of it
            raise next((error for error in bad if WITHDRAWN not in error.message), bad[0])
        tasks = [asyncio.create_task(job.run()) for job in jobs]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def withdraw(self) -> list[JobUnknown]:
        """See to it that the vendor runs none of its jobs; what it cannot be had of. Raises what the journal raises."""
        ended = await asyncio.gather(*(job.withdraw() for job in self._jobs), return_exceptions=True)
        for error in ended:
            if isinstance(error, BaseException) and not isinstance(error, JobUnknown):
                raise error
        return [error for error in ended if isinstance(error, JobUnknown)]

    async def given_up(self, error: BackendError) -> BackendError:
        """Withdraw its jobs because of an error; the error to tell: JobUnknown where one of them may still run.

        Raises what the journal raises.
        """
        left = await self.withdraw()
        if not left or isinstance(error, JobUnknown):
            return error
        also = "; ".join(each.message for each in left)
        return JobUnknown(f"{error.message}; and besides: {also}", place=self._id, remedy=left[0].remedy)


async def _bounded(work: Awaitable[T]) -> T:
    async with asyncio.timeout(HEALTH_SECONDS):
        return await work


def _in_thread(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine, be there a running event loop or not."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
