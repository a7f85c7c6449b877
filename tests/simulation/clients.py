"""Clients of the simulated broker, with the methods of aiokafka's that the shells use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from types import SimpleNamespace
from typing import Any

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from qmosaic.streams.kafka.connect import Clients
from tests.simulation.broker import Broker, Entry, Member
from tests.simulation.loop import CURRENT


def clients_of(broker: Broker) -> Clients:
    """Makers of clients, as a process is given them."""
    return Clients(
        lambda *topics, **given: Consumer(broker, topics, given),
        lambda **given: Producer(broker, given),
        lambda **given: Admin(broker),
    )


class Producer:
    """Records go out with `flush` or with the commit, some of them where it fails."""

    def __init__(self, broker: Broker, given: Mapping[str, Any]) -> None:
        self._broker, self._id = broker, given.get("transactional_id")
        self._epoch = -1
        self._waiting: list[tuple[tuple[Any, ...], asyncio.Future[Any]]] = []

    async def start(self) -> None:
        if self._id is not None:
            name = self._id
            self._epoch = await self._broker.ask(lambda: self._broker.begin_id(name))
            await self._ended()

    async def _ended(self) -> None:
        while self._id is not None and self._broker.is_ending(self._id):
            await asyncio.sleep(0.005)

    async def stop(self) -> None: ...

    async def send(
        self, topic: str, value: Any = None, key: Any = None, partition: int | None = None, headers: Any = ()
    ) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        place = TopicPartition(topic, partition if partition is not None else 0)
        self._waiting.append(((place, key, value, headers), future))
        if self._id is None:
            await self.flush()
        return future

    async def flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        await self._ended()
        # Perhaps in two requests: the first may arrive, and the second not.
        cut = self._broker.loop.chance.choice((0, 1)) if len(waiting) > 1 and self._broker.fails else 0
        try:
            for part in (waiting[:cut], waiting[cut:]):
                if part:
                    await self._written(part)
        except KafkaError as error:
            for _, future in waiting:
                if not future.done():
                    future.set_exception(error)
            raise

    async def _written(self, waiting: Sequence[tuple[tuple[Any, ...], asyncio.Future[Any]]]) -> None:
        def work() -> list[int]:
            return [self._write(*given) for given, _ in waiting]

        for (_, future), offset in zip(waiting, await self._broker.ask(work), strict=True):
            future.set_result(SimpleNamespace(offset=offset))

    def _write(self, place: TopicPartition, key: Any, value: Any, headers: Any) -> int:
        if self._id is None:
            return self._broker.append(place, Entry(key, value, tuple(headers), self._broker.loop.time(), None))
        return self._broker.write(self._id, self._epoch, place, key, value, headers)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Producer]:
        name, epoch = self._id or "", self._epoch
        try:
            yield self
        except BaseException:
            with suppress(KafkaError):
                await self._broker.ask(lambda: self._broker.end(name, epoch, "aborted"))
            raise
        await self.flush()
        await self._broker.ask(lambda: self._broker.end(name, epoch, "committed"))

    async def send_offsets_to_transaction(self, offsets: dict[TopicPartition, OffsetAndMetadata], group: str) -> None:
        name, epoch = self._id or "", self._epoch
        await self._ended()
        await self._broker.ask(lambda: self._broker.offsets(name, epoch, group, offsets))


class Admin:
    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def list_consumer_group_offsets(
        self, group: str, partitions: Sequence[TopicPartition] | None = None
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        def work() -> dict[TopicPartition, OffsetAndMetadata]:
            known = self._broker.group(group).committed
            return {place: known.get(place, OffsetAndMetadata(-1, "")) for place in partitions or known}

        return await self._broker.ask(work)


class Consumer:
    """In a group it has a task of its own that joins and rebalances, as aiokafka's coordinator."""

    def __init__(self, broker: Broker, topics: Sequence[str], given: Mapping[str, Any]) -> None:
        self._broker, self._group_name = broker, given.get("group_id")
        self._instance = str(given.get("group_instance_id"))
        self._committed = given.get("isolation_level") == "read_committed"
        self._positions: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        self._member: Member | None = None
        self._task: asyncio.Task[None] | None = None
        self._subscription = SimpleNamespace(subscription=None)
        if self._group_name is None:
            self.assign(place for place in broker.logs if place.topic in topics)

    async def start(self) -> None: ...

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def subscribe(self, topics: Iterable[str], listener: Any) -> None:
        self._task = asyncio.get_running_loop().create_task(self._coordinate(tuple(sorted(topics)), listener))

    async def _coordinate(self, topics: tuple[str, ...], listener: Any) -> None:
        assert self._group_name is not None
        group = self._broker.group(self._group_name)
        process = CURRENT.get()
        member = await self._broker.ask(lambda: self._broker.join(group, self._instance, topics, process), retried=True)
        self._member, generation = member, -1
        while True:
            if group.members.get(self._instance) is not member:  # it was silent for too long
                member = await self._broker.ask(
                    lambda: self._broker.join(group, self._instance, topics, process), retried=True
                )
                self._member = member
            if member.joined != group.generation:
                if self._positions:
                    await _told(listener.on_partitions_revoked(set(self._positions)))
                self._positions.clear()
                self._paused.clear()
                await self._broker.ask(partial(self._broker.arrive, group, member), retried=True)
            elif group.settled == member.joined != generation:
                generation = member.joined
                await self._assigned(group.committed, member.partitions)
                await _told(listener.on_partitions_assigned(set(member.partitions)))
            else:
                await self._broker.moved(1.0)

    async def commit(self, offsets: dict[TopicPartition, OffsetAndMetadata]) -> None:
        await self._broker.ask(lambda: self._broker.commit(self._group_name or "", self._member, offsets))

    async def _assigned(self, committed: Mapping[TopicPartition, OffsetAndMetadata], places: Iterable[Any]) -> None:
        for place in places:
            self._positions[place] = committed[place].offset if place in committed else 0

    def assign(self, places: Iterable[TopicPartition]) -> None:
        self._positions = dict.fromkeys(places, 0)

    def unsubscribe(self) -> None:
        self._positions = {}

    def assignment(self) -> set[TopicPartition]:
        return set(self._positions)

    def pause(self, *places: TopicPartition) -> None:
        self._paused.update(places)

    def resume(self, *places: TopicPartition) -> None:
        self._paused.difference_update(places)

    def seek(self, place: TopicPartition, offset: int) -> None:
        self._positions[place] = offset

    async def position(self, place: TopicPartition) -> int:
        return self._positions[place]

    def highwater(self, place: TopicPartition) -> int | None:
        return len(self._broker.logs[place].entries)

    async def beginning_offsets(self, places: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return await self._broker.ask(lambda: dict.fromkeys(places, 0))

    async def end_offsets(self, places: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        def work() -> dict[TopicPartition, int]:
            logs = {place: self._broker.logs[place] for place in places}
            return {place: log.stable if self._committed else len(log.entries) for place, log in logs.items()}

        return await self._broker.ask(work)

    async def getmany(
        self, timeout_ms: int = 0, max_records: int | None = None
    ) -> dict[TopicPartition, list[ConsumerRecord]]:
        loop = self._broker.loop
        until = loop.time() + timeout_ms / 1000
        await asyncio.sleep(loop.chance.expovariate(1000))
        while True:
            found: dict[TopicPartition, list[ConsumerRecord]] = {}
            for place, position in list(self._positions.items()):
                if place in self._paused:
                    continue
                most = loop.chance.choice((1, 2, 1000))  # what came with one fetch
                records, behind = self._broker.logs[place].read(place, position, self._committed, most)
                self._positions[place] = behind
                if records:
                    found[place] = records
            left = until - loop.time()
            if found or left <= 0:
                return found  # at once: nothing happens between a position and who knows its records
            await self._broker.moved(left)


async def _told(work: Awaitable[None]) -> None:
    """A listener's error is logged, and the coordinator goes on."""
    with suppress(KafkaError, TimeoutError):
        await work
