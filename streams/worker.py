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
from base64 import b64encode
from bisect import bisect_left
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import faust
import msgspec
import orjson
from aiokafka import AIOKafkaProducer
from faust.types import EventT
from opentelemetry.trace import Link, SpanKind

from qmosaic.codecs import events
from qmosaic.codecs.events import DeadLetter, Failure, Proposal, Ref, Timing
from qmosaic.streams import pacing
from qmosaic.streams.agents import Handler
from qmosaic.streams.bounded import bounded, closing
from qmosaic.streams.lifeline import Lifeline
from qmosaic.streams.memory import settle_memory
from qmosaic.streams.names import group_id, topic_name
from qmosaic.streams.records import Received, Send, headers_of, kind_of, place_of, producing, record_bytes, stamp
from qmosaic.streams.settings import Settings
from qmosaic.streams.telemetry import Span, Telemetry, extract, inject, root_of
from qmosaic.streams.topology import Stage
from qmosaic.streams.transport import Transport

log = logging.getLogger("qmosaic.worker")

PENDING = 4096  # events a worker holds that are not acknowledged yet
PUBLISH_SECONDS = 40.0  # a broker's restart fits in; beyond, the process ends and starts anew
STATUS_SECONDS = 1.0
RANKS = {b"high": 0, b"low": 2}


class _Held(msgspec.Struct, frozen=True):
    """An event of Faust's and the record it brought."""

    event: Any
    record: Received


class _Handled(msgspec.Struct, frozen=True):
    """A batch and what is to be sent for it."""

    batch: Sequence[Received]
    sends: Sequence[Send]
    started: float
    ended: float


def faust_app(settings: Settings, stage: Stage, instance: str) -> faust.App:
    """The Faust app of a stage: names explicit, no web server, no tables, no discovery, manual topics."""
    data = Path(settings.data_dir) / "faust"
    data.mkdir(parents=True, exist_ok=True)
    security = settings.security
    credentials: Any = None
    if security.protocol.startswith("SASL"):
        from faust.auth import SASLCredentials

        credentials = SASLCredentials(
            mechanism=security.sasl_mechanism,
            username=security.sasl_username,
            password=security.sasl_password,
            ssl_context=_ssl(settings) if security.protocol == "SASL_SSL" else None,
        )
    elif security.protocol == "SSL":
        from faust.auth import SSLCredentials

        credentials = SSLCredentials(context=_ssl(settings))
    app = faust.App(
        group_id(settings, stage.name),
        broker=[f"kafka://{address.strip()}" for address in settings.broker.split(",")],
        broker_credentials=credentials,
        autodiscover=False,
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        key_serializer="raw",
        value_serializer="raw",
        consumer_group_instance_id=instance,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=record_bytes(settings),
        broker_session_timeout=6.0,
        broker_heartbeat_interval=1.0,
        broker_commit_interval=0.5,
        broker_max_poll_interval=600.0,
        stream_wait_empty=False,
        stream_buffer_maxsize=PENDING,
        datadir=data / instance,
    )
    app.transport = Transport(app.conf.broker_consumer, app)
    return app


def _ssl(settings: Settings) -> Any:
    from aiokafka.helpers import create_ssl_context

    return create_ssl_context(cafile=settings.security.ssl_cafile)


