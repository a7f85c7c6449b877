"""The story of one problem, as the topics tell it: what was decided, and why; or where it waits, behind how many."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec
from aiokafka import ConsumerRecord, TopicPartition

from qmosaic.codecs.events import wire
from qmosaic.codecs.events.control import AuditEntry
from qmosaic.codecs.events.public import Outcome, Problem, Rejection
from qmosaic.processors.control.books import reservation_text
from qmosaic.streams.kafka.bounded import bounded
from qmosaic.streams.kafka.context import extract, trace_of
from qmosaic.streams.kafka.names import group_id, topic_name
from qmosaic.streams.kafka.outcomes import TERMINAL, read_terminal
from qmosaic.streams.kafka.records import received_of
from qmosaic.streams.kafka.repeats import seek_since
from qmosaic.streams.kafka.tail import reader, to_end
from qmosaic.streams.life.topics import admin, partitions_of
from qmosaic.streams.observe.folded import read_ledger
from qmosaic.streams.settings import Settings
from qmosaic.streams.topology import STAGES, TOPICS

READ_SECONDS = 10.0
STAGES_ON_THE_WAY = [stage for stage in STAGES.values() if stage.name not in ("verify", "control")]


class Story(NamedTuple):
    """What became of a problem: `said`, all that there is to say, as JSON has it; its end, and where it arrived."""

    said: dict[str, Any]
    event: Outcome | Rejection | None = None
    place: tuple[int, int] | None = None  # partition and offset in `problems`


async def explained(settings: Settings, problem_id: str, since: float) -> dict[str, Any]:
    """All that the topics tell of a problem. Raises BrokerError, KafkaError, TimeoutError."""
    return (await story_of(settings, problem_id, since)).said


async def story_of(settings: Settings, problem_id: str, since: float) -> Story:
    """The same, and the events themselves. `since`: seconds since the epoch, to look from."""
    said: dict[str, Any] = {"problem": problem_id, "state": "unknown"}
    ended, place = None, None
    partitions = range(settings.topics.partitions)
    places = [TopicPartition(topic_name(settings, name), k) for name in TERMINAL for k in partitions]
    async for record in _of(settings, places, since, problem_id):
        event = read_terminal(settings, record)
        if event is None or event.problem_id != problem_id:
            continue
        ended = event
        if isinstance(event, Outcome):
            said |= {"state": "ended", "status": event.status, "reason": event.reason}
            said |= {"backend": event.backend, "route_reason": event.route_reason, "policy": event.policy or ""}
            said["tried"] = msgspec.to_builtins(event.tried or [])
            said["timings"], said["trace_id"] = msgspec.to_builtins(event.timings), event.trace_id
        else:
            said |= {"state": "ended", "status": "rejected", "reason": event.code, "message": event.message}
            said["trace_id"] = event.trace_id
    audits = [TopicPartition(topic_name(settings, "audit"), k) for k in partitions]
    said["audit"] = []
    async for record in _of(settings, audits, since, problem_id):
        with suppress(msgspec.MsgspecError, ValueError, RecursionError):
            entry = wire.decode(record.value or b"", AuditEntry)
            if entry.problem_id == problem_id:
                said["audit"].append({"event": entry.event, "reason": entry.reason, "at": entry.at, **entry.detail})
                if entry.event in ("settled", "rejected"):
                    place = entry.partition, entry.offset
                if entry.event == "settled":
                    said["considered"] = entry.detail.get("considered", {})
                    said["rule"] = entry.detail.get("rule")
                    said["weighed"], said["explores"] = entry.detail.get("weighed"), entry.detail.get("explores")
                    said["message"] = entry.detail.get("failure")
                    said["slack"] = entry.slack
    _, entries = await read_ledger(settings)
    mine = [entry for entry in entries if entry.problem_id == problem_id]
    said["ledger"] = [{"event": one.event, "at": one.at, "amounts": reservation_text(one.amounts)} for one in mine]
    if said["state"] == "unknown":
        said |= await _waiting(settings, problem_id, since)
    return Story(said, ended, place)


async def problem_at(settings: Settings, partition: int, offset: int) -> Problem | None:
    """The problem of a record of `problems`; None where it is there no more, or is none. Raises as `story_of`."""
    place = TopicPartition(topic_name(settings, "problems"), partition)
    async with reader(settings, [place], isolation="read_uncommitted") as consumer:
        begin, end = (await consumer.beginning_offsets([place]))[place], (await consumer.end_offsets([place]))[place]
        if not begin <= offset < end:
            return None
        consumer.seek(place, offset)
        record = await bounded(consumer.getone(), READ_SECONDS, "reading a problem")
    found = wire.parse_problem(record.value, settings.limits.event_bytes)
    return found if isinstance(found, Problem) and record.offset == offset else None


async def _of(
    settings: Settings, places: list[TopicPartition], since: float, problem_id: str
) -> AsyncIterator[ConsumerRecord]:
    """Committed records under the problem's id, from a time on."""
    key = problem_id.encode()
    async with reader(settings, places) as consumer:
        ends = await consumer.end_offsets(places)
        await seek_since(consumer, places, since)
        async for record in to_end(consumer, ends):
            if record.key == key:
                yield record


