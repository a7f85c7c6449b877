"""The hop route: kernels to the jobs of a target, by who is alive and the rules."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from qmosaic.codecs.events import wire
from qmosaic.codecs.events.control import BackendStatus
from qmosaic.codecs.events.hops import Reduced
from qmosaic.processors.control.alive import Signs, alive
from qmosaic.processors.control.facts import Facts
from qmosaic.processors.control.policy import Policy
from qmosaic.processors.route import route
from qmosaic.streams.hops.hop import Look, looked, next_send
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
        given, self._paid = settings.route, settings.paid.backends
        self._policy = Policy(given.rules, given.preference, self._paid)
        self._signs = Tail(settings, "backends.status", BackendStatus, Signs(), back=LOOK_BACK)

    async def start(self) -> None:
        await self._signs.start()

    def look(self, record: Received) -> Look:
        return looked(record)

    async def handle(self, batch: Sequence[Received], lane: int) -> list[Send]:
        live = alive(self._signs.state, max(m.timestamp for m in batch), self._settings.route.stale_seconds)
        decided = route([wire.decode(m.value or b"", Reduced) for m in batch], Facts(self._clock(), live), self._policy)
        return [next_send(event, cause, self._paid) for cause, event in enumerate(decided)]

    def status(self) -> None:
        return None

    async def stop(self) -> None:
        await self._signs.stop()
