"""The journal of paid jobs, read once."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import suppress

import msgspec
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from qmosaic.codecs.errors import BrokerError
from qmosaic.codecs.events import wire
from qmosaic.codecs.events.control import Submitted
from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.kafka.tail import reader, to_end
from qmosaic.streams.settings import Settings

READ_SECONDS = 60.0


async def read_journal(settings: Settings) -> dict[str, list[Submitted]]:
    """What was written of each job at a vendor, by our id of it. Raises BrokerError."""
    topic = topic_name(settings, "jobs.submitted")
    places = [TopicPartition(topic, number) for number in range(settings.topics.partitions)]
    found: dict[str, list[Submitted]] = defaultdict(list)
    try:
        async with asyncio.timeout(READ_SECONDS), reader(settings, places) as consumer:
            begins, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
            for place in places:
                consumer.seek(place, begins[place])
            async for record in to_end(consumer, ends):
                with suppress(msgspec.MsgspecError, ValueError, RecursionError):
                    entry = wire.decode(record.value or b"", Submitted)
                    found[entry.client_id].append(entry)
    except (KafkaError, OSError, TimeoutError) as error:
        raise BrokerError(f"{topic} cannot be read: {error}", place=settings.broker) from None
    return found
