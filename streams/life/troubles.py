"""What is wrong with the workers of a supervisor: they are asked all the time whether they are well, which costs each a
byte, and what is wrong is told on `workers.status`, at once and for as long as it lasts.

So whoever watches a pipeline, from anywhere, knows of a worker that is dead or hangs, of whichever stage. Of a pipeline
that is well nothing is written.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import time
from collections.abc import Sequence
from contextlib import suppress

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from qmosaic.codecs.events import wire
from qmosaic.codecs.events.control import Trouble, WorkersStatus
from qmosaic.streams.kafka import pacing
from qmosaic.streams.kafka.bounded import bounded, closing
from qmosaic.streams.kafka.connect import producing
from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.life.children import Child
from qmosaic.streams.life.lifeline import ASK
from qmosaic.streams.settings import Settings

TOPIC = "workers.status"
LOOK_SECONDS, ASK_EVERY, AGAIN_SECONDS = 0.5, 2, 5.0
"""Between two looks; they are asked at every other one, for each answer wakes a worker up."""
PATIENCE = 10.0

log = logging.getLogger("qmosaic.troubles")


async def keep_telling(settings: Settings, children: Sequence[Child]) -> None:
    """For ever; a broker that is away is told later."""
    told, told_at, since = list[Trouble](), 0.0, dict[tuple[str, str], float]()
    for look in itertools.count():
        if look % ASK_EVERY == 0:
            ask(children)
        await asyncio.sleep(LOOK_SECONDS)
        now = time.monotonic()
        found = [(child.instance, what) for child in children for what in child.troubles(now)]
        since = {key: since.get(key, time.time()) for key in found}
        troubles = [Trouble(instance, what, since[instance, what]) for instance, what in found]
        if troubles != told or (troubles and now - told_at >= AGAIN_SECONDS):
            try:
                await _tell(settings, troubles)
            except (KafkaError, OSError, TimeoutError) as error:
                log.debug("what is wrong cannot be told: %s", error)
            else:
                told, told_at = troubles, now


def ask(children: Sequence[Child]) -> None:
    """Those that are ready, and have answered before."""
    for child in children:
        if child.line is not None and child.is_back and child.asked_at is None:
            with suppress(OSError):  # it has ended by now
                child.line.send(ASK)
                child.asked_at = time.monotonic()


async def _tell(settings: Settings, troubles: list[Trouble]) -> None:
    name, topic = f"{os.uname().nodename}/{os.getpid()}", topic_name(settings, TOPIC)
    producer = AIOKafkaProducer(**producing(settings), linger_ms=0)
    try:
        await bounded(producer.start(), PATIENCE, "connecting")
        value = wire.encode(WorkersStatus(supervisor=name, troubles=troubles))
        await bounded(producer.send_and_wait(topic, value, key=name.encode()), PATIENCE, "telling what is wrong")
        pacing.ring([topic])
    finally:
        await closing(producer.stop(), 5, "stopping a client")
