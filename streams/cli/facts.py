"""What a running pipeline knows when it decides: read once, by the same folds."""

from __future__ import annotations

import time
from contextlib import suppress

import msgspec
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from qmosaic.codecs.errors import BrokerError
from qmosaic.codecs.events import wire
from qmosaic.codecs.events.control import BackendStatus
from qmosaic.processors.control.books import Ledger
from qmosaic.processors.control.facts import STATUS, Facts, facts_of
from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.kafka.tail import reader, to_end
from qmosaic.streams.observe.folded import read_ledger, read_ordered
from qmosaic.streams.settings import Settings

LOOK_BACK = 200
"""Records of `backends.status`."""


async def facts_now(settings: Settings) -> tuple[Facts, str | None, Ledger]:
    """The facts now; the policy that was set last, if any was; and the books. Raises BrokerError."""
    state, place = STATUS.start, TopicPartition(topic_name(settings, "backends.status"), 0)
    try:
        async with reader(settings, [place], isolation="read_uncommitted") as consumer:
            end = (await consumer.end_offsets([place]))[place]
            begin = (await consumer.beginning_offsets([place]))[place]
            consumer.seek(place, max(begin, end - LOOK_BACK))
            async for record in to_end(consumer, {place: end}):
                with suppress(msgspec.MsgspecError, ValueError, RecursionError):
                    status = wire.decode(record.value or b"", BackendStatus)
                    state = STATUS.step(state, status, record.timestamp / 1000)
    except (KafkaError, OSError, TimeoutError) as error:
        raise BrokerError(f"no broker answers: {error}", place=settings.broker) from None
    (books, _), ordered = await read_ledger(settings), await read_ordered(settings)
    now = time.time()
    facts = facts_of(state, ordered, now, now, settings.route.stale_seconds)
    return facts, ordered.policy.text if ordered.policy is not None else None, books
