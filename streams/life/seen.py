"""A worker as it is seen from outside: metrics and health, on a socket for its supervisor, which serves those of all.

Nothing runs until somebody asks; that its event loop answers is the first thing that is found out.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.life.observed import observe_process, observe_shell, observe_telemetry
from qmosaic.streams.watch import serving
from qmosaic.streams.watch.serving import Page, serve_socket

if TYPE_CHECKING:
    from qmosaic.streams.exactly_once.service import ExactlyOnce
    from qmosaic.streams.life.worker import Worker
    from qmosaic.streams.watch.metrics import Metrics
    from qmosaic.streams.watch.spans import Telemetry

    Shell = Worker | ExactlyOnce[Any]


class Seen:
    """What there is to see of a process. `broker_away`: whether its clients do not reach a broker just now."""

    def __init__(self, broker_away: Callable[[], bool]) -> None:
        self._away = broker_away
        self.metrics: dict[str, Metrics] = {}
        self.shells: dict[str, Shell] = {}
        self._telemetry: list[Telemetry] = []
        self._stages = 0
        self._server: asyncio.Server | None = None

    @property
    def is_asked(self) -> bool:
        """Whether the supervisor wants to see it."""
        return serving.VARIABLE in os.environ

    def add(self, stage: str, instance: str, shell: Shell, telemetry: Telemetry, metrics: Metrics | None) -> None:
        """A stage of this process."""
        self._telemetry.append(telemetry)
        if metrics is not None:
            observe_telemetry(metrics, telemetry)
            if not self.metrics:
                observe_process(metrics)
            observe_shell(metrics, shell, stage, topic_name(telemetry.settings, ""))
            self.metrics[instance] = metrics
        self.shells[instance] = shell

    def troubles(self) -> Iterator[str]:
        """What is wrong, in the words of `Trouble`."""
        if any(shell.trouble() for shell in self.shells.values()):
            yield "stuck"
        if any(one.is_lost for one in self._telemetry):
            yield "collector"

    async def serve(self, instance: str, stages: int) -> None:
        """On a socket of that name, if it is wanted; until the process ends."""
        self._stages = stages
        if self.is_asked:
            folder = os.environ[serving.VARIABLE]
            pages = {"/metrics": self._metrics, "/healthz": self._healthz, "/readyz": self._readyz}
            self._server = await serve_socket(pages, Path(folder) / instance)

    async def _metrics(self, accept: str) -> Page:
        from qmosaic.streams.watch.exposition import text

        def made() -> Page:
            body, kind = text([(name, each.data()) for name, each in self.metrics.items()], accept)
            return Page(body, kind=kind)

        return await asyncio.to_thread(made)

    async def _healthz(self, _: str) -> Page:
        return _told([f"{name}: {trouble}" for name, shell in self.shells.items() if (trouble := shell.trouble())])

    async def _readyz(self, _: str) -> Page:
        wrong = [f"{name}: it has no partitions" for name, shell in self.shells.items() if not shell.is_ready]
        if len(self.shells) < self._stages:
            wrong.append("it starts")
        if self._away():
            wrong.append("the broker is away")
        return _told(wrong)


def _told(wrong: Sequence[str]) -> Page:
    return Page(("; ".join(wrong) or "ok").encode() + b"\n", 503 if wrong else 200)
