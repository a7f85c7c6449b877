"""Paid jobs: sent once, whatever breaks, and not left running for nobody.

    planned ──► submitting ──► submitted ──► running ──► completed | failed | cancelled
       ▲            │              ▲
       │            ▼              │
       └──────── unknown ──────────┘

Every state is written to a journal before the next step is taken, so that another worker can go on from it:
- the intent to send (`submitting`) before anything is sent, the vendor's id (`submitted`) as soon as it is known;
- after a broken connection, a 5xx or a timeout (`unknown`), and after a crash that left an intent, the vendor is asked
  for the job by our own id, `asks` times, before it is sent again; a vendor that cannot be asked never gets it again;
- what is not over at the deadline is cancelled at the vendor before its end is written.

Two workers may hold the same job, for the first may only have been frozen. Entries are numbered, and of two with the
same number the first in the log counts: whoever wrote the other starts again from what is there. Who wrote an intent
sends within `lease_seconds` of it or not at all; who takes over waits until the lease and the longest request are over.
What remains: a process that freezes between its last look at the clock and the system call that sends, for longer
than its successor waits; clocks further apart than `skew_seconds`; a vendor whose list lags behind all the asking.

As in `cirq_google.engine.stream_manager`, which asks for a result before it creates a job anew.
"""

from __future__ import annotations

import asyncio
import time
from binascii import crc32
from collections.abc import Awaitable, Callable
from contextlib import suppress
from math import inf
from typing import Any, Literal, Protocol, TypeVar
from uuid import uuid4

import msgspec

from qmosaic.backends.base import Answer
from qmosaic.backends.clouds.journal import Journal
from qmosaic.codecs.errors import (
    BackendError,
    JobCancelled,
    JobOutOfReach,
    JobTimedOut,
    JobUnknown,
    RateLimited,
    Unreachable,
)
from qmosaic.codecs.events.control import Submitted
from qmosaic.codecs.events.reasons import PaidState

Status = Literal["queued", "running", "completed", "failed", "cancelled", "unknown"]
"""What a vendor says of a job; unknown: a word that it did not use before."""
Cause = Literal["rate_limited", "unreachable"]
CAUSES: dict[str, type[BackendError]] = {"rate_limited": RateLimited, "unreachable": Unreachable}
SPREAD = 0.1
"""Of a wait, in which those who waited for the same go."""
WITHDRAWN = "nobody waits for it"
T = TypeVar("T")


class NotAccepted(Exception):  # noqa: N818 - not an error: the vendor says when to come again
    """The vendor did not take a request (429), or it never got there (`network`). `retry_after`: seconds, if it says
    so."""

    def __init__(self, message: str, retry_after: float | None = None, *, network: bool = False) -> None:
        super().__init__(message)
        self.retry_after, self.network = retry_after, network


class Unclear(Exception):  # noqa: N818 - not an error: a state
    """A request got no usable answer: it may have been taken. `network`: its connection was broken off."""

    def __init__(self, message: str, *, network: bool = False) -> None:
        super().__init__(message)
        self.network = network


class Vendor(Protocol):
    """What a cloud backend does in single requests, each sent once. They raise `NotAccepted`, `Unclear`, or
    BackendError for a refusal that will stay one."""

    name: str
    can_find: bool
    can_cancel: bool
    rests_until: float
    """It has said that it takes no job before (seconds since the epoch)."""

    def rest(self, until: float) -> None:
        """It says so: all jobs that this process has for it wait."""
        ...

    def heard(self, reached: bool) -> None:
        """Whether a request got there."""
        ...

    async def submit(self, prepared: Any, client_id: str) -> str:
        """Send a job under our id; the vendor's id of it."""
        ...

    async def find(self, client_id: str) -> str | None:
        """The vendor's id of the job with our id; None if it says there is none. It bounds each of its requests."""
        ...

    async def poll(self, vendor_id: str) -> tuple[Status, str]:
        """How a job is doing, and what the vendor says about it."""
        ...

    async def fetch(self, vendor_id: str, prepared: Any) -> Answer:
        """The answer of a completed job."""
        ...

    async def cancel(self, vendor_id: str) -> None:
        """Ask the vendor to stop a job; one that has ended is left as it is."""
        ...


