"""A Faust app with one agent over the simulated broker: messages in order, acknowledged in any; what is acknowledged
without a gap is committed, twice a second."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from functools import partial
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from qmosaic.streams.kafka.names import group_id
from qmosaic.streams.settings import Settings
from qmosaic.streams.topology import Stage
from tests.simulation.broker import Broker
from tests.simulation.clients import Consumer

BUFFER = 64


class App:
    """With what a worker uses of a Faust app."""

    def __init__(self, broker: Broker, settings: Settings, stage: Stage, instance: str) -> None:
        given = {"group_id": group_id(settings, stage.name), "group_instance_id": instance}
        self._consumer = Consumer(broker, (), given)
        self._queue: asyncio.Queue[Any] = asyncio.Queue(BUFFER)
        self._acknowledged: dict[TopicPartition, dict[int, bool]] = {}
        self._told: list[Callable[..., None]] = []
        self._revoked: list[Callable[..., None]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._ended = asyncio.Event()
        self.consumer, self.consumer_generation_id, self.crash_reason = self, 0, None
        self.on_partitions_assigned = SimpleNamespace(connect=lambda tell, weak: self._told.append(tell))
        self.on_partitions_revoked = SimpleNamespace(connect=lambda tell, weak: self._revoked.append(tell))
        self.channel = SimpleNamespace(queue=self._queue)

    def topic(self, name: str, **_: Any) -> str:
        self._topic = name
        return name

    def agent(self, topic: str, name: str) -> Callable[[Any], None]:
        def decorated(work: Any) -> None:
            self._agent = work

        return decorated

    def finalize(self) -> None: ...

    async def start(self) -> None:
        self._consumer.subscribe([self._topic], Listener(self))
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(work) for work in (self._fetch(), self._commit(), self._agent(self))]
        for task in self._tasks:
            task.add_done_callback(lambda done: self._ended.set())

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await self._consumer.stop()

    async def wait_until_stopped(self) -> None:
        await self._ended.wait()

    def noack(self) -> App:
        return self

    async def events(self) -> AsyncIterator[Any]:
        while True:
            yield await self._queue.get()

    async def _fetch(self) -> None:
        while True:
            for place, records in (await self._consumer.getmany(timeout_ms=500)).items():
                window = self._acknowledged.get(place)
                if window is None:
                    continue
                for record in records:
                    window[record.offset] = False
                    message = SimpleNamespace(
                        topic=record.topic,
                        partition=record.partition,
                        offset=record.offset,
                        timestamp=record.timestamp / 1000,
                        key=record.key,
                        value=record.value,
                        headers=list(record.headers),
                        generation_id=self.consumer_generation_id,
                        ack=partial(self._ack, window, record.offset),
                    )
                    await self._queue.put(SimpleNamespace(message=message))

    def taken(self, message: Any) -> None:
        """What is in work is known by the window."""

    def _ack(self, window: dict[int, bool], offset: int, consumer: Any) -> None:
        window[offset] = True

    async def _commit(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            await self._committed()

    async def _committed(self) -> None:
        offsets = {}
        for place, window in self._acknowledged.items():
            done = []
            for offset, acknowledged in window.items():
                if not acknowledged:
                    break
                done.append(offset)
            for offset in done:
                del window[offset]
            if done:
                offsets[place] = OffsetAndMetadata(done[-1] + 1, "")
        if offsets:
            with suppress(KafkaError):  # what is not committed is read again by the next owner
                await self._consumer.commit(offsets)


class Listener:
    """Of an app's rebalances."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        await self._app._committed()
        self._app._acknowledged = {}
        for tell in self._app._revoked:
            tell()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._app.consumer_generation_id += 1
        self._app._acknowledged = {place: {} for place in assigned}
        for tell in self._app._told:
            tell()
