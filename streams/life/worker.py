"""A worker of one stage: a Faust app with one agent, micro-batches around it, and nothing of the problem itself.

A batch is taken as soon as a lane is free, so it is small when idle and grows by itself under load. An event is
acknowledged after what follows from it is on the broker; what a handler does not know goes to the dead
letters, and to verify as a failure, and the stage goes on. Crash-only: what the shell itself does not know ends
the process, the supervisor starts a new one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer
from faust.types import EventT

from qmosaic.codecs.events import wire
from qmosaic.codecs.events.public import Timing
from qmosaic.streams.hops import crashes
from qmosaic.streams.hops.crashes import Notebook
from qmosaic.streams.hops.hop import Handler
from qmosaic.streams.hops.in_force import InForce
from qmosaic.streams.kafka import pacing
from qmosaic.streams.kafka.bounded import bounded, closing
from qmosaic.streams.kafka.connect import Clients, producing, written_bytes
from qmosaic.streams.kafka.held import lags
from qmosaic.streams.kafka.names import group_id, topic_name
from qmosaic.streams.kafka.records import Received, Send, headers_for_turns, headers_of, stamp, whole, whose
from qmosaic.streams.kafka.store import Store
from qmosaic.streams.life.app import faust_app, reader_of, received
from qmosaic.streams.life.lane import Held, Lane, smaller_first
from qmosaic.streams.life.letters import WorkerCrashedError, put_aside, unfit
from qmosaic.streams.life.lifeline import Lifeline
from qmosaic.streams.life.telling import PUBLISH_SECONDS, tell_status
from qmosaic.streams.settings import Settings
from qmosaic.streams.topology import Stage
from qmosaic.streams.watch.logs import about, concerning, sentence
from qmosaic.streams.watch.sensor import Sensor

log = logging.getLogger("qmosaic.worker")

PENDING = 4096  # events a worker holds that are not acknowledged yet
PENDING_BYTES = 512 * 1024 * 1024  # and their bytes; one more event than fits is held, however large it is
IN_MEMORY_BYTES = 32 * 1024 * 1024  # of them; the others lie in a file: what is large must not keep the small ones out
BATCH_BYTES = 4 * 1024 * 1024  # of a micro-batch, unless one event alone is larger
TRIES = 3  # of an event at which a process died
GATE_SECONDS = 60.0  # after a crash, so long a worker does one thing at a time while it looks for the culprit
POLICY_SECONDS = 1.0  # between two looks at what was ordered


class _Handled(msgspec.Struct, frozen=True):
    """A batch and what is to be sent for it."""

    batch: Sequence[Received]
    sends: Sequence[Send]
    started: float
    ended: float


class Worker:
    """One process of one stage."""

    def __init__(
        self,
        settings: Settings,
        stage: Stage,
        instance: str,
        sensor: Sensor,
        *,
        app_of: Callable[[Settings, Stage, str], Any] = faust_app,
        clients: Clients = Clients(),  # noqa: B008 - frozen
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`app_of` and `clients` make what speaks to the broker; `clock`: seconds since the epoch."""
        assert stage.handler is not None
        self._clients, self._clock = clients, clock
        self.settings, self.stage, self.instance = settings, stage, instance
        self.source, self.group = f"/qmosaic/{stage.name}/{instance}", group_id(settings, stage.name)
        self._sensor = sensor
        self.handler: Handler = stage.handler(settings, stage.name, clock)
        self.app = app_of(settings, stage, group_id(settings, instance))
        self.app.agent(
            self.app.topic(topic_name(settings, stage.reads[0]), value_type=bytes, key_type=bytes, allow_empty=True),
            name=f"qmosaic.{stage.name}",
        )(self._agent)
        self._lanes: list[Lane] = []
        self._in_force = InForce(settings, rest_seconds=POLICY_SECONDS, clients=clients)
        self._pending = asyncio.Semaphore(PENDING)
        self._pending_bytes = self._pending_count = 0
        self._moved_at, self._moved = (
            time.monotonic(),
            asyncio.Event(),
        )  # when an event came or was done, and that one did
        self.is_ready = False  # it has its partitions
        self._store = Store(IN_MEMORY_BYTES, Path(settings.data_dir))
        self._room = asyncio.Event()
        self._crashes = Notebook(Path(settings.data_dir) / "crashes", stage.name, instance)
        self._alone = asyncio.Lock()
        self._most = written_bytes(settings)
        self._gate_until = clock() + GATE_SECONDS if self._crashes.deaths else 0.0
        self._fatal: asyncio.Future[None] | None = None

    async def run(self, lifeline: Lifeline) -> None:
        """Warm up, take partitions, work until told to stop; raises what it cannot live with."""
        try:
            await self._run(lifeline)
        finally:
            self._crashes.close()

    async def _run(self, lifeline: Lifeline) -> None:
        self._fatal = asyncio.get_running_loop().create_future()
        self.producer: AIOKafkaProducer = self._clients.producer(
            **producing(self.settings), client_id=self.instance, linger_ms=0
        )
        lifeline.step("connecting to the broker")
        await bounded(self.producer.start(), 30, "connecting")
        lifeline.step("loading what it works with")
        rest, _ = await asyncio.gather(self.handler.start(), self._in_force.start())
        self._lanes = [Lane(lambda: self._in_force.policy, self._clock) for _ in range(len(self.stage.lanes) + 1)]
        lifeline.step("joining its group")
        lifeline.started()
        background = [
            self._guarded(self._lane(k)) for k in range(len(self._lanes)) for _ in range(self.stage.concurrency)
        ]
        background.append(
            self._guarded(tell_status(self.handler.status, self.settings, self.instance, self.producer, self._moved))
        )
        background.append(self._guarded(self._tell_ready(lifeline)))
        if rest is not None:
            background.append(self._guarded(rest))
        self.app.finalize()
        await self.app.start()
        stopping = asyncio.create_task(lifeline.wait())
        crashed = asyncio.create_task(self.app.wait_until_stopped())
        done, _ = await asyncio.wait({stopping, crashed, self._fatal}, return_when=asyncio.FIRST_COMPLETED)
        if self._fatal in done:
            self._fatal.result()
        if crashed in done:
            raise RuntimeError(f"the Faust app of {self.stage.name} stopped by itself") from self.app.crash_reason
        await closing(self.app.stop(), 10, "stopping the app")
        for task in background:
            task.cancel()
        await closing(self.handler.stop(), 5, "stopping the handler")
        await self._in_force.stop()
        await closing(self.producer.stop(), 5, "stopping the producer")

    def lag(self) -> dict[str, int]:
        """By topic, the events of its partitions that it has not done. From any thread."""
        reader = reader_of(self.app)
        found = lags(reader) if reader is not None else {}
        return {topic: lag + self._pending_count for topic, lag in found.items()}

    def _stir(self) -> None:
        self._moved_at = time.monotonic()
        self._moved.set()

    def trouble(self) -> str:
        """Why it should be taken for stuck, or nothing. What is paid for may take hours."""
        still = time.monotonic() - self._moved_at
        stuck = self._pending_count and self.stage.gives_up and still > self.settings.execute.max_seconds + GATE_SECONDS
        return f"{self._pending_count} events, and nothing done for {still:.0f} s" if stuck else ""

    def _guarded(self, work: Any) -> asyncio.Task[None]:
        """Work whose end by an error ends the process; nobody else has to look at that."""
        task = asyncio.create_task(self._guard(work))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    async def _guard(self, work: Any) -> None:
        try:
            await work
        except BaseException as error:
            if self._fatal is not None and not self._fatal.done() and not isinstance(error, asyncio.CancelledError):
                self._fatal.set_exception(error)
            raise

    async def _agent(self, stream: Any) -> None:
        """The agent: hand every event to its lane; a lane acknowledges it when it is done."""
        async for event in smaller_first(stream, self._arrives):
            await self._take(event)

    def _arrives(self, event: EventT[Any]) -> bool:
        """Whether it is of a partition that is ours still; else it is read again."""
        if ours := bool(event.message.generation_id == self.app.consumer_generation_id):
            self.app.consumer.taken(event.message)
        return ours

    async def _take(self, event: EventT[Any]) -> None:
        if event.message.generation_id != self.app.consumer_generation_id:
            return  # given away while it waited behind others
        await self._pending.acquire()
        while self._pending_bytes > PENDING_BYTES:
            self._room.clear()
            await self._room.wait()
        record = received(event, self._clock())
        look, size = self.handler.look(record), 0
        if isinstance(record.value, bytes):
            size = len(record.value)
            record = msgspec.structs.replace(record, value=None, kept=self._store.put(record.value))
        event.message.value = None
        self._pending_bytes += size
        self._pending_count += 1
        self._stir()
        held = Held(event.message, record, size, look.deadline_at, look.rank, look.tenant)
        self._lanes[bisect_left(self.stage.lanes, look.size)].put(held, look)

    async def _lane(self, lane: int) -> None:
        queue, usual = self._lanes[lane], self.stage.most(lane)
        publishing: asyncio.Task[None] | None = None
        while True:
            batch = await queue.batch(usual, BATCH_BYTES)
            handled = await self._handle([whole(held.record) for held in self._in_time(batch)], lane)
            if publishing is not None:
                await publishing
            # The next batch is worked on while the broker takes this one.
            publishing = self._guarded(self._finish(batch, handled))

    def _in_time(self, batch: Sequence[Held]) -> Sequence[Held]:
        """Without those whose fallback is certain: verify writes it, whatever is done about them here."""
        over = self._clock() + self.settings.verify.margin_seconds
        if not self.stage.gives_up or all(held.deadline_at > over for held in batch):
            return batch
        kept = [held for held in batch if held.deadline_at > over]
        if log.isEnabledFor(logging.INFO):  # there may be thousands of them
            for held in batch:
                if held.deadline_at <= over:
                    log.info("%s drops it: it is too late", self.stage.name, extra=about(whole(held.record)))
        log.warning("%s drops what is too late, %s of %s events", self.stage.name, len(batch) - len(kept), len(batch))
        return kept

    async def _finish(self, batch: Sequence[Held], handled: Sequence[_Handled]) -> None:
        """Publish what follows from a batch, then acknowledge its events."""
        for part in handled:
            await self._publish(part)
        for held in batch:
            held.message.ack(self.app.consumer)
            self._pending.release()
            self._pending_bytes -= held.size
        self._pending_count -= len(batch)
        self._stir()
        self._room.set()

    async def _handle(self, batch: Sequence[Received], lane: int) -> list[_Handled]:
        """What follows from a batch: from those that are to be put aside, from the suspects alone, from the others."""
        out: list[_Handled] = []
        good: list[Received] = []
        for record in batch:
            wrong = self._wrong(record)
            if wrong is not None:
                now = self._clock()
                out.append(_Handled([record], self._put_aside(record, wrong), now, now))
            else:
                good.append(record)
        for group in self._crashes.groups(good, lambda record: record):
            with concerning(group):
                out += await self._tried(group, lane)
        return out

    def _wrong(self, record: Received) -> Exception | None:
        """Why nobody should look into a record."""
        if self._crashes.is_culprit(record) and self.stage.gives_up:
            return WorkerCrashedError(f"a worker of {self.stage.name} died {crashes.MOST} times with it in hand")
        # Of problems verify says what is wrong.
        return None if self.stage.reads[0] == "problems" else unfit(record, self.settings)

    async def _tried(self, batch: Sequence[Received], lane: int) -> list[_Handled]:
        """Handle a batch; if the handler fails, each event alone, and the culprit is put aside."""
        started = self._clock()
        for last in range(TRIES, 0, -1):
            # While a culprit is being looked for, nothing else is in hand.
            looking = self._clock() < self._gate_until and self._crashes.has_suspects
            gate = self._alone if looking and self.stage.gives_up else nullcontext()
            try:
                async with gate:
                    with self._crashes.holding(batch):
                        sends = await self.handler.handle(batch, lane)
                self._crashes.done(map(crashes.place_of, batch))
                return [_Handled(batch, sends, started, self._clock())]
            except BrokenProcessPool as error:
                # A process died at it, killed, or out of memory; there is a new one.
                if len(batch) == 1 and last == 1:
                    crashed = WorkerCrashedError(f"a process of {self.stage.name} died at it {TRIES} times")
                    return [_Handled(batch, self._put_aside(batch[0], crashed), started, self._clock())]
                log.warning("a process of %s died at a batch of %s: %s", self.stage.name, len(batch), error)
            except (Exception, SystemExit) as error:  # a plug-in's too
                if len(batch) == 1:
                    record = batch[0]
                    log.error(
                        "%s cannot handle %s %s:%s: %s",
                        *(self.stage.name, record.topic, record.partition, record.offset, sentence(error)),
                        exc_info=error if log.isEnabledFor(logging.INFO) else None,
                    )
                    return [_Handled(batch, self._put_aside(record, error), started, self._clock())]
            if len(batch) > 1:
                break
        out: list[_Handled] = []
        for record in batch:
            with concerning([record]):
                out += await self._tried([record], lane)
        return out

    async def _publish(self, handled: _Handled) -> None:
        batch, started = handled.batch, handled.started
        told = self._sensor.handled(batch, started, handled.ended)
        futures, too_large = [], dict[int, int]()
        for send in handled.sends:
            said = {key.replace("__", "."): value for key, value in send.attributes.items() if value is not None}
            if (ref := getattr(send.event, "ref", None)) is not None:
                queue = max(0.0, round(started - (ref.sent_at or ref.received_at), 6))
                said |= {**whose(ref), "qmosaic.hop.queue_seconds": queue}
            told.decided(send.cause, said)
            for step in send.steps:
                told.did(send.cause, step)
            event, extra = self._stamped(send, handled)
            value = wire.encode(event)
            if len(value) > self._most:
                too_large[send.cause] = len(value)
                continue
            topic = topic_name(self.settings, send.topic)
            trace = told.sending(send.cause, topic, said)
            future = await self.producer.send(
                topic,
                value=value,
                key=None if send.key is None else send.key.encode(),
                partition=send.partition,
                headers=headers_of(event.schema, self.source, send.key or "", trace, extra),
            )
            futures.append(future)
        if futures:
            await bounded(_all(futures), PUBLISH_SECONDS, "publishing")
            pacing.ring({topic_name(self.settings, send.topic) for send in handled.sends})
        told.sent()
        for cause_of, size in too_large.items():
            record = batch[cause_of]
            error = ValueError(f"what follows from it has {size} bytes, a record may have {self._most}")
            place = record.topic, record.offset
            log.error("%s cannot send for %s %s: %s", self.stage.name, *place, error, extra=about(record))
            await self._publish(_Handled([record], self._put_aside(record, error), started, handled.ended))

    def _stamped(self, send: Send, handled: _Handled) -> tuple[Any, dict[str, str]]:
        """The event with the seconds of this hop, and its headers besides."""
        event, extra = send.event, dict[str, str]()
        if hasattr(event, "ref"):
            queue = handled.started - (event.ref.sent_at or event.ref.received_at)
            timing = Timing(round(max(queue, 0.0), 6), round(handled.ended - handled.started, 6))
            event = stamp(event, {self.stage.name.partition(".")[0]: timing}, self._clock())
            extra |= headers_for_turns(event.ref)
        if send.size is not None:
            extra["ce_size"] = str(send.size)
        return event, extra

    def _put_aside(self, record: Received, error: BaseException) -> list[Send]:
        return put_aside(self.stage.name, self.settings, record, error, self._clock())

    async def _tell_ready(self, lifeline: Lifeline) -> None:
        """The supervisor, once there are partitions."""
        loop, assigned = asyncio.get_running_loop(), asyncio.Event()

        def tell(*_: Any, **__: Any) -> None:
            self.is_ready = True
            loop.call_soon_threadsafe(assigned.set)

        def gone(*_: Any, **__: Any) -> None:
            self.is_ready = False

        self.app.on_partitions_assigned.connect(tell, weak=False)
        self.app.on_partitions_revoked.connect(gone, weak=False)
        await assigned.wait()
        lifeline.ready()


async def _all(futures: Sequence[asyncio.Future[Any]]) -> None:
    """Wait for each. As `gather`, which calls back for every single one of them; these come in a few batches."""
    for future in futures:
        await future
