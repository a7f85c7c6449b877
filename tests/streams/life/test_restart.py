"""What a worker does before it works again: no more than what small problems need."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from qmosaic.streams.hops import jobs
from qmosaic.streams.hops.reduce import Reduce
from qmosaic.streams.settings import Settings


async def test_small_problems_do_not_wait_for_the_programs_of_large_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    warmed: list[bool] = []
    go_on = threading.Event()

    def warm(settings: Settings, slow: bool) -> None:
        if slow:
            assert go_on.wait(30)
        warmed.append(slow)

    monkeypatch.setattr(jobs, "warm_reduce", warm)
    handler = Reduce(Settings(), "reduce")
    for lane in handler._lanes:
        lane.shutdown()
    handler._lanes = [ThreadPoolExecutor(1) for _ in handler._lanes]
    rest = await handler.start()
    assert (warmed, rest.done()) == ([False], False)
    go_on.set()
    await rest
    assert warmed == [False, True, True]
    await handler.stop()


async def test_what_cannot_be_readied_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def warm(settings: Settings, slow: bool) -> None:
        if slow:
            raise MemoryError("no room for it")

    monkeypatch.setattr(jobs, "warm_reduce", warm)
    handler = Reduce(Settings(), "reduce")
    for lane in handler._lanes:
        lane.shutdown()
    handler._lanes = [ThreadPoolExecutor(1) for _ in handler._lanes]
    rest = await handler.start()
    with pytest.raises(MemoryError, match="no room"):
        await rest
    await handler.stop()
