"""How fast the machine is at a moment, for figures that are compared across minutes.

A virtual machine's processors are shared with strangers: within one run of this project's benchmarks the same loop took
from 1.1 to 1.4 s. A rate that is held against one of minutes before is therefore given for the speed of the machine
then.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import get_context
from time import perf_counter
from types import TracebackType
from typing import Self

import orjson

SECONDS = 0.5
"""A reading takes so long."""
_EVENT = {"id": "a name", "edges": [[k, k + 1, 1.0] for k in range(24)], "deadline": 15.0}


def _turns(seconds: float) -> float:
    """Turns a second of a loop of Python that writes and reads JSON."""
    count, began = 0, perf_counter()
    until = began + seconds
    while (now := perf_counter()) < until:
        for _ in range(100):
            orjson.loads(orjson.dumps(_EVENT))
            count += 1
    return count / (now - began)


class Speed:
    """Readings of all processors at once, each as a share of the first. For when nothing else runs."""

    def __init__(self) -> None:
        self._processors = os.cpu_count() or 1
        self._pool: Executor = ProcessPoolExecutor(self._processors, mp_context=get_context("spawn"))
        self._first: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()

    async def read(self) -> float:
        """1 at first; 0.8 where the machine does four fifths of that now."""
        loop = asyncio.get_running_loop()
        readings = [loop.run_in_executor(self._pool, _turns, SECONDS) for _ in range(self._processors)]
        turns = sum(await asyncio.gather(*readings))
        if self._first is None:
            self._first = turns
        return turns / self._first
