"""The port on which a supervisor serves the metrics and the health of all of its workers, gathered when it is asked.

A worker that is dead or hangs costs a bounded wait, is missing in the metrics, and has `qmosaic_worker_up` 0.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from qmosaic.codecs.errors import SettingsError
from qmosaic.codecs.text import shown
from qmosaic.streams.life.children import Child
from qmosaic.streams.settings import MetricsSettings
from qmosaic.streams.watch.serving import Page, asked, serve

ANSWER_SECONDS, HANGING_SECONDS = 2.0, 0.25
"""For a worker to answer, and for one that is known to hang: whoever asks has a bound of their own."""
START_SECONDS = 300.0
"""A process that long after its start has to answer."""


class Endpoint:
    """`folder`: where the workers' sockets are, by instance."""

    def __init__(self, settings: MetricsSettings, folder: Path, children: Sequence[Child]) -> None:
        self._settings, self._folder, self._children = settings, folder, children
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Raises SettingsError where the port cannot be had."""
        pages = {"/metrics": self._metrics, "/healthz": self._healthz, "/readyz": self._readyz}
        try:
            self._server = await serve(pages, self._settings.host, self._settings.port)
        except OSError as error:
            raise SettingsError(
                f"cannot serve metrics at {self._settings.address}: {error.strerror}",
                place="metrics.port",
                remedy="Choose another port, or 0 for none.",
            ) from None

    def stop(self) -> None:
        """Whoever asks afterwards gets no answer."""
        if self._server is not None:
            self._server.close()

    async def _metrics(self, accept: str) -> Page:
        from prometheus_client.core import GaugeMetricFamily

        from qmosaic.streams.watch.exposition import merged, written

        pages = await self._pages("/metrics", accept)
        up = GaugeMetricFamily("qmosaic_worker_up", "1 where a worker's process answers", labels=["worker"])
        for child, page in zip(self._children, pages, strict=True):
            up.add_metric([child.instance], 1.0 if page is not None and page.status == 200 else 0.0)
        body, kind = written([up], accept)
        texts = [page.body for page in pages if page is not None and page.status == 200]
        return Page(await asyncio.to_thread(merged, [*texts, body]), kind=kind)

    async def _healthz(self, _: str) -> Page:
        """Whether something hangs. What ended, or starts, is the supervisor's business."""
        pages = await self._pages("/healthz", "")
        now = time.monotonic()
        lines, worst = [], 200
        for child, page in zip(self._children, pages, strict=True):
            if page is None and (not _runs(child) or now - child.started_at < START_SECONDS):
                lines.append(f"{child.instance} starts")
                continue
            lines.append(f"{child.instance} {_said(page)}")
            worst = max(worst, 503 if page is None or page.status != 200 else 200)
        return Page("\n".join([*lines, ""]).encode(), worst)

    async def _readyz(self, _: str) -> Page:
        """Whether all have their partitions and would answer now."""
        pages = await self._pages("/readyz", "")
        lines = [f"{child.instance} {_said(page)}" for child, page in zip(self._children, pages, strict=True)]
        ready = all(page is not None and page.status == 200 for page in pages)
        return Page("\n".join([*lines, ""]).encode(), 200 if ready else 503)

    async def _pages(self, page: str, accept: str) -> list[Page | None]:
        return list(await asyncio.gather(*(self._page(child, page, accept) for child in self._children)))

    async def _page(self, child: Child, page: str, accept: str) -> Page | None:
        """None: nobody listens there."""
        if _runs(child):
            seconds = HANGING_SECONDS if child.is_silent(time.monotonic()) else ANSWER_SECONDS
            try:
                return await asked(self._folder / child.instance, page, accept, seconds)
            except (TimeoutError, ValueError, LookupError):
                return Page(f"no answer within {ANSWER_SECONDS:g} s".encode(), 504)
            except OSError:
                return None
        return None


def _runs(child: Child) -> bool:
    return child.process is not None and child.process.returncode is None


def _said(page: Page | None) -> str:
    return shown(page.body.decode(errors="replace").strip(), 200) if page is not None else "is not there"
