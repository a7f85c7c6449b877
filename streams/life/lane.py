"""Events that wait in a worker for a free place, and in whose turn they are."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
from faust.types import EventT

from qmosaic.processors.control.order import Turns
from qmosaic.processors.control.policy import Policy
from qmosaic.streams.hops.hop import Look
from qmosaic.streams.kafka.records import Received

URGENT_SECONDS, BESIDE_URGENT = 2.0, 8
"""So long after an event of the highest class, batches of others are so much smaller."""
OTHERS_SECONDS, BESIDE_OTHERS = 10.0, 8
"""And so long after one of another tenant, nobody has more than this part of a batch, or than an equal one. Those who
ask again when they have their answers come in waves, as far apart as an answer takes."""
LARGE_BYTES, LARGE_WAITING = 256 * 1024, 8
"""What is handed out after all that is smaller, and how many may wait for that."""


class Held(msgspec.Struct, frozen=True):
    """A message of Faust's, without its value, and the record it brought, of so many bytes."""

    message: Any
    record: Received
    size: int
    deadline_at: float
    rank: int
    tenant: str = ""


async def smaller_first(stream: Any, arrives: Callable[[EventT[Any]], bool]) -> AsyncIterator[EventT[Any]]:
    """The events of a stream of Faust's, large ones after the small ones that are there, one at a time.

    To look at a large one takes as long as hundreds of small ones; the event loop has its turn after each. `arrives` is
    told of every event in the order they come in; False: it is not wanted.
    """
    waiting = stream.channel.queue
    async for first in stream.noack().events():
        large, event = deque[EventT[Any]](), first
        while True:
            if event is not None and arrives(event):
                if len(event.message.value or b"") > LARGE_BYTES:
                    large.append(event)
                else:
                    yield event
            # The stream goes once around the event loop for each event; what waits behind it is taken along.
            if not waiting.empty() and len(large) < LARGE_WAITING:
                event = waiting.get_nowait()
            elif large:
                event = None
                yield large.popleft()
                await asyncio.sleep(0)
            else:
                break


class Lane:
    """Events that wait for a free place, in the order of their turns. `policy`: whose weights hold, at each turn."""

    def __init__(self, policy: Callable[[], Policy], clock: Callable[[], float]) -> None:
        self._policy, self._known = policy, policy()
        self._turns: Turns[Held] = Turns(self._known.weight_of)
        self._there = asyncio.Semaphore(0)
        self._clock, self._urgent_at = clock, -URGENT_SECONDS
        self._came: dict[tuple[int, str], float] = {}

    def put(self, held: Held, look: Look) -> None:
        """One more."""
        now = self._clock()
        if look.rank == 0:
            self._urgent_at = now
        self._came.pop((look.rank, look.tenant), None)
        self._came[look.rank, look.tenant] = now  # the last to come is the last of them
        self._forget(now)
        self._turns.put(held, look.rank, look.tenant, look.deadline_at, look.size)
        self._there.release()

    async def get(self) -> Held:
        """The next; waits for one."""
        await self._there.acquire()
        self._follow()
        return self._turns.get()

    def _follow(self) -> None:
        policy = self._policy()
        if policy is not self._known:
            self._known = policy
            self._turns.follow(policy.weight_of)

    async def batch(self, usual: int, most_bytes: int) -> list[Held]:
        """What is worked on next, together: what there is without waiting, of one class. Waits for one.

        Whoever has had its part of it ends it: what is left of a batch that others do not fill is not its own, as they
        would wait for that when they come. It goes on in the next one at once, if nobody came.
        """
        first = await self.get()
        most, part = self.most(usual, first.rank), self.part(usual, first.rank)
        batch, size, has = [first], first.size, Counter([first.tenant])
        while len(batch) < most and size < most_bytes and not self._there.locked():
            # What is urgent is done with its like: it need not wait until a batch of others is done, too.
            if self._turns.highest > first.rank or has[self._turns.next[1]] >= part:
                break
            batch.append(await self.get())
            size += batch[-1].size
            has[batch[-1].tenant] += 1
        return batch

    def most(self, usual: int, rank: int) -> int:
        """The most of a batch of a class: where urgent ones came of late, the next one is not to wait for many."""
        urgent = rank > 0 and self._clock() < self._urgent_at + URGENT_SECONDS
        return max(1, usual // BESIDE_URGENT) if urgent else usual

    def part(self, usual: int, rank: int) -> int:
        """The most of one tenant in a batch of a class: all of it where nobody else came of late."""
        self._forget(self._clock())
        tenants = sum(where == rank for where, _ in self._came)
        return max(1, usual // BESIDE_OTHERS, -(-usual // max(1, tenants)))

    def _forget(self, now: float) -> None:
        """Who has not come for long."""
        while self._came and self._came[flow := next(iter(self._came))] + OTHERS_SECONDS <= now:
            del self._came[flow]
