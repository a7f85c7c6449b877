"""The service control: it keeps the ledger and evidence, grants jobs that are paid for, and carries out orders.

Exactly once, by the shell that verify has: what follows from a record (ledger, job, audit, state) and its offset are
one transaction. One leader, who owns the one partition of its inputs; others stand by. What it knows is read from
`ledger` and `control.state`, whose only writer it is.
"""

from __future__ import annotations

import asyncio
import logging
import time
from base64 import b64decode
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec
from aiokafka import AIOKafkaProducer, ConsumerRecord, TopicPartition

from qmosaic.backends.registry import innermost
from qmosaic.codecs.events import wire
from qmosaic.codecs.events.control import AuditEntry, BackendStatus, Command, ControlState, Resend
from qmosaic.codecs.events.evidence import Learned
from qmosaic.codecs.events.hops import Failure, JobEvent
from qmosaic.codecs.events.ledger import JobEnded, LedgerEntry
from qmosaic.processors.control.books import Books, Ledger
from qmosaic.processors.control.breakers import Known
from qmosaic.processors.control.grants import asked, ended
from qmosaic.processors.control.ordered import Ordered, Orders
from qmosaic.processors.control.orders import Changes, answer_to, carried_out, remembered
from qmosaic.processors.control.rates import next_at
from qmosaic.processors.execute import advance
from qmosaic.processors.terminal import aside_entry
from qmosaic.streams.exactly_once.service import CONNECT_SECONDS, Committed, ExactlyOnce, Owned
from qmosaic.streams.hops import crashes
from qmosaic.streams.hops.crashes import Notebook
from qmosaic.streams.hops.decided import Round, step_of, turn
from qmosaic.streams.hops.hop import next_send
from qmosaic.streams.hops.learning import Learning
from qmosaic.streams.kafka import pacing
from qmosaic.streams.kafka.bounded import bounded, closing
from qmosaic.streams.kafka.connect import Clients, producing
from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.kafka.records import Received, Send, fits, headers_for_turns, received_of, stamp, whose
from qmosaic.streams.kafka.tail import Tail, to_end
from qmosaic.streams.settings import Settings
from qmosaic.streams.watch.logs import about
from qmosaic.streams.watch.sensor import Sensor

log = logging.getLogger("qmosaic.control")

INPUTS = ("jobs.ended", "control.commands", "jobs.priced")
"""In the order in which a round takes them: what ended makes room, orders hold from now on, then jobs ask."""
KINDS: dict[str, Any] = {"jobs.ended": JobEnded, "control.commands": Command, "jobs.priced": JobEvent}
TRANSACTION_SECONDS = 25.0  # a broker's restart fits in
STATUS_SECONDS = 5.0
RESENT = "ce_resent"
"""The header of a record that was put back: of which letter it is."""
IDLE_MS = 1000


@dataclass(eq=False, kw_only=True)
class Kept(Owned):
    """What the leader knows, and where it stands."""

    ledger: Ledger
    ordered: Ordered
    positions: dict[str, int] = field(default_factory=dict)
    told_at: float = 0.0  # that it is there


