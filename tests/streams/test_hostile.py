"""Hostile records on a live pipeline: each ends in one terminal event, and good problems beside them are answered."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from benchmarks.hostile_events import EVENTS, named
from qmosaic.codecs.events import wire
from qmosaic.codecs.events.hops import Incumbent, Proposal, Ref
from qmosaic.codecs.models.arrays import Packed
from qmosaic.codecs.models.bundle import Bundle
from qmosaic.streams.client import TERMINAL
from qmosaic.streams.kafka.connect import connection, producing
from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.settings import Settings
from tests.streams.harness import Pipeline, pipeline, settings_for

pytestmark = pytest.mark.broker

SECONDS = 4.0
"""Until the deadlines of what is sent."""
Ended = tuple[str, int, Mapping[str, Any]]
"""Of a terminal event: its topic, the offset of the problem's record, what it says."""


@pytest.fixture(scope="module")
def running(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """The two hops that read what strangers send; what is valid falls back."""
    with pipeline(settings_for(broker, tmp_path_factory.mktemp("hostile")), ["encode", "verify"]) as up:
        yield up


def good(name: str, deadline: float = SECONDS) -> bytes:
    return named(EVENTS["markup"](), name, deadline)


async def ended(settings: Settings, since: Mapping[TopicPartition, int], count: int, seconds: float) -> list[Ended]:
    """The terminal events from `since` on, once there are so many, and what comes in the second after that."""
    consumer = AIOKafkaConsumer(
        **connection(settings),
        enable_auto_commit=False,
        isolation_level="read_committed",
        max_partition_fetch_bytes=32 * 1024 * 1024,
    )
    found: list[Ended] = []
    async with consumer:
        consumer.assign(list(since))
        for partition, offset in since.items():
            consumer.seek(partition, offset)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for partition, records in (await consumer.getmany(timeout_ms=200)).items():
                for one in records:
                    source = int(dict(one.headers)["ce_sourceoffset"])
                    found.append((partition.topic, source, orjson.loads(one.value)))
            if len(found) >= count:
                until = min(until, time.monotonic() + 1)
    return found


async def ends(settings: Settings) -> dict[TopicPartition, int]:
    """The ends of the terminal topics."""
    consumer = AIOKafkaConsumer(**connection(settings))
    async with consumer:
        topics = [topic_name(settings, name) for name in TERMINAL]
        partitions = [TopicPartition(topic, k) for topic in topics for k in range(settings.topics.partitions)]
        return dict(await consumer.end_offsets(partitions))


async def sent(
    settings: Settings,
    values: Sequence[bytes | None],
    headers: Sequence[tuple[str, bytes]] = (),
    topic: str = "problems",
) -> list[int]:
    """To partition 0; their offsets."""
    async with AIOKafkaProducer(**producing(settings)) as producer:
        out = []
        for value in values:
            future = await producer.send(
                topic_name(settings, topic), value, key=None if value else b"key", partition=0, headers=list(headers)
            )
            out.append((await future).offset)
        return out


def steady(running: Pipeline) -> None:
    """No worker ended."""
    assert {child.instance: child.starts for child in running.supervisor.children} == {"encode-0": 1, "verify-0": 1}


async def test_every_listed_event_ends_once_and_good_ones_beside_them_are_answered(running: Pipeline) -> None:
    settings = running.settings
    since = await ends(settings)
    values = [named(make(), name, 20.0) for name, make in EVENTS.items()]
    canaries = [good(f"canary {k}") for k in range(10)]
    started = time.time()
    offsets = await sent(settings, [*values, *canaries])
    found = await ended(settings, since, len(offsets), 60.0)
    assert Counter(source for _, source, _ in found) == Counter(dict.fromkeys(offsets, 1))
    by_name = {said["problem_id"]: (topic, said) for topic, _, said in found}
    for name in ("canary 0", "canary 9"):
        topic, said = by_name[name]
        assert topic == topic_name(settings, "outcomes.fallback")
        assert said["solution"] is not None
    assert time.time() - started < 60
    codes = {name: said.get("code") for name, (_, said) in by_name.items()}
    assert codes["basis that is a program"] == codes["basis that is a file"] == "invalid_problem"
    assert codes["254 levels"] == codes["1,023 levels"] == "invalid_event"
    assert by_name["8 MiB of labels 1e15"][1]["labels"] == {"a": [1e15] * ((8 * 1024 * 1024 - 1000) // 5)}
    steady(running)


@pytest.mark.parametrize(
    "headers",
    [
        [("ce_size", b"12.5")],
        [("ce_size", b"-1"), ("ce_priority", b"high")],
        [("ce_size", b"9" * 5000)],
        [("ce_size", b"\xff"), ("ce_deadline", b"nan")],
        [("ce_deadline", b"-inf"), ("ce_subject", b"\xff"), ("traceparent", b"\xff\xfe")],
        [("traceparent", b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01"), ("tracestate", b"\xff")],
        [("ce_sourceoffset", b"0"), ("ce_digest", b"x")],
    ],
)
async def test_headers_of_strangers_are_theirs(running: Pipeline, headers: list[tuple[str, bytes]]) -> None:
    since = await ends(running.settings)
    offsets = await sent(running.settings, [good(f"{hash(tuple(headers))} {k}", 1.0) for k in range(20)], headers)
    found = await ended(running.settings, since, 20, 20.0)
    assert Counter(source for _, source, _ in found) == Counter(dict.fromkeys(offsets, 1))
    assert {said["status"] for _, _, said in found} == {"fallback"}
    steady(running)


def ref(offset: int, **more: Any) -> Ref:
    now = time.time()
    known: dict[str, Any] = {
        "problem_id": "forged",
        "partition": 0,
        "offset": offset,
        "family": "maxcut",
        "digest": "d",
        "tenant": "t",
        "priority": "normal",
        "target": "auto",
        "shots": 1,
        "seed": 1,
        "received_at": now,
        "deadline_at": now + 5,
    }
    return Ref(**(known | more))


def forged_incumbent(of: Ref, state: Bundle | None = None) -> Incumbent:
    return Incumbent(ref=of, state=state or Bundle(), solver="x", seconds=0.0, kernel_digest=None, lift=None)


def forged_proposal(of: Ref) -> Proposal:
    return Proposal(ref=of, kernel_digest="k", route=None, attempt=1, answer=None, failure=None)


async def test_forged_internal_records_neither_stall_nor_end_anything(running: Pipeline) -> None:
    settings = running.settings
    since = await ends(settings)
    (first,) = await sent(settings, [good("before", 6.0)])
    states = [
        Bundle({"bits": Packed("|u1", (), "AA==")}),
        Bundle({"bits": Packed("|u1", (2**62, 2), "")}),
        Bundle({"bits": Packed("|u1", (-1,), "AAAA")}),
        Bundle({"bits": Packed("<f8", (1,), "AAAAAAAA+H8=")}),
        Bundle({"bits": Packed("|u1", (3,), "no base64")}),
    ]
    incumbents = [
        *(wire.encode(forged_incumbent(ref(first), state)) for state in states),
        wire.encode(forged_incumbent(ref(2**62))),
        wire.encode(forged_incumbent(ref(first + 10**9))),
        wire.encode(forged_incumbent(ref(-1))),
        wire.encode(forged_incumbent(ref(first, partition=1))),
        wire.encode(forged_incumbent(ref(first + 1000, deadline_at=1e300))),
        b"[" * 5000,
        b"{}",
        None,
    ]
    proposals = [
        *(wire.encode(forged_proposal(ref(first + k))) for k in range(50_000, 50_100)),
        wire.encode(forged_proposal(ref(2**63 - 1))),
        wire.encode(forged_proposal(ref(first, shots=2**60))),
        b'{"ref":' + b'{"a":' * 3000,
        b"\xff",
    ]
    await sent(settings, incumbents, topic="incumbents")
    await sent(settings, proposals, topic="proposals")
    await sent(settings, [b"{}", b"\xff", None, b'{"ref":1}'], topic="problems.encoded")
    (last,) = await sent(settings, [good("after", 3.0)])
    found = await ended(settings, since, 2, 30.0)
    assert sorted(source for _, source, _ in found) == [first, last]
    # Nothing holds what was committed back: a restart does not read it again.
    deadline = time.monotonic() + 30
    while await committed(settings, "proposals") < len(proposals):
        assert time.monotonic() < deadline, "the floor of the proposals does not move"
        await asyncio.sleep(0.2)
    steady(running)


async def committed(settings: Settings, topic: str) -> int:
    client = AIOKafkaAdminClient(**connection(settings))
    await client.start()
    try:
        partition = TopicPartition(topic_name(settings, topic), 0)
        group = f"{settings.namespace}.qmosaic.verify"
        found = await client.list_consumer_group_offsets(group, partitions=[partition])
        return int(found[partition].offset)
    finally:
        await client.close()


async def test_forged_terminal_records_hide_no_problem_from_a_new_verifier(broker: str, tmp_path: Path) -> None:
    settings = settings_for(broker, tmp_path)
    with pipeline(settings, ["encode", "verify"]) as up:
        settings = up.settings
        since = await ends(settings)
        headers: list[list[tuple[str, bytes | None]]] = [
            [("ce_sourceoffset", b"1" + b"0" * 20), ("ce_subject", b"x"), ("ce_digest", b"d")],
            [("ce_sourceoffset", b"0"), ("ce_subject", None), ("ce_digest", b"d")],
            [("ce_sourceoffset", b"3"), ("ce_subject", b"x"), ("ce_digest", b"d")],
            [("ce_sourceoffset", b"1"), ("ce_subject", b"somebody"), ("ce_digest", b"d")],
            [("ce_sourceoffset", b"-5"), ("ce_subject", b"\xff"), ("ce_digest", b"d")],
            [],
        ]
        async with AIOKafkaProducer(**producing(settings)) as producer:
            for one in headers:
                await producer.send_and_wait(
                    topic_name(settings, "outcomes.accepted"), b"{}", partition=0, headers=[*one]
                )
        process = up.child("verify-0").process
        assert process is not None
        offsets = await sent(settings, [good(f"problem {k}", 8.0) for k in range(5)])
        process.kill()
        found = [one for one in await ended_ignoring(settings, since, 5, 40.0) if one[2].get("problem_id")]
        assert sorted(source for _, source, _ in found) == offsets
        assert up.child("verify-0").starts == 2


async def ended_ignoring(
    settings: Settings, since: Mapping[TopicPartition, int], count: int, seconds: float
) -> list[Ended]:
    """As `ended`, without what somebody else wrote."""
    moved = {
        partition: offset + (6 if partition.topic.endswith("accepted") and partition.partition == 0 else 0)
        for partition, offset in since.items()
    }
    return await ended(settings, moved, count, seconds)


async def test_many_large_open_problems_are_kept_outside_of_memory(running: Pipeline) -> None:
    settings = running.settings
    since = await ends(settings)
    make = EVENTS["8 MiB of labels on a route"]
    offsets = await sent(settings, [*(named(make(), f"large {k}", 15.0) for k in range(12)), good("beside", 3.0)])
    process = running.child("verify-0").process
    assert process is not None
    most = 0
    task = asyncio.create_task(ended(settings, since, len(offsets), 60.0))
    while not task.done():
        most = max(most, psutil.Process(process.pid).memory_info().rss)
        await asyncio.sleep(0.1)
    found = await task
    assert Counter(source for _, source, _ in found) == Counter(dict.fromkeys(offsets, 1))
    assert most < 500e6
    steady(running)
