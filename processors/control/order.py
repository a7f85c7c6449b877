"""Whose turn it is: within a lane of a worker, class by class, tenant by tenant, deadline by deadline.

- A higher class goes first; but of so many turns (`PASSED_OVER`) at least one is of each lower class that waits.
- Within a class tenants share by weight, by start-time fair queueing (Goyal, Vin, Cheng 1996): who sends much waits for
  itself, who sends little hardly waits. The virtual time is that of the turn taken last; a tenant that comes (back)
  starts from there, so nobody saves up turns.
- Of one tenant the earliest deadline goes first.

Kafka's partitions and the bound on what a worker holds make this an order of what has been read, not of all there is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Generic, TypeVar

Item = TypeVar("Item")

CLASSES = 3
"""High, normal, low."""
PASSED_OVER = (0, 10, 20)
"""Of so many turns at least one is of the class, where something of it waits."""
LEAST_COST = 1e-3
"""Of a turn; what says nothing of its size costs that."""


@dataclass(eq=False)
class _Tenant(Generic[Item]):
    """What waits of one tenant, by deadline; `start`: the virtual time of its next turn."""

    name: str
    start: float
    waiting: list[tuple[float, int, float, Item]] = field(default_factory=list)


@dataclass(eq=False)
class _Class(Generic[Item]):
    """Tenants of whom something waits, by their next turns; `now`: the virtual time. `ends`: of who waits no more."""

    now: float = 0.0
    turns: list[tuple[float, float, int, _Tenant[Item]]] = field(default_factory=list)
    tenants: dict[str, _Tenant[Item]] = field(default_factory=dict)
    ends: dict[str, float] = field(default_factory=dict)
    passed_over: int = 0


Weigh = Callable[[str], float]
"""The weight of a tenant, above 0."""


class Turns(Generic[Item]):
    """Things that wait."""

    def __init__(self, weigh: Weigh = lambda _: 1.0) -> None:
        self._weigh = weigh
        self._classes: list[_Class[Item]] = [_Class() for _ in range(CLASSES)]
        self._count = count()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def put(self, item: Item, rank: int, tenant: str, deadline_at: float, size: float = 0.0) -> None:
        """One more. `rank`: 0 goes first; `size`: how much work it is, in any unit that the lane's all share."""
        of = self._classes[min(max(rank, 0), CLASSES - 1)]
        its = of.tenants.get(tenant)
        if its is None:
            start = max(of.now, of.ends.pop(tenant, 0.0))
            its = of.tenants[tenant] = _Tenant(tenant, start)
            heappush(of.turns, (start, deadline_at, next(self._count), its))
        heappush(its.waiting, (deadline_at, next(self._count), max(size, LEAST_COST), item))
        self._length += 1

    @property
    def highest(self) -> int:
        """The highest class that waits; `CLASSES` where nothing does."""
        return next((rank for rank, of in enumerate(self._classes) if of.turns), CLASSES)

    @property
    def next(self) -> tuple[int, str]:
        """The class and the tenant whose turn is the next. Raises IndexError where nothing waits."""
        rank = self._chosen()
        return rank, self._classes[rank].turns[0][-1].name

    def get(self) -> Item:
        """The next. Raises IndexError where nothing waits."""
        chosen = self._chosen()
        of = self._classes[chosen]
        for rank, other in enumerate(self._classes):
            if other.turns:
                other.passed_over = 0 if rank == chosen else other.passed_over + 1
        start, _, _, its = heappop(of.turns)
        _, _, cost, item = heappop(its.waiting)
        of.now = start
        its.start = start + cost / self._weigh(its.name)
        if its.waiting:
            heappush(of.turns, (its.start, its.waiting[0][0], next(self._count), its))
        else:
            del of.tenants[its.name]
            of.ends[its.name] = its.start
            if not of.turns:
                of.ends.clear()  # nobody is ahead of anybody
        self._length -= 1
        return item

    def follow(self, weigh: Weigh) -> None:
        """Other weights from now on. What a tenant has had beyond the others is work, and counts by its new one: who
        had little weight does not go on waiting for it."""
        for of in self._classes:
            for its in of.tenants.values():
                its.start = of.now + (its.start - of.now) * self._weigh(its.name) / weigh(its.name)
            for name, end in of.ends.items():
                of.ends[name] = of.now + (end - of.now) * self._weigh(name) / weigh(name)
            of.turns = [(its.start, its.waiting[0][0], next(self._count), its) for *_, its in sorted(of.turns)]
            heapify(of.turns)
        self._weigh = weigh

    def _chosen(self) -> int:
        """The highest class that waits, or a lower one that was passed over often enough."""
        waiting = [rank for rank, of in enumerate(self._classes) if of.turns]
        if not waiting:
            raise IndexError("nothing waits")
        late = [rank for rank in waiting if rank and self._classes[rank].passed_over + 1 >= PASSED_OVER[rank]]
        return late[-1] if late else waiting[0]
