"""The state machine of paid jobs in invented time: whatever breaks, and whenever a worker dies, a job is sent once."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmosaic.backends.base import Answer, Expectations
from qmosaic.backends.clouds.job import NotAccepted, PaidJob, Status, Unclear, Waits
from qmosaic.backends.clouds.journal import Memory
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

LIMITS = Waits()
ANSWER = Expectations(np.ones(1), np.zeros(1), 0.0)
WORDS = ("fine", "refused", "lost before", "lost after", "slow", "no way", "broken off")


class Died(BaseException):
    """The worker's process is gone."""


class Time:
    """Moves when somebody sleeps. Everybody who sleeps wakes in the order of their times."""

    def __init__(self) -> None:
        self.at = 1000.0
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    def now(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        event, until = asyncio.Event(), self.at + seconds
        self._sleepers.append((until, event))
        while True:
            for _ in range(20):  # who is awake goes on until it sleeps, too
                await asyncio.sleep(0)
            if event.is_set():
                return
            next_, first = min(self._sleepers, key=lambda each: each[0])
            self._sleepers.remove((next_, first))
            self.at = max(self.at, next_)
            first.set()


class Vendor:
    """A vendor whose requests go as `script` says, then well."""

    name = "made.up"

    def __init__(self, script: list[str], can_find: bool = True, ends: bool = True) -> None:
        self.script, self.can_find, self.can_cancel, self.ends = script, can_find, True, ends
        self.sent: list[str] = []
        self.tries = 0
        self.rests_until = 0.0
        self.reached = [True]
        self.cancelled: set[str] = set()
        self.polls = 0

    def rest(self, until: float) -> None:
        self.rests_until = max(self.rests_until, until)

    def heard(self, reached: bool) -> None:
        self.reached.append(reached)

    def _before(self) -> str:
        word = self.script.pop(0) if self.script else "fine"
        if word == "refused":
            raise NotAccepted("429", 7.0)
        if word == "refused for long":
            raise NotAccepted("429", 86_400.0)
        if word == "lost before":
            raise Unclear("lost")
        if word == "no way":
            raise NotAccepted("no way", network=True)
        if word == "broken off":
            raise Unclear("broken off", network=True)
        return word

    def _after(self, word: str) -> None:
        if word == "lost after":
            raise Unclear("lost")

    async def submit(self, prepared: Any, client_id: str) -> str:
        self.tries += 1
        word = self._before()
        self.sent.append(client_id)
        self._after(word)
        return f"v{len(self.sent) - 1}"

    async def find(self, client_id: str) -> str | None:
        assert self.can_find
        word = self._before()
        found = f"v{self.sent.index(client_id)}" if client_id in self.sent else None
        self._after(word)
        return found

    async def poll(self, vendor_id: str) -> tuple[Status, str]:
        self._after(self._before())
        self.polls += 1
        if vendor_id in self.cancelled:
            return "cancelled", ""
        return ("completed", "") if self.ends and self.polls > 2 else ("running", "")

    async def fetch(self, vendor_id: str, prepared: Any) -> Answer:
        self._after(self._before())
        return ANSWER

    async def cancel(self, vendor_id: str) -> None:
        word = self._before()
        self.cancelled.add(vendor_id)
        self._after(word)


class Mortal(Memory):
    """A journal whose worker dies at one of its steps: before the entry is written, or right after."""

    def __init__(self) -> None:
        super().__init__()
        self.dies: list[tuple[int, bool]] = []
        self.steps = 0

    async def append(self, entry: Submitted) -> bool:
        self.steps += 1
        due = self.dies[0] if self.dies and self.dies[0][0] <= self.steps else None
        if due is not None:
            self.dies.pop(0)
            if not due[1]:
                raise Died
        await asyncio.sleep(0)
        counts = await super().append(entry)
        if due is not None:
            raise Died
        return counts


def job(vendor: Vendor, journal: Memory, clock: Time, seconds: float = 500.0) -> PaidJob:
    return PaidJob(vendor, None, "id", "", journal, 1000.0 + seconds, LIMITS, clock)


async def lived(vendor: Vendor, journal: Memory, clock: Time, seconds: float) -> Answer | BackendError:
    """Start anew after each death until it ends."""
    while True:
        try:
            return await job(vendor, journal, clock, seconds).run()
        except Died:
            await clock.sleep(1.0)
        except BackendError as error:
            return error


@given(
    script=st.lists(st.sampled_from(WORDS), max_size=8),
    dies=st.lists(st.tuples(st.integers(1, 8), st.booleans()), max_size=3),
    can_find=st.booleans(),
    ends=st.booleans(),
    seconds=st.sampled_from([0.0, 3.0, 40.0, 500.0]),
    workers=st.integers(1, 3),
)
def test_never_twice_and_never_left_running(
    script: list[str], dies: list[tuple[int, bool]], can_find: bool, ends: bool, seconds: float, workers: int
) -> None:
    vendor, journal, clock = Vendor(script, can_find, ends), Mortal(), Time()
    journal.dies = dies

    async def all_of_them() -> list[Answer | BackendError]:
        return await asyncio.gather(*(lived(vendor, journal, clock, seconds) for _ in range(workers)))

    found = asyncio.run(all_of_them())
    assert len(vendor.sent) <= 1
    states = [entry.state for entry in journal.counted.of("id")]
    for answer in found:
        assert answer is ANSWER or isinstance(answer, BackendError)
        if isinstance(answer, BackendError) and not isinstance(answer, JobUnknown) and vendor.sent:
            # whoever says that it is over has seen to it
            assert vendor.cancelled == {"v0"}
    if can_find and vendor.sent and states[-1] == "cancelled":
        assert vendor.cancelled == {"v0"}
    if seconds == 500.0 and can_find and ends:
        assert found == [ANSWER] * workers
    # two who knew the same wrote one entry
    assert [entry.revision for entry in journal.counted.of("id")] == list(range(1, len(states) + 1))


def test_a_frozen_worker_does_not_send_when_it_wakes() -> None:
    """It writes its intent and sleeps; another one takes over, asks, and sends; then it wakes."""

    class Frozen(Memory):
        async def append(self, entry: Submitted) -> bool:
            counts = await super().append(entry)
            if entry.state == "submitting" and frozen:
                frozen.pop()
                await clock.sleep(LIMITS.lease_seconds + 60)
            return counts

    frozen, clock, vendor, journal = [True], Time(), Vendor([]), Frozen()

    async def both() -> list[Answer]:
        return await asyncio.gather(*(job(vendor, journal, clock).run() for _ in range(2)))

    assert asyncio.run(both()) == [ANSWER, ANSWER]
    assert len(vendor.sent) == 1


def test_who_takes_over_waits_until_the_first_cannot_send_any_more() -> None:
    vendor, journal, clock = Vendor([]), Memory(), Time()
    intent = Submitted(
        client_id="id", revision=1, writer="w", backend="made.up", job="", state="submitting", at=1000.0, sends=1
    )
    asyncio.run(journal.append(intent))
    assert asyncio.run(job(vendor, journal, clock).run()) is ANSWER
    again = next(entry for entry in journal.counted.of("id")[1:] if entry.state == "submitting")
    assert again.at >= 1000.0 + LIMITS.lease_seconds + LIMITS.request_seconds + LIMITS.skew_seconds


def test_no_time_left_means_not_sent() -> None:
    vendor = Vendor([])
    with pytest.raises(JobTimedOut):
        asyncio.run(job(vendor, Memory(), Time(), seconds=-1).run())
    assert vendor.sent == []


@pytest.mark.parametrize(("seconds", "ends"), [(-1.0, False), (40.0, False), (40.0, True)])
def test_a_second_delivery_is_told_what_the_first_was(seconds: float, ends: bool) -> None:
    vendor, journal, clock = Vendor([], ends=ends), Memory(), Time()
    if ends:  # somebody cancels it there
        vendor.cancelled.add("v0")
    told = []
    for _ in range(2):
        with pytest.raises(BackendError) as caught:
            asyncio.run(job(vendor, journal, clock, seconds).run())
        told.append((type(caught.value), caught.value.message))
    assert told[0] == told[1]
    assert told[0][0] is (JobCancelled if ends else JobTimedOut)


def test_a_job_that_may_be_there_is_withdrawn() -> None:
    vendor, journal, clock = Vendor(["lost after"]), Memory(), Time()
    intent = Submitted(
        client_id="id", revision=1, writer="w", backend="made.up", job="", state="submitting", at=1000.0, sends=1
    )
    asyncio.run(journal.append(intent))
    vendor.sent.append("id")
    asyncio.run(job(vendor, journal, clock).withdraw())
    assert vendor.cancelled == {"v0"}
    assert journal.counted.of("id")[-1].state == "cancelled"


def test_who_says_when_to_come_again_is_not_asked_before() -> None:
    vendor, clock = Vendor(["refused"]), Time()
    assert asyncio.run(job(vendor, Memory(), clock).run()) is ANSWER
    assert clock.at >= 1007.0


def test_nobody_asks_before_and_not_all_at_once_then() -> None:
    """Ten jobs of a vendor that takes one in seven seconds."""
    clock, last, early = Time(), [-1e9], list[float]()

    class Slow(Vendor):
        async def submit(self, prepared: Any, client_id: str) -> str:
            self.tries += 1
            early.extend([clock.at] if clock.at < self.rests_until else [])
            if clock.at - last[0] < 7.0:
                raise NotAccepted("429", last[0] + 7.0 - clock.at)
            last[0] = clock.at
            await clock.sleep(0.2)  # the answer takes its time
            self.sent.append(client_id)
            return f"v{len(self.sent) - 1}"

    vendor = Slow([])

    async def all_of_them() -> list[Answer]:
        jobs = [PaidJob(vendor, None, f"id-{k}", "", Memory(), 1500.0, LIMITS, clock) for k in range(10)]
        return await asyncio.gather(*(each.run() for each in jobs))

    assert asyncio.run(all_of_them()) == [ANSWER] * 10
    assert not early
    assert vendor.tries < 40


@pytest.mark.parametrize("word", ["refused", "refused for long"])
def test_who_cannot_be_sent_before_its_deadline_goes_on_at_once(word: str) -> None:
    vendor, journal, clock = Vendor([word]), Memory(), Time()
    for _ in range(2):  # another delivery is told the same
        with pytest.raises(RateLimited):
            asyncio.run(job(vendor, journal, clock, 5.0).run())
    assert clock.at == 1000.0
    with pytest.raises(RateLimited):  # nor does another job wait for what cannot be
        asyncio.run(PaidJob(vendor, None, "other", "", Memory(), 1005.0, LIMITS, clock).run())
    assert (clock.at, vendor.tries, vendor.sent) == (1000.0, 1, [])


def test_without_a_way_there_the_next_candidate_has_it_at_once() -> None:
    vendor, journal, clock = Vendor(["no way"]), Memory(), Time()
    for _ in range(2):  # another delivery is told the same, and sends nothing, though there is a way now
        with pytest.raises(Unreachable):
            asyncio.run(PaidJob(vendor, None, "id", "", journal, 1500.0, LIMITS, clock, insists=False).run())
    assert (clock.at, vendor.sent, vendor.reached[-1]) == (1000.0, [], False)


def test_without_a_way_there_and_without_another_candidate_it_waits_for_one() -> None:
    vendor, clock = Vendor(["no way"] * 3), Time()
    assert asyncio.run(job(vendor, Memory(), clock).run()) is ANSWER
    assert (len(vendor.sent), vendor.reached[1:5]) == (1, [False, False, False, True])


def test_without_a_way_there_nobody_waits_beyond_the_deadline() -> None:
    vendor, clock = Vendor(["no way"] * 100), Time()
    with pytest.raises(Unreachable):
        asyncio.run(job(vendor, Memory(), clock, 100.0).run())
    assert clock.at < 1100.0


@pytest.mark.parametrize(("word", "kind"), [("broken off", JobOutOfReach), ("lost before", JobUnknown)])
def test_whose_fault_it_is_that_nobody_knows(word: str, kind: type[BackendError]) -> None:
    """The vendor has it, and then there is no answer any more, to whatever is asked."""
    vendor, journal, clock = Vendor(["fine", *[word] * 1000]), Memory(), Time()
    with pytest.raises(JobUnknown) as caught:
        asyncio.run(job(vendor, journal, clock, 60.0).run())
    assert type(caught.value) is kind
    assert (len(vendor.sent), vendor.reached[-1]) == (1, kind is JobUnknown)
