"""The hop verify: the only writer of terminal events, exactly once ("Why verify is not Faust", docs/architecture.md).

Outcomes, rounds that begin, audit and the offsets of all three inputs are one transaction. A partition is rebuilt from
the logs: what is settled from the terminal topics, which round is on from theirs, what is open from the inputs.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import msgspec
from aiokafka import AIOKafkaProducer, ConsumerRecord, TopicPartition

from qmosaic.codecs.events import wire
from qmosaic.codecs.events.control import AuditEntry
from qmosaic.codecs.events.hops import Incumbent
from qmosaic.processors.admit import deadline_claimed
from qmosaic.processors.decisions import INPUTS, Decision, Duplicate, Input, Reject
from qmosaic.processors.join import Join
from qmosaic.processors.overload import AnswerRate, SettleRate, hopeless
from qmosaic.processors.terminal import (
    Verdict,
    aside_entry,
    duplicate_entry,
)
from qmosaic.streams.exactly_once.rebuild import known_of, log_starts
from qmosaic.streams.exactly_once.service import Committed, ExactlyOnce, Owned
from qmosaic.streams.hops.beside import Beside
from qmosaic.streams.hops.ends import Ends, Write
from qmosaic.streams.hops.judge import Judge, early, refusal
from qmosaic.streams.kafka import pacing
from qmosaic.streams.kafka.bounded import bounded
from qmosaic.streams.kafka.connect import Clients
from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.kafka.records import Received, received_of, whole
from qmosaic.streams.kafka.store import Store
from qmosaic.streams.settings import Settings
from qmosaic.streams.watch.logs import about
from qmosaic.streams.watch.sensor import Sensor

log = logging.getLogger("qmosaic.verify")

TRANSACTION_SECONDS = 25.0  # a broker's restart fits in
IDLE_MS, JUDGING_MS = 1000, 20  # how long to wait for records: while nothing is open, while something large is judged
OFFSET_SECONDS = 1.0  # an idle partition's offsets are committed that often
TRIAGE_SECONDS = 0.25  # so often the open problems are looked through for those that get no answer in time
TRIAGE_SHARE = 0.5  # of the time, spent on settling these


@dataclass(eq=False, kw_only=True)
class Partition(Owned):
    """One partition: its state, and what was found out beside the rounds.

    `beside`: the decisions that are being judged beside; `found`: what came of work beside, for the next round.
    """

    join: Join
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


class Verifier(ExactlyOnce[Partition]):
    """Joins, judges, settles. One a process."""

    _logger = log

    def __init__(
        self,
        settings: Settings,
        instance: str,
        sensor: Sensor,
        on_ready: Any,
        *,
        clients: Clients = Clients(),  # noqa: B008 - frozen
        clock: Callable[[], float] = time.time,
        beside: Callable[[int, float], Beside] = Beside,
    ) -> None:
        super().__init__(settings, "verify", INPUTS, instance, on_ready, clients=clients, clock=clock)
        self._sensor, self._ends = sensor, Ends(settings, sensor, clock)
        self._judge = Judge(settings, instance, clock, beside)
        self.crashes = self._judge.crashes
        self._store = Store(settings.verify.held_bytes, Path(settings.data_dir))
        self._answers, self._settles = AnswerRate(), SettleRate()
        self._triage_at = 0.0
        self._running: set[asyncio.Task[None]] = set()

    # -- life -----------------------------------------------------------------------------------------------

    async def on_start(self) -> None:
        """Connect; partitions come by rebalance."""
        self._judge.start()
        await super().on_start()

    async def on_stop(self) -> None:
        """Leave; every wait bounded."""
        await super().on_stop()
        self._judge.stop()

    async def rebuild(
        self, fenced: Mapping[int, AIOKafkaProducer], committed: Mapping[int, Committed]
    ) -> dict[int, Partition]:
        """What is settled and which round is on, from the logs; what is open, the inputs will say again."""
        logs = {number: log_starts(of.notes["problems"]) for number, of in committed.items()}
        logged = await known_of(self.reader, self.settings, logs)
        out = {}
        for number, producer in fenced.items():
            starts, end = committed[number].starts, committed[number].ends["problems"]
            known = [entry for entry in logged[number].settled if entry.offset < end]
            at = {name: starts[name] for name in INPUTS}
            join = Join(at, known, logged[number].began, logs=logs[number], end=end)
            out[number] = Partition(join=join, producer=producer, committed=dict(starts))
            log.info("partition %s rebuilt: %s settled, reading from %s", number, len(known), starts)
        return out

    def position(self, owned: Partition, name: str) -> int:
        """The next offset of an input."""
        return owned.join.positions[cast(Input, name)]

    def patience(self) -> int:
        """Until the next deadline, half a second at most; a second where nothing is open."""
        if any(owned.found for owned in self.owned.values()):
            return 0
        if self._running:
            return JUDGING_MS
        deadlines = [d for owned in self.owned.values() if (d := owned.join.next_deadline()) is not None]
        if not deadlines:
            return IDLE_MS
        left = min(deadlines) - self.settings.verify.margin_seconds - self.clock()
        return max(1, min(500, int(left * 1000) + 1))

    # -- one round: read, join, judge, settle -----------------------------------------------------------------

    async def round(self, batches: Mapping[TopicPartition, list[ConsumerRecord]]) -> None:
        """Read, join, judge, settle."""
        found: dict[int, list[Found]] = defaultdict(list)
        now = self.clock()
        # Incumbents before proposals, and problems before both: fewer have to wait for their problem.
        for name in INPUTS:
            for partition, records in batches.items():
                owned = self.owned.get(partition.partition)
                if self.topics[partition.topic] == name and owned is not None:
                    found[partition.partition] += await self._join(owned, name, [received_of(r, now) for r in records])
        now = self.clock()
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
        self._settles.add(ends, self.clock() - now)

    async def _join(self, owned: Partition, name: Input, received: Sequence[Received]) -> list[Found]:
        join, out = owned.join, list[Found]()
        if name == "problems":
            return await self._admit(owned, received)
        for record in received:
            event = self._judge.believed(name, record, self._problems_end(record.partition))
            if isinstance(event, str):
                join.skip(name, record.offset)
                out.append(PutAside(record, event))
            elif isinstance(event, Incumbent):
                out += join.incumbent(record.offset, event, record, record.received_at)
            else:
                out += join.proposal(record.offset, event, record, record.received_at)
        return out

    async def _admit(self, owned: Partition, received: Sequence[Received]) -> list[Found]:
        """What records of the problems topic are. What may take long to find out is found out beside."""
        join, out, light = owned.join, list[Found](), list[Received]()
        for record in received:
            if record.offset in join.ahead and join.was_settled(record.offset, _claimed(record)):
                continue
            refused = self._judge.refused(record)
            if refused is not None:
                out += join.problem(record.offset, refused, record)
            elif self._judge.is_light(record):
                join.reading(record.offset, None, record, _claimed(record))
                light.append(record)
            else:
                self._admit_beside(owned, record)
        for group in self.crashes.groups(light, lambda record: record):
            for record, verdict in zip(group, await self._judge.admitted(group), strict=True):
                out += join.problem(record.offset, verdict, record)
        return out

    def _admit_beside(self, owned: Partition, record: Received) -> None:
        said = wire.envelope(record.value)
        deadline_at = deadline_claimed(said, record.timestamp, self._judge.limits, self._judge.defaults)
        claimed = _claimed(record, said)
        kept = self._store.put(record.value or b"")
        light = msgspec.structs.replace(record, value=None, kept=kept)
        owned.join.reading(record.offset, deadline_at - early(deadline_at, record), light, claimed)
        self._go(self._admitted_beside(owned, light, deadline_at))

    async def _admitted_beside(self, owned: Partition, record: Received, deadline_at: float) -> None:
        verdict = await self._judge.admitted_beside(record, deadline_at)
        if verdict is not None and not owned.join.is_read(record.offset):
            owned.found += owned.join.problem(record.offset, verdict, record)

    def _problems_end(self, number: int) -> int | None:
        end: int | None = self.consumer.highwater(TopicPartition(topic_name(self.settings, "problems"), number))
        return end

    def _go(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def _due(self, number: int, owned: Partition, now: float) -> list[Found]:
        """What the clock decides."""
        join, out = owned.join, list[Found]()
        margin = self.settings.verify.margin_seconds
        for item in join.due(now + margin):
            if isinstance(item, Decision):
                out.append(item)
                continue
            unread = refusal(whole(item.record), "too_large", "it was not read by its deadline")
            # By its bytes it is no repeat of another: that one may have been read in time.
            out += join.problem(item.offset, replace(unread, digest=f"unread-{item.offset}"), item.record)
        for source, decision in list(owned.beside.items()):
            if decision.open.ref.deadline_at <= now + margin:
                del owned.beside[source]
                verdict = self._judge.unjudged(decision, "deadline", "it could not be judged by its deadline")
                out.append(Judged(decision, verdict))
        ahead = range(join.positions["problems"], self._problems_end(number) or 0)
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
        took = self.clock() - now
        self._triage_at = now + (took if must else max(TRIAGE_SECONDS, 20 * took))
        return out

    async def _settle(self, number: int, owned: Partition, found: Sequence[Found], overloaded: set[int]) -> None:
        """Write what was decided in one transaction, or only the offsets, when it is time for them."""
        now = self.clock()
        floors = owned.join.floors()
        judged = [(item.decision, item.verdict) for item in found if isinstance(item, Judged)]
        decisions = [item for item in found if isinstance(item, Decision)]
        here = [item for item in decisions if not self._judge.is_large(item)]
        for decision in decisions:
            if self._judge.is_large(decision):
                # Until it is judged its records hold the floors: whoever owns the partition next decides it again.
                owned.beside[decision.open.ref.offset] = decision
                self._go(self._judged_beside(owned, decision, id(decision) in overloaded))
        rejects = [item for item in found if isinstance(item, Reject)]
        others = [item for item in found if isinstance(item, Duplicate | PutAside)]
        if not (judged or here or rejects or others) and (
            floors == owned.committed or now - owned.committed_at < OFFSET_SECONDS
        ):
            return
        for batch in self.crashes.groups(here, lambda item: item.open.record):
            judged += zip(batch, await self._judge.judged(batch, overloaded), strict=True)
        writes = [self._ends.outcome(number, decision, verdict) for decision, verdict in judged]
        writes += [self._ends.rejection(number, item) for item in rejects]
        for item in others:
            if isinstance(item, PutAside):
                said = item.record
                place = said.topic, said.partition, said.offset
                log.warning("%s %s:%s is put aside: %s", *place, item.why, extra=about(whole(said)))
        audits = [
            duplicate_entry(item, number, now)
            if isinstance(item, Duplicate)
            else aside_entry(item.record, item.why, now)
            for item in others
        ]
        repeats = [item for item in others if isinstance(item, Duplicate)]
        await bounded(self._transact(number, owned, writes, audits, repeats), TRANSACTION_SECONDS, "a transaction")
        for item in repeats:
            self._sensor.repeated(item.record, item.problem_id)

    async def _judged_beside(self, owned: Partition, decision: Decision, overloaded: bool) -> None:
        """Judge a large problem while rounds go on, so that no small one waits for it; a later round settles it."""
        verdict = await self._judge.judged_beside(decision, overloaded)
        if owned.beside.pop(decision.open.ref.offset, None) is not None:  # else the clock was first
            owned.found.append(Judged(decision, verdict))

    async def _transact(
        self,
        number: int,
        owned: Partition,
        writes: Sequence[Write],
        audits: Sequence[AuditEntry],
        repeats: Sequence[Duplicate],
    ) -> None:
        """`audits`: besides those of `writes`, and among them that these were `repeats`."""
        join = owned.join
        async with self.transaction(owned) as producer:
            sent = [await self._send(producer, write) for write in writes]
            for audit in [*(write.audit for write in writes), *audits]:
                await self.send(producer, number, "audit", wire.encode(audit), audit.problem_id, audit.schema)
            await producer.flush()
            for write, future in zip(writes, sent, strict=True):
                owned.found += write.step.told(join, (await future).offset)
            for repeat in repeats:
                join.dropped(repeat)
            join.forget(
                self.clock() - self.settings.verify.repeat_window_seconds, self.settings.verify.repeat_window_ids
            )
            floors = join.floors()
            metadata = json.dumps(join.log_starts(), separators=(",", ":"))
            await self.commit(number, owned, floors, {"problems": metadata})
        owned.committed, owned.committed_at = floors, self.clock()
        problems = topic_name(self.settings, "problems")
        self.crashes.done((problems, number, write.offset) for write in writes)
        if writes:
            pacing.ring({topic_name(self.settings, line.topic) for write in writes for line in write.lines})
        for end in (end for write in writes for end in write.ends):
            end.written()

    async def _send(self, producer: AIOKafkaProducer, write: Write) -> asyncio.Future[Any]:
        trace = write.ends[0].headers()
        sent = [
            await self.send(producer, one.partition, one.topic, one.value, one.key, one.kind, trace, one.extra)
            for one in write.lines
        ]
        return sent[0]


def _claimed(received: Received, said: wire.Envelope | None = None) -> str:
    return wire.claimed_id(received.value, said) or received.default_id
