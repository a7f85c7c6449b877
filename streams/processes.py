"""Threads and processes beside a worker's event loop: that they end with it, and which of them go first."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

NICE = 10
"""What large work adds to its niceness: a tenth of the processor, while small work wants all of it."""


def stay_with_parent() -> None:
    """A pool's process ignores Ctrl-C (its parent drains it) and ends when its parent does, even by kill -9."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(0)

    threading.Thread(target=watch, name="stay-with-parent", daemon=True).start()


def lower_priority() -> None:
    """Of this thread (its process where the system knows no priorities of threads): others go first."""
    who = threading.get_native_id() if sys.platform == "linux" else 0
    os.setpriority(os.PRIO_PROCESS, who, NICE)


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
