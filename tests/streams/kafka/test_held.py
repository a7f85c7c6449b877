"""A transaction that somebody left open on `problems`: nobody can read past it, so it has to be named."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition

from qmosaic.codecs.events import wire
from qmosaic.streams.client import read_outcomes
from qmosaic.streams.kafka.held import HELD_SECONDS, SAY_AGAIN_SECONDS, Held, Place
from qmosaic.streams.kafka.names import topic_name
from tests.streams.harness import pipeline, settings_for

A, B = TopicPartition("problems", 0), TopicPartition("problems", 1)
OPEN, FREE = Place(7, 7, 9), Place(9, 9, 9)


def test_it_is_said_once_again_after_a_minute_and_when_it_is_over() -> None:
    held = Held()
    said = {now: lines for now in range(140) if (lines := held.look({A: OPEN if now < 130 else FREE, B: FREE}, now))}
    assert list(said) == [3, 63, 123, 130]
    assert said[3] == [
        "problems 0 is held up at offset 7 for 3 s: a producer's transaction is open there, "
        "and the 2 records from there on cannot be read before it ends"
    ]
    assert said[130] == ["problems 0 goes on after 130 s: the transaction has ended"]


def test_transactions_that_end_in_time_are_nothing_to_speak_of() -> None:
    held = Held()
    assert not any(held.look({A: Place(k, k, k + 2)}, k) for k in range(100))  # one after the other
    assert not any(held.look({A: Place(3, 7, 9)}, k) for k in range(100, 200))  # still reading what is before it


def test_the_next_one_is_another() -> None:
    held = Held()
    said = [held.look({A: OPEN if now < 10 else Place(20, 20, 30)}, now) for now in range(20)]
    assert [now for now, lines in enumerate(said) if lines] == [3, 10, 13]
    assert "goes on" in said[10][0]
    assert "at offset 20 for 3 s" in said[13][0]


def test_every_partition_is_named() -> None:
    held = Held()
    seen = {A: OPEN, B: OPEN}
    assert [len(held.look(seen, now)) for now in range(5)] == [0, 0, 0, 2, 0]
    assert held.look({B: OPEN}, 5) == []  # A was taken away, and is the next owner's to speak of
    assert [line[:17] for line in held.look({B: FREE}, 6)] == ["problems 1 goes o"]


def test_it_looks_once_a_second() -> None:
    held = Held()
    looked = 0

    class Counted(dict[TopicPartition, Place]):
        def items(self):  # type: ignore[no-untyped-def]
            nonlocal looked
            looked += 1
            return super().items()

    for now in range(1000):
        held.look(Counted({A: FREE}), now / 100)
    assert looked == 10


@pytest.mark.broker
async def test_a_verifier_names_the_partition_and_goes_on_when_it_is_over(broker: str, tmp_path: Path) -> None:
    settings = settings_for(broker, tmp_path)
    topic = topic_name(settings, "problems")
    value = wire.dumps({"family": "maxcut", "problem": {"edges": [[0, 1], [1, 2]]}, "deadline": 1})
    log = tmp_path / "logs" / "verify-0.log"
    with pipeline(settings, ["verify"]):
        foreign = AIOKafkaProducer(bootstrap_servers=broker, transactional_id=f"{settings.namespace}foreign")
        async with foreign, AIOKafkaProducer(bootstrap_servers=broker) as producer:
            await foreign.begin_transaction()
            await foreign.send_and_wait(topic, value, partition=1)
            begun = time.monotonic()
            await producer.send_and_wait(topic, value, partition=1)
            await producer.send_and_wait(topic, value, partition=0)
            line = f"{topic} 1 is held up at offset 0"
            while line not in log.read_text():
                assert time.monotonic() - begun < 30
                await asyncio.sleep(0.1)
            assert SAY_AGAIN_SECONDS > 2 * HELD_SECONDS
            assert f"{topic} 0 is held" not in log.read_text()
            await foreign.commit_transaction()
            while f"{topic} 1 goes on" not in log.read_text():
                assert time.monotonic() - begun < 60
                await asyncio.sleep(0.1)
        while len([event async for event in read_outcomes(settings, since=None, follow=False)]) < 3:
            assert time.monotonic() - begun < 60
            await asyncio.sleep(0.2)
    assert log.read_text().count(line) == 1
