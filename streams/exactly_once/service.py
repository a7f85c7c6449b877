"""The shell of a service that reads, decides and writes exactly once: what verify is, and whoever keeps a ledger.

One transactional producer per owned partition with a stable transactional id: a new owner fences the old one. What is
written and the offsets of all inputs are one transaction. On assignment a partition is rebuilt from the logs.
Crash-only: a bound that is exceeded, or being fenced, ends the process, and starting again is recovery.
"""

from __future__ import annotations

import asyncio
import logging
import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import mode
from aiokafka import (
    AIOKafkaProducer,
    ConsumerRebalanceListener,
    ConsumerRecord,
    OffsetAndMetadata,
    TopicPartition,
)
from aiokafka.coordinator.assignors.range import RangePartitionAssignor

from qmosaic.streams.kafka import pacing
from qmosaic.streams.kafka.bounded import bounded, closing
from qmosaic.streams.kafka.connect import Clients, connection, producing, record_bytes
from qmosaic.streams.kafka.held import Held, lags, places
from qmosaic.streams.kafka.names import group_id, topic_name, transactional_id
from qmosaic.streams.kafka.records import headers_of
from qmosaic.streams.settings import Settings

CONNECT_SECONDS = 30.0
REBUILD_SECONDS = 30.0  # fence and rebuild all partitions of an assignment
MOST_RECORDS = 2000  # of one round
STUCK_SECONDS = 150.0  # without a round: longer than any of its waits


@dataclass(eq=False, kw_only=True)
class Owned:
    """One partition: its fenced producer, and what was committed last of each input, when."""

    producer: AIOKafkaProducer
    committed: Mapping[Any, int] = field(default_factory=dict)
    committed_at: float = 0.0


State = TypeVar("State", bound=Owned)


@dataclass(frozen=True)
class Committed:
    """Where the inputs of a partition are read from, where they end, and what was noted with each offset."""

    starts: dict[str, int]
    ends: dict[str, int]
    notes: dict[str, str]


