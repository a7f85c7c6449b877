"""What all backends in a cloud share: `run` on its own, JSON over HTTP with bounds, secrets, prices.

A subclass compiles (`prepare`) and says five things of its vendor: `submit`, `find`, `poll`, `fetch`, `cancel`, single
requests that are sent once (`paid.Vendor`). When which of them is called, and what is never sent twice, is `paid`'s.
"""

from __future__ import annotations

import asyncio
import os
import time
from abc import abstractmethod
from collections.abc import Awaitable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import RLock
from typing import Any, TypeVar
from uuid import uuid4

import msgspec

from qmosaic.backends.base import Answer, Backend, Estimate, Health, Job, Placed
from qmosaic.backends.paid import WITHDRAWN, Journal, Limits, Memory, NotAccepted, PaidJob, Status, Unclear
from qmosaic.backends.sampled import Compiled, Counted
from qmosaic.codecs.errors import BackendError, JobUnknown, OverBudget

T = TypeVar("T")
WAIT_SECONDS = 3600.0
"""How long `run` waits for its jobs."""
HEALTH_SECONDS = 5.0
COMPILING = RLock()
"""One circuit at a time: compilers take a core, and backends are for one thread."""


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """US dollars: for a task, for a shot, for a gate in a shot; and the least a task costs. Each circuit of a job is a
    task. Contracts differ, so all are 0 until they are set, and what is 0 is not known."""

    task: float = 0.0
    shot: float = 0.0
    one_qubit_gate_shot: float = 0.0
    two_qubit_gate_shot: float = 0.0
    least: float = 0.0

    def of(self, made: Compiled) -> float:
        """What a job costs: all of its circuits."""
        return sum(max(self.least, self.task + each.shots * self._shot(each)) for each in made.circuits)

    def _shot(self, made: Counted) -> float:
        gates = self.one_qubit_gate_shot * made.one_qubit_gates + self.two_qubit_gate_shot * made.two_qubit_gates
        return self.shot + gates


class RemoteBackend(Backend):
    """A paid backend. Subclasses set `name`, `capabilities`, `price_variable`, and write what is abstract here."""

    price_variable: str
    """The environment's variable that `price` is read from."""
    can_find = True
    can_cancel = True
    price = Price()
    limits = Limits()

    @abstractmethod
    async def submit(self, prepared: Any, client_id: str) -> str:
        """Send a job under our id; the vendor's id of it."""

    async def find(self, client_id: str) -> str | None:
        """The vendor's id of the job with our id; None if it says there is none."""
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

    @abstractmethod
    async def status(self) -> Health:
        """One question whether it takes jobs."""

    async def run(self, batch: Sequence[Any]) -> list[Answer]:
        """All jobs at once, each sent once. What fails, or is cancelled, cancels the others at the vendor.

        Raises BackendError. What happened is known to this process alone: where it may be killed, let a worker run it.
        """
        own = Journaled(self, f"qm-{uuid4().hex}", "", Memory(), time.time() + WAIT_SECONDS)
        try:
            return await own.run(batch)
        except BackendError as error:
            raise await own.given_up(error) from None
        except BaseException:
            await own.withdraw()
            raise

    def estimate(self, job: Job) -> Estimate:
        """Dollars by `price` (0: none is set); seconds are up to the vendor's queue, which `health` tells."""
        return Estimate(0.0, cost=self.price.of(self.prepare(job)))

    def health(self) -> Health:
        """Asks the vendor, for some seconds at most."""
        try:
            return _in_thread(_bounded(self.status()))
        except (BackendError, NotAccepted, Unclear, TimeoutError) as error:
            return Health(False, str(error) or "no answer")


class Journaled(Backend):
    """A remote backend for one problem until its `deadline` (seconds since the epoch). Its jobs are under `client_id`,
    `client_id-1`, … in a journal, so that whoever runs the same jobs in the same order goes on where the last one was.

    `job`: of what they are, in the journal. `backend`: their name there, if not the vendor's.
    """

    def __init__(
        self, vendor: RemoteBackend, client_id: str, job: str, journal: Journal, deadline: float, backend: str = ""
    ) -> None:
        self.name, self.capabilities = vendor.name, vendor.capabilities
        self._vendor, self._id = vendor, client_id
        self._job = partial(PaidJob, job=job, journal=journal, deadline=deadline, limits=vendor.limits, backend=backend)
        self._jobs: list[PaidJob] = []

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


