"""Processes beside a worker: lower priority, and an end to what never ends."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from typing import Any

import msgspec
import numpy as np
import psutil
import pytest

from qmosaic.backends.conformance.fake import Fake
from qmosaic.codecs.events import wire
from qmosaic.codecs.events.hops import JobEvent, Proposal, Ref, Route
from qmosaic.codecs.models.kernel import pack_kernel
from qmosaic.codecs.models.polynomial import SpinPolynomial
from qmosaic.streams.hops import processes
from qmosaic.streams.hops.execute import Execute
from qmosaic.streams.kafka.records import Received
from qmosaic.streams.settings import ExecuteSettings, Settings


def test_background_processes_leave_the_first_place_to_others() -> None:
    with processes.background(1) as pool:
        assert pool.submit(os.nice, 0).result(30) == os.nice(0) + processes.NICE
        pid = pool.submit(os.getpid).result(30)
        assert pool.submit(os.getsid, 0).result(30) == pid  # of its own: see there
        cores = psutil.Process().cpu_affinity()
        assert psutil.Process(pid).cpu_affinity() == (cores[1:] if len(cores) > 1 else cores)


BLAS = """
import numpy, threadpoolctl
from qmosaic.streams.hops.processes import stay_in_background
stay_in_background()
print(max(pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no affinity")
def test_background_processes_have_a_thread_of_blas_for_each_of_their_cores() -> None:
    """It is loaded before the fork. Two that share a core make a molecule take three times as long."""
    cores = len(psutil.Process().cpu_affinity())
    done = subprocess.run([sys.executable, "-c", BLAS], capture_output=True, text=True, check=True)
    assert int(done.stdout) <= max(1, cores - 1)


def test_abandoned_processes_end() -> None:
    pool = processes.foreground(1)
    process = psutil.Process(pool.submit(os.getpid).result(30))
    sleeping = pool.submit(time.sleep, 600)
    processes.abandon(pool)
    with pytest.raises((BrokenProcessPool, CancelledError)):  # as it had begun or not
        sleeping.result(30)
    gone, _ = psutil.wait_procs([process], timeout=30)
    assert gone == [process]


MEBIBYTE = 1024 * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="Linux counts what a process allocates")
@pytest.mark.parametrize(
    "task",
    [
        (bytearray, 256 * MEBIBYTE),
        (np.ones, 64 * MEBIBYTE),
        (list, range(32 * MEBIBYTE)),  # grows bit by bit
        (pow, 2, 2**31),  # one integer
        ("x".ljust, 256 * MEBIBYTE),
    ],
)
def test_a_task_that_takes_too_much_memory_raises_and_the_next_one_runs(task: tuple[Any, ...]) -> None:
    with processes.confined(1, 128 * MEBIBYTE) as pool:
        with pytest.raises(MemoryError):
            pool.submit(*task).result(60)
        assert len(pool.submit(bytearray, 16 * MEBIBYTE).result(30)) == 16 * MEBIBYTE


def test_confined_processes_are_in_the_background_and_leave_no_core() -> None:
    with processes.confined(1, 512 * MEBIBYTE) as pool:
        assert pool.submit(resource.getrlimit, resource.RLIMIT_CORE).result(30) == (0, 0)
        assert pool.submit(os.nice, 0).result(30) == os.nice(0) + processes.NICE
        with pytest.raises(BrokenProcessPool):
            pool.submit(os.abort).result(30)


PARENT = """
import os, signal, sys, threading, time
from qmosaic.streams.hops import processes

def main():
    pool = processes.{kind}
    if {early}:
        # the parent ends as soon as the process exists: before it could ask for anything
        threading.Thread(target=pool.submit, args=(time.sleep, 600)).start()
        while not any(helper._pid for helper in pool._busy):
            time.sleep(0.001)
        print(*(helper._pid for helper in pool._busy), flush=True)
    else:
        print(pool.submit(os.getpid).result(), flush=True)
        pool.submit({task})
        time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    main()
"""


@pytest.mark.parametrize("kind", ["foreground(1)", "background(1)", f"confined(1, {512 * MEBIBYTE})"])
@pytest.mark.parametrize(
    ("early", "task"),
    [(True, "None"), (False, "time.sleep, 600"), (False, "pow, 10, 10**8")],  # the last holds Python's lock
)
def test_no_process_outlives_its_parent(kind: str, early: bool, task: str, tmp_path: Any) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(kind=kind, early=early, task=task))
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        orphan = int(parent.stdout.readline())
        parent.wait(60)
    assert parent.returncode == -signal.SIGKILL
    with suppress(psutil.NoSuchProcess):
        psutil.Process(orphan).wait(20)  # TimeoutExpired if it stays behind


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
        work_seconds=0.1,
        gammas=[],
        betas=[],
    )
    return wire.encode(event)


@pytest.mark.parametrize(
    ("deadline", "most", "reason", "failed"), [(0.2, 60.0, "deadline", 0), (30.0, 0.2, "execution_failed", 1)]
)
async def test_a_run_that_hangs_is_given_up_and_the_next_one_runs(
    monkeypatch: pytest.MonkeyPatch, deadline: float, most: float, reason: str, failed: int
) -> None:
    """It counts for its breaker where it had its time: a machine with too much to do says nothing of the backend."""
    run, hang = Fake.run, ThreadPoolExecutor(1)
    execution = ExecuteSettings({"classical": ("fake",)}, max_seconds=most)
    settings = msgspec.structs.replace(Settings(), execute=execution)
    execute = Execute(settings, "execute.classical")
    await execute.start()
    monkeypatch.setattr(Fake, "run", lambda self, batch: hang.submit(time.sleep, 2).result() or run(self, batch))
    (late,) = await execute.handle([Received("jobs", 0, 0, 0.0, job(0, time.time() + deadline), {})], 0)
    assert isinstance(late.event, Proposal)
    failure = late.event.failure
    assert failure is not None
    assert "no answer after" in failure.message
    assert failure.reason == reason
    assert sum(tally.failed for tally in execute.status().tallies.values()) == failed
    monkeypatch.setattr(Fake, "run", run)
    (found,) = await execute.handle([Received("jobs", 0, 1, 0.0, job(1, time.time() + 30), {})], 0)
    assert found.event.answer is not None  # type: ignore[attr-defined]
    await execute.stop()


def with_a_frozen_core() -> float:
    """Admit and look at water, four of its ten electrons active."""
    import orjson

    from qmosaic.processors.admit import Admission, Defaults, Record, admit
    from qmosaic.processors.families.base import Limits

    atoms = [["O", 0.0, 0.0, 0.1173], ["H", 0.0, 0.7572, -0.4692], ["H", 0.0, -0.7572, -0.4692]]
    payload = {"geometry": atoms, "basis": "sto-3g", "active_electrons": 4, "active_orbitals": 4}
    event = orjson.dumps({"family": "molecule", "problem": payload, "shots": 0})
    admission = admit(Record("problems", 0, 0, 0.0, event), Limits(), Defaults())
    assert isinstance(admission, Admission)
    energy: float = admission.instance.quick()["energy"]
    return energy


def test_a_molecule_with_a_frozen_core_takes_no_more_than_it_may() -> None:
    pytest.importorskip("pyscf")
    with processes.confined(1, Settings().beside.memory_bytes) as pool:
        assert pool.submit(with_a_frozen_core).result(120) == pytest.approx(-74.96302, abs=1e-4)
