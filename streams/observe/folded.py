"""What control keeps, read once from its topics: the books, and what was ordered."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TypeVar

import msgspec
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from qmosaic.codecs.errors import BrokerError
from qmosaic.codecs.events import wire
from qmosaic.codecs.events.control import ControlState
from qmosaic.codecs.events.ledger import LedgerEntry
from qmosaic.processors.control.books import Books, Ledger
from qmosaic.processors.control.fold import Fold
from qmosaic.processors.control.ordered import Ordered, Orders
from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.kafka.tail import missing, reader, to_end
from qmosaic.streams.settings import Settings

READ_SECONDS = 60.0
State = TypeVar("State")
Event = TypeVar("Event")


async def read_ledger(settings: Settings) -> tuple[Ledger, list[LedgerEntry]]:
    """The books, and the entries that they are made of. Raises BrokerError."""
    return await _folded(settings, "ledger", LedgerEntry, Books())


async def read_ordered(settings: Settings) -> Ordered:
    """What was ordered. Raises BrokerError."""
    return (await _folded(settings, "control.state", ControlState, Orders()))[0]


async def _folded(
    settings: Settings, topic: str, kind: type[Event], fold: Fold[State, Event]
) -> tuple[State, list[Event]]:
    place, state, events = TopicPartition(topic_name(settings, topic), 0), fold.start, list[Event]()
    try:
        async with asyncio.timeout(READ_SECONDS), reader(settings, [place]) as consumer:
            if place.topic not in await consumer.topics():
                raise missing(place.topic, settings)
            begins, ends = await consumer.beginning_offsets([place]), await consumer.end_offsets([place])
            consumer.seek(place, begins[place])
            async for record in to_end(consumer, ends):
                with suppress(msgspec.MsgspecError, ValueError, RecursionError):
                    event = wire.decode(record.value or b"", kind)
                    state = fold.step(state, event, record.timestamp / 1000)
                    events.append(event)
    except (KafkaError, OSError, TimeoutError) as error:
        raise BrokerError(f"{place.topic} cannot be read: {error}", place=settings.broker) from None
    return state, events