class Worker:
    """One process of one stage."""

    def __init__(self, settings: Settings, stage: Stage, instance: str) -> None:
        assert stage.handler is not None
        self.settings, self.stage, self.instance = settings, stage, instance
        self.source, self.group = f"/qmosaic/{stage.name}/{instance}", group_id(settings, stage.name)
        self.telemetry = Telemetry(settings, stage.name, instance)
        self.handler: Handler = stage.handler(settings, stage.name)
        self.app = faust_app(settings, stage, f"{group_id(settings, instance)}")
        self.app.agent(
            self.app.topic(topic_name(settings, stage.reads[0]), value_type=bytes, key_type=bytes, allow_empty=True),
            name=f"qmosaic.{stage.name}",
        )(self._agent)
        self._lanes: list[asyncio.PriorityQueue[tuple[int, int, _Held]]] = []
        self._pending = asyncio.Semaphore(PENDING)
        self._arrived = 0
        self._fatal: asyncio.Future[None] | None = None

    async def run(self, lifeline: Lifeline) -> None:
        """Warm up, take partitions, work until told to stop; raises what it cannot live with."""
        self._fatal = asyncio.get_running_loop().create_future()
        self._lanes = [asyncio.PriorityQueue() for _ in range(len(self.stage.lanes) + 1)]
        self.producer = AIOKafkaProducer(**producing(self.settings), client_id=self.instance, linger_ms=0)
        await bounded(self.producer.start(), 30, "connecting")
        await self.handler.start()
        settle_memory()
        background = [
            asyncio.create_task(self._guard(self._lane(k)))
            for k in range(len(self._lanes))
            for _ in range(self.stage.concurrency)
        ]
        background.append(asyncio.create_task(self._guard(self._tell_status())))
        self.app.on_partitions_assigned.connect(lambda *_args, **_kwargs: lifeline.ready(), weak=False)
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
        await closing(self.producer.stop(), 5, "stopping the producer")
        await asyncio.to_thread(self.telemetry.close)

    async def _guard(self, work: Any) -> None:
        try:
            await work
        except BaseException as error:
            if self._fatal is not None and not self._fatal.done() and not isinstance(error, asyncio.CancelledError):
                self._fatal.set_exception(error)
            raise

    async def _agent(self, stream: Any) -> None:
        """The agent: hand every event to its lane; a lane acknowledges it when it is done."""
        waiting = stream.channel.queue
        async for event in stream.noack().events():
            await self._take(event)
            # The stream goes once around the event loop for each event; what waits behind it is taken along.
            while not waiting.empty():
                event = waiting.get_nowait()
                if event.message.generation_id == self.app.consumer_generation_id:
                    await self._take(event)

    async def _take(self, event: EventT[Any]) -> None:
        await self._pending.acquire()
        held = _Held(event, _received(event))
        lane = bisect_left(self.stage.lanes, int(held.record.headers.get("ce_size", b"0")))
        self._arrived += 1
        rank = RANKS.get(held.record.headers.get("ce_priority", b""), 1)
        self._lanes[lane].put_nowait((rank, self._arrived, held))

    async def _lane(self, lane: int) -> None:
        queue = self._lanes[lane]
        publishing: asyncio.Task[None] | None = None
        while True:
            batch = [(await queue.get())[2]]
            while len(batch) < self.stage.batch and not queue.empty():
                batch.append(queue.get_nowait()[2])
            handled = await self._handle([held.record for held in batch], lane)
            if publishing is not None:
                await publishing
            # The next batch is worked on while the broker takes this one.
            publishing = asyncio.create_task(self._guard(self._finish(batch, handled)))

    async def _finish(self, batch: Sequence[_Held], handled: Sequence[_Handled]) -> None:
        """Publish what follows from a batch, then acknowledge its events."""
        for part in handled:
            await self._publish(part)
        for held in batch:
            held.event.ack()
            self._pending.release()

    async def _handle(self, batch: Sequence[Received], lane: int) -> list[_Handled]:
        """Handle a batch; if the handler fails, each event alone, and the culprit is put aside."""
        started = time.time()
        try:
            sends = await self.handler.handle(batch, lane)
        except Exception as error:
            if len(batch) > 1:
                return [part for record in batch for part in await self._handle([record], lane)]
            log.exception("%s cannot handle %s", self.stage.name, batch[0])
            sends = self._put_aside(batch[0], error)
        return [_Handled(batch, sends, started, time.time())]

    async def _publish(self, handled: _Handled) -> None:
        batch, sends, started, now = handled.batch, handled.sends, handled.started, handled.ended
        spans = [self._process_span(record, started) for record in batch]
        futures, sent = [], []
        for send in sends:
            cause, event = spans[send.cause], send.event
            said = {key.replace("__", "."): value for key, value in send.attributes.items() if value is not None}
            cause.attributes.update(said)
            extra: dict[str, str] = {}
            if hasattr(event, "ref"):
                queue = started - (event.ref.sent_at or event.ref.received_at)
                timing = Timing(round(max(queue, 0.0), 6), round(now - started, 6))
                event = stamp(event, {self.stage.name.partition(".")[0]: timing}, time.time())
                extra["ce_priority"] = event.ref.priority
            if send.size is not None:
                extra["ce_size"] = str(send.size)
            topic = topic_name(self.settings, send.topic)
            span = self.telemetry.span("send", topic, parent=cause.context, kind=SpanKind.PRODUCER, attributes=said)
            future = await self.producer.send(
                topic,
                value=events.encode(event),
                key=None if send.key is None else send.key.encode(),
                partition=send.partition,
                headers=headers_of(kind_of(event), self.source, send.key or "", inject(span.context), extra),
            )
            futures.append(future)
            sent.append(span)
        if futures:
            await bounded(_all(futures), PUBLISH_SECONDS, "publishing")
            pacing.ring({topic_name(self.settings, send.topic) for send in sends})
        for span in (*sent, *spans):
            span.end()
        if len(batch) > 1:
            self._batch_span(spans, started)

    def _process_span(self, record: Received, started: float) -> Span:
        return self.telemetry.span(
            "process",
            record.topic,
            parent=extract(record.headers) or root_of(record),
            kind=SpanKind.CONSUMER,
            start=started,
            attributes={"messaging.consumer.group.name": self.group, **place_of(record)},
        )

    def _batch_span(self, spans: Sequence[Span], started: float) -> None:
        self.telemetry.span(
            "process",
            f"batch {topic_name(self.settings, self.stage.reads[0])}",
            parent=None,
            kind=SpanKind.INTERNAL,
            start=started,
            links=[Link(span.context) for span in spans],
            attributes={"messaging.batch.message_count": len(spans)},
        ).end()

    def _put_aside(self, record: Received, error: Exception) -> list[Send]:
        """The dead letter of an event, and the failure that tells verify, where the event still says whose it is."""
        letter = DeadLetter(
            stage=self.stage.name,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            error=f"{type(error).__name__}: {error}",
            original=b64encode(record.value or b"").decode(),
            at=time.time(),
        )
        out = [Send("dead-letters", letter, 0, key=self.stage.name)]
        with suppress(msgspec.ValidationError, orjson.JSONDecodeError, KeyError, TypeError):
            ref = msgspec.convert(orjson.loads(record.value or b"")["ref"], Ref)
            failure = Failure(self.stage.name, "stage_failed", letter.error[:500])
            proposal = Proposal(ref=ref, kernel_digest=None, route=None, attempt=0, answer=None, failure=failure)
            out.append(Send("proposals", proposal, 0, key=ref.problem_id, partition=ref.partition))
        return out

    async def _tell_status(self) -> None:
        while True:
            status = self.handler.status()
            if status is None:
                return
            status = msgspec.structs.replace(status, worker=self.instance)
            future = await self.producer.send(
                topic_name(self.settings, "backends.status"), events.encode(status), key=self.instance.encode()
            )
            await bounded(future, PUBLISH_SECONDS, "publishing")
            await asyncio.sleep(STATUS_SECONDS)


async def _all(futures: Sequence[asyncio.Future[Any]]) -> None:
    """Wait for each. As `gather`, which calls back for every single one of them; these come in a few batches."""
    for future in futures:
        await future


def _received(event: EventT[Any]) -> Received:
    message = event.message
    headers: Any = message.headers.items() if isinstance(message.headers, dict) else message.headers or ()
    said = {name: value for name, value in headers if value is not None}
    return Received(message.topic, message.partition, message.offset, message.timestamp, message.value, said)
