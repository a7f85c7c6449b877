"""Waits with a bound that holds.

`asyncio.wait_for` cancels and then waits for the cancelled to end, which a Kafka client after a broker's crash may
never do. Here what is late is left behind: the caller ends the process, or goes on without.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
log = logging.getLogger("qmosaic")


async def bounded(work: Awaitable[T], seconds: float, what: str) -> T:
    """The result of `work`. Raises TimeoutError after `seconds`, whatever `work` makes of being cancelled.

    Who is cancelled while it waits leaves `work` to its end: it may be closing something.
    """
    task = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
    except asyncio.CancelledError:
        task.add_done_callback(_heard)
        raise
    if not done:
        task.add_done_callback(_heard)
        task.cancel()
        raise TimeoutError(f"{what}: no end after {seconds:g} s")
    return task.result()


def _heard(task: asyncio.Future[Any]) -> None:
    """Nobody waits any more for what it fails with."""
    if not task.cancelled():
        task.exception()


async def closing(work: Coroutine[Any, Any, Any], seconds: float, what: str) -> None:
    """Close something, for `seconds` at most; what goes wrong is said and left behind."""
    try:
        await bounded(work, seconds, what)
    except Exception as error:  # noqa: BLE001 - it is being closed; nobody needs more than a word
        log.info("%s: %s", what, error)
