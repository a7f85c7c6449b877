"""A worker's shell without a broker: what it holds of the events that wait."""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import time
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

from faust.types import TP

from benchmarks.hostile_events import EVENTS, named
from qmosaic.streams.hops.hop import Look
from qmosaic.streams.kafka.records import whole
from qmosaic.streams.life.lane import URGENT_SECONDS, Lane
from qmosaic.streams.life.worker import IN_MEMORY_BYTES, Worker
from qmosaic.streams.settings import Settings
from qmosaic.streams.topology import STAGES
from qmosaic.streams.watch.spans import Telemetry
from qmosaic.streams.watch.tracing import Tracing

MEBIBYTE = 1024 * 1024


def event(offset: int, value: bytes) -> Any:
    """As Faust hands it to the agent."""
    place = TP("problems", 0)
    rest: dict[str, Any] = {"timestamp": 1e9, "key": None, "value": value, "headers": [], "generation_id": 0}
    message = SimpleNamespace(tp=place, topic=place.topic, partition=place.partition, offset=offset, **rest)
    return SimpleNamespace(message=message)


async def drained(lane: Lane) -> list[Any]:
    return [await lane.get() for _ in range(len(lane._turns))]


def test_batches_of_others_are_small_while_urgent_ones_come() -> None:
    now = 100.0
    lane = Lane({}, lambda: now)
    assert [lane.most(64, rank) for rank in (0, 1, 2)] == [64, 64, 64]
    lane.put(SimpleNamespace(), Look(1.0, 0, 1e9))  # type: ignore[arg-type]  # nobody looks at it
    assert [lane.most(64, rank) for rank in (0, 1, 2)] == [64, 8, 8]
    assert lane.most(1, 2) == 1
    now += URGENT_SECONDS
    assert [lane.most(64, rank) for rank in (0, 1, 2)] == [64, 64, 64]


def test_large_events_do_not_keep_a_small_one_out(tmp_path: Path) -> None:
    async def run() -> None:
        settings = Settings(data_dir=str(tmp_path))
        worker = Worker(settings, STAGES["encode"], "encode-0", Tracing(Telemetry(settings, "encode", "encode-0"), "g"))
        worker.app.consumer = Mock()  # Faust would make one, with a client
        worker._lanes = [Lane({}, time) for _ in range(len(worker.stage.lanes) + 1)]
        count, large = IN_MEMORY_BYTES // (8 * MEBIBYTE) + 3, b"x" * (8 * MEBIBYTE)
        for offset in range(count):
            await worker._take(event(offset, large))
        small = named(EVENTS["markup"](), "small", 5.0)
        await asyncio.wait_for(worker._take(event(count, small)), 30)  # it would wait until one of them is done
        assert worker._store.in_memory <= IN_MEMORY_BYTES
        waiting = [held for lane in worker._lanes for held in await drained(lane)]
        assert sorted(whole(held.record).value or b"" for held in waiting) == sorted([small, *[large] * count])
        assert all(held.message.value is None and held.record.value is None for held in waiting)

    asyncio.run(run())
