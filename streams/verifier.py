"""The verifier: the only writer of terminal events, exactly once. See docs/architecture.md, "Why verify is not Faust".

One transactional producer per owned partition with a stable transactional id: a new owner fences the old one.
Outcomes, audit and the offsets of all three inputs are one transaction. On assignment the partition is rebuilt
from the logs: what is settled from the terminal topics, what is open from the inputs. Crash-only: a bound that is
exceeded, or being fenced, ends the process, and starting again is recovery.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from base64 import b64encode
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import mode
import msgspec
import orjson
from aiokafka import (
    AIOKafkaConsumer,
    AIOKafkaProducer,
    ConsumerRebalanceListener,
    ConsumerRecord,
    OffsetAndMetadata,
    TopicPartition,
)
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from opentelemetry.trace import SpanContext, SpanKind

from qmosaic.codecs import events
from qmosaic.codecs.events import AuditEntry, Incumbent, Outcome, Proposal, Rejection
from qmosaic.processors.admit import Record, admit
from qmosaic.processors.families.base import QUICK
from qmosaic.processors.join import INPUTS, REJECTED, Decision, Duplicate, Input, Join, Reject, Settled
from qmosaic.processors.verify import settle, settle_record
from qmosaic.streams import pacing, processes, reading
from qmosaic.streams.bounded import bounded, closing
from qmosaic.streams.core import defaults_of, limits_of
from qmosaic.streams.names import group_id, topic_name, transactional_id
from qmosaic.streams.records import Received, connection, headers_of, kind_of, place_of, producing, record_bytes
from qmosaic.streams.settings import Settings
from qmosaic.streams.telemetry import Span, Telemetry, extract, inject, root_of
from qmosaic.streams.versions import VERSIONS

log = logging.getLogger("qmosaic.verify")

ACCEPTED, FALLBACK = "outcomes.accepted", "outcomes.fallback"
TERMINAL = (ACCEPTED, FALLBACK, REJECTED)
CONNECT_SECONDS = 30.0
REBUILD_SECONDS = 30.0  # fence and rebuild all partitions of an assignment
TRANSACTION_SECONDS = 25.0  # a broker's restart fits in
JUDGING_MS = 20  # how long to wait for records while something large is being judged
OFFSET_SECONDS = 1.0  # an idle partition's offsets are committed that often
ORIGINAL_BYTES = 8 * 1024 * 1024  # of a rejected record, kept in its rejection


@dataclass(eq=False)
class Owned:
    """One partition: its state, its fenced producer, what is still being judged, and what was committed last."""

    join: Join
    producer: AIOKafkaProducer
    committed: dict[Input, int] = field(default_factory=dict)
    committed_at: float = 0.0
    judging: list[tuple[Decision, asyncio.Task[Outcome]]] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class _Write:
    """One terminal event of a transaction."""

    topic: str
    event: Outcome | Rejection
    entry: Settled
    audit: AuditEntry
    spans: tuple[Span, ...]


class Verifier(mode.Service):
    """Joins, judges, settles. One a process."""

    def __init__(self, settings: Settings, instance: str, telemetry: Telemetry, on_ready: Any) -> None:
        super().__init__()
        self.settings, self.instance, self.telemetry, self._on_ready = settings, instance, telemetry, on_ready
        self.group = group_id(settings, "verify")
        self.topics: dict[str, Input] = {topic_name(settings, name): name for name in INPUTS}
        self.owned: dict[int, Owned] = {}
        self.source = f"/qmosaic/verify/{instance}"
        self._limits, self._defaults = limits_of(settings), defaults_of(settings)
        self._lock = asyncio.Lock()  # a rebalance waits for the transactions under way, and they for it
        self._epoch = 0
        self._held = reading.Held()

    # -- life -----------------------------------------------------------------------------------------------

    async def on_start(self) -> None:
        """Connect; partitions come by rebalance."""
        common = connection(self.settings)
        self._beside = processes.background(1)
        self._beside.submit(time.time)  # starts the process now: a deadline does not wait for it
        self.admin = AIOKafkaAdminClient(**common)
        self.rebuilder = AIOKafkaConsumer(
            **common,
            enable_auto_commit=False,
            isolation_level="read_committed",
            max_partition_fetch_bytes=record_bytes(self.settings),
        )
        self.consumer = AIOKafkaConsumer(
            **common,
            group_id=self.group,
            group_instance_id=group_id(self.settings, self.instance),
            client_id=self.instance,
            # Ranges keep equal partition numbers of the three inputs together; round robin would split them.
            partition_assignment_strategy=(RangePartitionAssignor,),
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=6_000,
            heartbeat_interval_ms=1_000,
            rebalance_timeout_ms=60_000,
            max_poll_interval_ms=300_000,
            max_partition_fetch_bytes=record_bytes(self.settings),
            fetch_max_wait_ms=500,
        )
        await bounded(asyncio.gather(self.admin.start(), self.rebuilder.start()), CONNECT_SECONDS, "connecting")
        await bounded(self.consumer.start(), CONNECT_SECONDS, "connecting")
        self.consumer.subscribe(topics=list(self.topics), listener=_Listener(self))

    async def on_stop(self) -> None:
        """Leave; every wait bounded."""
        async with self._lock:
            clients = [self.consumer, self.rebuilder, *(owned.producer for owned in self.owned.values())]
            self.owned = {}
        for client in clients:
            await closing(client.stop(), 5, "stopping a client")
        await closing(self.admin.close(), 5, "stopping a client")
        self._beside.shutdown(wait=False, cancel_futures=True)

    @mode.Service.task
    async def _work(self) -> None:
        while not self.should_stop:
            epoch = self._epoch
            batches = await self.consumer.getmany(timeout_ms=self._patience(), max_records=2000)
            for line in self._held.look(reading.places(self.consumer), time.monotonic()):
                log.warning(line)
            async with self._lock:
                if epoch != self._epoch:
                    self._read_again(batches)
                    continue
                await self._round(batches)

    def _read_again(self, batches: dict[TopicPartition, list[ConsumerRecord]]) -> None:
        """The partitions changed while we waited: nobody knows which state these records are for."""
        for partition in batches:
            owned = self.owned.get(partition.partition)
            if owned is not None:
                self.consumer.seek(partition, owned.join.positions[self.topics[partition.topic]])

    def _patience(self) -> int:
        """How long to wait for records: until the next deadline, half a second at most."""
        if any(owned.judging for owned in self.owned.values()):
            return JUDGING_MS
        deadlines = [d for owned in self.owned.values() if (d := owned.join.next_deadline()) is not None]
        if not deadlines:
            return 500
        left = min(deadlines) - self.settings.verify.margin_seconds - time.time()
        return max(1, min(500, int(left * 1000) + 1))

    # -- one round: read, join, judge, settle -----------------------------------------------------------------

    async def _round(self, batches: dict[TopicPartition, list[ConsumerRecord]]) -> None:
        found: dict[int, list[Decision | Reject | Duplicate]] = defaultdict(list)
        # Incumbents before proposals, and problems before both: fewer have to wait for their problem.
        for name in INPUTS:
            for partition, records in batches.items():
                owned = self.owned.get(partition.partition)
                if self.topics[partition.topic] == name and owned is not None:
                    found[partition.partition] += await self._join(owned.join, name, records)
        now = time.time()
        for number, owned in self.owned.items():
            found[number] += owned.join.due(now + self.settings.verify.margin_seconds)
        await asyncio.gather(*(self._settle(number, self.owned[number], found[number]) for number in found))

    async def _join(
        self, join: Join, name: Input, records: Sequence[ConsumerRecord]
    ) -> list[Decision | Reject | Duplicate]:
        received = [_received(record) for record in records]
        out: list[Decision | Reject | Duplicate] = []
        if name == "problems":
            verdicts = await asyncio.to_thread(
                lambda: [admit(_record(r), self._limits, self._defaults) for r in received]
            )
            for record, verdict in zip(received, verdicts, strict=True):
                out += join.problem(record.offset, verdict, record)
            return out
        for record in received:
            try:
                if name == "incumbents":
                    out += join.incumbent(record.offset, events.decode(record.value or b"", Incumbent), record)
                else:
                    out += join.proposal(record.offset, events.decode(record.value or b"", Proposal), record)
            except (msgspec.ValidationError, orjson.JSONDecodeError) as error:
                log.error("%s %s:%s is not an event of ours: %s", name, record.partition, record.offset, error)
                join.skip(name, record.offset)
        return out

    async def _settle(self, number: int, owned: Owned, found: Sequence[Decision | Reject | Duplicate]) -> None:
        """Write what was decided in one transaction, or only the offsets, when it is time for them."""
        now = time.time()
        floors = owned.join.floors()
        found = [item for item in found if not self._judge_beside(owned, item)]
        judged = [(decision, task.result()) for decision, task in owned.judging if task.done()]
        owned.judging = [pair for pair in owned.judging if not pair[1].done()]
        if not found and not judged and (floors == owned.committed or now - owned.committed_at < OFFSET_SECONDS):
            return
        decisions = [item for item in found if isinstance(item, Decision)]
        outcomes = await asyncio.to_thread(lambda: [self._judge(decision) for decision in decisions])
        judged += zip(decisions, outcomes, strict=True)
        writes = [self._outcome(number, decision, outcome) for decision, outcome in judged]
        writes += [self._rejection(number, item) for item in found if isinstance(item, Reject)]
        audits = [self._duplicate(number, item) for item in found if isinstance(item, Duplicate)]
        await bounded(self._transact(number, owned, writes, audits), TRANSACTION_SECONDS, "a transaction")

    def _judge_beside(self, owned: Owned, item: Decision | Reject | Duplicate) -> bool:
        """Judge a large problem while rounds go on, so that no small one waits for it; a later round settles it.

        In a process: in a thread it would take turns with the loop for Python's lock. Until then its records hold the
        floors: whoever owns the partition next decides it again.
        """
        if not isinstance(item, Decision) or item.open.admission.instance.size <= QUICK:
            return False
        owned.judging.append((item, asyncio.create_task(self._judged_beside(item))))
        return True

    async def _judged_beside(self, decision: Decision) -> Outcome:
        used = self._beside
        judge = partial(
            settle_record,
            _record(decision.open.record),
            self._limits,
            self._defaults,
            **self._known(decision),
        )
        try:
            return await asyncio.get_running_loop().run_in_executor(used, judge)
        except BrokenProcessPool:
            # The process died (killed, or out of memory). The next one gets a new one, this one has waited enough.
            if self._beside is used:
                self._beside = processes.background(1)
            return await asyncio.to_thread(self._judge, decision)

    async def _transact(
        self, number: int, owned: Owned, writes: Sequence[_Write], audits: Sequence[AuditEntry]
    ) -> None:
        producer, join = owned.producer, owned.join
        async with producer.transaction():
            sent = [await self._send(producer, number, write) for write in writes]
            for audit in [*(write.audit for write in writes), *audits]:
                await self._send_audit(producer, number, audit)
            await producer.flush()
            for write, future in zip(writes, sent, strict=True):
                entry = msgspec.structs.replace(write.entry, position=(await future).offset)
                join.remember(entry)
            join.forget(
                time.time() - self.settings.verify.repeat_window_seconds, self.settings.verify.repeat_window_ids
            )
            floors = join.floors()
            metadata = json.dumps(join.log_starts(), separators=(",", ":"))
            await producer.send_offsets_to_transaction(
                {
                    TopicPartition(topic, number): OffsetAndMetadata(
                        floors[name], metadata if name == "problems" else ""
                    )
                    for topic, name in self.topics.items()
                },
                self.group,
            )
        owned.committed, owned.committed_at = floors, time.time()
        if writes:
            pacing.ring({topic_name(self.settings, write.topic) for write in writes})
        for write in writes:
            for span in write.spans:
                span.end()

    async def _send(self, producer: AIOKafkaProducer, number: int, write: _Write) -> asyncio.Future[Any]:
        entry = write.entry
        future: asyncio.Future[Any] = await producer.send(
            topic_name(self.settings, write.topic),
            value=events.encode(write.event),
            key=entry.problem_id.encode(),
            partition=number,
            headers=headers_of(
                kind_of(write.event),
                self.source,
                entry.problem_id,
                inject(write.spans[-1].context),
                {"ce_digest": entry.digest, "ce_sourceoffset": str(entry.offset)},
            ),
        )
        return future

    async def _send_audit(self, producer: AIOKafkaProducer, number: int, audit: AuditEntry) -> None:
        await producer.send(
            topic_name(self.settings, "audit"),
            value=events.encode(audit),
            key=audit.problem_id.encode(),
            partition=number,
            headers=headers_of(kind_of(audit), self.source, audit.problem_id, []),
        )

    # -- what is written --------------------------------------------------------------------------------------

    def _judge(self, decision: Decision) -> Outcome:
        return settle(decision.open.admission, **self._known(decision))

    def _known(self, decision: Decision) -> dict[str, Any]:
        """What `settle` is told besides the problem."""
        now = time.time()
        ref = decision.cause.event.ref if decision.cause else None
        return {
            "incumbent": decision.incumbent.event if decision.incumbent else None,
            "proposal": decision.proposal.event if decision.proposal else None,
            "now": now,
            "queue": now - ref.sent_at if ref else 0.0,
            "trace_id": f"{self._trace(decision.open.record).trace_id:032x}",
            "versions": VERSIONS,
            "tick": time.perf_counter,
        }

    def _outcome(self, number: int, decision: Decision, outcome: Outcome) -> _Write:
        topic = ACCEPTED if outcome.status == "accepted" else FALLBACK
        ref = decision.open.admission.ref
        entry = Settled(ref.problem_id, ref.digest, ref.offset, time.time(), topic, -1)
        audit = AuditEntry(
            event="settled",
            problem_id=ref.problem_id,
            tenant=ref.tenant,
            partition=number,
            offset=ref.offset,
            at=entry.at,
            status=outcome.status,
            reason=outcome.reason,
            detail={
                "objective": outcome.objective,
                "baseline": outcome.baseline.objective if outcome.baseline else None,
                "backend": outcome.backend,
                "route_reason": outcome.route_reason,
                "usage": outcome.usage,
                "failure": decision.proposal.event.failure.message
                if decision.proposal and decision.proposal.event.failure
                else None,
            },
        )
        arrived = [a.record for a in (decision.incumbent, decision.proposal) if a is not None]
        spans = self._spans(decision.open.record, arrived, topic, ref.problem_id)
        for span in spans[-2:]:
            span.attributes.update({"qmosaic.outcome.status": outcome.status, "qmosaic.outcome.reason": outcome.reason})
        return _Write(topic, outcome, entry, audit, spans)

    def _rejection(self, number: int, item: Reject) -> _Write:
        record: Received = item.record
        rejected, problem = item.refusal.rejected, item.refusal.problem
        original = record.value
        rejection = Rejection(
            problem_id=item.refusal.problem_id,
            code=rejected.code,
            message=rejected.message,
            place=rejected.place,
            remedy=rejected.remedy,
            source={"topic": record.topic, "partition": record.partition, "offset": record.offset},
            original=None if original is None else b64encode(original[:ORIGINAL_BYTES]).decode(),
            truncated=original is not None and len(original) > ORIGINAL_BYTES,
            trace_id=f"{self._trace(record).trace_id:032x}",
            labels=problem.labels if problem else {},
        )
        entry = Settled(item.refusal.problem_id, item.refusal.digest, item.offset, time.time(), REJECTED, -1)
        audit = AuditEntry(
            event="rejected",
            problem_id=item.refusal.problem_id,
            tenant=problem.tenant if problem else "",
            partition=number,
            offset=item.offset,
            at=entry.at,
            status="rejected",
            reason=rejected.code,
            detail={"place": rejected.place, "message": rejected.message},
        )
        return _Write(REJECTED, rejection, entry, audit, self._spans(record, [], REJECTED, entry.problem_id))

    def _duplicate(self, number: int, item: Duplicate) -> AuditEntry:
        return AuditEntry(
            event="duplicate",
            problem_id=item.problem_id,
            tenant="",
            partition=number,
            offset=item.offset,
            at=time.time(),
            status="dropped",
            reason="same id, same content",
            detail={"first_offset": item.first_offset},
        )

    # -- spans --------------------------------------------------------------------------------------------------

    def _trace(self, record: Received) -> SpanContext:
        """Where a problem's trace hangs: the producer's span, or the root that follows from its place."""
        return extract(record.headers) or root_of(record)

    def _spans(self, problem: Received, arrived: Iterable[Received], topic: str, problem_id: str) -> tuple[Span, ...]:
        """Open spans: the root where the producer brought none, one a message read, and the send at the end."""
        spans: list[Span] = []
        trace = self._trace(problem)
        if extract(problem.headers) is None:
            root = self.telemetry.span(
                "receive",
                problem.topic,
                parent=None,
                kind=SpanKind.CONSUMER,
                start=min(problem.timestamp, problem.received_at),
                forced=trace,
                attributes=place_of(problem),
            )
            spans.append(root)
        spans += [
            self.telemetry.span(
                "process",
                record.topic,
                parent=trace if record is problem else extract(record.headers),
                kind=SpanKind.CONSUMER,
                start=record.received_at,
                attributes={
                    "messaging.consumer.group.name": self.group,
                    "qmosaic.problem.id": problem_id,
                    **place_of(record),
                },
            )
            for record in (problem, *arrived)
        ]
        parent = spans[-1].context
        spans.append(
            self.telemetry.span(
                "send", topic_name(self.settings, topic), parent=parent, kind=SpanKind.PRODUCER, attributes={}
            )
        )
        return tuple(spans)

    # -- assignment -----------------------------------------------------------------------------------------------

    async def assign(self, partitions: Iterable[TopicPartition]) -> None:
        """Fence the old owners, rebuild, seek. Bounded; what fails here ends the process."""
        numbers = sorted({p.partition for p in partitions})
        log.info("assigned %s", numbers)
        async with self._lock:
            self._epoch += 1
            await bounded(self._rebuild(numbers), REBUILD_SECONDS, "rebuilding")
            self._epoch += 1
        self._on_ready()

    async def revoke(self) -> None:
        """Let go of everything: the next assignment rebuilds what comes back."""
        log.info("revoked %s", sorted(self.owned))
        async with self._lock:
            self._epoch += 1
            producers = [owned.producer for owned in self.owned.values()]
            self.owned = {}
        await asyncio.gather(*(closing(producer.stop(), 5, "stopping a producer") for producer in producers))

    async def _rebuild(self, numbers: Sequence[int]) -> None:
        producers = await asyncio.gather(*(self._fence(number) for number in numbers))
        committed = await self.admin.list_consumer_group_offsets(
            self.group, partitions=[TopicPartition(topic, n) for topic in self.topics for n in numbers]
        )
        inputs = [TopicPartition(topic, n) for topic in self.topics for n in numbers]
        beginnings = await self.consumer.beginning_offsets(inputs) if inputs else {}
        starts: dict[int, dict[Input, int]] = {n: {} for n in numbers}
        logs: dict[TopicPartition, int] = {}
        for partition in inputs:
            known = committed.get(partition)
            offset = known.offset if known is not None and known.offset >= 0 else -1
            name = self.topics[partition.topic]
            starts[partition.partition][name] = max(offset, beginnings[partition])
            if name == "problems" and known is not None and known.metadata:
                for topic, position in json.loads(known.metadata).items():
                    logs[TopicPartition(topic_name(self.settings, topic), partition.partition)] = position
        terminal = {topic_name(self.settings, topic): topic for topic in TERMINAL}
        settled = await self._read_settled(numbers, logs, terminal)
        ends = await self.consumer.end_offsets(inputs) if inputs else {}
        for number, producer in zip(numbers, producers, strict=True):
            known_logs = {terminal[tp.topic]: at for tp, at in logs.items() if tp.partition == number}
            end = ends[TopicPartition(topic_name(self.settings, "problems"), number)]
            join = Join(starts[number], settled[number], logs=known_logs, end=end)
            self.owned[number] = Owned(join, producer, dict(starts[number]))
            log.info("partition %s rebuilt: %s settled, reading from %s", number, len(settled[number]), starts[number])
        for partition in inputs:
            self.consumer.seek(partition, starts[partition.partition][self.topics[partition.topic]])

    async def _fence(self, number: int) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            **producing(self.settings),
            transactional_id=transactional_id(self.settings, number),
            transaction_timeout_ms=30_000,
            linger_ms=0,
        )
        await producer.start()  # InitProducerId: aborts what an old owner left open, and fences it
        return producer

    async def _read_settled(
        self, numbers: Sequence[int], logs: dict[TopicPartition, int], names: dict[str, str]
    ) -> dict[int, list[Settled]]:
        """What is settled, from the terminal topics, from where the committed metadata says on."""
        out: dict[int, list[Settled]] = {n: [] for n in numbers}
        partitions = [TopicPartition(topic, n) for topic in names for n in numbers]
        if not partitions:
            return out
        self.rebuilder.assign(partitions)
        ends = await self.rebuilder.end_offsets(partitions)
        begins = await self.rebuilder.beginning_offsets(partitions)
        for partition in partitions:
            # No metadata for a topic: nothing in it was within the window at the last commit, or there was none.
            self.rebuilder.seek(partition, max(begins[partition], logs.get(partition, begins[partition])))
        waiting = {p for p in partitions if await self.rebuilder.position(p) < ends[p]}
        while waiting:
            for partition, records in (await self.rebuilder.getmany(timeout_ms=200)).items():
                for record in records:
                    entry = _settled(record, names[partition.topic])
                    if entry is not None:
                        out[partition.partition].append(entry)
            waiting = {p for p in waiting if await self.rebuilder.position(p) < ends[p]}
        self.rebuilder.unsubscribe()
        return out


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no annotations
    """What aiokafka calls on a rebalance; whatever goes wrong here ends the process."""

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        await self._guard(self._verifier.revoke())

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        partitions = list(assigned)
        # Before the first await, or aiokafka hands out records before the state to join them exists.
        self._verifier.consumer.pause(*partitions)
        await self._guard(self._verifier.assign(partitions))
        self._verifier.consumer.resume(*partitions)

    async def _guard(self, work: Any) -> None:
        try:
            await work
        except Exception as error:
            await self._verifier.crash(error)  # aiokafka would log it and go on
            raise


def _received(record: ConsumerRecord) -> Received:
    headers = {name: value for name, value in record.headers if value is not None}
    return Received(record.topic, record.partition, record.offset, record.timestamp / 1000, record.value, headers)


def _settled(record: ConsumerRecord, topic: str) -> Settled | None:
    headers = dict(record.headers)
    try:
        return Settled(
            headers["ce_subject"].decode(),
            headers["ce_digest"].decode(),
            int(headers["ce_sourceoffset"]),
            record.timestamp / 1000,
            topic,
            record.offset,
        )
    except (KeyError, ValueError):
        log.error("%s %s:%s was not written by a verifier", record.topic, record.partition, record.offset)
        return None


def _record(received: Received) -> Record:
    return Record(received.topic, received.partition, received.offset, received.timestamp, received.value)
