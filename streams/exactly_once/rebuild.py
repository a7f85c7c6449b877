"""What a partition's terminal events say was settled: read from the logs when its owner changes."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from qmosaic.processors.join import Settled
from qmosaic.processors.terminal import TERMINAL
from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.kafka.tail import to_end
from qmosaic.streams.settings import Settings

log = logging.getLogger("qmosaic.verify")


async def settled_of(
    reader: AIOKafkaConsumer, settings: Settings, logs: Mapping[int, Mapping[str, int]]
) -> dict[int, list[Settled]]:
    """What is settled, by partition. `logs`: for each and by terminal topic, where to read from; what is missing there,
    from the beginning: nothing of it was within the window at the last commit, or there was none."""
    names = {topic_name(settings, topic): topic for topic in TERMINAL}
    places = [TopicPartition(topic, number) for topic in names for number in logs]
    reader.assign(places)
    ends, begins = await reader.end_offsets(places), await reader.beginning_offsets(places)
    for place in places:
        known = logs[place.partition].get(names[place.topic], begins[place])
        reader.seek(place, max(begins[place], known))
    out: dict[int, list[Settled]] = {number: [] for number in logs}
    async for record in to_end(reader, ends):
        entry = _settled(record, names[record.topic])
        if entry is not None:
            out[record.partition].append(entry)
    reader.unsubscribe()
    return out


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
    return {topic: position for topic, position in found.items() if topic in TERMINAL and position >= 0}