class Waits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds of every wait, in seconds. `asks`: how often the vendor has to say that it does not know a job.

    `grace_seconds`: after the deadline, for cancelling. `look_seconds`: between two looks at how a vendor is.
    """

    lease_seconds: float = 5.0
    skew_seconds: float = 5.0
    request_seconds: float = 10.0
    poll_seconds: float = 1.0
    ask_seconds: float = 1.0
    asks: int = 3
    retry_after_seconds: float = 60.0
    grace_seconds: float = 60.0
    look_seconds: float = 30.0


class Clock(Protocol):
    """Time, so that tests need not wait."""

    def now(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...


class Wall:
    """The machine's clock: seconds since the epoch."""

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Sleep."""
        await asyncio.sleep(seconds)


WALL = Wall()


class _Overtaken(Exception):  # noqa: N818 - not an error: another worker was first
    """Another worker wrote first; what it wrote is looked at."""


class PaidJob:
    """One job at one vendor, until `deadline` (seconds since the epoch). What it knows is in the journal: an instance
    may be thrown away at any await, and another one goes on. `backend`: its name there, if not the vendor's."""

    def __init__(
        self,
        vendor: Vendor,
        prepared: Any,
        client_id: str,
        job: str,
        journal: Journal,
        deadline: float,
        limits: Waits,
        clock: Clock = WALL,
        backend: str = "",
        insists: bool = True,
    ) -> None:
        """`insists`: it waits for a way through the network, as nobody else has it next."""
        self._vendor, self._prepared, self.client_id, self._job = vendor, prepared, client_id, job
        self._journal, self._deadline, self._limits, self._clock = journal, deadline, limits, clock
        self._writer, self._backend, self._insists = uuid4().hex, backend or vendor.name, insists
        self.vendor_id = ""
        """The vendor's id, as soon as `run` knows it."""

    async def run(self) -> Answer:
        """The answer. Raises BackendError, JobTimedOut, JobCancelled or JobUnknown."""
        while True:
            with suppress(_Overtaken):
                last = await self._journal.last(self.client_id)
                self.vendor_id = last.vendor_id if last else ""
                if last is not None and last.state in ("failed", "cancelled"):
                    raise self._ended(last)
                if last is not None and last.vendor_id:
                    return await self._finish(last)
                await self._place(last)

    async def begin(self) -> None:
        """Write down that it is to be sent, if nothing is written yet."""
        with suppress(_Overtaken):
            if await self._journal.last(self.client_id) is None:
                await self._write("planned", None)

    async def ended_badly(self) -> BackendError | None:
        """What `run` would raise at once, if it is known by now that it will."""
        last = await self._journal.last(self.client_id)
        return self._ended(last) if last is not None and last.state in ("failed", "cancelled") else None

    async def withdraw(self) -> None:
        """See to it that the vendor does not run it, whatever was done so far. Raises JobUnknown."""
        while True:
            last = await self._journal.last(self.client_id)
            if last is None or last.state in ("planned", "completed", "failed", "cancelled"):
                return
            with suppress(_Overtaken):
                if not last.vendor_id:
                    vendor_id = await self._reconcile(last)
                    state: PaidState = "failed" if vendor_id is None else "submitted"
                    await self._write(state, last, WITHDRAWN, vendor_id=vendor_id or "")
                else:
                    await self._cancel(last, WITHDRAWN)

    async def _place(self, last: Submitted | None) -> None:
        """One step towards the vendor's id: find out whether the job is there, or send it."""
        if last is not None and last.state in ("submitting", "unknown"):
            found = await self._reconcile(last)
            if found is not None:
                await self._write("submitted", last, vendor_id=found)
                return
        now, rests = self._clock.now(), self._vendor.rests_until
        if now >= self._deadline:
            raise self._ended(await self._write("failed", last, "no time left to send it", timed_out=True))
        if rests > now:
            await self._wait(rests - now, last, f"it takes no job for {rests - now:.0f} s")
            return
        intent = await self._write("submitting", last, sends=last.sends + 1 if last else 1)
        if self._clock.now() - intent.at > self._limits.lease_seconds:
            return  # too late to send for this intent
        try:
            vendor_id = await self._request(self._vendor.submit(self._prepared, self.client_id))
        except NotAccepted as refusal:
            planned = await self._write("planned", intent, str(refusal))
            if refusal.retry_after is not None:
                self._vendor.rest(self._clock.now() + max(refusal.retry_after, self._limits.ask_seconds))
                return
            later = min(self._limits.ask_seconds * 2 ** min(intent.sends, 6), self._limits.retry_after_seconds)
            if refusal.network:
                await self._wait(later if self._insists else inf, planned, str(refusal), "unreachable")
            else:
                await self._wait(later, planned, str(refusal))
        except Unclear as broken:
            await self._write("unknown", intent, str(broken))
        except BackendError as error:
            await self._write("failed", intent, error.message)
            raise
        else:
            await self._write("submitted", intent, vendor_id=vendor_id)

    async def _wait(self, seconds: float, last: Submitted | None, why: str, cause: Cause = "rate_limited") -> None:
        """Before it is sent; nobody waits beyond the deadline, so that who has it next still has time.

        A little longer, by its name: of all that wait for a vendor the first are answered before the last are sent.
        """
        if self._clock.now() + seconds >= self._deadline:
            raise self._ended(await self._write("failed", last, why, cause=cause))
        spread = max(self._limits.ask_seconds, SPREAD * seconds) * crc32(self.client_id.encode()) / 2**32
        await self._pause(seconds + spread, self._deadline)

    async def _reconcile(self, last: Submitted) -> str | None:
        """Ask the vendor for a job that may have been sent; None when it has said often enough that there is none."""
        if not self._vendor.can_find:
            if last.state != "unknown":
                await self._write("unknown", last, "it may have been sent")
            raise self._error(JobUnknown, f"it may have been sent, and {self._vendor.name} cannot be asked for it")
        limits, until = self._limits, self._end(self._limits.asks * self._limits.ask_seconds)
        if last.state == "submitting":
            # until then whoever wrote the intent may send
            over = last.at + limits.lease_seconds + limits.request_seconds + limits.skew_seconds
            await self._pause(over - self._clock.now(), over)
            until = max(until, over + limits.grace_seconds)
        for _ in range(limits.asks):
            bound = max(limits.request_seconds, until - self._clock.now())  # a list may be long
            found = await self._insist(lambda: self._vendor.find(self.client_id), until, "is it there", bound)
            if found is not None:
                return found
            await self._pause(limits.ask_seconds, until)
        return None

    async def _finish(self, last: Submitted) -> Answer:
        """Poll a job that the vendor has, and fetch its answer; at the deadline, cancel it."""
        pause, vendor_id = self._limits.poll_seconds, last.vendor_id
        while True:
            try:
                status, message = await self._insist(lambda: self._vendor.poll(vendor_id), self._end(), "how is it")
            except BackendError as error:
                if not isinstance(error, JobUnknown):  # our key is not good any more, or the vendor's id
                    await self._write("unknown", last, error.message)
                raise self._error(_unknown(error), f"{error.message}; it may still run there as {vendor_id}") from error
            if status == "completed":
                answer = await self._insist(lambda: self._vendor.fetch(vendor_id, self._prepared), self._end(), "fetch")
                if last.state != "completed":
                    await self._write("completed", last)
                return answer
            if status == "failed":
                raise self._ended(await self._write("failed", last, f"it failed there: {message}"))
            if status == "cancelled":
                raise self._ended(await self._write("cancelled", last, message or "cancelled at the vendor"))
            if self._clock.now() >= self._deadline:
                why = f"no answer in time, last heard: {status} {message}".strip()
                raise self._ended(await self._cancel(last, why, timed_out=True))
            if status == "running" and last.state != "running":
                last = await self._write("running", last)
            await self._pause(pause, self._deadline)
            pause = min(pause * 1.5, 30 * self._limits.poll_seconds)

    async def _cancel(self, last: Submitted, why: str, timed_out: bool = False) -> Submitted:
        """Cancel, and see that it is so, before the end is written, which is returned. Raises JobUnknown."""
        vendor_id, until = last.vendor_id, self._end()
        try:
            if not self._vendor.can_cancel:
                raise self._error(JobUnknown, "it cannot be cancelled there")
            while True:
                await self._insist(lambda: self._vendor.cancel(vendor_id), until, "cancelling")
                status, _ = await self._insist(lambda: self._vendor.poll(vendor_id), until, "is it cancelled")
                if status in ("completed", "failed", "cancelled"):
                    break
                if self._clock.now() >= until:
                    raise self._error(JobUnknown, f"cancelled, but it is {status}")
                await self._pause(self._limits.poll_seconds, until)
        except BackendError as error:
            await self._write("unknown", last, error.message)
            why = f"{why}; {error.message}; it may still run there as {vendor_id}"
            raise self._error(_unknown(error), why) from error
        return await self._write("cancelled", last, why, timed_out=timed_out)

    async def _insist(
        self, ask: Callable[[], Awaitable[T]], until: float, what: str, seconds: float | None = None
    ) -> T:
        """A question that may be asked again, until it is answered; `seconds`: of a try. Raises JobUnknown."""
        pause = self._limits.ask_seconds
        while True:
            try:
                return await self._request(ask(), seconds)
            except (NotAccepted, Unclear) as error:
                if self._clock.now() >= until:
                    kind = JobOutOfReach if error.network else JobUnknown
                    raise self._error(kind, f"no answer to “{what}”: {error}") from error
                later = getattr(error, "retry_after", None)
                await self._pause(pause if later is None else min(later, self._limits.retry_after_seconds), until)
                pause = min(pause * 2, 30 * self._limits.ask_seconds)

    async def _request(self, work: Awaitable[T], seconds: float | None = None) -> T:
        bound = seconds or self._limits.request_seconds
        try:
            async with asyncio.timeout(bound):
                found = await work
        except TimeoutError:
            raise Unclear(f"no answer after {bound:g} s") from None
        except (NotAccepted, Unclear) as error:
            self._vendor.heard(not error.network)
            raise
        self._vendor.heard(True)
        return found

    async def _pause(self, seconds: float, until: float) -> None:
        await self._clock.sleep(max(0.0, min(seconds, until - self._clock.now())))

    def _end(self, seconds: float = 0.0) -> float:
        """The last moment for questions: some time after the deadline, and after now where that is over."""
        return max(self._deadline, self._clock.now() + seconds) + self._limits.grace_seconds

    async def _write(self, state: PaidState, last: Submitted | None, message: str = "", **more: Any) -> Submitted:
        sends, vendor_id = (last.sends, last.vendor_id) if last else (0, "")
        entry = Submitted(
            client_id=self.client_id,
            revision=last.revision + 1 if last else 1,
            writer=self._writer,
            backend=self._backend,
            job=self._job,
            state=state,
            at=self._clock.now(),
            message=message[:500],
            **{"sends": sends, "vendor_id": vendor_id, **more},
        )
        if not await self._journal.append(entry):
            raise _Overtaken
        return entry

    def _ended(self, entry: Submitted) -> BackendError:
        """What a last entry says, to whoever wrote it as to who reads it later."""
        kind = JobTimedOut if entry.timed_out else JobCancelled if entry.state == "cancelled" else BackendError
        return self._error(CAUSES.get(entry.cause, kind), entry.message)

    def _error(self, kind: type[BackendError], message: str) -> BackendError:
        remedy = "Look for it at the vendor before you send it again." if issubclass(kind, JobUnknown) else ""
        return kind(f"{self._vendor.name}: {message}", place=self.client_id, remedy=remedy)


def _unknown(error: BackendError) -> type[BackendError]:
    """What it is where an error leaves it open how a job ended."""
    return type(error) if isinstance(error, JobUnknown) else JobUnknown
