"""What producers of all kinds put on `problems`, in a running pipeline: it is read, or told, and never in the way."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord, TopicPartition
from msgspec.structs import replace

from qmosaic.codecs.events import wire
from qmosaic.codecs.events.public import Outcome, Rejection
from qmosaic.streams.client import read_outcomes
from qmosaic.streams.kafka.connect import producing
from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.kafka.reading import Batches, PartitionRecords, Unreadable
from qmosaic.streams.kafka.transport import Consumer
from qmosaic.streams.life.app import faust_app, received
from qmosaic.streams.settings import Settings, Topics
from qmosaic.streams.topology import STAGES
from tests.streams.harness import Pipeline, pipeline, settings_for
from tests.streams.kafka.raw_produce import GZIP, LZ4, SNAPPY, ZSTD, batch, compressed, produce, record, records

ON_KAFKA = os.environ.get("QMOSAIC_TEST_BROKER") == "kafka"


@pytest.fixture(scope="module")
def running(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """What reads `problems`. Outcomes are fallbacks and rejections."""
    with pipeline(settings_for(broker, tmp_path_factory.mktemp("unreadable")), ["encode", "verify"]) as up:
        yield up


def problem(name: str) -> bytes:
    """Large enough that a producer compresses it, and answered in two seconds."""
    said = {"edges": [[0, 1], [1, 2], [2, 0]]}
    return wire.dumps(
        {"id": name, "family": "maxcut", "problem": said, "deadline": 2, "labels": {"padding": "x" * 4000}}
    )


async def terminal(settings: Settings, count: int) -> list[Outcome | Rejection]:
    """All there are, once there are so many, and a moment later."""
    give_up = time.monotonic() + 30
    while True:
        found = [event async for event in read_outcomes(settings, since=None, follow=False)]
        if len(found) >= count or time.monotonic() > give_up:
            return found
        await asyncio.sleep(0.2)


@pytest.mark.broker
async def test_all_codecs_bad_headers_and_what_cannot_be_read(running: Pipeline) -> None:
    settings, topic = running.settings, topic_name(running.settings, "problems")
    expected = set()
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        writing = producing(replace(settings, topics=Topics(compression=codec)))
        async with AIOKafkaProducer(**writing) as producer:
            expected.add(codec)
            await producer.send_and_wait(topic, problem(codec), key=codec.encode(), partition=0)
    strange = [
        (b"x-\xff\xfe", b"1"),
        (b"ce_id", None),
        (b"k", b"1"),
        (b"k", b"2"),
        *((b"h%d" % k, b"") for k in range(10_000)),
    ]
    assert await send(settings, batch(record(problem("headers"), headers=strange))) == 0
    two = records(problem("never"), problem("seen"))
    told = 0
    for raw in (
        batch(two, 2, codec=5),
        batch(two, 2, codec=7),
        *(batch(compressed(codec, two)[:-20], 2, codec=codec) for codec in (GZIP, SNAPPY, LZ4, ZSTD)),
        *(batch(compressed(codec, record(bytes(40_000_000))), codec=codec) for codec in (GZIP, LZ4, ZSTD)),
        batch(b"\x80" * 40, 1000, last=999),
        batch(two, -5, last=1),
        batch(two, 2, crc=7),
        batch(two, 2, magic=3),
        batch(record(b"{}", count=3), 2),
    ):
        told += await send(settings, raw) == 0
    expected |= {"headers", "good"}
    assert await send(settings, batch(record(problem("good")))) == 0
    if not ON_KAFKA:  # which looks into what it takes
        assert told >= 10
    found = await terminal(settings, len(expected) + told)
    assert sorted(event.problem_id for event in found if isinstance(event, Outcome)) == sorted(expected)
    assert [event.code for event in found if isinstance(event, Rejection)] == ["unreadable"] * told
    assert {child.instance: child.starts for child in running.supervisor.children} == {"encode-0": 1, "verify-0": 1}


async def send(settings: Settings, raw: bytes) -> int:
    """As it is, to the first partition of `problems`; the broker's answer."""
    return await asyncio.to_thread(produce, settings.broker, topic_name(settings, "problems"), 0, raw)


async def test_it_goes_through_faust_as_it_is(tmp_path: Path) -> None:
    """Raw serializers leave a record's value alone: what stands for a batch is still that when an agent has it."""
    app = faust_app(Settings(data_dir=str(tmp_path)), STAGES["encode"], "encode-0")
    topic = app.topic("problems", value_type=bytes, key_type=bytes, allow_empty=True)
    found = PartitionRecords(TopicPartition("problems", 0), Batches(batch(b"", 2, codec=7)), [], 0, None, None, True, 0)
    (one,) = found
    assert isinstance(one, ConsumerRecord)
    message = Consumer._to_message(SimpleNamespace(app=app), found._tp, one)  # type: ignore[arg-type]
    event = await topic.decode(message)
    value = received(event, 0.0).value
    assert isinstance(value, Unreadable)
    assert (value.first, value.last, value.reason) == (0, 1, "compressed by codec 7, which is none that Kafka knows")
