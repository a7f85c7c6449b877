"""Whatever is sent: every record ends once, good problems behind it are answered, and no worker ends. Whatever file is
read: problems, or exit code 2. `make fuzz` does the like for longer, a part at a time."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest
import typer
from aiokafka import AIOKafkaConsumer, TopicPartition
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from fuzz import mutate, seeds
from qmosaic.codecs.formats.registry import FORMATS
from qmosaic.processors.admit import Defaults
from qmosaic.processors.families.base import Limits
from qmosaic.streams.cli.submit import read_files
from qmosaic.streams.client import TERMINAL
from qmosaic.streams.kafka.connect import connection
from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.settings import Settings
from tests.streams.harness import Pipeline, pipeline, settings_for
from tests.streams.kafka.raw_produce import GZIP, LZ4, NONE, SNAPPY, ZSTD, batch, compressed, produce, record
from tests.streams.test_hostile import good, steady

SECONDS = 1.0
"""Until the deadline of a record that says none, or that is changed."""
PATIENCE = 60.0
RECORDS = 25

Written = tuple[bytes | None, bytes | None, list[tuple[bytes | None, bytes | None]]]
"""A record: value, key, headers."""

EVENTS = {family: seeds.problem_events(family) for family in seeds.PROBLEMS}
DRAWS = st.integers(0, 2**32 - 1).map(Random)
SMALL = st.one_of(st.none(), st.binary(max_size=20))
HEADERS = st.lists(
    st.tuples(
        st.one_of(SMALL, st.sampled_from([b"ce_id", b"ce_size", b"ce_deadline", b"ce_subject", b"traceparent", b""])),
        st.one_of(SMALL, st.sampled_from([b"12.5", b"nan", b"00-0-0-01", b"high", b"\xff", b"9" * 400])),
    ),
    max_size=4,
)


@st.composite
def values(draw: st.DrawFn) -> bytes | None:
    """Bytes, or an event of a family that is changed: its nodes, its words, its bytes, or nothing."""
    how = draw(st.sampled_from(["bytes", "nodes", "nodes", "nodes", "words", "cut", "as it is"]))
    if how == "bytes":
        return draw(st.one_of(st.none(), st.binary(max_size=200)))
    random = draw(DRAWS)
    samples = EVENTS[draw(st.sampled_from(sorted(EVENTS)))]  # the first two are valid
    event = random.choice(samples[:2] if draw(st.booleans()) else samples)
    if how == "as it is":
        return named(event, random)
    if how == "nodes":
        return named(mutate.mutated_json(event, random), random)
    return (mutate.mutated_text if how == "words" else mutate.mutated_bytes)(named(event, random), random)


def named(data: bytes, random: Random) -> bytes:
    """With a deadline, and an id that others may have too, where it is an object; as `json` writes it."""
    try:
        event = orjson.loads(data)
    except orjson.JSONDecodeError:
        return data
    if not isinstance(event, dict):
        return data
    return mutate.dumped({"id": f"{random.randrange(10**6)}", **event, "deadline": SECONDS})


@st.composite
def written(draw: st.DrawFn) -> list[Written]:
    """Records of one batch; some of them twice."""
    one = st.tuples(values(), SMALL, HEADERS)
    found = draw(st.lists(one, min_size=RECORDS - 5, max_size=RECORDS))
    return found + found[: draw(st.integers(0, 3))]


@pytest.fixture(scope="module")
def running(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """The two hops that read what strangers send; what is valid falls back."""
    bounded = {
        "defaults": Defaults(deadline_seconds=SECONDS),
        "limits": Limits(deadline_seconds=10 * SECONDS),
    }
    with pipeline(settings_for(broker, tmp_path_factory.mktemp("fuzz"), **bounded), ["encode", "verify"]) as up:
        yield up


class Reader:
    """Where the terminal topics and the audit of partition 0 end, and how the records of the problems end in them."""

    def __init__(self, of: Settings) -> None:
        self._settings = of
        self._consumer = AIOKafkaConsumer(
            **connection(of),
            enable_auto_commit=False,
            isolation_level="read_committed",
            max_partition_fetch_bytes=32 * 1024 * 1024,
        )

    async def __aenter__(self) -> Reader:
        await self._consumer.start()
        topics = [topic_name(self._settings, name) for name in (*TERMINAL, "audit")]
        partitions = [TopicPartition(topic, 0) for topic in topics]
        self._consumer.assign(partitions)
        await self._consumer.seek_to_end(*partitions)
        for partition in partitions:
            await self._consumer.position(partition)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._consumer.stop()

    async def end(self, partition: TopicPartition) -> int:
        """The offset behind its last record."""
        found: dict[TopicPartition, int] = await self._consumer.end_offsets([partition])
        return found[partition]

    async def ends(self, offsets: Sequence[int]) -> dict[int, list[str]]:
        """By offset, the topics of its terminal events, or `duplicate`: once all are there, and a second later."""
        found: dict[int, list[str]] = defaultdict(list)
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            for partition, records in (await self._consumer.getmany(timeout_ms=200)).items():
                for one in records:
                    headers = dict(one.headers)
                    if "ce_sourceoffset" in headers:
                        found[int(headers["ce_sourceoffset"])].append(partition.topic)
                    elif (said := orjson.loads(one.value))["event"] == "duplicate":
                        found[said["offset"]].append("duplicate")
            if found.keys() >= set(offsets):
                until = min(until, time.monotonic() + 1)
        return found


@pytest.mark.broker
@pytest.mark.embedded
@given(records=written(), codec=st.sampled_from([NONE, GZIP, SNAPPY, LZ4, ZSTD]))
@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # a pipeline with a worker that ended shrinks to nothing
)
def test_every_record_ends_once_and_a_good_one_behind_it_is_answered(
    running: Pipeline, records: list[Written], codec: int
) -> None:
    asyncio.run(_every_record_ends_once(running, records, codec))


async def _every_record_ends_once(running: Pipeline, records: list[Written], codec: int) -> None:
    problems = TopicPartition(topic_name(running.settings, "problems"), 0)
    last: Written = (good(f"good {time.monotonic()}", 4 * SECONDS), b"key", [])
    lines = [
        record(value, key=key, headers=headers, delta=delta)
        for delta, (value, key, headers) in enumerate([*records, last])
    ]
    raw = batch(compressed(codec, b"".join(lines)), len(lines), codec=codec, timestamp=int(time.time() * 1000))
    async with Reader(running.settings) as reader:
        first = await reader.end(problems)
        error = await asyncio.to_thread(produce, running.settings.broker, problems.topic, 0, raw)
        assert error == 0
        offsets = range(first, first + len(lines))
        found = await reader.ends(offsets)
    wrong = {
        offset: (found[offset], value)
        for offset, (value, _, _) in zip(offsets, [*records, last], strict=True)
        if len(found[offset]) != 1
    }
    assert not wrong
    assert found.keys() == set(offsets)
    assert found[offsets[-1]] == [topic_name(running.settings, "outcomes.fallback")]
    steady(running)


FILES = seeds.files()
NAMES = ["a", "a.txt", "\u202e.json", *(f"a{suffix}" for one in FORMATS.values() for suffix in one.suffixes)]


@st.composite
def contents(draw: st.DrawFn) -> bytes:
    """Bytes, or a file in the tests of the formats, as it is or changed."""
    random = draw(DRAWS)
    sample = random.choice(FILES)
    change = draw(
        st.sampled_from(
            [mutate.mutated_text, mutate.mutated_text, mutate.mutated_bytes, mutate.mutated_json, lambda data, _: data]
        )
    )
    return draw(st.one_of(st.binary(max_size=100), st.just(change(sample, random))))


@given(
    content=contents(),
    name=st.sampled_from(NAMES),
    fmt=st.sampled_from([None, None, *FORMATS, "none"]),
    family=st.sampled_from([None, None, "maxcut"]),
    given_=st.sampled_from([None, ["cardinality=2"]]),
)
@settings(max_examples=400, deadline=None)
def test_every_file_is_problems_or_exit_code_2(
    tmp_path_factory: pytest.TempPathFactory,
    content: bytes,
    name: str,
    fmt: str | None,
    family: str | None,
    given_: list[str] | None,
) -> None:
    path = _folder(tmp_path_factory) / name
    path.write_bytes(content)
    try:
        found = read_files([path], family, fmt, None, given_, {"deadline": 1.0})
    except typer.Exit as end:
        code = end.exit_code
    else:
        code = 0
        assert found
        for event in found:
            said: Mapping[str, Any] = orjson.loads(orjson.dumps(event))  # as it is sent
            assert said["id"]
            assert said["deadline"] == 1.0
            assert family in (None, said["family"])
    assert code in (0, 2)


_folders: list[Path] = []


def _folder(factory: pytest.TempPathFactory) -> Path:
    if not _folders:
        _folders.append(factory.mktemp("files"))
    return _folders[0]
