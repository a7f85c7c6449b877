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
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import mode
import msgspec
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

from qmosaic.codecs.errors import RejectCode, Rejected
from qmosaic.codecs.events import public, wire
from qmosaic.codecs.events.control import AuditEntry
from qmosaic.codecs.events.hops import Incumbent, Proposal, Ref
from qmosaic.codecs.events.reasons import OutcomeReason
from qmosaic.processors.admit import Record, Refusal, admit_safely, deadline_claimed, is_light, refuse
from qmosaic.processors.families.base import QUICK
from qmosaic.processors.join import INPUTS, Decision, Duplicate, Input, Join, Reject, Settled
from qmosaic.processors.overload import AnswerRate, SettleRate, hopeless
from qmosaic.processors.terminal import (
    REJECTED,
    TERMINAL,
    Verdict,
    admit_record,
    judge,
    judge_record,
    outcome_verdict,
    rejected_entry,
    rejection_verdict,
    settled_entry,
)
from qmosaic.processors.verify import unjudged
from qmosaic.streams.core import defaults_of, limits_of
from qmosaic.streams.hops import crashes
from qmosaic.streams.hops.beside import Beside, BesideError, WorkError
from qmosaic.streams.hops.crashes import Notebook
from qmosaic.streams.kafka import pacing
from qmosaic.streams.kafka.bounded import bounded, closing
from qmosaic.streams.kafka.connect import connection, producing, record_bytes, written_bytes
from qmosaic.streams.kafka.context import extract, inject, root_of
from qmosaic.streams.kafka.held import Held, places
from qmosaic.streams.kafka.names import group_id, topic_name, transactional_id
from qmosaic.streams.kafka.reading import Unreadable
from qmosaic.streams.kafka.records import Received, fits, headers_of, kind_of, place_of, received_of, whole
from qmosaic.streams.kafka.store import Store
from qmosaic.streams.settings import Settings
from qmosaic.streams.versions import VERSIONS
from qmosaic.streams.watch.spans import Span, Telemetry

log = logging.getLogger("qmosaic.verify")

CONNECT_SECONDS = 30.0
REBUILD_SECONDS = 30.0  # fence and rebuild all partitions of an assignment
TRANSACTION_SECONDS = 25.0  # a broker's restart fits in
JUDGING_MS = 20  # how long to wait for records while something large is being judged
OFFSET_SECONDS = 1.0  # an idle partition's offsets are committed that often
TRIAGE_SECONDS = 0.25  # so often the open problems are looked through for those that get no answer in time
TRIAGE_SHARE = 0.5  # of the time, spent on settling these
BESIDE_SECONDS = 3.0  # before its deadline, what is judged beside is settled: it may wait for others, or a new process


REMEDIES: dict[RejectCode, str] = {
    "too_large": "Send a smaller problem.",
    "unreadable": "Check the producer: its checksums, and its compression (none, gzip, snappy, lz4 or zstd).",
}
BESIDE_REASONS: dict[str, OutcomeReason] = {"worker_crashed": "worker_crashed", "deadline_past": "deadline"}


@dataclass(eq=False)
class Owned:
    """One partition: its state, its fenced producer, what was found out beside the rounds, and what was committed last.

    `beside`: the decisions that are being judged beside; `found`: what came of work beside, for the next round.
    """

    join: Join
    producer: AIOKafkaProducer
    committed: dict[Input, int] = field(default_factory=dict)
    committed_at: float = 0.0
    beside: dict[int, Decision] = field(default_factory=dict)
    found: list[Found] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Judged:
    """A decision and the verdict on it, from beside."""

    decision: Decision
    verdict: Verdict


@dataclass(frozen=True, eq=False)
class PutAside:
    """A record of an internal topic that is not believed."""

    record: Received
    why: str


Found = Decision | Reject | Duplicate | Judged | PutAside


