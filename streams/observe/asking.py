"""What only the broker knows: how far every consumer group is, and which partitions a transaction holds up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Literal, NamedTuple

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from qmosaic.streams.kafka.bounded import bounded, closing
from qmosaic.streams.kafka.names import group_id, topic_name
from qmosaic.streams.kafka.tail import consumer_of
from qmosaic.streams.life.topics import admin
from qmosaic.streams.observe.report import Held, Lag
from qmosaic.streams.settings import Settings
from qmosaic.streams.topology import STAGES, TOPICS

READ_BY_VERIFY = ("problems", "incumbents", "proposals")
HELD_SECONDS = 2.5  # a transaction that stands still for so long is told
LOOK_SECONDS = 0.1
PATIENCE = 30.0
RECORD_SECONDS = 2.0
FETCH_BYTES = 64 * 1024
"""Single records are looked at here and there: more of a partition would be read for nothing."""


class Behind(NamedTuple):
    """Of a partition whose last stable offset is not its end: both, and since when it stands there (monotonic)."""

    stable: int
    end: int
    since: float


class Broker:
    """`async with Broker(settings) as broker:` has connections of its own. Raises BrokerError where none answers,
    KafkaError, OSError and TimeoutError where it stops answering."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._groups: AIOKafkaAdminClient
        self._committed: AIOKafkaConsumer
        self._all: AIOKafkaConsumer
        self._open = AsyncExitStack()
        self._partitions: dict[str, int] = {}
        self._behind: dict[TopicPartition, Behind] = {}
        self.missing: list[str] = []

    async def __aenter__(self) -> Broker:
        try:
            await self._start()
        except BaseException:
            await self._open.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    async def _start(self) -> None:
        self._groups = await self._open.enter_async_context(admin(self._settings))
        names = [topic_name(self._settings, topic.name) for topic in TOPICS]
        there = set(await self._groups.list_topics())  # a broker may make a topic that is only asked about
        self.missing = [name for name in names if name not in there]
        if self.missing:
            return
        described = await bounded(self._groups.describe_topics(names), PATIENCE, "describing the topics")
        self._partitions = {entry["topic"]: len(entry["partitions"]) for entry in described}
        self._committed = await self._connected("read_committed")
        self._all = await self._connected("read_uncommitted")

    async def _connected(self, isolation: Literal["read_committed", "read_uncommitted"]) -> AIOKafkaConsumer:
        consumer = consumer_of(self._settings, isolation=isolation, fetch_bytes=FETCH_BYTES)
        self._open.push_async_callback(_stop, consumer)
        await bounded(consumer.start(), PATIENCE, "connecting")
        return consumer

    async def lags(self) -> list[Lag]:
        """What every stage's consumer group has not done yet, in the order of the topology."""
        read = {stage.name: [topic_name(self._settings, topic) for topic in stage.reads] for stage in STAGES.values()}
        places = self._places(sorted({topic for topics in read.values() for topic in topics}))
        ends = await self._all.end_offsets(places)
        begins = await self._all.beginning_offsets(places)
        found = []
        for stage, topics in read.items():
            asked = self._groups.list_consumer_group_offsets(group_id(self._settings, stage))
            said = await bounded(asked, PATIENCE, "reading offsets")
            for place in (place for place in places if place.topic in topics):
                committed = said[place].offset if place in said and said[place].offset >= 0 else None
                lag = max(0, ends[place] - max(begins[place], committed or 0))
                found.append(Lag(stage, place.topic, place.partition, committed, ends[place], lag))
        return found

    async def held(self) -> list[Held]:
        """The partitions where the last stable offset is behind the end, and still where it was `HELD_SECONDS` ago:
        what is asked for the first time is none yet."""
        found, now = await self._stand_still(), time.monotonic()
        known, self._behind = self._behind, {}
        held = []
        for place, (stable, end) in sorted(found.items()):
            before = known.get(place)
            since = before.since if before is not None and before.stable == stable else now
            self._behind[place] = Behind(stable, end, since)
            if now - since >= HELD_SECONDS:
                first = await self.record(place, stable)
                held.append(Held(place.topic, place.partition, stable, end, first.timestamp / 1000 if first else None))
        return held

    async def held_now(self) -> list[Held]:
        """The same, for who asks once: where something is held it takes `HELD_SECONDS`, and where a transaction is only
        under way no longer than that does."""
        found, began = await self.held(), time.monotonic()
        while not found and any(one.since <= began for one in self._behind.values()):
            await asyncio.sleep(LOOK_SECONDS)
            found = await self.held()
        return found

    async def _stand_still(self) -> Mapping[TopicPartition, tuple[int, int]]:
        """Last stable offset and end, where they differ. The end is asked first: what comes later is not held."""
        places = self._places([topic_name(self._settings, topic) for topic in READ_BY_VERIFY])
        ends = await self._all.end_offsets(places)
        stable = await self._committed.end_offsets(places)
        return {place: (stable[place], ends[place]) for place in places if stable[place] < ends[place]}

    async def record(self, place: TopicPartition, offset: int) -> ConsumerRecord | None:
        """The record at an offset, or the next one; None where the broker does not give it in time."""
        self._all.assign([place])
        self._all.seek(place, offset)
        found = await self._all.getmany(place, timeout_ms=int(1000 * RECORD_SECONDS), max_records=1)
        self._all.unsubscribe()  # nothing more is fetched
        return next((record for records in found.values() for record in records), None)

    def _places(self, topics: Sequence[str]) -> list[TopicPartition]:
        return [TopicPartition(topic, number) for topic in topics for number in range(self._partitions[topic])]


async def _stop(consumer: AIOKafkaConsumer) -> None:
    await closing(consumer.stop(), 5, "stopping a client")
