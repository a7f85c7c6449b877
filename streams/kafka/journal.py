"""The journal of paid jobs on the topic `jobs.submitted`: written with all acknowledgements, read by every worker.

Records of one job share a partition, so all workers see them in one order, and agree which of them count.
"""

from __future__ import annotations

from aiokafka import AIOKafkaProducer, TopicPartition

from qmosaic.backends.clouds.journal import Counted
from qmosaic.codecs.events import wire
from qmosaic.codecs.events.control import Submitted
from qmosaic.streams.kafka.bounded import bounded, closing
from qmosaic.streams.kafka.connect import producing
from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.kafka.records import headers_of
from qmosaic.streams.kafka.tail import SECONDS, Tail
from qmosaic.streams.settings import Settings

TOPIC = "jobs.submitted"


class Paid:
    """The fold: the entries that count."""

    start = Counted()

    def step(self, state: Counted, event: Submitted, at: float) -> Counted:
        """With one more entry, if it counts."""
        return state.after(event)


class KafkaJournal:
    """`job.Journal` on Kafka. Its methods raise KafkaError or TimeoutError: whether an entry was written is then
    unknown, and `last` tells."""

    def __init__(self, settings: Settings, stage: str) -> None:
        self._settings, self._source = settings, f"/qmosaic/{stage}"
        self._topic = topic_name(settings, TOPIC)
        self._tail = Tail(settings, TOPIC, Submitted, Paid(), wait_ms=100)

    async def start(self) -> None:
        """Connect, and read everything there is."""
        self._producer = AIOKafkaProducer(**producing(self._settings), linger_ms=0)
        await bounded(self._producer.start(), 30, "connecting")
        await self._tail.start()

    async def last(self, client_id: str) -> Submitted | None:
        """The latest entry that counts, after reading to the end."""
        return next(reversed((await self._tail.caught_up()).of(client_id)), None)

    async def append(self, entry: Submitted) -> bool:
        """Write an entry, wait for all acknowledgements, and read it; whether it counts."""
        future = await self._producer.send(
            self._topic,
            value=wire.encode(entry),
            key=entry.client_id.encode(),
            headers=headers_of(entry.schema, self._source, entry.client_id, []),
        )
        written = await bounded(future, SECONDS, "writing the journal")
        await self._tail.reached({TopicPartition(self._topic, written.partition): written.offset + 1})
        return entry in self._tail.state.of(entry.client_id)

    async def stop(self) -> None:
        """Stop; bounded."""
        await self._tail.stop()
        await closing(self._producer.stop(), 5, "stopping a client")
