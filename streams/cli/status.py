"""`qmosaic status`: what a broker tells of a pipeline, read once and left as it is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from qmosaic.codecs.errors import BrokerError
from qmosaic.codecs.events import wire
from qmosaic.codecs.events.control import BackendStatus
from qmosaic.codecs.text import shown
from qmosaic.processors.control.breakers import Breakers, phases
from qmosaic.streams.kafka.bounded import bounded, closing
from qmosaic.streams.kafka.names import group_id, topic_name
from qmosaic.streams.kafka.tail import consumer_of, reader, to_end
from qmosaic.streams.life.topics import admin, show_topics
from qmosaic.streams.settings import Settings
from qmosaic.streams.topology import STAGES, TOPICS

READ_BY_VERIFY = ("problems", "incumbents", "proposals")
HELD_SECONDS = 2.5  # a transaction that stands still for so long is told
PATIENCE = 30.0
_LOOK_BACK = 200  # records of `backends.status`
HELP = 'docs/operations.md, "A foreign transaction that stays open"'


class Lag(msgspec.Struct, frozen=True):
    """What a stage has not done yet of a partition; `committed` None: it never took any."""

    stage: str
    topic: str
    partition: int
    committed: int | None
    end: int
    lag: int


class Live(msgspec.Struct, frozen=True):
    """A worker that was heard of in the last `route.stale_seconds`, `age` seconds ago, and what it runs."""

    worker: str
    target: str
    backends: list[str]
    age: float


class Ejected(msgspec.Struct, frozen=True):
    """A backend whose breaker is open, for so many seconds yet, or half open (0); `times` in a row."""

    backend: str
    phase: str
    seconds: float
    times: int


class Held(msgspec.Struct, frozen=True):
    """A partition whose records from `offset` to `end` nobody can read before a transaction ends."""

    topic: str
    partition: int
    offset: int
    end: int
    since: float | None  # seconds since the epoch: the record there; None where the broker does not give it


class Report(msgspec.Struct, frozen=True):
    """All of it. `missing`: topics that are not there; with one, nothing else is asked."""

    broker: str
    missing: list[str]
    lags: list[Lag] = []
    live: list[Live] = []
    held: list[Held] = []
    ejected: list[Ejected] = []

    @property
    def warnings(self) -> list[str]:
        """What somebody should do something about, a line each."""
        said = [f"topic {topic} is not there: `qmosaic topics create` makes it" for topic in self.missing]
        for one in self.held:
            since = "" if one.since is None else time.strftime(" since %Y-%m-%dT%H:%M:%SZ", time.gmtime(one.since))
            said.append(
                f"partition {one.topic}/{one.partition} is held by a foreign open transaction{since}: the "
                f"{one.end - one.offset} records from offset {one.offset} on cannot be read before it ends. See {HELP}."
            )
        if not self.missing and not self.live:
            said.append("no execute worker was heard of lately: problems end as fallbacks")
        return said


async def report(settings: Settings) -> Report:
    """Asks the broker. Raises BrokerError where none answers."""
    async with admin(settings) as client:  # a broker may make a topic that is only asked about
        there = set(await client.list_topics())
    if missing := [name for topic in TOPICS if (name := topic_name(settings, topic.name)) not in there]:
        return Report(settings.broker, missing)
    partitions = {row["topic"]: row["partitions"] for row in await show_topics(settings)}
    try:
        live, ejected = await _live(settings)
        lags, held = await _lags(settings, partitions), await _held(settings, partitions)
        return Report(settings.broker, [], lags, live, held, ejected)
    except (KafkaError, OSError, TimeoutError) as error:
        raise BrokerError(f"the broker stopped answering: {error}", place=settings.broker) from None


async def _lags(settings: Settings, partitions: Mapping[str, int]) -> list[Lag]:
    """What every stage's consumer group has not done yet, in the order of the topology."""
    read = {stage.name: [topic_name(settings, topic) for topic in stage.reads] for stage in STAGES.values()}
    places = [
        TopicPartition(t, p) for t in sorted({t for ts in read.values() for t in ts}) for p in range(partitions[t])
    ]
    async with reader(settings, isolation="read_uncommitted") as consumer:
        ends = await consumer.end_offsets(places)
        begins = await consumer.beginning_offsets(places)
    found = []
    async with admin(settings) as client:
        for stage, topics in read.items():
            said = await bounded(
                client.list_consumer_group_offsets(group_id(settings, stage)), PATIENCE, "reading offsets"
            )
            for tp in (tp for tp in places if tp.topic in topics):
                committed = said[tp].offset if tp in said and said[tp].offset >= 0 else None
                lag = max(0, ends[tp] - max(begins[tp], committed or 0))
                found.append(Lag(stage, tp.topic, tp.partition, committed, ends[tp], lag))
    return found