def check_cost(backend: Backend, job: Job, most: float, price_variable: str) -> None:
    """Raises OverBudget for a job that costs more than `most` dollars by its estimate, or nobody knows what."""
    cost = backend.estimate(job).cost
    if cost <= 0:
        raise OverBudget(
            f"what a job on {backend.name} costs is not known, and at most ${most:g} may be spent on one",
            place="paid.max_cost_usd",
            remedy=f"Set its price, {price_variable}.",
        )
    if not cost <= most:  # neither where one of them is no number
        raise OverBudget(
            f"a job on {backend.name} costs about ${cost:g}, and at most ${most:g} may be spent on one",
            place="paid.max_cost_usd",
            remedy="Ask for fewer shots, or raise the limit.",
        )


async def _bounded(work: Awaitable[T]) -> T:
    async with asyncio.timeout(HEALTH_SECONDS):
        return await work


def _in_thread(work: Coroutine[Any, Any, T]) -> T:
    """Of a coroutine, be there a running event loop or not."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


class Secret:
    """A text that does not show in reprs, logs or errors."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return "Secret(***)"

    def reveal(self) -> str:
        """The text."""
        return self._text


def secret(variable: str) -> Secret:
    """From the environment, or from the file that `<variable>_FILE` names. Raises BackendError."""
    text = os.environ.get(variable, "")
    if path := os.environ.get(f"{variable}_FILE"):
        try:
            text = Path(path).read_text()
        except (OSError, UnicodeDecodeError):
            raise BackendError("the file of the key cannot be read", place=f"{variable}_FILE") from None
    if not text.strip():
        raise BackendError("no key is set", place=variable, remedy=f"Set {variable}, or {variable}_FILE to its file.")
    return Secret(text.strip())


def price(variable: str) -> Price:
    """From the environment, as JSON: `{"task": 0.3, "shot": 0.01}`; nothing set: zeros. Raises BackendError."""
    try:
        return msgspec.json.decode(os.environ.get(variable, "{}"), type=Price)
    except msgspec.DecodeError as error:
        raise BackendError(str(error), place=variable, remedy='Write JSON like {"task": 0.3, "shot": 0.01}.') from None


class Http:
    """Requests to a vendor, JSON both ways. Each has a connection of its own and is sent once: where the
    connection cannot be made, nothing was sent, and no pool sends it again over another one."""

    def __init__(self, name: str, base: str, headers: dict[str, Secret], seconds: float) -> None:
        self._name, self._base, self._headers, self._seconds = name, base.rstrip("/"), headers, seconds

    async def ask(self, method: str, path: str, body: Any = None, missing: bool = False) -> Any:
        """The answer's JSON; None for 404 where it may be `missing`.

        Raises NotAccepted (429, no connection), Unclear (5xx, broken off, no JSON), BackendError (other 4xx). Neither
        headers nor the body appear in them.
        """
        import aiohttp

        headers = {key: value.reveal() for key, value in self._headers.items()}
        bound = aiohttp.ClientTimeout(total=self._seconds)
        where = f"{method} {path}"
        try:
            async with (
                aiohttp.ClientSession(timeout=bound, connector=aiohttp.TCPConnector(force_close=True)) as session,
                session.request(
                    method, f"{self._base}{path}", json=body, headers=headers, allow_redirects=False
                ) as answer,
            ):
                status, text = answer.status, await answer.read()
                retry_after = answer.headers.get("Retry-After", "")
        except aiohttp.ClientConnectorError as error:
            raise NotAccepted(f"{where}: no connection: {error.strerror or error}") from None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unclear(f"{where}: {type(error).__name__}") from None
        if status == 429:
            raise NotAccepted(f"{where}: 429", _seconds(retry_after))
        if status == 404 and missing:
            return None
        if status >= 500 or status == 408:
            raise Unclear(f"{where}: {status}")
        if status >= 300:
            said = text[:400].decode(errors="replace")
            for value in headers.values():  # a server may repeat what it was sent
                said = said.replace(value, "***").replace(value.rpartition(" ")[2], "***")
            remedy = "Check the key." if status in (401, 403) else ""
            raise BackendError(f"{where}: {status} {said[:200]}", place=self._name, remedy=remedy)
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError:
            raise Unclear(f"{where}: {status}, but no JSON") from None


def _seconds(text: str) -> float | None:
    """Of a Retry-After header in seconds; a date counts as none."""
    try:
        return max(0.0, float(text))
    except ValueError:
        return None
