"""Topics read once: what control keeps, the books and what was ordered; and folds over any of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

import msgspec
from aiokafka.errors import KafkaError

from qmosaic.codecs.errors import BrokerError
from qmosaic.codecs.events import wire
from qmosaic.codecs.events.control import ControlState
from qmosaic.codecs.events.ledger import LedgerEntry
from qmosaic.processors.control.books import Books, Ledger
from qmosaic.processors.control.fold import Fold
from qmosaic.processors.control.ordered import Ordered, Orders
from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.kafka.repeats import seek_since
from qmosaic.streams.kafka.tail import CONNECT_SECONDS, missing, reader, to_end
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
    events = list[Event]()

    def both(state: State, event: Event, at: float) -> State:
        events.append(event)
        return fold.step(state, event, at)

    return await folded(settings, topic, partial(wire.decode, kind=kind), both, fold.start), events


async def folded(
    settings: Settings,
    topic: str,
    read: Callable[[bytes], Event],
    step: Callable[[State, Event, float], State],
    state: State,
    since: float | None = None,
    seconds: float = READ_SECONDS,
) -> State:
    """The state after all events that there are now of a topic, from a time on; what is no event is passed over. Raises
    BrokerError, where it takes longer than `seconds`, too."""
    name = topic_name(settings, topic)
    try:
        async with asyncio.timeout(CONNECT_SECONDS), reader(settings) as looking:
            if name not in await looking.topics():  # a broker may make what is subscribed to
                raise missing(name, settings)
        async with asyncio.timeout(seconds), reader(settings, topics=[name]) as consumer:
            places = sorted(consumer.assignment())
            ends = await consumer.end_offsets(places)
            if since is None:
                for place, begin in (await consumer.beginning_offsets(places)).items():
                    consumer.seek(place, begin)
            else:
                await seek_since(consumer, places, since)
            async for record in to_end(consumer, ends):
                with suppress(msgspec.MsgspecError, ValueError, RecursionError):
                    state = step(state, read(record.value or b""), record.timestamp / 1000)
    except (KafkaError, OSError, TimeoutError) as error:
        raise BrokerError(f"{name} cannot be read: {error}", place=settings.broker) from None
    return state
