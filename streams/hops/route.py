"""The hop route: kernels to the jobs of a target, by who is alive and the rules."""

from __future__ import annotations

import time
from collections.abc import Sequence

from qmosaic.codecs.events import wire
from qmosaic.codecs.events.hops import JobEvent, Reduced
from qmosaic.processors.route import route
from qmosaic.streams.hops.alive import StatusReader
from qmosaic.streams.hops.hop import Look, looked, proposal_send
from qmosaic.streams.kafka.records import Received, Send
from qmosaic.streams.settings import Settings


class Route:
    """problems.reduced → jobs.*, or straight to proposals where no backend is alive."""

    def __init__(self, settings: Settings, stage: str) -> None:
        self._settings = settings
        self._alive = StatusReader(settings)

    async def start(self) -> None:
        await self._alive.start()

    def look(self, record: Received) -> Look:
        return looked(record)

    async def handle(self, batch: Sequence[Received], lane: int) -> list[Send]:
        policy, paid = self._settings.route, self._settings.paid.backends
        decided = route(
            [wire.decode(m.value or b"", Reduced) for m in batch],
            now=time.time(),
            rules=policy.rules,
            preference=policy.preference,
            alive=self._alive.alive(max(m.timestamp for m in batch)),
            paid=paid,
        )
        out: list[Send] = []
        for cause, event in enumerate(decided):
            if isinstance(event, JobEvent):
                attributes = {
                    "qmosaic__route__reason": event.route.reason,
                    "qmosaic__route__target": event.route.target,
                    "qmosaic__backend__name": event.route.backend,
                }
                topic = "jobs.paid" if event.route.backend in paid else f"jobs.{event.route.target}"
                out.append(Send(topic, event, cause, key=event.kernel_digest, attributes=attributes, size=event.size))
            else:
                out.append(proposal_send(event, cause))
        return out

    def status(self) -> None:
        return None

    async def stop(self) -> None:
        await self._alive.stop()
