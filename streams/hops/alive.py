"""Who is alive: execute workers tell every second on `backends.status`, route workers listen."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import msgspec
import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from qmosaic.codecs.events import wire
from qmosaic.codecs.events.control import BackendStatus
from qmosaic.codecs.events.reasons import Target
from qmosaic.codecs.models.kernel import Kind
from qmosaic.processors.route import Alive
from qmosaic.streams.kafka.bounded import bounded, closing
from qmosaic.streams.kafka.connect import connection
from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.settings import Settings

TOPIC = "backends.status"
_LOOK_BACK = 200  # records read at the start: who was alive a moment ago is known at once


class StatusReader:
    """Reads every worker's status (no consumer group: each route worker needs them all)."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._seen: dict[str, tuple[BackendStatus, float]] = {}  # with the record's timestamp
        self._consumer: AIOKafkaConsumer | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start reading, a little back from the end."""
        consumer = AIOKafkaConsumer(**connection(self._settings), enable_auto_commit=False, fetch_max_wait_ms=500)
        await bounded(consumer.start(), 30, "connecting")
        partition = TopicPartition(topic_name(self._settings, TOPIC), 0)
        consumer.assign([partition])
        end = (await consumer.end_offsets([partition]))[partition]
        begin = (await consumer.beginning_offsets([partition]))[partition]
        consumer.seek(partition, max(begin, end - _LOOK_BACK))
        self._consumer = consumer
        self._task = asyncio.create_task(self._read(consumer), name="backends.status")

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            try:
                batches = await consumer.getmany(timeout_ms=1000)
            except KafkaError:
                await asyncio.sleep(0.5)  # the broker is away; the client reconnects by itself
                continue
            for records in batches.values():
                for record in records:
                    self._take(record.value, record.timestamp / 1000)

    def _take(self, value: bytes | None, sent: float) -> None:
        with suppress(msgspec.ValidationError, orjson.JSONDecodeError):
            status = wire.decode(value or b"", BackendStatus)
            self._seen[status.worker] = (status, sent)

    def alive(self, at: float) -> Alive:
        """Target → backend → kind of kernel → the most qubits, of workers that were heard of shortly before `at`.

        `at` is a record's timestamp in seconds since the epoch, not the time now: after a broker's outage the
        records that waited for it are judged by who was alive when they were written.
        """
        latest = at - self._settings.route.stale_seconds
        found: dict[Target, dict[str, dict[Kind, int]]] = {}
        for status, heard in self._seen.values():
            if heard < latest:
                continue
            backends = found.setdefault(status.target, {})
            for name, sizes in status.backends.items():
                known = backends.setdefault(name, {})
                for kind, qubits in sizes.items():
                    known[kind] = max(qubits, known.get(kind, 0))
        return found

    async def stop(self) -> None:
        """Stop reading; bounded."""
        if self._task is not None:
            self._task.cancel()
        if self._consumer is not None:
            await closing(self._consumer.stop(), 5, "stopping a client")
