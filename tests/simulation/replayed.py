"""The inputs of a run of verify once more."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiokafka import TopicPartition

from tests.simulation.broker import Entry
from tests.simulation.world import INPUTS, World


class Replayed(World):
    """The inputs of a run once more, each record when it came, in another order of everything else."""

    def __init__(self, seed: int, recorded: World) -> None:
        super().__init__(seed)
        self.dies, self._recorded = 0.0, recorded

    async def begin(self) -> None:
        for k in range(2):
            self.loop.spawn(None, self.supervise(f"verify-{k}"))
        for place, log in self._recorded.broker.logs.items():
            if place.topic in INPUTS:
                self.loop.spawn(None, self._record(place, log.entries))

    async def _record(self, place: TopicPartition, entries: Sequence[Entry]) -> None:
        for entry in entries:
            await asyncio.sleep(max(0.0, entry.at - self.loop.time()))
            self.broker.append(place, entry)

    async def _fault(self, after: float) -> None: ...
