"""The hop reduce: compact models to incumbents and kernels, in threads and processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial

from qmosaic.codecs.events.hops import Incumbent, Reduced
from qmosaic.processors.families.base import QUICK, SLOW
from qmosaic.streams.hops import jobs, processes
from qmosaic.streams.hops.hop import Look, looked
from qmosaic.streams.kafka.records import Received, Send
from qmosaic.streams.settings import Settings

LANES = (32, QUICK, SLOW)
"""Up to which size (variables of a max-cut) problems share a lane: milliseconds, a moment, a second; the last, many."""


class Reduce:
    """problems.encoded → incumbents, problems.reduced. JAX, in threads: it releases Python's lock.

    The last two lanes, of problems that take a second and of those that take many, have processes of their own and
    lower priority: a tour or a molecule must not be felt by those that take milliseconds, nor a tour feel a molecule.
    """

    def __init__(self, settings: Settings, stage: str, clock: Callable[[], float] = time.time) -> None:
        """`clock`: seconds since the epoch."""
        self._settings, self._clock = settings, clock
        self._programs = partial(jobs.use_programs, settings.compiled_programs, settings.usual_programs)
        self._lanes = [self._executor(lane) for lane in range(len(LANES) + 1)]

    def _executor(self, lane: int) -> Executor:
        if lane < 2:
            return ThreadPoolExecutor(1, thread_name_prefix="reduce")
        return processes.background(1, self._programs)

    async def start(self) -> None:
        """Programs are loaded when they are used first. What is not compiled yet takes a way without a compiler."""
        await asyncio.get_running_loop().run_in_executor(self._lanes[0], self._programs)

    def look(self, record: Received) -> Look:
        return looked(record)

    async def handle(self, batch: Sequence[Received], lane: int) -> list[Send]:
        values = [m.value or b"" for m in batch]
        pairs = await self._run(values, lane)
        out: list[Send] = []
        for cause, (incumbent, reduced) in enumerate(pairs):
            ref = incumbent.ref
            out.append(Send("incumbents", incumbent, cause, key=ref.problem_id, partition=ref.partition))
            if reduced is not None:
                out.append(Send("problems.reduced", reduced, cause, key=ref.problem_id))
        return out

    async def _run(self, values: Sequence[bytes], lane: int) -> list[tuple[Incumbent, Reduced | None]]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._lanes[lane], jobs.run_reduce, values, self._settings.reduce, self._clock()
        )

    def status(self) -> None:
        return None

    async def stop(self) -> None:
        for executor in self._lanes:
            executor.shutdown(wait=False, cancel_futures=True)
