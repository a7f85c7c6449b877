"""What a partition's terminal events say was settled, and which rounds began: read from the logs when its owner
changes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from qmosaic.codecs.events import wire
from qmosaic.codecs.events.hops import Interim
from qmosaic.processors.decisions import INTERIM, Began, Settled
from qmosaic.processors.terminal import TERMINAL
from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.kafka.tail import to_end
from qmosaic.streams.settings import Settings

log = logging.getLogger("qmosaic.verify")


LOGS = (*TERMINAL, INTERIM)


class Known(NamedTuple):
    """Of a partition."""

    settled: list[Settled]
    began: list[Began]


async def known_of(
    reader: AIOKafkaConsumer, settings: Settings, logs: Mapping[int, Mapping[str, int]]
) -> dict[int, Known]:
    """What is settled and which rounds began, by partition. `logs`: for each and by topic, where to read from; what is
    missing there, from the beginning: nothing of it was within the window at the last commit, or there was none."""
    names = {topic_name(settings, topic): topic for topic in LOGS}
    places = [TopicPartition(topic, number) for topic in names for number in logs]
    reader.assign(places)
    ends, begins = await reader.end_offsets(places), await reader.beginning_offsets(places)
    for place in places:
        known = logs[place.partition].get(names[place.topic], begins[place])
        reader.seek(place, max(begins[place], known))
    out = {number: Known([], []) for number in logs}
    async for record in to_end(reader, ends):
        known = out[record.partition]
        if names[record.topic] == INTERIM:
            known.began.extend(_began(record))
        elif (entry := _settled(record, names[record.topic])) is not None:
            known.settled.append(entry)
    reader.unsubscribe()
    return out


def _began(record: ConsumerRecord) -> list[Began]:
    """The round that began with a record; none where it does not fit."""
    try:
        interim = wire.decode(record.value or b"", Interim)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        log.error("%s %s:%s was not written by a verifier", record.topic, record.partition, record.offset)
        return []
    return [Began(interim, record.offset)] if interim.ref.partition == record.partition else []


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


def log_starts(metadata: str) -> dict[str, int]:
    """By terminal topic, where a rebuild starts, as it was committed; what does not fit means: from the beginning."""
    try:
        found = msgspec.json.decode(metadata or "{}", type=dict[str, int])
    except msgspec.MsgspecError:
        log.error("the metadata of the committed offset is not of a verifier: %.100r", metadata)
        return {}
    return {topic: position for topic, position in found.items() if topic in LOGS and position >= 0}
