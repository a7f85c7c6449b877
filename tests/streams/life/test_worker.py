"""A worker's shell without a broker: what it holds of the events that wait."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from time import time
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from faust.types import TP

from benchmarks.hostile_events import EVENTS, named
from qmosaic.processors.control.policy import OfTenant, Policy
from qmosaic.streams.hops.hop import Look
from qmosaic.streams.kafka.records import Received, whole
from qmosaic.streams.life.lane import (
    LARGE_BYTES,
    LARGE_WAITING,
    OTHERS_SECONDS,
    URGENT_SECONDS,
    Held,
    Lane,
    smaller_first,
)
from qmosaic.streams.life.worker import IN_MEMORY_BYTES, Worker
from qmosaic.streams.settings import Settings
from qmosaic.streams.topology import STAGES
from qmosaic.streams.watch.spans import Telemetry
from qmosaic.streams.watch.tracing import Tracing

MEBIBYTE = 1024 * 1024
ALIKE, GOLDEN = Policy(), Policy(tenants={"gold": OfTenant(weight=3.0)})


def event(offset: int, value: bytes) -> Any:
    """As Faust hands it to the agent."""
    place = TP("problems", 0)
    rest: dict[str, Any] = {"timestamp": 1e9, "key": None, "value": value, "headers": [], "generation_id": 0}
    message = SimpleNamespace(tp=place, topic=place.topic, partition=place.partition, offset=offset, **rest)
    return SimpleNamespace(message=message)


class Stream:
    """What an agent of Faust's is given: a queue, and events that come out of it one by one."""

    def __init__(self) -> None:
        self.channel = SimpleNamespace(queue=asyncio.Queue[Any]())

    def noack(self) -> Stream:
        return self

    async def events(self) -> AsyncIterator[Any]:
        while True:
            yield await self.channel.queue.get()


async def test_large_events_come_after_the_small_ones_that_are_there() -> None:
    stream, arrived = Stream(), list[int]()

    def arrives(event: Any) -> bool:
        arrived.append(event.message.offset)
        return bool(event.message.offset != 3)

    large = b"x" * (LARGE_BYTES + 1)
    for offset, value in enumerate((large, b"", large, b"", b"", large)):
        stream.channel.queue.put_nowait(event(offset, value))
    order = []
    async for each in smaller_first(stream, arrives):
        order.append(each.message.offset)
        if order == [1, 4, 0]:  # while the first large one is looked at, a small one comes
            asyncio.get_running_loop().call_soon(stream.channel.queue.put_nowait, event(6, b""))
        if len(order) == 6:
            break
    assert order == [1, 4, 0, 6, 2, 5]
    assert arrived == [0, 1, 2, 3, 4, 5, 6]


async def test_no_more_than_a_few_large_events_wait_for_small_ones() -> None:
    stream, arrived = Stream(), list[int]()
    count = LARGE_WAITING + 3
    for offset in range(count):
        stream.channel.queue.put_nowait(event(offset, b"x" * (LARGE_BYTES + 1)))
    order = list[int]()

    def arrives(event: Any) -> bool:
        arrived.append(event.message.offset)
        return True

    async for each in smaller_first(stream, arrives):
        order.append(each.message.offset)
        assert len(arrived) - len(order) < LARGE_WAITING
        if len(order) == count:
            break
    assert order == arrived == list(range(count))


def alike() -> Policy:
    return ALIKE


def golden() -> Policy:
    return GOLDEN


async def drained(lane: Lane) -> list[Any]:
    return [await lane.get() for _ in range(len(lane._turns))]


def test_batches_of_others_are_small_while_urgent_ones_come() -> None:
    now = 100.0
    lane = Lane(alike, lambda: now)
    assert [lane.most(64, rank) for rank in (0, 1, 2)] == [64, 64, 64]
    lane.put(SimpleNamespace(), Look(1.0, 0, 1e9))  # type: ignore[arg-type]  # nobody looks at it
    assert [lane.most(64, rank) for rank in (0, 1, 2)] == [64, 8, 8]
    assert lane.most(1, 2) == 1
    now += URGENT_SECONDS
    assert [lane.most(64, rank) for rank in (0, 1, 2)] == [64, 64, 64]


def filled(lane: Lane, *tenants: str, rank: int = 1) -> None:
    """One of each waits in the lane."""
    for tenant in tenants:
        record = Received("problems.encoded", 0, 0, 1.0, b"")
        lane.put(Held(None, record, 1, 1e9, rank, tenant), Look(1.0, rank, 1e9, tenant))


