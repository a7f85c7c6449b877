"""The journal of paid jobs on the topic `jobs.submitted`: written with all acknowledgements, read by every worker.

Records of one job share a partition, so all workers see them in one order, and agree which of them count.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import msgspec
import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from qmosaic.backends.clouds.job import Ledger
from qmosaic.codecs.events import wire
from qmosaic.codecs.events.control import Submitted
from qmosaic.streams.kafka.bounded import bounded, closing
from qmosaic.streams.kafka.connect import connection, producing
from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.kafka.records import headers_of, kind_of
from qmosaic.streams.settings import Settings

TOPIC = "jobs.submitted"
SECONDS = 40.0  # of a write or a reading: a broker's restart fits in


class KafkaJournal:
    """`paid.Journal` on Kafka. Its methods raise KafkaError or TimeoutError: whether an entry was written is then
    unknown, and `last` tells."""

    def __init__(self, settings: Settings, stage: str) -> None:
        self._settings, self._source = settings, f"/qmosaic/{stage}"
        self._topic = topic_name(settings, TOPIC)
        self._ledger = Ledger()
        self._next: dict[TopicPartition, int] = {}  # the offset up to which a partition was read
        self._moved = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect, and read everything there is."""
        self._producer = AIOKafkaProducer(**producing(self._settings), linger_ms=0)
        await bounded(self._producer.start(), 30, "connecting")
        self._consumer = AIOKafkaConsumer(**connection(self._settings), enable_auto_commit=False, fetch_max_wait_ms=100)
        await bounded(self._consumer.start(), 30, "connecting")
        numbers = await bounded(self._producer.partitions_for(self._topic), 30, "connecting")
        partitions = [TopicPartition(self._topic, number) for number in sorted(numbers)]
        self._consumer.assign(partitions)
        self._next = dict(await self._consumer.beginning_offsets(partitions))
        for partition, offset in self._next.items():
            self._consumer.seek(partition, offset)
        self._task = asyncio.create_task(self._read(), name=TOPIC)
        await self._catch_up()

    async def last(self, client_id: str) -> Submitted | None:
        """The latest entry that counts, after reading to the end."""
        await self._catch_up()
        return next(reversed(self._ledger.of(client_id)), None)

    async def append(self, entry: Submitted) -> bool:
        """Write an entry, wait for all acknowledgements, and read it; whether it counts."""
        future = await self._producer.send(
            self._topic,
            value=wire.encode(entry),
            key=entry.client_id.encode(),
            headers=headers_of(kind_of(entry), self._source, entry.client_id, []),
        )
        written = await bounded(future, SECONDS, "writing the journal")
        await self._until({TopicPartition(self._topic, written.partition): written.offset + 1})
        return entry in self._ledger.of(entry.client_id)

    async def _catch_up(self) -> None:
        ends = await bounded(self._consumer.end_offsets(list(self._next)), SECONDS, "asking for the journal's end")
        await self._until(ends)

    async def _until(self, ends: dict[TopicPartition, int]) -> None:
        async def reached() -> None:
            async with self._moved:
                await self._moved.wait_for(lambda: all(self._next[place] >= end for place, end in ends.items()))

        await bounded(reached(), SECONDS, "reading the journal")

    async def _read(self) -> None:
        while True:
            try:
                batches = await self._consumer.getmany(timeout_ms=500)
            except KafkaError:
                await asyncio.sleep(0.5)  # the broker is away; the client reconnects by itself
                continue
            async with self._moved:
                for place, records in batches.items():
                    for record in records:
                        with suppress(msgspec.ValidationError, orjson.JSONDecodeError):
                            self._ledger.take(wire.decode(record.value or b"", Submitted))
                        self._next[place] = record.offset + 1
                self._moved.notify_all()

    async def stop(self) -> None:
        """Stop; bounded."""
        if self._task is not None:
            self._task.cancel()
            await closing(self._consumer.stop(), 5, "stopping a client")
            await closing(self._producer.stop(), 5, "stopping a client")
