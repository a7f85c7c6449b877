"""What all browsers are shown: looked at once for all of them, twice a second, however much arrives."""

from __future__ import annotations

import asyncio
import logging
from typing import NamedTuple

from qmosaic.codecs.errors import BrokerError
from qmosaic.processors.overview.overview import Overview, Overviews
from qmosaic.streams.observe.report import Report
from qmosaic.streams.observe.watching import Watching
from qmosaic.streams.settings import Settings

LOOK_SECONDS = 0.5
"""Between two looks at what is known; a browser is told no more often."""
LOOKS = 3
"""To one question to the broker, how far the stages are."""
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
    """The latest look, while `run` runs."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.view = View()

    async def run(self) -> None:
        """For ever; a broker that is away is waited for. Raises what is a bug."""
        while True:
            try:
                async with Watching(self._settings) as watching:
                    while await self._look(watching):
                        pass
            except BrokerError as error:
                log.warning("%s", error)
                self.view = self.view._replace(number=self.view.number + 1, trouble=str(error))
            await asyncio.sleep(AGAIN_SECONDS)

    async def _look(self, watching: Watching) -> bool:
        """A report, and some looks until the next one; whether all topics are there."""
        report = await watching.report()
        for _ in range(LOOKS):
            self.view = View(self.view.number + 1, watching.known, report, "")
            await asyncio.sleep(LOOK_SECONDS)
        return not report.missing