def test_what_others_do_not_fill_of_a_batch_is_not_one_tenants() -> None:
    async def run() -> None:
        now = 100.0
        lane = Lane(alike, lambda: now)

        async def batch() -> Counter[str]:
            return Counter(held.tenant for held in await lane.batch(64, MEBIBYTE))

        filled(lane, *["busy"] * 1000)
        assert await batch() == {"busy": 64}  # nobody else is there
        filled(lane, *(f"t{k}" for k in range(20)))
        assert await batch() == {"busy": 8} | {f"t{k}": 1 for k in range(20)}
        assert await batch() == {"busy": 8}  # the next that come do not wait for many
        filled(lane, *["other"] * 200)
        now += OTHERS_SECONDS
        filled(lane, "other", "busy")
        assert await batch() == {"busy": 32, "other": 32}  # two that wait fill it
        now += OTHERS_SECONDS
        lane_of_one = [await batch() for _ in range(3)]
        assert sum(lane_of_one, Counter()).total() == 3 * 64  # nobody came for long: it is full

    asyncio.run(run())


def test_between_the_waves_of_others_nobody_has_a_batch_alone() -> None:
    async def run() -> None:
        now = 100.0
        lane = Lane(alike, lambda: now)
        filled(lane, *["busy"] * 1000)
        for _ in range(5):
            filled(lane, *(f"t{k}" for k in range(20)))
            for _ in range(3):  # an answer takes five seconds: the third is of the middle between two waves
                batch = Counter(held.tenant for held in await lane.batch(64, MEBIBYTE))
                assert batch["busy"] == 8
                now += 5 / 3

    asyncio.run(run())


def test_a_part_of_a_batch_is_no_way_round_the_weights() -> None:
    async def run() -> None:
        lane = Lane(golden, lambda: 100.0)
        filled(lane, *["gold", "plain"] * 400)
        first = [held.tenant for _ in range(8) for held in await lane.batch(64, MEBIBYTE)]
        got = Counter(first)
        assert got["gold"] == pytest.approx(3 * got["plain"], rel=0.05)

    asyncio.run(run())


def test_a_lane_goes_by_the_policy_that_is_in_force_at_each_turn() -> None:
    async def run() -> None:
        policy = [ALIKE]
        lane = Lane(lambda: policy[0], lambda: 100.0)
        filled(lane, *["gold", "plain"] * 400)
        shares = []
        for policy[0] in (ALIKE, GOLDEN, ALIKE):
            got = Counter([(await lane.get()).tenant for _ in range(80)])
            shares.append(got["gold"] / got["plain"])
        assert shares == pytest.approx([1.0, 3.0, 1.0], rel=0.06)

    asyncio.run(run())


def test_what_is_urgent_is_no_part_of_the_batch_of_others() -> None:
    async def run() -> None:
        lane = Lane(alike, lambda: 100.0)
        filled(lane, *["busy"] * 100)
        filled(lane, "few", rank=0)
        assert [held.tenant for held in await lane.batch(64, MEBIBYTE)] == ["few"]
        assert len(await lane.batch(64, MEBIBYTE)) == 8

    asyncio.run(run())


def encoder(folder: Path) -> Worker:
    """A worker of encode, of which nothing runs but what is called."""
    settings = Settings(data_dir=str(folder))
    worker = Worker(settings, STAGES["encode"], "encode-0", Tracing(Telemetry(settings, "encode", "encode-0"), "g"))
    worker.app.consumer = Mock()  # Faust would make one, with a client
    worker._lanes = [Lane(alike, time) for _ in range(len(worker.stage.lanes) + 1)]
    return worker


async def test_what_is_given_away_while_it_waits_is_left_to_its_next_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, stream, looked = encoder(tmp_path), Stream(), list[int]()
    worker.app.consumer_generation_id = 0
    look = worker.handler.look

    def looks(record: Received) -> Look:
        looked.append(record.offset)
        if record.offset == 2:  # the partitions go to somebody else, and are ours again after that
            worker.app.consumer_generation_id += 1
            later = event(3, b"{}")
            later.message.generation_id = worker.app.consumer_generation_id
            stream.channel.queue.put_nowait(later)
        return look(record)

    monkeypatch.setattr(worker.handler, "look", looks)
    for offset, value in enumerate((b"x" * (LARGE_BYTES + 1), b"{}", b"{}")):
        stream.channel.queue.put_nowait(event(offset, value))
    agent = asyncio.create_task(worker._agent(stream))
    give_up = asyncio.get_running_loop().time() + 60
    while 3 not in looked and not agent.done():
        assert asyncio.get_running_loop().time() < give_up
        await asyncio.sleep(0.01)
    agent.cancel()
    await asyncio.wait([agent])
    assert looked == [1, 2, 3]  # the large one waited behind them, and was not ours any more
    assert worker._pending_count == 3


def test_large_events_do_not_keep_a_small_one_out(tmp_path: Path) -> None:
    async def run() -> None:
        worker = encoder(tmp_path)
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
