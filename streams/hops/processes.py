"""Threads and processes beside a worker's event loop: they end with it; who goes first, and what they may take."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import sys
import threading
from collections.abc import Iterable
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context, parent_process
from pathlib import Path

NICE = 10
"""What large work adds to its niceness: a tenth of the processor, while small work wants all of it."""


def stay_with_parent() -> None:
    """A pool's process ignores Ctrl-C (its parent drains it) and ends when its parent does, even by kill -9.

    It knows by the pipe that it was given its task by: the other end closes with the parent, also one that is gone
    before anybody looks, which its pid asked for here could not tell.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()
    if parent is None:
        return  # nobody's: called in a process of its own

    def watch() -> None:
        parent.join()
        os._exit(0)

    with suppress(OSError):
        # SIGIO, which ends a process: a thread would wait while a task holds Python's lock.
        fcntl.fcntl(parent.sentinel, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(parent.sentinel, fcntl.F_SETFL, fcntl.fcntl(parent.sentinel, fcntl.F_GETFL) | os.O_ASYNC)
    threading.Thread(target=watch, name="stay-with-parent", daemon=True).start()


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


def foreground(processes: int) -> Executor:
    """Processes for what holds Python's lock. Spawned: a forked child would inherit sockets and JAX's threads."""
    return ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=stay_with_parent)


def abandon(executor: Executor) -> None:
    """Give an executor up with what it is doing. Its processes are killed; a thread ends when it ends."""
    for process in list((getattr(executor, "_processes", None) or {}).values()):  # Python 3.14: kill_workers
        process.kill()
    executor.shutdown(wait=False, cancel_futures=True)


def background(processes: int) -> Executor:
    """The same, at lower priority: for what takes seconds."""
    return ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_stay_in_background)


def _stay_in_background() -> None:
    stay_with_parent()
    os.nice(NICE)
    # Linux shares a processor out by session first and by niceness second (sched(7), "The autogroup feature"): in the
    # workers' session this would take from the broker, which has its own, as much as they do all together.
    os.setsid()
    with suppress(OSError):  # no Linux, or autogroups are off
        Path("/proc/self/autogroup").write_text(str(NICE))
    if sys.platform == "linux" and len(cores := os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, cores - {min(cores)})  # one core is always free for what takes milliseconds


def confined(processes: int, memory_bytes: int) -> Executor:
    """Background processes that may take `memory_bytes` beyond what they have at their start, the families imported.

    Beyond, an allocation raises MemoryError in the task, which its future raises; what cannot bear that (a library in
    C++) ends the process: BrokenProcessPool. Nothing is dumped. No limit where the system knows none (macOS).
    """
    return ProcessPoolExecutor(
        processes, mp_context=get_context("spawn"), initializer=_confine, initargs=(memory_bytes,)
    )


def _confine(memory_bytes: int) -> None:
    _stay_in_background()
    from qmosaic.processors.families import registry  # noqa: F401 - before the count

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        # Of private writable pages. RLIMIT_AS would count what is only reserved too: 64 MiB a thread, every library.
        taken = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        limit = taken + memory_bytes if most == resource.RLIM_INFINITY else min(most, taken + memory_bytes)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