class Control(ExactlyOnce[Kept]):
    """Grants, books, orders. `is_known`: whether there is a backend of a name, of which `names` are some. `told`: what
    is known of the backends' breakers, whose changes the leader writes into the audit."""

    _logger = log

    def __init__(
        self,
        settings: Settings,
        instance: str,
        sensor: Sensor,
        on_ready: Any,
        *,
        is_known: Callable[[str], bool],
        names: Collection[str],
        told: Tail[Known, BackendStatus] | None = None,
        clients: Clients = Clients(),  # noqa: B008 - frozen
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(settings, "control", INPUTS, instance, on_ready, clients=clients, clock=clock)
        self._sensor, self.is_known, self._names = sensor, is_known, names
        self._books, self._orders = Books(), Orders()
        self._breakers, self._open = told, dict[str, bool]()
        self._learning = Learning(settings, clients)
        self._is_told = False
        self.crashes = Notebook(Path(settings.data_dir) / "crashes", "control", instance)

    async def on_start(self) -> None:
        """Connect; the partition comes by rebalance, or when the leader goes."""
        self._teller = self._clients.producer(**producing(self.settings), linger_ms=0)
        await bounded(self._teller.start(), CONNECT_SECONDS, "connecting")
        if self._breakers is not None:
            await self._breakers.start()
        await super().on_start()

    async def on_stop(self) -> None:
        """Leave; every wait bounded."""
        await super().on_stop()
        await closing(self._teller.stop(), 5, "stopping a client")
        await self._learning.stop()
        self.crashes.close()
        if self._breakers is not None:
            await self._breakers.stop()

    async def rebuild(
        self, fenced: Mapping[int, AIOKafkaProducer], committed: Mapping[int, Committed]
    ) -> dict[int, Kept]:
        """The ledger and the orders, from their topics."""
        (number,) = fenced
        ledger, ordered = self._books.start, self._orders.start
        topics = {topic_name(self.settings, name): name for name in ("ledger", "control.state")}
        places = [TopicPartition(topic, 0) for topic in topics]
        self.reader.assign(places)
        begins, ends = await self.reader.beginning_offsets(places), await self.reader.end_offsets(places)
        for place in places:
            self.reader.seek(place, begins[place])
        entries = 0
        async for record in to_end(self.reader, ends):
            try:
                if topics[record.topic] == "ledger":
                    ledger = self._books.step(ledger, wire.decode(record.value or b"", LedgerEntry))
                    entries += 1
                elif record.value:
                    ordered = self._orders.step(ordered, wire.decode(record.value, ControlState))
            except (msgspec.MsgspecError, ValueError, RecursionError):
                log.error("%s %s:%s was not written by control", record.topic, record.partition, record.offset)
        self.reader.unsubscribe()
        starts = committed[number].starts
        log.info("rebuilt: %s ledger entries, %s pending, reading from %s", entries, len(ledger.pending), starts)
        kept = Kept(producer=fenced[number], committed=dict(starts), ledger=ledger, ordered=ordered)
        kept.positions, kept.told_at = dict(starts), self.clock()
        await self._learning.begin(ordered.learned, self.clock())
        await self._tell(ledger)  # who is ready has said so: nobody need pass over what is paid for
        return {number: kept}

    async def revoke(self) -> None:
        """Another one leads."""
        await super().revoke()
        await self._learning.stop()

    @property
    def learned(self) -> Learned:
        """What is known of backends, as far as it is written; nothing where another leads."""
        return self._learning.known if self.owned else Learned()

    def position(self, owned: Kept, name: str) -> int:
        """The next offset of an input."""
        return owned.positions[name]

    def patience(self) -> int:
        """A second: the clock decides nothing here but its signs of life, and when to write what was learned."""
        return IDLE_MS

    async def round(self, batches: Mapping[TopicPartition, list[ConsumerRecord]]) -> None:
        """Take what came, write what follows."""
        for number, owned in self.owned.items():
            now = self.clock()
            records: list[Received] = []
            for name in INPUTS:
                place = TopicPartition(topic_name(self.settings, name), number)
                there = [received_of(record, now) for record in batches.get(place, ())]
                if there:
                    owned.positions[name] = there[-1].offset + 1
                records += sorted(there, key=turn) if name == "jobs.priced" else there
            changes = self._breaker_changes(now)
            await self._learning.look()
            learned = self._learning.due(now)
            if records or changes or learned is not None:
                written = self._decided(owned, records)
                written.audits += changes
                if learned is not None:
                    written.states.append(("learned", ControlState(learned=learned)))
                work = self._write(number, owned, records, written, now)
                await bounded(work, TRANSACTION_SECONDS, "writing a transaction")
                self._open |= {entry.status: entry.reason == "opened" for entry in changes}
            if learned is not None:
                self._learning.wrote(learned, now)
            if now - owned.told_at >= STATUS_SECONDS:
                owned.told_at = now
                await bounded(self._tell(owned.ledger), TRANSACTION_SECONDS, "a sign of life")

    async def _tell(self, ledger: Ledger) -> None:
        """That somebody keeps the ledger, and when backends that have a rate may be sent their next job."""
        now, rates = self.clock(), self.settings.paid.rates
        later = dict[str, float]()
        for name in self.settings.paid.backends:
            of = innermost(name)
            found = next_at(ledger.sent.get(of, ()), rates[of], now) if of in rates else None
            if found is not None and found > now:
                later[name] = found
        status = BackendStatus(
            worker=self.instance, target="classical", backends={}, at=now, grants=True, not_before=later
        )
        topic = topic_name(self.settings, "backends.status")
        await (await self._teller.send(topic, wire.encode(status), key=self.instance.encode()))
        if not self._is_told:
            self._is_told = True
            pacing.ring([topic])

    def _decided(self, owned: Kept, records: Sequence[Received]) -> Round:
        out = Round()
        for group in self.crashes.groups(list(enumerate(records)), lambda one: one[1]):
            with self.crashes.holding(record for _, record in group):
                for cause, record in group:
                    out.add(self._decided_safely(owned, record, cause))
        return out

    def _decided_safely(self, owned: Kept, record: Received, cause: int) -> Round:
        """What follows from a record. What ends every control that reads it must not be read for ever: it is put aside,
        and a job goes to its next candidate, as if it had been refused."""
        before, out = (owned.ledger, owned.ordered), Round()
        if self.crashes.is_culprit(record):
            return self._passed_over(record, cause, "worker_crashed", f"control died {crashes.MOST} times at it")
        try:
            why = self._decide(owned, record, cause, out)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            why = str(error)
        except Exception as error:  # a bug, and its record would bring it again at every start
            log.exception("deciding about %s %s:%s failed", record.topic, record.partition, record.offset)
            owned.ledger, owned.ordered = before
            why = f"deciding about it raised {type(error).__name__}"
            return self._passed_over(record, cause, "stage_failed", why)
        if why is not None:
            out.audits.append(self._aside(record, why))
        return out

    def _passed_over(
        self, record: Received, cause: int, reason: Literal["stage_failed", "worker_crashed"], why: str
    ) -> Round:
        out = Round(audits=[self._aside(record, why)])
        with suppress(msgspec.MsgspecError, ValueError, RecursionError):
            if self.topics[record.topic] == "jobs.priced":
                event = wire.decode(record.value or b"", JobEvent)
                if fits(event.ref, record, self.settings, None, None) is None:
                    goes_on = advance(event, Failure("control", reason, why))
                    out.sends.append(next_send(goes_on, cause, self.settings.paid.backends))
        return out

    def _decide(self, owned: Kept, record: Received, cause: int, out: Round) -> str | None:
        """What follows from a record; or why it is not believed: others may write to these topics, too."""
        began = self.clock()
        event = wire.decode(record.value or b"", KINDS[self.topics[record.topic]])
        if isinstance(event, Command):
            self._order(owned, event, record, out)
            return None
        if isinstance(event, JobEnded):
            booked = ended(owned.ledger, event, record.timestamp)
        elif event.reservation:
            return "it has a reservation already"
        elif (wrong := fits(event.ref, record, self.settings, None, None)) is not None:
            return wrong
        else:
            margin, of = self.settings.verify.margin_seconds, innermost(event.route.backend)
            rate = self.settings.paid.rates.get(of)
            booked = asked(owned.ledger, event, self.settings.namespace, record.timestamp, margin, rate, of)
        owned.ledger = booked.ledger
        out.entries += booked.entries
        out.audits += booked.audits
        out.steps += [(cause, step_of(event, entry, began, self.clock())) for entry in booked.entries]
        if booked.goes_on is not None:
            out.sends.append(next_send(booked.goes_on, cause, self.settings.paid.backends))
        return None

    def _breaker_changes(self, now: float) -> list[AuditEntry]:
        """Opened or closed since the last were written."""
        known = self._breakers.state.breakers if self._breakers is not None else {}
        out = []
        for name, breaker in known.items():
            if breaker.is_open == self._open.get(name, False):
                continue
            reason = "opened" if breaker.is_open else "closed"
            log.warning("the breaker of %s is %s", name, reason)
            said = (
                f"for {max(0.0, breaker.until - now):.0f} s, {breaker.times} in a row"
                if breaker.is_open
                else "it answers"
            )
            entry = AuditEntry(
                event="breaker",
                problem_id="",
                tenant="",
                partition=0,
                offset=0,
                at=now,
                status=name,
                reason=reason,
                detail={"said": said},
            )
            out.append(entry)
        return out

    def _order(self, owned: Kept, command: Command, record: Received, out: Round) -> None:
        at = record.timestamp
        found = carried_out(command, owned.ordered, owned.ledger, at, self.is_known, self._names)
        if found is None:
            return
        if isinstance(found, Changes):
            out.states += found.states.items()
            out.entries += found.entries
            out.resends += [found.resend] if found.resend is not None else []
            for state in found.states.values():
                owned.ordered = self._orders.step(owned.ordered, state)
            for entry in found.entries:
                owned.ledger = self._books.step(owned.ledger, entry)
        ids = remembered(owned.ordered, command)
        owned.ordered = self._orders.step(owned.ordered, ids)
        out.states.append(("commands", ids))
        out.audits.append(answer_to(command, found, at, record.offset))

    def _aside(self, record: Received, why: str) -> AuditEntry:
        place = record.topic, record.partition, record.offset
        log.warning("%s %s:%s is put aside: %s", *place, why, extra=about(record))
        return aside_entry(record, why[:500], record.timestamp)

    async def _write(
        self, number: int, owned: Kept, records: Sequence[Received], written: Round, started: float
    ) -> None:
        told = self._sensor.handled(records, started, self.clock()) if records else None
        if told is not None:
            for cause, step in written.steps:
                told.did(cause, step)
        # What was refused goes on outside of the transaction, before it: were it in there, a leader that froze would
        # hold up everybody who reads jobs or proposals. It may go on twice, as after any hop; what is granted may not.
        refused = [send for send in written.sends if send.topic != "jobs.paid"]
        free = [await self._pass_on(self._teller, send, told) for send in refused]
        free += [await self._put_back(order) for order in written.resends]
        for future in free:
            await future
        async with self.transaction(owned) as producer:
            for entry in written.entries:
                await self.send(
                    producer, 0, "ledger", wire.encode(entry), entry.reservation or entry.event, entry.schema
                )
            for key, state in written.states:
                await self.send(producer, 0, "control.state", wire.encode(state), key, state.schema)
            for audit in written.audits:
                partition = audit.partition if audit.partition < self.settings.topics.partitions else 0
                await self.send(producer, partition, "audit", wire.encode(audit), audit.problem_id, audit.schema)
            for send in written.sends:
                if send.topic == "jobs.paid":
                    await self._pass_on(producer, send, told)
            await producer.flush()
            await self.commit(number, owned, owned.positions, {})
        owned.committed = dict(owned.positions)
        self.crashes.done(map(crashes.place_of, records))
        wrote = {"ledger": written.entries, "control.state": written.states, "audit": written.audits}
        rings = {name for name, what in wrote.items() if what}
        rings |= {send.topic for send in written.sends} | {order.topic for order in written.resends}
        pacing.ring({topic_name(self.settings, name) for name in rings})
        if told is not None:
            told.sent()

    async def _put_back(self, order: Resend) -> asyncio.Future[Any]:
        """The record of a dead letter, as it was: its trace goes on. Outside of the transaction, as what is refused."""
        topic = topic_name(self.settings, order.topic)
        there = await self._teller.partitions_for(topic)
        headers = [(name, b64decode(value)) for name, value in order.headers if name != RESENT]
        future: asyncio.Future[Any] = await self._teller.send(
            topic,
            value=b64decode(order.original),
            key=None if order.key is None else b64decode(order.key),
            partition=order.partition if order.partition in there else None,
            headers=[*headers, (RESENT, order.letter.encode())],
        )
        return future

    async def _pass_on(self, producer: AIOKafkaProducer, send: Send, told: Any) -> asyncio.Future[Any]:
        event: Any = send.event
        said = {key.replace("__", "."): value for key, value in send.attributes.items() if value is not None}
        said |= whose(event.ref)
        told.decided(send.cause, said)
        trace = told.sending(send.cause, topic_name(self.settings, send.topic), said)
        event = stamp(event, {}, self.clock())
        extra = headers_for_turns(event.ref)
        if send.size is not None:
            extra["ce_size"] = str(send.size)
        value, key = wire.encode(event), send.key or ""
        return await self.send(producer, send.partition, send.topic, value, key, event.schema, trace, extra)