class ExactlyOnce(mode.Service, Generic[State]):
    """Reads `inputs`, whose equal partition numbers belong together. `owned`: the partitions it has, by number.

    A service says how a partition is rebuilt (`rebuild`), what a round does (`round`), how long to wait for the next
    (`patience`), and where it stands (`position`). `clock`: seconds since the epoch.
    """

    _logger: logging.Logger

    def __init__(
        self,
        settings: Settings,
        stage: str,
        inputs: Sequence[str],
        instance: str,
        on_ready: Any,
        *,
        clients: Clients,
        clock: Callable[[], float],
    ) -> None:
        super().__init__()
        self._clients, self.clock = clients, clock
        self.settings, self.stage, self.instance, self._on_ready = settings, stage, instance, on_ready
        self.group = group_id(settings, stage)
        self.topics: dict[str, str] = {topic_name(settings, name): name for name in inputs}
        self.source = f"/qmosaic/{stage}/{instance}"
        self.owned: dict[int, State] = {}
        self._lock = asyncio.Lock()  # a rebalance waits for the transactions under way, and they for it
        self._epoch = 0
        self._held = Held()
        self._round_at = time.monotonic()
        self.is_ready = False  # it has its partitions, and knows all there is to know of them

    # -- what a service says ------------------------------------------------------------------------------------

    @abstractmethod
    async def rebuild(
        self, fenced: Mapping[int, AIOKafkaProducer], committed: Mapping[int, Committed]
    ) -> dict[int, State]:
        """The states of partitions from the logs, by number."""

    @abstractmethod
    async def round(self, batches: Mapping[TopicPartition, list[ConsumerRecord]]) -> None:
        """Take what was read, and whatever the clock says, and write."""

    @abstractmethod
    def patience(self) -> int:
        """Milliseconds to wait for records, until the clock says something."""

    @abstractmethod
    def position(self, owned: State, name: str) -> int:
        """The next offset of an input."""

    # -- life ----------------------------------------------------------------------------------------------------

    async def on_start(self) -> None:
        """Connect; partitions come by rebalance."""
        common = connection(self.settings)
        self.admin = self._clients.admin(**common)
        self.reader = self._clients.consumer(
            **common,
            enable_auto_commit=False,
            isolation_level="read_committed",
            max_partition_fetch_bytes=record_bytes(self.settings),
        )
        self.consumer = self._clients.consumer(
            **common,
            group_id=self.group,
            group_instance_id=group_id(self.settings, self.instance),
            client_id=self.instance,
            # Ranges keep equal partition numbers of the inputs together; round robin would split them.
            partition_assignment_strategy=(RangePartitionAssignor,),
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=6_000,
            heartbeat_interval_ms=3_000 if pacing.rings() else 1_000,
            rebalance_timeout_ms=60_000,
            max_poll_interval_ms=300_000,
            max_partition_fetch_bytes=record_bytes(self.settings),
            fetch_max_wait_ms=500,
        )
        await bounded(asyncio.gather(self.admin.start(), self.reader.start()), CONNECT_SECONDS, "connecting")
        await bounded(self.consumer.start(), CONNECT_SECONDS, "connecting")
        self.consumer.subscribe(topics=list(self.topics), listener=_Listener(self))

    async def on_stop(self) -> None:
        """Leave; every wait bounded."""
        async with self._lock:
            clients = [self.consumer, self.reader, *(owned.producer for owned in self.owned.values())]
            self.owned = {}
        for client in clients:
            await closing(client.stop(), 5, "stopping a client")
        await closing(self.admin.close(), 5, "stopping a client")

    @mode.Service.task
    async def _work(self) -> None:
        while not self.should_stop:
            self._round_at = time.monotonic()
            epoch = self._epoch
            batches = await self.consumer.getmany(timeout_ms=self.patience(), max_records=MOST_RECORDS)
            for line in self._held.look(places(self.consumer), self.clock()):
                self._logger.warning(line)
            async with self._lock:
                if epoch != self._epoch:
                    self._read_again(batches)
                    continue
                await self.round(batches)

    def _read_again(self, batches: Mapping[TopicPartition, list[ConsumerRecord]]) -> None:
        """The partitions changed while we waited: nobody knows which state these records are for."""
        for partition in batches:
            owned = self.owned.get(partition.partition)
            if owned is not None:
                self.consumer.seek(partition, self.position(owned, self.topics[partition.topic]))

    def lag(self) -> dict[str, int]:
        """By topic, the records of its partitions that it has not read. From any thread."""
        return lags(self.consumer) if self.owned else {}

    def trouble(self) -> str:
        """Why it should be taken for stuck, or nothing."""
        still = time.monotonic() - self._round_at
        return f"no round for {still:.0f} s" if still > STUCK_SECONDS else ""

    # -- writing -------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def transaction(self, owned: State) -> AsyncIterator[AIOKafkaProducer]:
        """What is sent within is there for readers with the offsets that `commit` adds, or not at all."""
        async with owned.producer.transaction():
            yield owned.producer

    async def send(
        self,
        producer: AIOKafkaProducer,
        number: int | None,
        topic: str,
        value: bytes,
        key: str,
        kind: str,
        trace: Sequence[tuple[str, bytes]] = (),
        extra: Mapping[str, str] | None = None,
    ) -> asyncio.Future[Any]:
        """Within a transaction: an event of a schema (`kind`) to a partition, None: by its key; done when it has its
        offset."""
        headers = headers_of(kind, self.source, key, list(trace), extra)
        topic = topic_name(self.settings, topic)
        future: asyncio.Future[Any] = await producer.send(
            topic, value=value, key=key.encode(), partition=number, headers=headers
        )
        return future

    async def commit(self, number: int, owned: State, floors: Mapping[Any, int], notes: Mapping[str, str]) -> None:
        """Within a transaction: from where on the inputs are to be read by whoever owns the partition next."""
        offsets = {
            TopicPartition(topic, number): OffsetAndMetadata(floors[name], notes.get(name, ""))
            for topic, name in self.topics.items()
        }
        await owned.producer.send_offsets_to_transaction(offsets, self.group)

    # -- assignment ----------------------------------------------------------------------------------------------

    async def assign(self, partitions: Iterable[TopicPartition]) -> None:
        """Fence the old owners, rebuild, seek. Bounded; what fails here ends the process."""
        numbers = sorted({p.partition for p in partitions})
        self._logger.info("assigned %s", numbers)
        async with self._lock:
            self._epoch += 1
            await bounded(self._rebuild(numbers), REBUILD_SECONDS, "rebuilding")
            self._epoch += 1
        self.is_ready = True
        self._on_ready()

    async def revoke(self) -> None:
        """Let go of everything: the next assignment rebuilds what comes back."""
        self.is_ready = False
        self._logger.info("revoked %s", sorted(self.owned))
        async with self._lock:
            self._epoch += 1
            producers = [owned.producer for owned in self.owned.values()]
            self.owned = {}
        await asyncio.gather(*(closing(producer.stop(), 5, "stopping a producer") for producer in producers))

    async def _rebuild(self, numbers: Sequence[int]) -> None:
        if not numbers:
            return
        producers = await asyncio.gather(*(self._fence(number) for number in numbers))
        committed = await self._committed(numbers)
        self.owned |= await self.rebuild(dict(zip(numbers, producers, strict=True)), committed)
        for number in numbers:
            for topic, name in self.topics.items():
                self.consumer.seek(TopicPartition(topic, number), committed[number].starts[name])

    async def _fence(self, number: int) -> AIOKafkaProducer:
        producer: AIOKafkaProducer = self._clients.producer(
            **producing(self.settings),
            transactional_id=transactional_id(self.settings, self.stage, number),
            transaction_timeout_ms=30_000,
            linger_ms=0,
        )
        await producer.start()  # InitProducerId: aborts what an old owner left open, and fences it
        return producer

    async def _committed(self, numbers: Sequence[int]) -> dict[int, Committed]:
        inputs = [TopicPartition(topic, n) for topic in self.topics for n in numbers]
        offsets = await self.admin.list_consumer_group_offsets(self.group, partitions=inputs)
        begins, ends = await self.consumer.beginning_offsets(inputs), await self.consumer.end_offsets(inputs)
        found = {number: Committed({}, {}, {}) for number in numbers}
        for place in inputs:
            name, known, of = self.topics[place.topic], offsets.get(place), found[place.partition]
            of.starts[name] = max(known.offset if known is not None else -1, begins[place])
            of.ends[name] = ends[place]
            of.notes[name] = (known.metadata or "") if known is not None else ""
        return found


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no annotations
    """What aiokafka calls on a rebalance; whatever goes wrong here ends the process."""

    def __init__(self, service: ExactlyOnce[Any]) -> None:
        self._service = service

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        await self._guard(self._service.revoke())

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        partitions = list(assigned)
        # Before the first await, or aiokafka hands out records before the state to join them exists.
        self._service.consumer.pause(*partitions)
        await self._guard(self._service.assign(partitions))
        self._service.consumer.resume(*partitions)

    async def _guard(self, work: Any) -> None:
        try:
            await work
        except Exception as error:
            await self._service.crash(error)  # aiokafka would log it and go on
            raise
