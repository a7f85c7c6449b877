"""The hop route: kernels to the jobs of a target, by who is alive and the rules."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from qmosaic.codecs.events import wire
from qmosaic.codecs.events.control import BackendStatus
from qmosaic.codecs.events.hops import JobEvent, Reduced
from qmosaic.processors.control.breakers import Trials
from qmosaic.processors.control.facts import STATUS, facts_of
from qmosaic.processors.route import route
from qmosaic.streams.hops.hop import Look, looked, next_send
from qmosaic.streams.hops.in_force import InForce
from qmosaic.streams.kafka.records import Received, Send
from qmosaic.streams.kafka.tail import Tail
from qmosaic.streams.settings import Settings

LOOK_BACK = 200
"""Signs of life that are read at the start: who was alive a moment ago is known at once."""


class Route:
    """problems.reduced → jobs.*, or straight to proposals where no backend is alive."""

    def __init__(self, settings: Settings, stage: str, clock: Callable[[], float] = time.time) -> None:
        """`clock`: seconds since the epoch."""
        self._settings, self._clock = settings, clock
        self._paid = settings.paid.backends
        self._in_force = InForce(settings)
        self._told = Tail(settings, "backends.status", BackendStatus, STATUS, back=LOOK_BACK)
        self._trials = Trials()

    async def start(self) -> None:
        await asyncio.gather(self._told.start(), self._in_force.start())

    def look(self, record: Received) -> Look:
        return looked(record)

    async def handle(self, batch: Sequence[Received], lane: int) -> list[Send]:
        told, ordered = self._told.state, self._in_force.ordered
        at = max(m.timestamp for m in batch)
        facts = facts_of(told, ordered, self._clock(), at, self._settings.route.stale_seconds)
        facts = replace(facts, breakers=self._trials.left(told[1], facts.breakers, facts.at))
        decided = route([wire.decode(m.value or b"", Reduced) for m in batch], facts, self._in_force.of(ordered))
        for event in decided:
            if isinstance(event, JobEvent) and facts.breakers.get(event.route.backend) == "half_open":
                self._trials.gave(event.route.backend, told[1], facts.at)
        return [next_send(event, cause, self._paid) for cause, event in enumerate(decided)]

    def status(self) -> None:
        return None

    async def stop(self) -> None:
        await asyncio.gather(self._told.stop(), self._in_force.stop())
