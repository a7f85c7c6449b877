"""The paid jobs of a wrapper: each is sent once, whoever runs them, and none is left behind where one fails."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import get_args

import numpy as np
import pytest

from qmosaic.backends.base import Answer, Expectations, Job, run_async
from qmosaic.backends.clouds.job import Status
from qmosaic.backends.clouds.journal import Memory
from qmosaic.backends.clouds.remote import Journaled
from qmosaic.backends.conformance.circuits import expected
from qmosaic.backends.registry import innermost, wrapped
from qmosaic.codecs.errors import BackendError, JobUnknown
from tests.vendors.aqt import AqtServer
from tests.vendors.faults import THREE_BASES, made, serving
from tests.vendors.ionq import IonqServer
from tests.vendors.server import Fault, Point

vendor = serving(IonqServer)

NAME = "ionq/simulator"
JOB = Job(THREE_BASES, 3000, 1)


async def ran(name: str, journal: Memory, of: str = "qm-1") -> Answer:
    """One problem by a wrapper of that name, as a new worker would run it."""
    vendor = made(innermost(name))
    own = Journaled(vendor, of, "digest", journal, vendor.clock.now() + 3600, name)
    backend = wrapped(name, own)
    try:
        (answer,) = await run_async(backend, [backend.prepare(JOB)])
    except BackendError as error:
        raise await own.given_up(error) from None
    return answer


@pytest.mark.parametrize(
    ("name", "jobs"), [(NAME, 1), (f"zne({NAME})", 3), (f"readout({NAME})", 3), (f"readout(zne({NAME}))", 5)]
)
async def test_whoever_goes_on_sends_each_once(vendor: IonqServer, name: str, jobs: int) -> None:
    """The first worker is killed at one point, the second while it asks how the jobs are."""
    for point in get_args(Point):
        journal, of = Memory(), f"qm-{point}"
        vendor.jobs.clear()
        for place in dict.fromkeys((point, "polling")):
            vendor.held = {place}
            vendor.reached[place].clear()
            worker = asyncio.create_task(ran(name, journal, of))
            assert await asyncio.to_thread(vendor.reached[place].wait, 20)
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)
            await vendor.let_go()
        answer = await ran(name, journal, of)
        assert isinstance(answer, Expectations)
        assert (np.abs(answer.values - expected(THREE_BASES)) < 5 * answer.errors).all()
        names = [of, *(f"{of}-{k}" for k in range(1, jobs))]
        assert Counter(job.name for job in vendor.jobs) == dict.fromkeys(names, 1)
        assert sorted(answer.usage.job_id.split()) == sorted(job.id for job in vendor.jobs)
        assert {entry.backend for each in names for entry in journal.counted.of(each)} == {name}


async def test_where_one_fails_the_others_are_cancelled(vendor: IonqServer) -> None:
    vendor.endless = True
    vendor.faults = [Fault("POST", "/v0.4/jobs", 400)]
    journal = Memory()
    with pytest.raises(BackendError, match="400"):
        await ran(f"zne({NAME})", journal)
    assert [job.state for job in vendor.jobs] == ["cancelled"] * len(vendor.jobs)
    last = [entries[-1].state for each in ("qm-1", "qm-1-1", "qm-1-2") if (entries := journal.counted.of(each))]
    assert "failed" in last
    assert set(last) <= {"failed", "cancelled", "planned"}
    sent = len(vendor.jobs)
    with pytest.raises(BackendError, match="400"):  # not that others were withdrawn
        await ran(f"zne({NAME})", journal)
    assert len(vendor.jobs) == sent


async def test_where_one_fails_and_another_cannot_be_cancelled() -> None:
    with AqtServer().at_hand() as vendor:
        vendor.endless, vendor.held = True, {"received"}
        worker = asyncio.create_task(ran(f"zne({vendor.backend})", Memory()))
        async with asyncio.timeout(20):
            while sum(method == "POST" for method, _ in vendor.requests) < 3:
                await asyncio.sleep(0.01)
        vendor.faults = [Fault("GET", "/", 403)]
        vendor.held = set()
        with pytest.raises(JobUnknown, match="may still run"):
            await worker


async def test_an_error_that_nobody_expects_leaves_nothing_behind(vendor: IonqServer) -> None:
    vendor.endless, backend = True, made(NAME)
    poll = backend.poll

    async def odd(vendor_id: str) -> tuple[Status, str]:
        if vendor_id == vendor.jobs[0].id and len(vendor.jobs) == 3:
            raise ZeroDivisionError
        return await poll(vendor_id)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "poll", odd)
        with pytest.raises(ZeroDivisionError):
            await run_async(backend, [backend.prepare(JOB) for _ in range(3)])
    assert [job.state for job in vendor.jobs] == ["cancelled"] * 3
