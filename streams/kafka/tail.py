"""Topics read without a group: from some place to their end, and on from there. What is known is a fold of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Generic, Literal, TypeVar

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from qmosaic.codecs.errors import BrokerError
from qmosaic.codecs.events import wire
from qmosaic.processors.control.fold import Fold
from qmosaic.streams.kafka import pacing
from qmosaic.streams.kafka.bounded import bounded, closing
from qmosaic.streams.kafka.connect import Clients, connection, record_bytes
from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.kafka.reading import install as installed
from qmosaic.streams.settings import Settings

State = TypeVar("State")
Event = TypeVar("Event")

CONNECT_SECONDS = 30.0
SECONDS = 40.0
"""To read what there is: a broker's restart fits in."""
AWAY_SECONDS = 0.5
"""Between two tries while the broker is away; the client reconnects by itself."""


def consumer_of(
    settings: Settings,
    *topics: str,
    isolation: Literal["read_committed", "read_uncommitted"],
    wait_ms: int = 500,
    clients: Clients = Clients(),  # noqa: B008 - frozen
) -> AIOKafkaConsumer:
    """A consumer without a group, not started. `topics`: with all of their partitions; none: `assign` them."""
    pacing.install()
    installed(record_bytes(settings))
    return clients.consumer(
        *topics,
        **connection(settings),
        enable_auto_commit=False,
        isolation_level=isolation,
        fetch_max_wait_ms=wait_ms,
        max_partition_fetch_bytes=record_bytes(settings),
    )


@asynccontextmanager
async def reader(
    settings: Settings,
    places: Iterable[TopicPartition] = (),
    *,
    isolation: Literal["read_committed", "read_uncommitted"] = "read_committed",
) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer of these partitions. Raises KafkaError, OSError or TimeoutError where no broker answers."""
    consumer = consumer_of(settings, isolation=isolation)
    starting = asyncio.ensure_future(consumer.start())
    try:
        await bounded(asyncio.shield(starting), CONNECT_SECONDS, "connecting")
        consumer.assign(list(places))
        yield consumer
    finally:
        await closing(_stopped(consumer, starting), 12, "stopping a client")


async def _stopped(consumer: AIOKafkaConsumer, starting: asyncio.Future[None]) -> None:
    """Stopped in the middle of its start it would leave a connection open."""
    await asyncio.wait({starting}, timeout=5)
    starting.add_done_callback(lambda done: done.cancelled() or done.exception())
    starting.cancel()
    await consumer.stop()


async def to_end(
    consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int], *, on: bool = False
) -> AsyncIterator[ConsumerRecord]:
    """The records from where the consumer stands up to these offsets, or `on` from there for ever."""
    waiting = {place for place, end in ends.items() if await consumer.position(place) < end}
    while on or waiting:
        for place, records in (await consumer.getmany(timeout_ms=500)).items():
            for record in records:
                if on or record.offset < ends.get(place, 0):
                    yield record
        waiting = {place for place in waiting if await consumer.position(place) < ends[place]}


async def follow(consumer: AIOKafkaConsumer) -> AsyncIterator[dict[TopicPartition, list[ConsumerRecord]]]:
    """What there is, again and again, often nothing; a broker that is away is waited for."""
    while True:
        try:
            yield await consumer.getmany(timeout_ms=1000)
        except KafkaError:
            await asyncio.sleep(AWAY_SECONDS)


def missing(topic: str, settings: Settings) -> BrokerError:
    """What to say where a topic is not there."""
    return BrokerError(
        f"topic {topic} is not there", place=settings.broker, remedy="`qmosaic topics create` makes the topics."
    )


class Tail(Generic[State, Event]):
    """The state of a fold over a topic, kept up to date: whoever reads the same records has the same state.

    What is no event of the kind is passed over. `back`: how many records of each partition to begin with, None: all.
    `since`: offsets by partition to begin with, instead. `isolation`: committed, of a topic that is written in
    transactions. `rest_seconds`: between two looks, where nobody is in a hurry.
    """

    def __init__(
        self,
        settings: Settings,
        topic: str,
        kind: type[Event],
        fold: Fold[State, Event],
        *,
        back: int | None = None,
        wait_ms: int = 500,
        isolation: Literal["read_committed", "read_uncommitted"] = "read_uncommitted",
        since: Mapping[int, int] | None = None,
        rest_seconds: float = 0.0,
        clients: Clients = Clients(),  # noqa: B008 - frozen
    ) -> None:
        self._isolation: Literal["read_committed", "read_uncommitted"] = isolation
        self._since, self._rest_seconds, self._clients = since or {}, rest_seconds, clients
        self._state = fold.start
        self._settings, self._topic, self._back = settings, topic_name(settings, topic), back
        self._kind, self._fold, self._wait_ms = kind, fold, wait_ms
        self._next: dict[TopicPartition, int] = {}
        self._moved = asyncio.Condition()
        self._consumer: AIOKafkaConsumer | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def state(self) -> State:
        """What is known now. Raises what ended the reading, if anything has: knowledge does not grow old in silence."""
        if self._task is not None and self._task.done():
            self._task.result()
        return self._state

    async def start(self) -> None:
        """Connect, and read what there is. Raises BrokerError, KafkaError, TimeoutError."""
        await self.reached(await self.begin())

    async def begin(self) -> Mapping[TopicPartition, int]:
        """Connect, and read from now on; where the partitions end. Raises BrokerError, KafkaError, TimeoutError."""
        consumer = self._consumer = consumer_of(
            self._settings, self._topic, isolation=self._isolation, wait_ms=self._wait_ms, clients=self._clients
        )
        await bounded(consumer.start(), CONNECT_SECONDS, "connecting")
        places = sorted(consumer.assignment())
        if not places:
            raise missing(self._topic, self._settings)
        begins, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        for place in places:
            first = self._since.get(place.partition, 0) if self._back is None else ends[place] - self._back
            self._next[place] = max(begins[place], first)
            consumer.seek(place, self._next[place])
        self._task = asyncio.create_task(self._read(consumer), name=self._topic)
        return dict(ends)

    async def caught_up(self) -> State:
        """The state after everything there is now. Raises KafkaError, TimeoutError."""
        assert self._consumer is not None
        ends = await bounded(self._consumer.end_offsets(list(self._next)), SECONDS, f"asking for {self._topic}'s end")
        await self.reached(ends)
        return self.state

    async def reached(self, ends: Mapping[TopicPartition, int]) -> None:
        """Until everything before these offsets is in the state. Raises TimeoutError."""

        async def moved() -> None:
            async with self._moved:
                await self._moved.wait_for(lambda: all(self._next[place] >= end for place, end in ends.items()))

        await bounded(moved(), SECONDS, f"reading {self._topic}")

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        async for batches in follow(consumer):
            async with self._moved:
                for records in batches.values():
                    for record in records:
                        with suppress(msgspec.MsgspecError, ValueError, RecursionError):
                            self._state = self._fold.step(self._state, self._event(record), record.timestamp / 1000)
                with suppress(KafkaError):  # the broker is away
                    for place in self._next:
                        self._next[place] = await consumer.position(place)
                self._moved.notify_all()
            if self._rest_seconds:
                await asyncio.sleep(self._rest_seconds)

    def _event(self, record: ConsumerRecord) -> Event:
        return wire.decode(record.value or b"", self._kind)

    async def stop(self) -> None:
        """Stop reading; bounded."""
        if self._task is not None:
            self._task.cancel()
        if self._consumer is not None:
            await closing(self._consumer.stop(), 5, "stopping a client")