@dataclass(frozen=True, eq=False)
class _Write:
    """One terminal event of a transaction."""

    verdict: Verdict
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
        self._most = written_bytes(settings)
        self._store = Store(settings.verify.held_bytes, Path(settings.data_dir))
        self.crashes = Notebook(Path(settings.data_dir) / "crashes", "verify", instance)
        self._answers, self._settles = AnswerRate(), SettleRate()
        self._triage_at = 0.0
        self._running: set[asyncio.Task[None]] = set()
        self._held = Held()

    # -- life -----------------------------------------------------------------------------------------------

    async def on_start(self) -> None:
        """Connect; partitions come by rebalance."""
        common = connection(self.settings)
        beside = self.settings.beside
        self._beside = Beside(beside.memory_bytes, beside.seconds)
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
        self._beside.stop()

    @mode.Service.task
    async def _work(self) -> None:
        while not self.should_stop:
            epoch = self._epoch
            batches = await self.consumer.getmany(timeout_ms=self._patience(), max_records=2000)
            for line in self._held.look(places(self.consumer), time.monotonic()):
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
        if any(owned.found for owned in self.owned.values()):
            return 0
        if self._running:
            return JUDGING_MS
        deadlines = [d for owned in self.owned.values() if (d := owned.join.next_deadline()) is not None]
        if not deadlines:
            return 500
        left = min(deadlines) - self.settings.verify.margin_seconds - time.time()
        return max(1, min(500, int(left * 1000) + 1))

    # -- one round: read, join, judge, settle -----------------------------------------------------------------

    async def _round(self, batches: dict[TopicPartition, list[ConsumerRecord]]) -> None:
        found: dict[int, list[Found]] = defaultdict(list)
        # Incumbents before proposals, and problems before both: fewer have to wait for their problem.
        for name in INPUTS:
            for partition, records in batches.items():
                owned = self.owned.get(partition.partition)
                if self.topics[partition.topic] == name and owned is not None:
                    found[partition.partition] += await self._join(owned, name, [received_of(r) for r in records])
        now = time.time()
        answered = sum(isinstance(item, Decision) for items in found.values() for item in items)
        for number, owned in self.owned.items():
            answered += sum(isinstance(item, Judged) for item in owned.found)
            found[number] += owned.found
            owned.found = []
            found[number] += self._due(number, owned, now)
        self._answers.add(answered, now)
        overloaded = self._triage(found, now)
        ends = sum(not isinstance(item, Duplicate | PutAside) for items in found.values() for item in items)
        await asyncio.gather(
            *(self._settle(number, self.owned[number], items, overloaded) for number, items in found.items())
        )
        self._settles.add(ends, time.time() - now)

    async def _join(self, owned: Owned, name: Input, received: Sequence[Received]) -> list[Found]:
        join, out = owned.join, list[Found]()
        if name == "problems":
            return await self._admit(owned, received)
        for record in received:
            event = self._believed(join, name, record)
            if isinstance(event, PutAside):
                join.skip(name, record.offset)
                out.append(event)
            elif isinstance(event, Incumbent):
                out += join.incumbent(record.offset, event, record, record.received_at)
            else:
                out += join.proposal(record.offset, event, record, record.received_at)
        return out

    def _believed(self, join: Join, name: Input, record: Received) -> Incumbent | Proposal | PutAside:
        """An event of an internal topic, as far as it fits: nobody has signed it."""
        kind: type[Incumbent] | type[Proposal] = Incumbent if name == "incumbents" else Proposal
        if isinstance(record.value, Unreadable):
            return PutAside(record, f"a batch from offset {record.value.first} on: {record.value.reason}")
        try:
            event = wire.decode(record.value or b"", kind)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            return PutAside(record, f"it is not an event of ours: {error}"[:300])
        problems = TopicPartition(topic_name(self.settings, "problems"), record.partition)
        wrong = fits(event.ref, record, self.settings, record.partition, self.consumer.highwater(problems))
        return event if wrong is None else PutAside(record, wrong)

    async def _admit(self, owned: Owned, received: Sequence[Received]) -> list[Found]:
        """What records of the problems topic are. What may take long to find out is found out beside."""
        join, out, light = owned.join, list[Found](), list[Received]()
        for record in received:
            if record.offset in join.ahead and join.was_settled(record.offset, _claimed(record)):
                continue
            refusal = self._refused(record)
            if refusal is not None:
                out += join.problem(record.offset, refusal, record)
            elif is_light(record.value, self._limits):
                join.reading(record.offset, None, record, _claimed(record))
                light.append(record)
            else:
                self._admit_beside(owned, record)
        for group in self.crashes.groups(light, lambda record: record):
            out += await self._admit_here(join, group)
        return out

    async def _admit_here(self, join: Join, light: Sequence[Received]) -> list[Found]:
        out = list[Found]()
        with self.crashes.holding(light):
            verdicts = await asyncio.to_thread(
                lambda: [admit_safely(_record(record), self._limits, self._defaults) for record in light]
            )
        for record, (verdict, error) in zip(light, verdicts, strict=True):
            if error is not None:
                self._say(record, "admitting", error)
            out += join.problem(record.offset, verdict, record)
        return out

    def _refused(self, record: Received) -> Refusal | None:
        """The refusal of a record that nobody should look into."""
        if isinstance(record.value, Unreadable):
            return _refusal(record, "unreadable", f"the batch of records cannot be read: {record.value.reason}")
        if self.crashes.is_culprit(record):
            return _refusal(record, "worker_crashed", f"a worker died {crashes.MOST} times while it read or judged it")
        return None

    def _admit_beside(self, owned: Owned, record: Received) -> None:
        said = wire.envelope(record.value)
        deadline_at = deadline_claimed(said, record.timestamp, self._limits, self._defaults)
        claimed = _claimed(record, said)
        kept = self._store.put(record.value or b"")
        light = msgspec.structs.replace(record, value=None, kept=kept)
        owned.join.reading(record.offset, deadline_at - self._early(deadline_at, record), light, claimed)
        self._go(self._admitted_beside(owned, light, deadline_at))

    async def _admitted_beside(self, owned: Owned, record: Received, deadline_at: float) -> None:
        verdict: Ref | Refusal
        read = whole(record)
        try:
            verdict = await self._beside.run(deadline_at, admit_record, _record(read), self._limits, self._defaults)
        except BesideError as error:
            if error.code == "deadline_past":
                return  # the clock refuses it
            code: RejectCode = "worker_crashed" if error.code == "worker_crashed" else "too_large"
            verdict = _refusal(read, code, f"reading it: {error.message}")
        except WorkError as error:
            self._say(record, "admitting", error)
            verdict = _refusal(read, "stage_failed", f"reading it raised {str(error).partition(':')[0]}")
        if not owned.join.is_read(record.offset):
            owned.found += owned.join.problem(record.offset, verdict, record)

    def _go(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def _early(self, deadline_at: float, record: Received) -> float:
        """How long before its deadline (and the margin) a problem is settled that is judged beside."""
        return min(BESIDE_SECONDS, 0.2 * max(deadline_at - record.timestamp, 0.0))

    def _due(self, number: int, owned: Owned, now: float) -> list[Found]:
        """What the clock decides."""
        join, out = owned.join, list[Found]()
        margin = self.settings.verify.margin_seconds
        for item in join.due(now + margin):
            if isinstance(item, Decision):
                out.append(item)
                continue
            refusal = _refusal(whole(item.record), "too_large", "it was not read by its deadline")
            # By its bytes it is no repeat of another: that one may have been read in time.
            out += join.problem(item.offset, replace(refusal, digest=f"unread-{item.offset}"), item.record)
        for source, decision in list(owned.beside.items()):
            if decision.open.ref.deadline_at <= now + margin:
                del owned.beside[source]
                verdict = self._unjudged(decision, "deadline", "it could not be judged by its deadline")
                out.append(Judged(decision, verdict))
        problems = TopicPartition(topic_name(self.settings, "problems"), number)
        ahead = range(join.positions["problems"], self.consumer.highwater(problems) or 0)
        out += [PutAside(gone.record, "its problem never came") for gone in join.let_go(now, ahead)]
        return out

    def _triage(self, found: dict[int, list[Found]], now: float) -> set[int]:
        """Close open problems that get no answer in time; the identities of these decisions."""
        if now < self._triage_at:
            return set()
        waiting = [one for owned in self.owned.values() for one in owned.join.waiting()]
        margin = self.settings.verify.margin_seconds
        given_up, must = hopeless(waiting, now + margin, self._answers.best, self._settles.rate)
        most = int(self._settles.rate * TRIAGE_SECONDS)  # a round of this long: then what has come is read
        most = min(most, max(must, int(most * TRIAGE_SHARE)))
        out = set()
        for one in given_up[:most]:
            decision = self.owned[one.ref.partition].join.close(one)
            found[one.ref.partition].append(decision)
            out.add(id(decision))
        took = time.time() - now
        self._triage_at = now + (took if must else max(TRIAGE_SECONDS, 20 * took))
        return out

    async def _settle(self, number: int, owned: Owned, found: Sequence[Found], overloaded: set[int]) -> None:
        """Write what was decided in one transaction, or only the offsets, when it is time for them."""
        now = time.time()
        floors = owned.join.floors()
        judged = [(item.decision, item.verdict) for item in found if isinstance(item, Judged)]
        decisions = [item for item in found if isinstance(item, Decision)]
        here = [item for item in decisions if not self._judge_beside(owned, item, id(item) in overloaded)]
        rejects = [item for item in found if isinstance(item, Reject)]
        others = [item for item in found if isinstance(item, Duplicate | PutAside)]
        if not (judged or here or rejects or others) and (
            floors == owned.committed or now - owned.committed_at < OFFSET_SECONDS
        ):
            return
        for batch in self.crashes.groups(here, lambda item: item.open.record):
            judged += await self._judged_here(batch, overloaded)
        writes = [self._outcome(number, decision, verdict) for decision, verdict in judged]
        writes += [self._rejection(number, item) for item in rejects]
        audits = [
            self._duplicate(number, item) if isinstance(item, Duplicate) else self._put_aside(number, item)
            for item in others
        ]
        await bounded(self._transact(number, owned, writes, audits), TRANSACTION_SECONDS, "a transaction")

    async def _judged_here(self, decisions: Sequence[Decision], overloaded: set[int]) -> list[tuple[Decision, Verdict]]:
        def work() -> list[Verdict]:
            return [self._judge(decision, id(decision) in overloaded) for decision in decisions]

        with self.crashes.holding(decision.open.record for decision in decisions):
            verdicts = await asyncio.to_thread(work)
        return list(zip(decisions, verdicts, strict=True))

    def _judge(self, decision: Decision, overloaded: bool) -> Verdict:
        assert decision.open.admission is not None
        verdict = judge(
            decision.open.admission,
            decision.incumbent.event if decision.incumbent else None,
            decision.proposal.event if decision.proposal else None,
            self._most,
            **self._known(decision, overloaded),
        )
        if verdict.error:
            self._say(decision.open.record, "judging", verdict.error)
        return verdict

    def _judge_beside(self, owned: Owned, decision: Decision, overloaded: bool) -> bool:
        """Judge a large problem while rounds go on, so that no small one waits for it; a later round settles it.

        In a process: in a thread it would take turns with the loop for Python's lock. Until then its records hold the
        floors: whoever owns the partition next decides it again.
        """
        admission = decision.open.admission
        if admission is not None and admission.instance.size <= QUICK:
            return False
        owned.beside[decision.open.ref.offset] = decision
        self._go(self._judged_beside(owned, decision, overloaded))
        return True

    async def _judged_beside(self, owned: Owned, decision: Decision, overloaded: bool) -> None:
        """Judge it all; if that takes too much, the incumbent alone; if that does, nothing."""
        record, ref = whole(decision.open.record), decision.open.ref
        incumbent = decision.incumbent.record.value if decision.incumbent else None
        proposal = decision.proposal.record.value if decision.proposal else None
        known = self._known(decision, overloaded)
        verdict = None
        for answer in dict.fromkeys((proposal, None)):
            why, note, verdict = await self._tried_beside(ref, record, incumbent, answer, known)
            if verdict is not None:
                break
            self._say(record, "judging", note)
            known = {**known, "late": why}
        if verdict is None:
            verdict = self._unjudged(decision, why, note)
        elif verdict.error:
            self._say(record, "judging", verdict.error)
        if owned.beside.pop(ref.offset, None) is not None:  # else the clock was first
            owned.found.append(Judged(decision, verdict))

    async def _tried_beside(
        self, ref: Ref, record: Received, incumbent: bytes | None, proposal: bytes | None, known: dict[str, Any]
    ) -> tuple[OutcomeReason, str, Verdict | None]:
        """The verdict, or why there is none: an outcome's reason, and a note."""
        given = (_record(record), self._limits, self._defaults, incumbent, proposal, self._most, known)
        try:
            return "deadline", "", await self._beside.run(ref.deadline_at, judge_record, *given)
        except BesideError as error:
            return BESIDE_REASONS.get(error.code, "stage_failed"), f"judging it: {error.message}", None
        except WorkError as error:
            self._say(record, "judging", error)
            return "stage_failed", f"judging it raised {str(error).partition(':')[0]}", None

    def _unjudged(self, decision: Decision, reason: OutcomeReason, note: str) -> Verdict:
        outcome = unjudged(decision.open.ref, reason, notes=[note], **self._known(decision, False))
        labels = wire.labels_of(whole(decision.open.record).value or b"{}")
        return outcome_verdict(outcome, self._most, labels=labels)

    def _say(self, record: Received, doing: str, error: object) -> None:
        log.error(
            "%s a problem failed, trace %032x, %s %s:%s: %s",
            doing,
            self._trace(record).trace_id,
            record.topic,
            record.partition,
            record.offset,
            f"{type(error).__name__}: {error}" if isinstance(error, Exception) else error,
            exc_info=error if isinstance(error, Exception) and log.isEnabledFor(logging.INFO) else None,
        )

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
        problems = topic_name(self.settings, "problems")
        self.crashes.done((problems, number, write.entry.offset) for write in writes)
        if writes:
            pacing.ring({topic_name(self.settings, write.verdict.topic) for write in writes})
        for write in writes:
            for span in write.spans:
                span.end()

    async def _send(self, producer: AIOKafkaProducer, number: int, write: _Write) -> asyncio.Future[Any]:
        entry, verdict = write.entry, write.verdict
        future: asyncio.Future[Any] = await producer.send(
            topic_name(self.settings, verdict.topic),
            value=verdict.value,
            key=entry.problem_id.encode(),
            partition=number,
            headers=headers_of(
                public.REJECTION_SCHEMA if verdict.topic == REJECTED else public.OUTCOME_SCHEMA,
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
            value=wire.encode(audit),
            key=audit.problem_id.encode(),
            partition=number,
            headers=headers_of(kind_of(audit), self.source, audit.problem_id, []),
        )

    # -- what is written --------------------------------------------------------------------------------------

    def _known(self, decision: Decision, overloaded: bool) -> dict[str, Any]:
        """What `settle` is told besides the problem."""
        now = time.time()
        ref = decision.cause.event.ref if decision.cause else None
        known = {
            "now": now,
            "queue": now - ref.sent_at if ref else 0.0,
            "trace_id": f"{self._trace(decision.open.record).trace_id:032x}",
            "versions": VERSIONS,
            "tick": time.perf_counter,
        }
        return {**known, "late": "overloaded"} if overloaded else known

    def _outcome(self, number: int, decision: Decision, verdict: Verdict) -> _Write:
        ref = decision.open.ref
        entry = Settled(ref.problem_id, ref.digest, ref.offset, time.time(), verdict.topic, -1)
        arrived = [a.record for a in (decision.incumbent, decision.proposal) if a is not None]
        spans = self._spans(decision.open.record, arrived, verdict.topic, ref.problem_id)
        said = {"qmosaic.outcome.status": verdict.status, "qmosaic.outcome.reason": verdict.reason}
        for span in spans[-2:]:
            span.attributes.update(said)
        return _Write(verdict, entry, settled_entry(verdict, ref, entry.at), spans)

    def _rejection(self, number: int, item: Reject) -> _Write:
        record, refusal = whole(item.record), item.refusal
        first = record.value.first if isinstance(record.value, Unreadable) else record.offset
        verdict = rejection_verdict(_record(record), refusal, f"{self._trace(record).trace_id:032x}", first=first)
        entry = Settled(refusal.problem_id, refusal.digest, item.offset, time.time(), REJECTED, -1)
        audit = rejected_entry(verdict, refusal, number, item.offset, entry.at)
        return _Write(verdict, entry, audit, self._spans(item.record, [], REJECTED, entry.problem_id))

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

    def _put_aside(self, number: int, item: PutAside) -> AuditEntry:
        record = item.record
        log.warning("%s %s:%s is put aside: %s", record.topic, record.partition, record.offset, item.why)
        return AuditEntry(
            event="put_aside",
            problem_id="",
            tenant="",
            partition=number,
            offset=record.offset,
            at=time.time(),
            status="dropped",
            reason=item.why,
            detail={"topic": record.topic},
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
            if name == "problems" and known is not None:
                for topic, position in _log_starts(known.metadata).items():
                    logs[TopicPartition(topic_name(self.settings, topic), partition.partition)] = position
        terminal: dict[str, str] = {topic_name(self.settings, topic): topic for topic in TERMINAL}
        ends = await self.consumer.end_offsets(inputs) if inputs else {}
        settled = await self._read_settled(numbers, logs, terminal)
        problems_ends = {tp.partition: end for tp, end in ends.items() if self.topics[tp.topic] == "problems"}
        settled = {n: [entry for entry in entries if entry.offset < problems_ends[n]] for n, entries in settled.items()}
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
        self, numbers: Sequence[int], logs: dict[TopicPartition, int], names: Mapping[str, str]
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


def _settled(record: ConsumerRecord, topic: str) -> Settled | None:
    """What a terminal record says it settled, as far as that can be."""
    headers = dict(record.headers)
    try:
        offset = int(headers["ce_sourceoffset"])
        if not 0 <= offset < 2**63:
            raise ValueError(offset)
        return Settled(
            headers["ce_subject"].decode(),
            headers["ce_digest"].decode(),
            offset,
            record.timestamp / 1000,
            topic,
            record.offset,
        )
    except (KeyError, ValueError, AttributeError, TypeError):
        log.error("%s %s:%s was not written by a verifier", record.topic, record.partition, record.offset)
        return None


def _log_starts(metadata: str | None) -> dict[str, int]:
    """By terminal topic, where a rebuild starts, as it was committed; what does not fit means: from the beginning."""
    try:
        found = msgspec.json.decode(metadata or "{}", type=dict[str, int])
    except msgspec.MsgspecError:
        log.error("the metadata of the committed offset is not of a verifier: %.100r", metadata)
        return {}
    return {topic: position for topic, position in found.items() if topic in TERMINAL and position >= 0}


def _record(received: Received) -> Record:
    return Record(received.topic, received.partition, received.offset, received.timestamp, received.value)


def _claimed(received: Received, said: wire.Envelope | None = None) -> str:
    return wire.claimed_id(received.value, said) or _record(received).default_id


def _refusal(record: Received, code: RejectCode, message: str) -> Refusal:
    remedy = REMEDIES.get(code, "Report it with the event: this is a bug.")
    return refuse(_record(record), Rejected(code, message, "$", remedy))