async def _live(settings: Settings) -> tuple[list[Live], list[Ejected]]:
    """From the last records of `backends.status`: who is there, and whose breaker is not closed."""
    place = TopicPartition(topic_name(settings, "backends.status"), 0)
    seen: dict[str, Live] = {}
    known = Breakers.start
    async with asyncio.timeout(PATIENCE), reader(settings, [place], isolation="read_uncommitted") as consumer:
        end = (await consumer.end_offsets([place]))[place]
        begin = (await consumer.beginning_offsets([place]))[place]
        consumer.seek(place, max(begin, end - _LOOK_BACK))
        async for record in to_end(consumer, {place: end}):
            try:
                status = wire.decode(record.value or b"", BackendStatus)
            except (msgspec.MsgspecError, ValueError, RecursionError):
                continue  # not one of ours
            known = Breakers().step(known, status, record.timestamp / 1000)
            age = max(0.0, time.time() - record.timestamp / 1000)
            seen[status.worker] = Live(status.worker, status.target, sorted(status.backends), round(age, 1))
    now = time.time()
    ejected = [
        Ejected(name, phase, round(max(0.0, known.breakers[name].until - now), 1), known.breakers[name].times)
        for name, phase in sorted(phases(known, now).items())
    ]
    return [one for _, one in sorted(seen.items()) if one.age <= settings.route.stale_seconds], ejected


async def _held(settings: Settings, partitions: Mapping[str, int]) -> list[Held]:
    """The partitions where the last stable offset is behind the end, and still where it was `HELD_SECONDS` ago."""
    topics = [topic_name(settings, topic) for topic in READ_BY_VERIFY]
    places = [TopicPartition(topic, number) for topic in topics for number in range(partitions[topic])]
    committed, all_of_it = (
        consumer_of(settings, isolation="read_committed"),
        consumer_of(settings, isolation="read_uncommitted"),
    )
    try:
        for consumer in (committed, all_of_it):
            await bounded(consumer.start(), PATIENCE, "connecting")
        first = await _behind(committed, all_of_it, places)
        if not first:
            return []
        await asyncio.sleep(HELD_SECONDS)
        second = await _behind(committed, all_of_it, list(first))
        held = []
        for tp, (stable, end) in sorted(second.items()):
            if first[tp][0] == stable:
                held.append(Held(tp.topic, tp.partition, stable, end, await _since(all_of_it, tp, stable)))
        return held
    finally:
        for consumer in (committed, all_of_it):
            await closing(consumer.stop(), 5, "stopping a client")


async def _behind(
    committed: AIOKafkaConsumer, all_of_it: AIOKafkaConsumer, places: Sequence[TopicPartition]
) -> dict[TopicPartition, tuple[int, int]]:
    """Last stable offset and end, where they differ. The end is asked first: what comes later is not held."""
    ends = await all_of_it.end_offsets(places)
    stable = await committed.end_offsets(places)
    return {tp: (stable[tp], ends[tp]) for tp in places if stable[tp] < ends[tp]}


async def _since(consumer: AIOKafkaConsumer, place: TopicPartition, offset: int) -> float | None:
    """When the record at an offset was written."""
    consumer.assign([place])
    consumer.seek(place, offset)
    found = await consumer.getmany(timeout_ms=2000, max_records=1)
    return next((record.timestamp / 1000 for records in found.values() for record in records), None)


def lines(found: Report) -> list[str]:
    """The report for people: a line a stage with what waits for it, a line a live worker, and the warnings."""
    said = [f"broker   {shown(found.broker)}"]
    for stage in dict.fromkeys(one.stage for one in found.lags):
        waiting = [one for one in found.lags if one.stage == stage]
        behind = ", ".join(f"{one.topic}/{one.partition} {one.lag}" for one in waiting if one.lag)
        idle = all(one.committed is None for one in waiting)
        said.append(f"lag      {stage:<18} {behind or ('nothing taken yet' if idle else '0')}")
    for one in found.live:
        backends = shown(", ".join(one.backends), 200)
        said.append(f"alive    {shown(one.worker, 60)}  {one.target}  {backends}  {one.age:.1f} s ago")
    for ejected in found.ejected:
        rest = f", {ejected.seconds:.0f} s left" if ejected.phase == "open" else ""
        times = f"{ejected.times} time{'s' if ejected.times > 1 else ''} in a row"
        said.append(f"breaker  {shown(ejected.backend, 60)}  {ejected.phase.replace('_', ' ')}{rest}  {times}")
    return said + [f"warning  {shown(warning)}" for warning in found.warnings]


def as_json(found: Report) -> dict[str, Any]:
    """The same as one object."""
    return {**msgspec.to_builtins(found), "warnings": found.warnings}
