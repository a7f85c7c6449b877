"""Events that wait in a worker for a free place, and in whose turn they are."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec

from qmosaic.processors.control.order import Turns
from qmosaic.streams.hops.hop import Look
from qmosaic.streams.kafka.records import Received


class Held(msgspec.Struct, frozen=True):
    """A message of Faust's, without its value, and the record it brought, of so many bytes."""

    message: Any
    record: Received
    size: int
    deadline_at: float
    rank: int


class Lane:
    """Events that wait for a free place, in the order of their turns."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        self._turns: Turns[Held] = Turns(weights)
        self._there = asyncio.Semaphore(0)

    def put(self, held: Held, look: Look) -> None:
        """One more."""
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

    @property
    def has_more(self) -> bool:
        """Whether there is one without waiting."""
        return not self._there.locked()
