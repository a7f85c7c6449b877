"""What the embedded broker may forget: records between the hops that their reader is done with.

Kafka deletes by age (`retention.ms`), a segment at a time. The embedded broker keeps all in memory and writes all of it
anew into its file every few seconds, so that it gets slower with every record. Three quarters of them are internal, and
nobody reads them again: the offsets that the stages have committed say from where on. What people read and what is
paid for stays.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.errors import KafkaError

from qmosaic.codecs.errors import BrokerError
from qmosaic.streams.kafka.bounded import bounded
from qmosaic.streams.kafka.names import group_id, topic_name
from qmosaic.streams.life.topics import admin
from qmosaic.streams.settings import Settings
from qmosaic.streams.topology import PAID, STAGES

log = logging.getLogger("qmosaic.retention")

EVERY_SECONDS, IDLE_SECONDS = 2.0, 10.0
KEPT = 100
"""Records of a partition that stay behind its reader, to look at."""
PATIENCE = 10.0
READERS = {
    topic: stage.name
    for stage in STAGES.values()
    if stage.name not in (PAID, "control")
    for topic in stage.reads
    if topic != "problems"
}
"""The only stage that reads each topic that is forgotten."""


async def keep_forgetting(settings: Settings) -> None:
    """For ever; a broker that does not answer is asked again later."""
    while True:
        try:
            async with admin(settings) as client:
                done: dict[TopicPartition, int] = {}
                seconds = EVERY_SECONDS
                while True:
                    await asyncio.sleep(seconds)
                    before, done = done, await forget(settings, client, done)
                    seconds = EVERY_SECONDS if done != before else min(IDLE_SECONDS, seconds * 1.5)
        except (BrokerError, KafkaError, TimeoutError, OSError) as error:
            log.debug("what was read is not deleted: %s", error)
            await asyncio.sleep(EVERY_SECONDS)


async def forget(
    settings: Settings, client: AIOKafkaAdminClient, done: Mapping[TopicPartition, int], kept: int = KEPT
) -> dict[TopicPartition, int]:
    """Delete what lies `kept` records behind the committed offsets; up to where, by partition, `done` already.

    Raises KafkaError, BrokerError, TimeoutError.
    """
    topics = {topic_name(settings, topic): group_id(settings, stage) for topic, stage in READERS.items()}
    until: dict[TopicPartition, int] = {}
    for group in sorted(set(topics.values())):
        committed = await bounded(client.list_consumer_group_offsets(group), PATIENCE, "reading offsets")
        for place, said in committed.items():
            if topics.get(place.topic) == group and said.offset > kept:
                until[place] = said.offset - kept
    news = {place: RecordsToDelete(before_offset=at) for place, at in until.items() if done.get(place) != at}
    if news:
        await bounded(client.delete_records(news), PATIENCE, "deleting records")
    return until
