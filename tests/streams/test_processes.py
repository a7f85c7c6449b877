"""Processes beside a worker: lower priority, and an end to what never ends."""

from __future__ import annotations

import os
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import msgspec
import numpy as np
import psutil
import pytest

from qmosaic.backends.fake import Fake
from qmosaic.codecs import events
from qmosaic.codecs.events import JobEvent, Ref, Route
from qmosaic.codecs.kernels import pack_kernel
from qmosaic.codecs.model import SpinPolynomial
from qmosaic.streams import processes
from qmosaic.streams.agents import Execute
from qmosaic.streams.records import Received
from qmosaic.streams.settings import ExecuteSettings, Settings


def test_background_processes_leave_the_first_place_to_others() -> None:
    with processes.background(1) as pool:
        assert pool.submit(os.nice, 0).result(30) == os.nice(0) + processes.NICE
        pid = pool.submit(os.getpid).result(30)
        assert pool.submit(os.getsid, 0).result(30) == pid  # of its own: see there
        cores = psutil.Process().cpu_affinity()
        assert psutil.Process(pid).cpu_affinity() == (cores[1:] if len(cores) > 1 else cores)


def test_abandoned_processes_end() -> None:
    pool = processes.foreground(1)
    process = psutil.Process(pool.submit(os.getpid).result(30))
    sleeping = pool.submit(time.sleep, 600)
    processes.abandon(pool)
    with pytest.raises((BrokenProcessPool, CancelledError)):  # as it had begun or not
        sleeping.result(30)
    gone, _ = psutil.wait_procs([process], timeout=30)
    assert gone == [process]


def job(number: int, deadline_at: float) -> bytes:
    """A job event for the fake backend."""
    ref = Ref(
        problem_id=str(number),
        partition=0,
        offset=number,
        family="ising",
        digest="",
        tenant="",
        priority="normal",
        target="classical",
        shots=10,
        seed=number,
        received_at=time.time(),
        deadline_at=deadline_at,
    )
    event = JobEvent(
        ref=ref,
        job_id=str(number),
        attempt=1,
        route=Route(target="classical", backend="fake", reason="rule", rule=""),
        kernel=pack_kernel(SpinPolynomial.of(2, h=np.ones(2))),
        kernel_digest=str(number),
        size=2,
        gammas=[],
        betas=[],
    )
    return events.encode(event)


async def test_a_run_that_hangs_is_given_up_and_the_next_one_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    run, hang = Fake.run, ThreadPoolExecutor(1)
    settings = msgspec.structs.replace(Settings(), execute=ExecuteSettings({"classical": ("fake",)}))
    execute = Execute(settings, "execute.classical")
    await execute.start()
    monkeypatch.setattr(Fake, "run", lambda self, batch: hang.submit(time.sleep, 2).result() or run(self, batch))
    (late,) = await execute.handle([Received("jobs", 0, 0, 0.0, job(0, time.time() + 0.2), {})], 0)
    assert "no answer after" in late.event.failure.message  # type: ignore[attr-defined]
    monkeypatch.setattr(Fake, "run", run)
    (found,) = await execute.handle([Received("jobs", 0, 1, 0.0, job(1, time.time() + 30), {})], 0)
    assert found.event.answer is not None  # type: ignore[attr-defined]
    await execute.stop()
