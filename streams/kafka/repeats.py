"""The first outcome of a problem that was sent again: verify drops the repeat, and says so on `audit`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from qmosaic.codecs.events import wire
from qmosaic.codecs.events.control import AuditEntry
from qmosaic.codecs.events.public import Outcome, Rejection
from qmosaic.streams.kafka.bounded import bounded
from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.kafka.outcomes import TERMINAL, read_terminal
from qmosaic.streams.kafka.records import CLOCK_SECONDS
from qmosaic.streams.kafka.tail import reader, to_end
from qmosaic.streams.settings import Settings


class Sent(NamedTuple):
    """Where a problem stands that was sent, and when that was (seconds since the epoch)."""

    partition: int
    offset: int
    at: float


async def answer(
    settings: Settings, waiting: Mapping[str, Sent], settle: Callable[[Outcome | Rejection], object]
) -> None:
    """Reads `audit` while somebody waits, from the time on when the oldest of them was sent; what is called a duplicate
    there is settled with the outcome of the first. `waiting`: by id, those without an outcome, as they come and go.
    """
    audit = [TopicPartition(topic_name(settings, "audit"), number) for number in range(settings.topics.partitions)]
    async with reader(settings, audit) as consumer:
        await seek_since(consumer, audit, min((sent.at for sent in waiting.values()), default=0.0) - CLOCK_SECONDS)
        while waiting:
            for records in (await consumer.getmany(timeout_ms=500)).values():
                for entry in _duplicates(records):
                    sent = waiting.get(entry.problem_id)
                    first = entry.detail.get("first_offset")
                    if sent is None or (sent.partition, sent.offset) != (entry.partition, entry.offset):
                        continue
                    if isinstance(first, int) and 0 <= first < sent.offset:
                        event = await first_outcome(settings, sent.partition, first)
                        if event is not None and event.problem_id == entry.problem_id:
                            settle(event)


def _duplicates(records: Iterable[ConsumerRecord]) -> list[AuditEntry]:
    found = []
    for record in records:
        if b'"duplicate"' not in (record.value or b""):  # one of many decisions
            continue
        try:
            entry = wire.decode(record.value, AuditEntry)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            continue
        if entry.event == "duplicate":
            found.append(entry)
    return found


async def first_outcome(settings: Settings, partition: int, offset: int) -> Outcome | Rejection | None:
    """The terminal event of the problem at an offset; None where there is none yet. It is looked for from the time of
    the problem on, in one partition.
    """
    problems = TopicPartition(topic_name(settings, "problems"), partition)
    ends = [TopicPartition(topic_name(settings, name), partition) for name in TERMINAL]
    wanted = ("ce_sourceoffset", str(offset).encode())
    async with reader(settings, [problems]) as consumer:
        begin = (await consumer.beginning_offsets([problems]))[problems]
        since = 0.0
        if offset >= begin:
            consumer.seek(problems, offset)
            since = (await bounded(consumer.getone(), 10, "reading a problem")).timestamp / 1000
        consumer.assign(ends)
        last = await consumer.end_offsets(ends)
        await seek_since(consumer, ends, since - CLOCK_SECONDS)
        async for record in to_end(consumer, last):
            if wanted in record.headers:
                return read_terminal(settings, record)
    return None


async def seek_since(consumer: AIOKafkaConsumer, partitions: list[TopicPartition], since: float) -> None:
    """To the first records from a time on (seconds since the epoch); behind the last where there are none."""
    times = await consumer.offsets_for_times({tp: max(0, int(since * 1000)) for tp in partitions})
    ends = await consumer.end_offsets(partitions)
    for tp in partitions:
        found = times.get(tp)
        consumer.seek(tp, found.offset if found else ends[tp])
