"""What a worker says of its backends, on `backends.status`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
from aiokafka import AIOKafkaProducer

from qmosaic.codecs.events import wire
from qmosaic.codecs.events.control import BackendStatus
from qmosaic.streams.kafka import pacing
from qmosaic.streams.kafka.bounded import bounded
from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.settings import Settings

STATUS_SECONDS, NEWS_SECONDS, CALM_SECONDS, FAILING_SECONDS = 5.0, 0.25, 2.5, 600.0
PUBLISH_SECONDS = 40.0  # a broker's restart fits in; beyond, the process ends and starts anew


async def tell_status(
    status_of: Callable[[], BackendStatus | None],
    settings: Settings,
    instance: str,
    producer: AIOKafkaProducer,
    moved: asyncio.Event,
) -> None:
    """Now and then, and soon where there is news: of a mere sign of life nobody need be woken up.

    `status_of`: what there is to say now; it ends where that is nothing. `moved`: set where an event came or was done;
    while none does, little changes.
    """
    told, said_at = None, 0.0
    failed: dict[str, int] = {}
    failing: dict[str, float] = {}
    topic = topic_name(settings, "backends.status")
    while (status := status_of()) is not None:
        now = asyncio.get_running_loop().time()
        # Of a backend that failed lately every answer is news: it may be a trial's.
        failures = {name: tally.failed for name, tally in status.tallies.items()}
        failing = {name: at for name, at in failing.items() if now - at < FAILING_SECONDS} | {
            name: now for name, count in failures.items() if count != failed.get(name, 0)
        }
        failed = failures
        answers = {name: status.tallies[name].answered for name in failing if name in status.tallies}
        news = status.backends, failures, answers, status.not_before, status.conditions
        if news != told or now - said_at >= STATUS_SECONDS:
            status = msgspec.structs.replace(status, worker=instance)
            future = await producer.send(topic, wire.encode(status), key=instance.encode())
            await bounded(future, PUBLISH_SECONDS, "publishing")
            if news != told:
                pacing.ring([topic])
            told, said_at = news, now
        try:
            await asyncio.wait_for(moved.wait(), CALM_SECONDS)
        except TimeoutError:
            continue
        moved.clear()
        await asyncio.sleep(NEWS_SECONDS)
