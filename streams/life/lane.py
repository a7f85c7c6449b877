"""Events that wait in a worker for a free place, and in whose turn they are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from qmosaic.processors.control.order import Turns
from qmosaic.streams.hops.hop import Look
from qmosaic.streams.kafka.records import Received

URGENT_SECONDS, BESIDE_URGENT = 2.0, 8
"""So long after an event of the highest class, batches of others are so much smaller."""


class Held(msgspec.Struct, frozen=True):
    """A message of Faust's, without its value, and the record it brought, of so many bytes."""

    message: Any
    record: Received
    size: int
    deadline_at: float
    rank: int


class Lane:
    """Events that wait for a free place, in the order of their turns."""

    def __init__(self, weights: Mapping[str, float], clock: Callable[[], float]) -> None:
        self._turns: Turns[Held] = Turns(weights)
        self._there = asyncio.Semaphore(0)
        self._clock, self._urgent_at = clock, -URGENT_SECONDS

    def put(self, held: Held, look: Look) -> None:
        """One more."""
        if look.rank == 0:
            self._urgent_at = self._clock()
        self._turns.put(held, look.rank, look.tenant, look.deadline_at, look.size)
        self._there.release()

    async def get(self) -> Held:
        """The next; waits for one."""
        await self._there.acquire()
        return self._turns.get()

    @property
    def highest(self) -> int:
        """The highest class that waits."""
        return self._turns.highest

    def most(self, usual: int, rank: int) -> int:
        """The most of a batch of a class: where urgent ones came of late, the next one is not to wait for many."""
        urgent = rank > 0 and self._clock() < self._urgent_at + URGENT_SECONDS
        return max(1, usual // BESIDE_URGENT) if urgent else usual

    @property
    def has_more(self) -> bool:
        """Whether there is one without waiting."""
        return not self._there.locked()
