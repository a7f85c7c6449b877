"""Threads and processes beside a worker's event loop: they end with it; who goes first, and what they may take."""

from __future__ import annotations

import gc
import os
import resource
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial
from pathlib import Path

from threadpoolctl import threadpool_limits

from qmosaic.streams.hops.helpers import Helpers

COLLECT_EVERY = 200_000
"""Objects made until Python's collector looks for circles, where an event has millions of values: at its usual 700 it
takes three quarters of the time to read 8 MiB of empty lists."""
NICE = 10
"""What large work adds to its niceness: a tenth of the processor, while small work wants all of it."""
LEAST = 19


def lower_priority() -> None:
    """Let others go before this thread (its process, where the system knows no priorities of threads)."""
    who = threading.get_native_id() if sys.platform == "linux" else 0
    os.setpriority(os.PRIO_PROCESS, who, NICE)


def cpu_seconds(roots: Iterable[int]) -> dict[int, float]:
    """Seconds of a processor that each process has taken with all below it; zeros where there is no /proc."""
    parents: dict[int, int] = {}
    taken: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile
            fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
            pid = int(folder.name)
            parents[pid], taken[pid] = int(fields[1]), sum(map(int, fields[11:15]))  # proc_pid_stat(5)
    total = dict.fromkeys(roots, 0.0)
    for pid, ticks in taken.items():
        for _ in range(100):  # not all was read at one moment: there could be a circle
            if pid in total:
                total[pid] += ticks / os.sysconf("SC_CLK_TCK")
                break
            pid = parents.get(pid, 0)
    return total


def foreground(processes: int, setup: Callable[[], object] | None = None) -> Helpers:
    """Processes for what holds Python's lock, of the worker's own priority; `setup()` is the first thing they do."""
    return Helpers(processes, partial(_made_ready, os.nice(0), setup))


def background(processes: int, setup: Callable[[], object] | None = None) -> Helpers:
    """The same, at lower priority: for what takes seconds."""
    return Helpers(processes, partial(_background, os.nice(0), setup))


def abandon(executor: Executor) -> None:
    """Give an executor up with what it is doing. Its processes are killed; a thread ends when it ends."""
    if isinstance(executor, Helpers):
        executor.kill()
    executor.shutdown(wait=False, cancel_futures=True)


def _made_ready(nice: int, setup: Callable[[], object] | None) -> None:
    os.nice(nice - os.nice(0))
    if setup is not None:
        setup()


def _background(nice: int, setup: Callable[[], object] | None) -> None:
    os.nice(nice - os.nice(0))
    stay_in_background()
    if setup is not None:
        setup()


def stay_in_background(least: bool = False) -> None:
    """This process goes behind all others from now on. `least`: it takes only what nobody else wants."""
    os.nice(LEAST if least else NICE)
    if least and sys.platform == "linux":
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    # Linux shares a processor out by session first and by niceness second (sched(7), "The autogroup feature"): in the
    # workers' session a few of these would take as much as a worker; a session's niceness is that of all in it.
    os.setsid()
    with suppress(OSError):  # no Linux, or autogroups are off
        Path("/proc/self/autogroup").write_text(str(LEAST if least else NICE))
    if sys.platform == "linux" and len(cores := os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, cores - {min(cores)})  # one core is always free for what takes milliseconds
        # BLAS, loaded before the fork, has a thread for every core there was; two on one core take three times as long
        threadpool_limits(len(cores) - 1)


def confined(processes: int, memory_bytes: int) -> Helpers:
    """Background processes that may take `memory_bytes` beyond what they have at their start, the families imported.

    Beyond, an allocation raises MemoryError in the task, which its future raises; what cannot bear that (a library in
    C++) ends the process: BrokenProcessPool. Nothing is dumped. No limit where the system knows none (macOS).
    """
    return background(processes, partial(_confine, memory_bytes))


def _confine(memory_bytes: int) -> None:
    from qmosaic.processors import terminal  # noqa: F401 - with every family, before the count

    gc.set_threshold(COLLECT_EVERY, 50)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        # Of private writable pages. RLIMIT_AS would count what is only reserved too: 64 MiB a thread, every library.
        taken = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        limit = taken + memory_bytes if most == resource.RLIM_INFINITY else min(most, taken + memory_bytes)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
