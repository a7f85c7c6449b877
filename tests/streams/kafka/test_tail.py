"""A tail whose reading has ended says so to whoever asks what is known."""

from __future__ import annotations

import asyncio

import pytest

from qmosaic.codecs.events.control import BackendStatus
from qmosaic.processors.control.alive import Signs
from qmosaic.streams.kafka import tail
from qmosaic.streams.kafka.tail import Tail
from qmosaic.streams.settings import Settings


async def test_knowledge_does_not_grow_old_in_silence() -> None:
    tail = Tail(Settings(), "backends.status", BackendStatus, Signs())
    assert tail.state == {}

    async def ends() -> None:
        raise ZeroDivisionError

    tail._task = asyncio.create_task(ends())
    await asyncio.wait({tail._task})
    with pytest.raises(ZeroDivisionError):
        _ = tail.state


async def test_a_reader_that_is_given_up_while_it_connects_is_stopped_when_it_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Stopped in the middle of its start, a client of aiokafka leaves a connection open."""
    said: list[str] = []
    go = asyncio.Event()

    class Slow:
        async def start(self) -> None:
            await go.wait()
            said.append("started")

        async def stop(self) -> None:
            said.append("stopped")

    monkeypatch.setattr(tail, "consumer_of", lambda *_, **__: Slow())

    async def work() -> None:
        async with tail.reader(Settings()):
            raise AssertionError("it never began")

    task = asyncio.create_task(work())
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.sleep(0.01)
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert said == ["started", "stopped"]
