"""A wait with a bound leaves nothing behind that anybody hears of later."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from qmosaic.streams.kafka.bounded import bounded


async def stubborn() -> None:
    """It makes an error of being cancelled, or ends in one, as a client whose connection is closed."""
    try:
        await asyncio.sleep(0.08)
    except asyncio.CancelledError:
        raise OSError("connection closed") from None
    raise OSError("connection closed")


@pytest.mark.parametrize("by", ["time", "cancellation"])
async def test_what_is_left_behind_says_nothing_later(by: str) -> None:
    heard: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context))
    work = asyncio.create_task(bounded(stubborn(), 0.01 if by == "time" else 60, "work"))
    await asyncio.sleep(0.05)
    if by == "time":
        with pytest.raises(TimeoutError, match="work: no end"):
            await work
    else:
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
    await asyncio.sleep(0.1)
    del work
    gc.collect()
    assert heard == []


async def test_a_result_and_an_error_pass() -> None:
    async def fails() -> None:
        raise ValueError("no")

    assert await bounded(asyncio.sleep(0, 7), 1, "work") == 7
    with pytest.raises(ValueError, match="no"):
        await bounded(fails(), 1, "work")
