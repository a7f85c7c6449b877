"""Patience with brokers that have none.

A Kafka broker holds an empty fetch for `fetch_max_wait_ms`. The embedded one (noida-db 0.2.3) answers at once,
and aiokafka asks again at once: 4,000 times a second, a core for nothing in every process. Here a consumer
whose broker answers an empty fetch early rests a moment before it asks again: 1 ms after records, growing to
8 ms when nothing comes. A real Kafka never answers early, so nothing changes there.
"""

from __future__ import annotations

import asyncio
from typing import Any
from weakref import WeakKeyDictionary

from aiokafka.consumer.fetcher import Fetcher

SHORTEST, LONGEST, GROWTH = 0.001, 0.008, 1.3
EARLY = 0.2  # of fetch_max_wait_ms

_original = Fetcher._proc_fetch_request
_rests: WeakKeyDictionary[Any, float] = WeakKeyDictionary()


async def _paced(self: Any, assignment: Any, node_id: Any, request: Any) -> bool:
    loop = asyncio.get_running_loop()
    asked = loop.time()
    has_records: bool = await _original(self, assignment, node_id, request)
    if has_records:
        _rests[self] = SHORTEST
    elif loop.time() - asked < EARLY * self._fetch_max_wait_ms / 1000:
        rest = _rests.get(self, SHORTEST)
        _rests[self] = min(LONGEST, rest * GROWTH)
        try:
            await asyncio.sleep(rest)
        except asyncio.CancelledError:
            return False  # as the original: the consumer closes, or its partitions changed
    return has_records


def install() -> None:
    """Pace every consumer of this process. Idempotent."""
    Fetcher._proc_fetch_request = _paced
