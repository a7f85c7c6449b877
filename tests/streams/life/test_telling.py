"""What a worker says of its backends: news soon, whether events come or not, and nothing where there is none."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from qmosaic.codecs.events import wire
from qmosaic.codecs.events.control import BackendStatus
from qmosaic.streams.kafka import pacing
from qmosaic.streams.life import telling
from qmosaic.streams.settings import Settings

WAIT_SECONDS = 60


class Backends:
    """What a worker's backends are like; None: it has none any more."""

    def __init__(self) -> None:
        self.says: BackendStatus | None = BackendStatus(
            worker="", target="classical", backends={"exact": {"spins": 20}}, at=1.0
        )
        self.asked = asyncio.Queue[None]()

    def status(self) -> BackendStatus | None:
        self.asked.put_nowait(None)
        return self.says

    def until(self, at: float) -> None:
        assert self.says is not None
        self.says = msgspec.structs.replace(self.says, not_before={"exact": at})


class Producer:
    """Of what is sent, what was said."""

    def __init__(self) -> None:
        self.said = asyncio.Queue[BackendStatus]()

    async def send(self, topic: str, value: bytes, key: bytes) -> asyncio.Future[None]:
        assert (topic, key) == ("backends.status", b"execute.classical-0")
        self.said.put_nowait(wire.decode(value, BackendStatus))
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done


@pytest.mark.parametrize("events_come", [True, False])
async def test_news_of_a_backend_is_told_soon_and_once(events_come: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "STATUS_SECONDS", math.inf)
    monkeypatch.setattr(telling, "CALM_SECONDS", 3600.0 if events_come else 0.01)
    rung = list[str]()

    def ring(topics: Iterable[str]) -> None:
        rung.extend(topics)

    monkeypatch.setattr(pacing, "ring", ring)
    backends, moved = Backends(), asyncio.Event()
    producer: Any = Producer()

    async def heard() -> Any:
        said = await asyncio.wait_for(producer.said.get(), WAIT_SECONDS)
        return said.worker, said.not_before

    async def asked_again() -> None:
        """Until it has looked, and looked again: the first look may have been from before."""
        for _ in range(2):
            while not backends.asked.empty():
                backends.asked.get_nowait()
            if events_come:
                moved.set()
            await asyncio.wait_for(backends.asked.get(), WAIT_SECONDS)

    task = asyncio.create_task(telling.tell_status(backends.status, Settings(), "execute.classical-0", producer, moved))
    assert await heard() == ("execute.classical-0", {})
    await asked_again()
    backends.until(7.0)
    if events_come:
        moved.set()
    assert await heard() == ("execute.classical-0", {"exact": 7.0})
    await asked_again()
    assert producer.said.empty()
    assert rung == ["backends.status"] * 2
    backends.says = None
    moved.set()
    await asyncio.wait_for(task, WAIT_SECONDS)
