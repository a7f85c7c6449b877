"""`qmosaic status`: lags, who is alive, and partitions that somebody else's transaction holds."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from qmosaic.codecs.events import wire
from qmosaic.codecs.events.control import BackendStatus
from qmosaic.streams.cli import status as status_report
from qmosaic.streams.cli.status import Held, Lag, Live, Report, lines, report
from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.life.topics import create_topics
from qmosaic.streams.settings import Settings
from tests.streams.cli.test_cli import run
from tests.streams.harness import settings_for


def test_the_lines_and_warnings_of_a_report() -> None:
    found = Report(
        "b:1",
        [],
        [
            Lag("encode", "problems", 0, 4, 6, 2),
            Lag("encode", "problems", 1, 3, 3, 0),
            Lag("route", "r", 0, None, 0, 0),
        ],
        [Live("w\x1b[2J", "quantum", ["x\u202e"], 1.25)],
        [Held("problems", 2, 7, 9, 0.0), Held("proposals", 0, 1, 2, None)],
    )
    said = lines(found)
    assert said[:4] == [
        "broker   b:1",
        "lag      encode             problems/0 2",
        "lag      route              nothing taken yet",
        r"alive    w\x1b[2J  quantum  x\u202e  1.2 s ago",
    ]
    assert said[4].startswith(
        "warning  partition problems/2 is held by a foreign open transaction since 1970-01-01T00:00:00Z: the 2 records"
    )
    assert "held by a foreign open transaction: the 1 records" in said[5]
    assert "A foreign transaction that stays open" in said[5]
    assert Report("b", ["audit"]).warnings == ["topic audit is not there: `qmosaic topics create` makes it"]
    assert "no execute worker" in Report("b", []).warnings[0]


async def alive(settings: Settings, producer: AIOKafkaProducer) -> None:
    status = BackendStatus(worker="w", target="gpu", backends={"b": {"spins": 9}}, at=time.time())
    topic = topic_name(settings, "backends.status")
    for value in (b"nonsense", b"[" * 5000, wire.encode(status)):
        await producer.send_and_wait(topic, value, partition=0)


@pytest.mark.broker
async def test_a_partition_is_named_while_the_transaction_is_open(broker: str, tmp_path: Path) -> None:
    settings = settings_for(broker, tmp_path)
    await create_topics(settings)
    problems = topic_name(settings, "problems")
    foreign = AIOKafkaProducer(bootstrap_servers=broker, transactional_id=f"{settings.namespace}foreign")
    async with foreign, AIOKafkaProducer(bootstrap_servers=broker) as producer:
        for _ in range(3):
            await producer.send_and_wait(problems, b"{}", partition=1)
        await foreign.begin_transaction()
        await foreign.send_and_wait(problems, b"{}", partition=1)
        await producer.send_and_wait(problems, b"{}", partition=1)
        await producer.send_and_wait(problems, b"{}", partition=0)
        await alive(settings, producer)
        begun = time.time()
        found = await report(settings)
        (held,) = found.held
        assert (held.topic, held.partition, held.offset, held.end) == (problems, 1, 3, 5)
        assert held.since is not None
        assert abs(held.since - begun) < 60
        (live,) = found.live
        assert (live.worker, live.target, live.backends) == ("w", "gpu", ["b"])
        assert {(one.stage, one.partition): one.lag for one in found.lags if one.topic == problems} == {
            ("encode", 0): 1, ("encode", 1): 5, ("verify", 0): 1, ("verify", 1): 5,
        }  # fmt: skip
        assert all(one.committed is None for one in found.lags)
        env = {"QMOSAIC_BROKER": broker, "QMOSAIC_NAMESPACE": settings.namespace, "QMOSAIC_TOPICS__PARTITIONS": "2"}
        done = run("status", cwd=tmp_path, **env)
        assert done.returncode == 1
        assert f"warning  partition {problems}/1 is held by a foreign open transaction since 20" in done.stdout
        await foreign.commit_transaction()
        await alive(settings, producer)
        found = await report(settings)
    assert (found.held, found.warnings) == ([], [])
    done = run("status", "--json", cwd=tmp_path, **env)
    assert (done.returncode, json.loads(done.stdout)["warnings"]) == (0, [])


@pytest.mark.broker
async def test_a_transaction_that_ends_in_time_is_nothing_to_speak_of(
    broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(broker, tmp_path)
    await create_topics(settings)
    foreign = AIOKafkaProducer(bootstrap_servers=broker, transactional_id=f"{settings.namespace}foreign")
    async with foreign:
        await foreign.begin_transaction()
        await foreign.send_and_wait(topic_name(settings, "proposals"), b"{}", partition=0)

        async def meanwhile(seconds: float) -> None:
            if seconds == status_report.HELD_SECONDS:
                await foreign.commit_transaction()  # Kafka writes the end of it into the partition a moment later
                ended.append(seconds)
            await sleep(seconds)

        ended: list[float] = []
        sleep = asyncio.sleep
        monkeypatch.setattr("asyncio.sleep", meanwhile)
        topics = {topic_name(settings, topic): 2 for topic in status_report.READ_BY_VERIFY}
        assert await status_report._held(settings, topics) == []
    assert len(ended) == 1


@pytest.mark.broker
async def test_without_topics_it_says_so(broker: str, tmp_path: Path) -> None:
    settings = settings_for(broker, tmp_path)
    found = await report(settings)
    assert topic_name(settings, "problems") in found.missing
    assert found.lags == []


def test_without_a_broker_it_says_so(tmp_path: Path) -> None:
    done = run("status", cwd=tmp_path)
    assert (done.returncode, "no pipeline runs in .qmosaic" in done.stderr) == (1, True)
    done = run("status", "--broker", "127.0.0.1:1", cwd=tmp_path)
    assert (done.returncode, "no broker answers" in done.stderr) == (1, True)