async def _waiting(settings: Settings, problem_id: str, since: float) -> dict[str, Any]:
    """In which stage's input it lies that has not been taken, behind how many others, and whose they are."""
    for stage in reversed(STAGES_ON_THE_WAY):
        (topic,) = stage.reads
        name = topic_name(settings, topic)
        async with admin(settings) as client:
            offsets = await client.list_consumer_group_offsets(group_id(settings, stage.name))
        of_topic = next(one for one in TOPICS if one.name == topic)
        places = [TopicPartition(name, k) for k in range(partitions_of(settings, of_topic))]
        async with reader(settings, places) as consumer:
            begins, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
            before: dict[TopicPartition, list[str]] = {place: [] for place in places}
            for place in places:
                committed = offsets[place].offset if place in offsets else -1
                consumer.seek(place, max(begins[place], committed))
            async for record in to_end(consumer, ends):
                place = TopicPartition(record.topic, record.partition)
                found = _whose(record)
                if found is not None and found[0] == problem_id:
                    ahead, trace = before[place], extract(record.headers)
                    return {
                        "trace_id": f"{trace.trace_id:032x}" if trace is not None else None,
                        "state": "waiting",
                        "stage": stage.name,
                        "behind": len(ahead),
                        "of_its_tenant": ahead.count(found[1]),
                        "tenant": found[1],
                        "seconds_left": round(found[2] - time.time(), 1) if found[2] else None,
                    }
                before[place].append(found[1] if found is not None else "")
    return await _under_way(settings, problem_id, since)


async def _under_way(settings: Settings, problem_id: str, since: float) -> dict[str, Any]:
    """It is open where its record is there and no end of it is: a worker has it in hand, or verify waits for others."""
    places = [TopicPartition(topic_name(settings, "problems"), k) for k in range(settings.topics.partitions)]
    async with reader(settings, places) as consumer:
        ends = await consumer.end_offsets(places)
        await seek_since(consumer, places, since)
        async for record in to_end(consumer, ends):
            default = f"{record.topic}-{record.partition}-{record.offset}"
            if (wire.claimed_id(record.value) or default) == problem_id:
                trace_id = f"{trace_of(received_of(record, time.time())).trace_id:032x}"
                return {"state": "under way", "since": record.timestamp / 1000, "trace_id": trace_id}
    return {"state": "unknown"}


class _Ref(msgspec.Struct):
    problem_id: str = ""
    tenant: str = ""
    deadline_at: float = 0.0


class _Event(msgspec.Struct):
    ref: _Ref | None = None
    id: str | None = None
    tenant: str = "default"


_events = msgspec.json.Decoder(_Event)


def _whose(record: ConsumerRecord) -> tuple[str, str, float] | None:
    """Id, tenant and deadline of an event, internal or a problem."""
    try:
        event = _events.decode(record.value or b"")
    except (msgspec.MsgspecError, RecursionError):
        return None
    if event.ref is not None:
        return event.ref.problem_id, event.ref.tenant, event.ref.deadline_at
    return event.id or f"{record.topic}-{record.partition}-{record.offset}", event.tenant, 0.0
