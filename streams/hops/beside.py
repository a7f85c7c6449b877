"""A process beside a worker for what may take long: one piece of work at a time, with limits of memory and of time.

The processor's time counts, not the clock's: a busy machine must not make a valid problem a refused one.
"""

from __future__ import annotations

import asyncio
import resource
import signal
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from qmosaic.streams.hops import processes

T = TypeVar("T")
TRIES = 3
GRACE_SECONDS = 2  # of the processor, to notice that the time is over, before the process is ended from outside


class BesideError(Exception):
    """The work has no result. `code`: too_large (of time or memory), worker_crashed, or deadline_past."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class WorkError(Exception):
    """What the work raised, as text: an error of another process need not be one that can be sent."""


@dataclass(frozen=True, order=True)
class _Waiting:
    """Work that waits for its turn, in their order: after those at which fewer processes died, by deadline, arrival."""

    deaths: int
    deadline_at: float
    number: int
    future: asyncio.Future[Any] = field(compare=False)
    work: Callable[[], Any] = field(compare=False)


class Beside:
    """`await run(…)` from as many tasks as you like; the most urgent goes first. What kills its process is tried again
    after all others: they must not miss their deadlines with it."""

    def __init__(self, memory_bytes: int, seconds: float, clock: Callable[[], float] = time.time) -> None:
        """`clock`: seconds since the epoch."""
        self._clock = clock
        self._memory_bytes, self._seconds = memory_bytes, seconds
        self._waiting: asyncio.PriorityQueue[_Waiting] = asyncio.PriorityQueue()
        self._count = 0
        self._executor = processes.confined(1, memory_bytes)
        self._task = asyncio.create_task(self._work(), name="beside")

    async def run(self, deadline_at: float, work: Callable[..., T], *given: Any) -> T:
        """The result of `work(*given)`, by a function at the top of a module. Raises BesideError, WorkError.

        `deadline_at`: seconds since the epoch. What has not begun by then never does.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._count += 1
        self._waiting.put_nowait(_Waiting(0, deadline_at, self._count, future, partial(work, *given)))
        return await future

    async def _work(self) -> None:
        while True:
            one = await self._waiting.get()
            if one.future.done():
                continue
            if self._clock() > one.deadline_at:
                one.future.set_exception(BesideError("deadline_past", "it waited for others until its time was over"))
                continue
            try:
                result = await self._tried(one.work)
            except BrokenProcessPool:
                if one.deaths + 1 < TRIES:
                    self._waiting.put_nowait(replace(one, deaths=one.deaths + 1))
                elif not one.future.done():
                    one.future.set_exception(BesideError("worker_crashed", f"a process died at it {TRIES} times"))
            except Exception as error:  # noqa: BLE001 - handed to who waits for it
                if not one.future.done():
                    one.future.set_exception(error)
            else:
                if not one.future.done():
                    one.future.set_result(result)

    async def _tried(self, work: Callable[[], Any]) -> Any:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, _limited, self._seconds, work)
        except TimeoutError:
            raise BesideError("too_large", f"it takes more than {self._seconds:g} s of a processor") from None
        except MemoryError:
            raise BesideError("too_large", f"it takes more than {self._memory_bytes >> 20} MiB of memory") from None

    def stop(self) -> None:
        """Give up what is left, with its process."""
        self._task.cancel()
        processes.abandon(self._executor)


class _Over(BaseException):
    """The processor's time is over. No Exception: what a family catches must not be this."""


def _over(number: int, frame: Any) -> None:
    raise _Over


def _limited(seconds: float, work: Callable[[], T]) -> T:
    """In the process: the result, or TimeoutError when the processor's time is over."""
    signal.signal(signal.SIGPROF, _over)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time() + seconds) + 1 + GRACE_SECONDS, hard))
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        return work()
    except _Over:
        raise TimeoutError from None
    except MemoryError:
        raise
    except BaseException as error:  # noqa: BLE001 - SystemExit too: what comes back must be an error that can be sent
        raise WorkError(f"{type(error).__name__}: {error}"[:500]) from None
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
