"""`qmosaic status`: lags, who is alive, and partitions that somebody else's transaction holds."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from rich.console import Console

from qmosaic.codecs.events import wire
from qmosaic.codecs.events.control import AuditEntry, BackendStatus, Trouble
from qmosaic.codecs.events.reasons import Condition
from qmosaic.processors.overview.overview import Balance
from qmosaic.streams.cli.status import lines, table
from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.life.topics import create_topics
from qmosaic.streams.observe import asking
from qmosaic.streams.observe.asking import Broker
from qmosaic.streams.observe.report import Ejected, Held, Hop, Lag, Live, Oldest, Report
from qmosaic.streams.observe.watching import Watching
from qmosaic.streams.page.rows import backend_rows
from qmosaic.streams.settings import Settings
from tests.streams.cli.test_cli import run
from tests.streams.harness import settings_for

TIMINGS = {"hops": {"encode": {"queue": 0.01, "work": 0.02}, "execute": {"queue": 0.1, "work": 1.0}}, "total": 1.5}


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


def test_what_is_no_fault_of_the_pipeline_is_told_and_healthy() -> None:
    low = [
        Balance(f"tenant:{name}", "2026-11", "micros", 100, free, 0, 100 - free) for name, free in (("a", 9), ("b", 10))
    ]
    lost = [Trouble(f"{name}-0", "collector", 0.0) for name in ("encode", "route")]
    found = Report(
        "b",
        [],
        live=[Live("w", "gpu", ["x"], 1.0)],
        ejected=[Ejected("x", "half_open", 0, 1)],
        budgets=low,
        troubles=lost,
    )
    assert found.health == "healthy"
    assert found.warnings == [
        "the collector has not taken the traces of encode-0, route-0 since 1970-01-01T00:00:00Z: they are lost, "
        "nothing else",
        "x is shut out by its breaker: too many of its attempts failed",
        "budget tenant:a 2026-11: $0.000009 of $0.0001 is left",
    ]
    ailing = msgspec.structs.replace(found, troubles=[*lost, Trouble("verify-0", "silent", 60.0)])
    assert ailing.health == "unhealthy: verify-0 does not answer"
    assert ailing.warnings[0].startswith("worker verify-0 does not answer, since 1970-01-01T00:01:00Z: it hangs")
    assert ailing.warnings[1:] == found.warnings


def test_how_vendors_are_is_told_and_no_fault_of_the_pipeline() -> None:
    how: dict[str, Condition] = {"aqt/default/ibex": "retuning", "ionq/qpu.forte-1": "unreachable"}
    live = [Live("execute.paid-0", "quantum", list(how), 1.0)]
    found = Report("b", [], live=live, conditions=how, cut_off=["execute.paid-1"])
    assert (found.health, lines(found)[2:4]) == (
        "healthy",
        ["vendor   aqt/default/ibex  retuning", "network  ionq/qpu.forte-1  unreachable"],
    )
    assert found.warnings == [
        "aqt/default/ibex: its vendor is retuning it: jobs wait there until it is ready again",
        "ionq/qpu.forte-1: there is no way through the network to its vendor: no jobs go to it, its breaker counts "
        "nothing",
        "execute.paid-1 reaches none of its vendors: look at the network where it runs",
    ]
    rows = {row["key"]: (row["state"], row["tone"]) for row in backend_rows(found)}
    assert rows == {"aqt/default/ibex": ("retuning", "warn"), "ionq/qpu.forte-1": ("unreachable", "bad")}


async def report(settings: Settings) -> Report:
    async with Watching(settings) as watching:
        return await watching.report(once=True)


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
            if seconds == asking.LOOK_SECONDS and not ended:
                await foreign.commit_transaction()  # Kafka writes the end of it into the partition a moment later
                ended.append(seconds)
            await sleep(seconds)

        ended: list[float] = []
        sleep = asyncio.sleep
        monkeypatch.setattr("asyncio.sleep", meanwhile)
        async with Broker(settings) as asked:
            assert await asked.held_now() == []
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


def test_a_line_says_whether_it_is_healthy_and_why_not() -> None:
    live = [Live("w", "gpu", ["b"], 1.0)]
    assert lines(Report("b", [], live=live))[-1] == "health   healthy"
    late = Oldest(0, 4, waiting=40.0, left=-10.0)
    found = Report("b", [], live=live, oldest=late, missed=3)
    assert lines(found)[-1] == (
        "health   unhealthy: the oldest open problem is 10 s past its deadline; 3 ended after their deadline"
    )
    assert Report("b", [], live=live, oldest=Oldest(0, 4, 1.0, -0.5)).health == "healthy"


def test_the_table_fits_80_columns_whatever_the_names() -> None:
    long = "x" * 300
    found = Report(
        long,
        [],
        live=[Live(f"\x1b[2J{long}{number}", "gpu", [long] * 30, 1.0) for number in range(30)],
        ejected=[Ejected(long, "open", 4.0, 2)],
        hops=[Hop("execute.classical", 12_345, 1234.5, 0.0123, 12.5)],
        held=[Held(long, 0, 1, 2, None)],
        budgets=[Balance(long, "2026-11", "micros", 5_000_000, 1_000_000, 0, 4_000_000)],
        closed={long: "draining"},
        policy=long,
        at=1.8e9,
    )
    out = Console(width=80, file=io.StringIO(), force_terminal=True)
    out.print(table(found))
    shown = out.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b[2J" not in shown
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()
    assert max(map(len, plain)) <= 80
    assert any(re.search(r"execute\.classical +12345 +1,234 +12 ms +12 s", line) for line in plain)


@pytest.mark.broker
async def test_what_arrived_is_counted_and_what_is_open_too(broker: str, tmp_path: Path) -> None:
    settings = settings_for(broker, tmp_path)
    await create_topics(settings)
    async with AIOKafkaProducer(bootstrap_servers=broker) as producer:

        async def put(topic: str, value: bytes, partition: int = 0) -> None:
            await producer.send_and_wait(topic_name(settings, topic), value, partition=partition)

        for number in range(4):
            await put("problems", b'{"family":"maxcut","deadline":%d,"problem":{}}' % (50 + number))
        await put("problems", b"\xff" * 300_000, 1)
        outcome = {"problem_id": "p", "status": "accepted", "reason": "equal", "target": "gpu", "timings": TIMINGS}
        await put("outcomes.accepted", json.dumps(outcome).encode())
        for offset, slack in ((0, 2.0), (2, -3.0)):
            entry = AuditEntry(event="settled", problem_id="p", tenant="", partition=0, offset=offset, at=0.0,
                               status="accepted", reason="equal", detail={}, slack=slack)  # fmt: skip
            await put("audit", wire.encode(entry))
        await alive(settings, producer)
        found = await report(settings)
    assert (found.open, found.missed, found.ended) == (3, 1, {"accepted": 1})
    assert found.oldest is not None
    assert (found.oldest.partition, found.oldest.offset) == (0, 1)
    assert 40 < found.oldest.left <= 51
    (gpu,) = [hop for hop in found.hops if hop.stage == "execute.gpu"]
    assert (gpu.rate, gpu.queue_p95 is not None) == (1 / 60, True)
    assert found.health == "unhealthy: 1 ended after their deadline"


@pytest.mark.broker
def test_watching_ends_with_ctrl_c(broker: str, tmp_path: Path) -> None:
    settings = settings_for(broker, tmp_path)
    asyncio.run(create_topics(settings))
    env = {**os.environ, "QMOSAIC_BROKER": broker, "QMOSAIC_NAMESPACE": settings.namespace}
    env["QMOSAIC_TOPICS__PARTITIONS"] = "2"
    command = [sys.executable, "-m", "qmosaic.streams.cli.main", "status", "--watch", "--json"]
    process = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    seen = [json.loads(process.stdout.readline()) for _ in range(3)]
    process.send_signal(signal.SIGINT)
    rest, said = process.communicate(timeout=60)
    assert [one["health"] for one in seen] == ["unhealthy: no execute worker"] * 3
    assert all(json.loads(line) for line in rest.splitlines())
    assert (process.returncode, said) == (130, b"")
