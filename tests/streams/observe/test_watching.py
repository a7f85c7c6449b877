"""A pipeline watched from outside: several topics in one state, from a time on, while the broker answers."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from qmosaic.codecs.errors import BrokerError
from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.kafka.tail import Source, Tails
from qmosaic.streams.life.topics import create_topics
from qmosaic.streams.observe.watching import Watching
from qmosaic.streams.settings import Settings
from tests.streams.harness import settings_for

pytestmark = pytest.mark.broker


class Listed:
    """What came, in order."""

    start: tuple[Any, ...] = ()

    def step(self, state: tuple[Any, ...], event: Any, at: float) -> tuple[Any, ...]:
        return (*state, event)


async def test_tails_begin_where_each_source_says(broker: str, tmp_path: Path) -> None:
    settings = settings_for(broker, tmp_path)
    await create_topics(settings)
    now = time.time()

    async def put(topic: str, value: Any, at: float) -> None:
        name, data = topic_name(settings, topic), json.dumps(value).encode()
        await producer.send_and_wait(name, data, key=b"k", partition=0, timestamp_ms=int(1000 * at))

    async with AIOKafkaProducer(bootstrap_servers=broker) as producer:
        for number in range(5):
            await put("audit", ["audit", number], now - 50 + 10 * number)
            await put("ledger", ["ledger", number], now)
            await put("control.state", ["state", number], now)
        sources = [
            Source("audit", json.loads, since=now - 25),
            Source("ledger", json.loads, back=2),
            Source[Any]("control.state", float),  # none of them is an event
        ]
        tails: Tails[tuple[Any, ...], Any] = Tails(settings, sources, Listed())
        try:
            await tails.start()
            assert sorted(tails.state) == [["audit", 3], ["audit", 4], ["ledger", 3], ["ledger", 4]]
            await put("ledger", ["ledger", 5], now)
            assert ["ledger", 5] in await tails.caught_up()
        finally:
            await tails.stop()


async def test_where_nobody_answers_it_says_so() -> None:
    with pytest.raises(BrokerError, match="no broker answers"):
        async with Watching(Settings(broker="127.0.0.1:1")):
            raise AssertionError("it has begun")


async def test_without_topics_it_names_them(broker: str, tmp_path: Path) -> None:
    settings = settings_for(broker, tmp_path)
    async with Watching(settings) as watching:
        found = await watching.report()
    assert topic_name(settings, "problems") in found.missing
    assert found.health.startswith("unhealthy: no topic ")
