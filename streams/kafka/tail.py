"""Topics read without a group: from some place to their end, and on from there. What is known is a fold of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Generic, Literal, NamedTuple, TypeVar

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
MOST_AT_ONCE = 500
"""Records that are handed out at once: between them the event loop has its turn."""


def consumer_of(
    settings: Settings,
    *topics: str,
    isolation: Literal["read_committed", "read_uncommitted"],
    wait_ms: int = 500,
    fetch_bytes: int | None = None,
    clients: Clients = Clients(),  # noqa: B008 - frozen
) -> AIOKafkaConsumer:
    """A consumer without a group, not started. `topics`: with all of their partitions; none: `assign` them.
    `fetch_bytes`: of a partition at once, or one batch that has more; None: as much as a record may have."""
    pacing.install()
    installed(record_bytes(settings))
    return clients.consumer(
        *topics,
        **connection(settings),
        enable_auto_commit=False,
        isolation_level=isolation,
        fetch_max_wait_ms=wait_ms,
        max_partition_fetch_bytes=fetch_bytes or record_bytes(settings),
    )


@asynccontextmanager
async def reader(
    settings: Settings,
    places: Iterable[TopicPartition] = (),
    *,
    topics: Sequence[str] = (),
    isolation: Literal["read_committed", "read_uncommitted"] = "read_committed",
) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer of these partitions, or of these topics with all that they have. Raises KafkaError, OSError or
    TimeoutError where no broker answers."""
    consumer = consumer_of(settings, *topics, isolation=isolation)
    starting = asyncio.ensure_future(consumer.start())
    try:
        await bounded(asyncio.shield(starting), CONNECT_SECONDS, "connecting")
        if not topics:
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
            yield await consumer.getmany(timeout_ms=2000, max_records=MOST_AT_ONCE)
        except KafkaError:
            await asyncio.sleep(AWAY_SECONDS)


def missing(topic: str, settings: Settings) -> BrokerError:
    """What to say where a topic is not there."""
    return BrokerError(
        f"topic {topic} is not there", place=settings.broker, remedy="`qmosaic topics create` makes the topics."
    )


class Source(NamedTuple, Generic[Event]):
    """A topic, how its records are read (raises ValueError for what is no event of the kind), and from where: so many
    records of each partition at most, and none from before `since` (seconds since the epoch); None: all."""

    topic: str
    read: Callable[[bytes], Event]
    back: int | None = None
    since: float | None = None


class Tails(Generic[State, Event]):
    """The state of a fold over topics, kept up to date: whoever reads the same records has the same state, as far as
    the order among partitions makes no difference.

    What is no event of the kind is passed over. `isolation`: committed, of topics that are written in transactions.
    `offsets`: by partition, to begin with, of those that are not read from a time. `rest_seconds`: between two looks,
    where nobody is in a hurry.
    """

    def __init__(
        self,
        settings: Settings,
        sources: Sequence[Source[Event]],
        fold: Fold[State, Event],
        *,
        wait_ms: int = 500,
        isolation: Literal["read_committed", "read_uncommitted"] = "read_committed",
        offsets: Mapping[int, int] | None = None,
        rest_seconds: float = 0.0,
        clients: Clients = Clients(),  # noqa: B008 - frozen
    ) -> None:
        self._isolation: Literal["read_committed", "read_uncommitted"] = isolation
        self._offsets, self._rest_seconds, self._clients = offsets or {}, rest_seconds, clients
        self._state = fold.start
        self._settings, self._fold, self._wait_ms = settings, fold, wait_ms
        self._sources = {topic_name(settings, source.topic): source for source in sources}
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
            self._settings, *self._sources, isolation=self._isolation, wait_ms=self._wait_ms, clients=self._clients
        )
        await bounded(consumer.start(), CONNECT_SECONDS, "connecting")
        places = sorted(consumer.assignment())
        for topic in self._sources:
            if all(place.topic != topic for place in places):
                raise missing(topic, self._settings)
        ends = await consumer.end_offsets(places)
        self._next = await self._begins(consumer, places, ends)
        for place, offset in self._next.items():
            consumer.seek(place, offset)
        self._task = asyncio.create_task(self._read(consumer), name=", ".join(self._sources))
        return dict(ends)

    async def _begins(
        self, consumer: AIOKafkaConsumer, places: Sequence[TopicPartition], ends: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        """Where each partition is read from."""
        begins = dict(await consumer.beginning_offsets(places))
        since = {place: self._sources[place.topic].since for place in places}
        asked = {place: int(1000 * at) for place, at in since.items() if at is not None}
        for place, found in (await consumer.offsets_for_times(asked) if asked else {}).items():
            begins[place] = ends[place] if found is None else max(begins[place], found.offset)
        for place in places:
            back = self._sources[place.topic].back
            first = self._offsets.get(place.partition, 0) if back is None else ends[place] - back
            begins[place] = max(begins[place], first)
        return begins

    async def caught_up(self) -> State:
        """The state after everything there is now. Raises KafkaError, TimeoutError."""
        assert self._consumer is not None
        ends = await bounded(self._consumer.end_offsets(list(self._next)), SECONDS, "asking for the ends")
        await self.reached(ends)
        return self.state

    async def reached(self, ends: Mapping[TopicPartition, int]) -> None:
        """Until everything before these offsets is in the state. Raises TimeoutError."""

        async def moved() -> None:
            async with self._moved:
                await self._moved.wait_for(lambda: all(self._next[place] >= end for place, end in ends.items()))

        await bounded(moved(), SECONDS, f"reading {', '.join(self._sources)}")

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
            if self._rest_seconds and sum(map(len, batches.values())) < MOST_AT_ONCE:
                await asyncio.sleep(self._rest_seconds)

    def _event(self, record: ConsumerRecord) -> Event:
        return self._sources[record.topic].read(record.value or b"")

    async def stop(self) -> None:
        """Stop reading; bounded."""
        if self._task is not None:
            self._task.cancel()
        if self._consumer is not None:
            await closing(self._consumer.stop(), 5, "stopping a client")


class Tail(Tails[State, Event]):
    """`Tails` of one topic whose events are of one kind; `back`: how many records of each partition to begin with."""

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
        offsets: Mapping[int, int] | None = None,
        rest_seconds: float = 0.0,
        clients: Clients = Clients(),  # noqa: B008 - frozen
    ) -> None:
        source = Source(topic, partial(wire.decode, kind=kind), back)
        super().__init__(
            settings,
            [source],
            fold,
            wait_ms=wait_ms,
            isolation=isolation,
            offsets=offsets,
            rest_seconds=rest_seconds,
            clients=clients,
        )
