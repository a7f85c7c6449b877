"""An event loop that leaves nothing to chance but by its seed: virtual time, any order of what is ready, and processes
that can be killed and frozen, all in one thread.

Every callback belongs to the process whose context it was made in. That of a killed process never runs again (but
when the simulation is over, to end what it left); that of a frozen one runs once it is thawed. simloom and seedloop,
which do this and more, need Python 3.12.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from asyncio import base_events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any

START = 1_700_000_000.0
"""When a simulation begins, seconds since the epoch."""
OUTSIDE: Context = Context()
"""Of what belongs to no process: the broker, the network."""


class Process:
    """What can be killed and frozen as one."""

    def __init__(self, name: str) -> None:
        self.name, self.alive, self.frozen = name, True, False
        self.stash: list[Any] = []

    @property
    def runs(self) -> bool:
        """Whether it can do anything now."""
        return self.alive and not self.frozen


CURRENT: ContextVar[Process | None] = ContextVar("process", default=None)


class DeadlockError(Exception):
    """Nothing will ever happen again."""


class _NoEvents:
    def close(self) -> None: ...


def _task(loop: Any, coroutine: Any, **given: Any) -> asyncio.Task[Any]:
    """A killed process leaves its tasks as they are, and says nothing about them."""
    task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **given)
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    return task


class SimLoop(base_events.BaseEventLoop):
    """`time()` is virtual: when nothing is ready it is the next timer's."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        # As the base class has them, which says so to nobody.
        self._ready: deque[Any]
        self._scheduled: list[Any]
        self._timer_cancelled_count: int
        self.chance = random.Random(seed)
        self.failures: list[str] = []
        self._now = START
        self._selector = _NoEvents()
        self.set_exception_handler(lambda _, context: self.failures.append(repr(context)))
        self.set_task_factory(_task)

    def time(self) -> float:
        """Seconds since the epoch."""
        return self._now

    def spawn(self, process: Process | None, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """A task of a process."""
        context = copy_context()
        context.run(CURRENT.set, process)
        return context.run(self.create_task, work)

    def thaw(self, process: Process) -> None:
        """It goes on, with everything that came in the meantime."""
        process.frozen = False
        self._ready.extend(process.stash)
        process.stash.clear()

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """A thread's work: done at one moment, a little later."""
        future = self.create_future()

        def work() -> None:
            if future.cancelled():
                return
            try:
                future.set_result(func(*args))
            except BaseException as error:  # noqa: BLE001 - handed to who waits
                future.set_exception(error)

        self.call_later(self.chance.expovariate(500), work)
        return future

    def _run_once(self) -> None:
        scheduled, ready = self._scheduled, self._ready
        if not ready:
            while scheduled and scheduled[0]._cancelled:
                heapq.heappop(scheduled)._scheduled = False
            if not scheduled:
                raise DeadlockError
            self._now = max(self._now, scheduled[0]._when)
        while scheduled and scheduled[0]._when <= self._now:
            handle = heapq.heappop(scheduled)
            handle._scheduled = False
            if not handle._cancelled:
                ready.append(handle)
        if self._timer_cancelled_count > 50:
            self._timer_cancelled_count = 0
            self._scheduled = [handle for handle in scheduled if not handle._cancelled]
            heapq.heapify(self._scheduled)
        todo = list(ready)
        ready.clear()
        self.chance.shuffle(todo)
        for handle in todo:
            if handle._cancelled:
                continue
            process = handle._context.get(CURRENT)
            if process is None or process.runs:
                handle._run()
            else:
                process.stash.append(handle)

    def _process_events(self, event_list: Any) -> None: ...

    def _write_to_self(self) -> None: ...
