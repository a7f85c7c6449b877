"""A vendor's list of jobs, read once for all that look for one in it.

After a worker's end its successor looks for every job that may have been sent. Each by itself they would read the same
list at the same time, as often as there are jobs, and none would have its answer in time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable


class Listing:
    """Answers from readings of a list, one at a time. A question is answered by one that began after it: what was sent
    before the question is in it."""

    def __init__(self, pages: Callable[[], AsyncIterator[Iterable[tuple[str, str]]]]) -> None:
        """`pages`: the list from its beginning, our id and the vendor's of each job; it raises what a vendor raises."""
        self._pages = pages
        self._asked: dict[str, asyncio.Future[str | None]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def find(self, client_id: str) -> str | None:
        """The vendor's id of a job; None: it is not in the list. Raises what reading the list raised."""
        loop = asyncio.get_running_loop()
        if self._reading is not None and self._reading.get_loop() is not loop:
            self._asked, self._reading = {}, None  # of those that were asked there none waits any more
        found = self._asked.setdefault(client_id, loop.create_future())
        if self._reading is None or self._reading.done():
            self._reading = loop.create_task(self._read(), name="list of jobs")
        return await asyncio.shield(found)

    async def _read(self) -> None:
        while self._asked:
            asked, self._asked = self._asked, {}
            try:
                async for jobs in self._pages():
                    for client_id, vendor_id in jobs:
                        if client_id in asked:
                            asked.pop(client_id).set_result(vendor_id)
                    if not asked:
                        break
                for found in asked.values():
                    found.set_result(None)
            except Exception as error:  # noqa: BLE001 - theirs, who asked
                for found in asked.values():
                    found.set_exception(error)
                    found.exception()  # whoever asked may be gone
            finally:
                for found in asked.values():
                    found.cancel()  # where it is done, nothing happens
