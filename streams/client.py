"""The client: submit problems, await their outcomes. Any Kafka client can do the same; this one is convenient."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal
from uuid import uuid4

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from opentelemetry.trace import SpanKind

from qmosaic.codecs.errors import BrokerError, ProblemError, RejectCode, Rejected
from qmosaic.codecs.events import public, wire
from qmosaic.codecs.events.public import Outcome, Problem, Rejection
from qmosaic.codecs.problems.base import ProblemData
from qmosaic.streams import settings as settings_module
from qmosaic.streams.kafka import pacing, repeats
from qmosaic.streams.kafka.bounded import closing
from qmosaic.streams.kafka.connect import producing
from qmosaic.streams.kafka.context import extract, inject
from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.kafka.outcomes import TERMINAL as TERMINAL
from qmosaic.streams.kafka.outcomes import read_terminal
from qmosaic.streams.kafka.records import headers_of, place_of
from qmosaic.streams.kafka.tail import consumer_of, follow, missing, to_end
from qmosaic.streams.life.place import running
from qmosaic.streams.settings import EMBEDDED, Settings
from qmosaic.streams.watch.spans import Span, Telemetry

log = logging.getLogger("qmosaic.client")

REPEAT_SECONDS = 1.0  # what has no outcome after it may have been sent before
GRACE_SECONDS = 30.0  # what a client waits beyond the deadline before it gives up on the service


class Client:
    """`async with Client("localhost:9092") as client: outcome = await client.solve(MaxCut(edges=…))`.

    `bootstrap` None takes the settings' broker (`QMOSAIC_BROKER`, qmosaic.toml).
    """

    def __init__(self, bootstrap: str | None = None, *, settings: Settings | None = None) -> None:
        chosen = settings or settings_module.load()
        self.settings = msgspec.structs.replace(chosen, broker=bootstrap) if bootstrap else chosen
        self._waiting: dict[str, asyncio.Future[Outcome | Rejection]] = {}
        self._listeners: set[asyncio.Queue[Outcome | Rejection]] = set()
        self._sent: dict[str, repeats.Sent] = {}
        self._spans: dict[str, Span] = {}  # of the sends of those that are waited for
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Client:
        if self.settings.broker == EMBEDDED:
            found = running(Path(self.settings.data_dir))
            if found is None:
                raise BrokerError(
                    f"no pipeline runs in {self.settings.data_dir}, and no broker is named",
                    remedy="Start one with `qmosaic up`, or pass an address, or set QMOSAIC_BROKER.",
                )
            self.settings = msgspec.structs.replace(self.settings, broker=found.broker, namespace=found.namespace)
        self._telemetry = Telemetry(self.settings, "client", f"client-{uuid4().hex[:8]}")
        self._producer = AIOKafkaProducer(**producing(self.settings), linger_ms=0)
        self._consumer = _consumer(self.settings)
        try:
            await asyncio.wait_for(asyncio.gather(self._producer.start(), self._consumer.start()), 30)
            partitions = _assigned(self._consumer, self.settings)
            # Pinned now, not at the first fetch: an outcome may be there before that.
            for partition, end in (await self._consumer.end_offsets(partitions)).items():
                self._consumer.seek(partition, end)
        except (KafkaError, OSError, TimeoutError) as error:
            await self._close()
            raise BrokerError(
                f"no broker answers at {self.settings.broker}: {error}", remedy="Is it up? `qmosaic up` starts one."
            ) from None
        except BaseException:
            await self._close()
            raise
        self._tasks = [
            asyncio.create_task(self._read(), name="outcomes"),
            asyncio.create_task(self._answer_repeats(), name="repeats"),
        ]
        for task in self._tasks:
            task.add_done_callback(self._ended)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def submit(
        self,
        problem: ProblemData | Problem | dict[str, Any],
        *,
        id: str | None = None,  # noqa: A002 - the event's own name for it
        deadline: float | str | None = None,
        target: Literal["auto", "classical", "gpu", "quantum"] | None = None,
        shots: int | None = None,
        seed: int | None = None,
        tenant: str | None = None,
        priority: Literal["high", "normal", "low"] | None = None,
        max_cost_usd: float | None = None,
        cache: Literal["replay", "fresh", "only"] | None = None,
        rounds: int | Literal["deadline", "converged"] | None = None,
        labels: dict[str, Any] | None = None,
    ) -> str:
        """Publish a problem; its id. `problem` is a value of a family, or a whole event (a dict goes as it is).

        Options given here win over what the event says. Raises BrokerError where the broker does not take it.
        """
        given = {
            "id": id,
            "deadline": deadline,
            "target": target,
            "shots": shots,
            "seed": seed,
            "tenant": tenant,
            "priority": priority,
            "max_cost_usd": max_cost_usd,
            "cache": cache,
            "rounds": rounds,
            "labels": labels,
        }
        event = _event(problem) | {key: value for key, value in given.items() if value is not None}
        problem_id = event.setdefault("id", uuid4().hex)
        topic = topic_name(self.settings, "problems")
        said = {"qmosaic.problem.id": problem_id, "qmosaic.problem.family": str(event.get("family", ""))[:100]}
        span = self._telemetry.span("send", topic, parent=None, kind=SpanKind.PRODUCER, attributes=said)
        try:
            sent = await self._producer.send_and_wait(
                topic,
                value=wire.dumps(event),
                key=problem_id.encode(),
                headers=headers_of(public.PROBLEM_SCHEMA, "/qmosaic/client", problem_id, inject(span.context)),
            )
        except KafkaError as error:
            span.say({"error.type": type(error).__name__})
            raise BrokerError(f"the broker did not take {problem_id}: {error}", place=self.settings.broker) from None
        finally:
            span.stop()
            self._tell(problem_id)  # it was sent before
            self._spans[problem_id] = span
            if problem_id not in self._waiting:
                self._tell(problem_id)
        if problem_id in self._waiting:
            self._sent[problem_id] = repeats.Sent(sent.partition, sent.offset, time.time())
        pacing.ring([topic])
        return str(problem_id)

    async def solve(
        self, problem: ProblemData | Problem | dict[str, Any], *, deadline: float | None = None, **options: Any
    ) -> Outcome:
        """Submit and wait for the outcome. Raises ProblemError where it was rejected, TimeoutError where
        nobody answered `GRACE_SECONDS` after the deadline."""
        problem_id = options.pop("id", None) or uuid4().hex
        waiting = self.expect(problem_id)
        await self.submit(problem, id=problem_id, deadline=deadline, **options)
        said = _event(problem).get("deadline")
        seconds = deadline or (said if isinstance(said, int | float) else self.settings.limits.deadline_seconds)
        try:
            outcome = await asyncio.wait_for(waiting, seconds + GRACE_SECONDS)
        finally:
            self._waiting.pop(problem_id, None)
            self._sent.pop(problem_id, None)
            self._tell(problem_id)
        if isinstance(outcome, Rejection):
            code = msgspec.convert(outcome.code, RejectCode)
            raise ProblemError(Rejected(code, outcome.message, outcome.place, outcome.remedy))
        return outcome

    def expect(self, problem_id: str) -> asyncio.Future[Outcome | Rejection]:
        """A future of the outcome (or rejection) of a problem that is yet to be submitted."""
        return self._waiting.setdefault(problem_id, asyncio.get_running_loop().create_future())

    async def outcomes(self) -> AsyncIterator[Outcome | Rejection]:
        """Every outcome and rejection from now on, of any producer."""
        queue: asyncio.Queue[Outcome | Rejection] = asyncio.Queue()
        self._listeners.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._listeners.discard(queue)

    async def _read(self) -> None:
        async for batches in follow(self._consumer):
            for partition, records in batches.items():
                for record in records:
                    self._take(partition.topic, record)

    async def _answer_repeats(self) -> None:
        """Answers what was sent again under its id, and so dropped, with its first outcome."""

        while True:
            await asyncio.sleep(REPEAT_SECONDS / 2)
            if not any(sent.at < time.time() - REPEAT_SECONDS for sent in self._sent.values()):
                continue
            try:
                await repeats.answer(self.settings, self._sent, self._settle)
            except (KafkaError, OSError, TimeoutError) as error:
                log.info("looking for repeated problems: %s", error)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Nobody waits for ever for what a task would have read that has failed."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("%s: %s", task.get_name(), error, exc_info=error)
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(BrokerError(f"reading outcomes failed: {error}", place=self.settings.broker))

    def _settle(self, event: Outcome | Rejection) -> bool:
        """The end of a problem for whoever waits for it; False where nobody does."""
        self._sent.pop(event.problem_id, None)
        self._tell(event.problem_id, _end_of(event))
        waiting = self._waiting.pop(event.problem_id, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(event)
        return waiting is not None

    def _tell(self, problem_id: str, end: dict[str, str] | None = None) -> None:
        """Export the span of a send: as the root of its trace it says how the problem ended, where that was heard."""
        span = self._spans.pop(problem_id, None)
        if span is not None:
            span.say(end or {})
            span.end()

    def _take(self, topic: str, record: ConsumerRecord) -> None:
        # What is somebody else's is not even read: it may be 8 MiB, of which Python makes a second's work.
        if not self._listeners and (record.key or b"").decode(errors="replace") not in self._waiting:
            return
        event = read_terminal(self.settings, record)
        if event is None:
            return
        if self._settle(event):
            self._telemetry.span(
                "process",
                topic,
                parent=extract(record.headers),
                kind=SpanKind.CONSUMER,
                start=time.time(),
                attributes={"qmosaic.problem.id": event.problem_id, **_end_of(event), **place_of(record)},
            ).end()
        for queue in self._listeners:
            queue.put_nowait(event)

    async def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for waiting in self._waiting.values():
            waiting.cancel()
        for problem_id in list(self._spans):
            self._tell(problem_id)
        for client in (self._producer, self._consumer):
            await closing(client.stop(), 5, "stopping a client")
        await asyncio.to_thread(self._telemetry.close)


class SyncClient:
    """`Client` for code without an event loop: `with SyncClient(address) as client: client.solve(…)`."""

    def __init__(self, bootstrap: str | None = None, *, settings: Settings | None = None) -> None:
        self._client = Client(bootstrap, settings=settings)
        self._runner = asyncio.Runner()

    def __enter__(self) -> SyncClient:
        try:
            self._runner.run(self._client.__aenter__())
        except BaseException:
            self._runner.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.run(self._client.__aexit__(kind, error, trace))
        self._runner.close()

    def submit(self, problem: ProblemData | Problem | dict[str, Any], **options: Any) -> str:
        """See `Client.submit`."""
        return self._runner.run(self._client.submit(problem, **options))

    def solve(self, problem: ProblemData | Problem | dict[str, Any], **options: Any) -> Outcome:
        """See `Client.solve`."""
        return self._runner.run(self._client.solve(problem, **options))

    def outcomes(self) -> Iterator[Outcome | Rejection]:
        """See `Client.outcomes`."""
        found = self._client.outcomes()
        while True:
            yield self._runner.run(anext(found))  # type: ignore[arg-type]


async def read_outcomes(settings: Settings, *, since: float | None, follow: bool) -> AsyncIterator[Outcome | Rejection]:
    """What stands in the terminal topics, from `since` (seconds since the epoch, None: from the beginning) on.

    Without `follow` it ends where the topics ended when it began.
    """
    async with aclosing(read_ends(settings, since=since, follow=follow)) as ends:
        async for _, event in ends:
            yield event


async def read_ends(
    settings: Settings, *, since: float | None, follow: bool
) -> AsyncGenerator[tuple[float, Outcome | Rejection], None]:
    """The same, with the times at which they were written, seconds since the epoch; partition by partition."""
    consumer = _consumer(settings)
    try:
        await asyncio.wait_for(consumer.start(), 30)
    except (KafkaError, OSError, TimeoutError) as error:
        with suppress(KafkaError):
            await consumer.stop()
        raise BrokerError(f"no broker answers at {settings.broker}: {error}", remedy="Is it up?") from None
    try:
        partitions = _assigned(consumer, settings)
        ends = await consumer.end_offsets(partitions)
        starts = await consumer.beginning_offsets(partitions)
        if since is not None:
            times = await consumer.offsets_for_times({p: int(since * 1000) for p in partitions})
            starts = {p: times[p].offset if times[p] is not None else ends[p] for p in partitions}
        for partition in partitions:
            consumer.seek(partition, starts[partition])
        async for record in to_end(consumer, ends, on=follow):
            if (event := read_terminal(settings, record)) is not None:
                yield record.timestamp / 1000, event
    finally:
        await consumer.stop()


def _end_of(event: Outcome | Rejection) -> dict[str, str]:
    """How a problem ended, for spans."""
    reason = event.code if isinstance(event, Rejection) else event.reason
    return {"qmosaic.outcome.status": event.status, "qmosaic.outcome.reason": reason}


def _event(problem: ProblemData | Problem | dict[str, Any]) -> dict[str, Any]:
    if isinstance(problem, dict):
        return dict(problem)
    if isinstance(problem, Problem):
        return {k: v for k, v in msgspec.to_builtins(problem).items() if v is not None}
    event = {"schema": public.PROBLEM_SCHEMA, "family": problem.family, "problem": problem.payload()}
    return event | ({"sense": problem.sense} if problem.sense else {})


def _consumer(settings: Settings) -> AIOKafkaConsumer:
    """A consumer of all that stands in the terminal topics."""
    return consumer_of(settings, *(topic_name(settings, name) for name in TERMINAL), isolation="read_committed")


def _assigned(consumer: AIOKafkaConsumer, settings: Settings) -> list[TopicPartition]:
    partitions = sorted(consumer.assignment())
    there = {partition.topic for partition in partitions}
    for name in TERMINAL:
        if topic_name(settings, name) not in there:
            raise missing(topic_name(settings, name), settings)
    return partitions
