"""What all browsers are shown: looked at once for all of them, twice a second, however much arrives."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import NamedTuple

from qmosaic.codecs.errors import BrokerError
from qmosaic.processors.overview.overview import Overview, Overviews
from qmosaic.streams.observe.report import Report
from qmosaic.streams.observe.watching import Watching
from qmosaic.streams.settings import Settings

LOOK_SECONDS = 0.5
"""Between two looks at what is known; a browser is told no more often."""
REST_SECONDS = 0.25
"""Between two looks at the topics."""
LOOKS = 3
"""To one question to the broker, how far the stages are."""
UNWANTED_SECONDS = 60.0
"""Without a browser nobody is asked anything: the topics are left that long after the last look of one."""
AGAIN_SECONDS = 2.0
"""Until a broker that is away, or topics that are not there, are looked for again."""

log = logging.getLogger("qmosaic.page")


class View(NamedTuple):
    """A look: what is known, and the last report of it. `trouble`: why it is old. `number`: which look it is."""

    number: int = 0
    known: Overview = Overviews.start
    report: Report | None = None
    trouble: str = "connecting to the broker"


class Live:
    """The latest look, while `run` runs and somebody wants it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._wanted, self._wanted_at = asyncio.Event(), time.monotonic()
        self.view = View()

    def want(self) -> View:
        """The latest look, for a browser."""
        self._wanted_at = time.monotonic()
        self._wanted.set()
        return self.view

    @property
    def unwanted(self) -> float:
        """Seconds since anybody looked."""
        return time.monotonic() - self._wanted_at

    async def run(self) -> None:
        """For ever; a broker that is away is waited for. Raises what is a bug."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                async with Watching(self._settings, REST_SECONDS) as watching:
                    while await self._look(watching):
                        pass
            except BrokerError as error:
                log.warning("%s", error)
                self.view = self.view._replace(number=self.view.number + 1, trouble=str(error))
            await asyncio.sleep(AGAIN_SECONDS)

    async def _look(self, watching: Watching) -> bool:
        """A report, and some looks until the next one; whether there is to be one."""
        report = await watching.report()
        for _ in range(LOOKS):
            self.view = View(self.view.number + 1, watching.known, report, "")
            await asyncio.sleep(LOOK_SECONDS)
        return not report.missing and self.unwanted < UNWANTED_SECONDS
