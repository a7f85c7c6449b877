"""A pipeline as it is seen from outside: the port, health, what hangs, what collectors do to it, and its log."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from prometheus_client.openmetrics import parser

from qmosaic.codecs.errors import SettingsError
from qmosaic.streams.client import Client
from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.life.broker import HOST
from qmosaic.streams.life.supervisor import Supervisor
from qmosaic.streams.observe.watching import Watching
from qmosaic.streams.settings import ExecuteSettings, MetricsSettings, RouteSettings, Settings
from tests.servers import free_ports
from tests.streams.harness import Pipeline, pipeline, settings_for

pytestmark = pytest.mark.broker

STAGES = ["encode", "reduce", "route", "control", "execute.classical", "verify"]
OPEN = {"Accept": "application/openmetrics-text; version=1.0.0"}
SECRET, PAYLOAD = "5ecret-4nd-hush", 123.456789
families: Any = parser.text_string_to_metric_families
EDGES = [[0, 1, PAYLOAD], [1, 2, 1.0], [2, 3, 1.0], [3, 0, 1.0], [0, 2, 1.0]]


@pytest.fixture(scope="module")
def running(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """Its collector takes connections and says nothing."""
    with socket.create_server((HOST, 0)) as hangs, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "500")
        patch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"authorization={SECRET}")
        settings = settings_for(
            broker,
            tmp_path_factory.mktemp("seen"),
            metrics=MetricsSettings(port=free_ports(1)[0]),
            otlp_endpoint=f"http://{HOST}:{hangs.getsockname()[1]}",
            log_format="json",
            execute=ExecuteSettings(backends={"classical": ("exact",), "gpu": (), "quantum": ()}),
            route=RouteSettings(preference={"classical": ("exact",)}),
        )
        with pipeline(settings, STAGES) as up:
            yield up


def got(settings: Settings, page: str, **headers: str) -> tuple[int, str]:
    """Status and text of a page."""
    request = urllib.request.Request(f"http://{HOST}:{settings.metrics.port}{page}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - ours
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def values(settings: Settings, name: str) -> dict[str, float]:
    """By worker, the sum of a metric."""
    out: dict[str, float] = {}
    for family in families(got(settings, "/metrics", **OPEN)[1]):
        for sample in family.samples:
            if sample.name == name:
                worker = sample.labels["worker"]
                out[worker] = out.get(worker, 0) + sample.value
    return out


def instances(up: Pipeline) -> set[str]:
    return {child.instance for child in up.supervisor.children}


async def solve(settings: Settings) -> Any:
    async with Client(settings=settings) as client:
        return await client.solve({"family": "maxcut", "problem": {"edges": EDGES}}, deadline=60)


async def test_one_port_tells_of_all_workers_and_leads_to_traces(running: Pipeline) -> None:
    outcome = await solve(running.settings)
    assert values(running.settings, "qmosaic_outcomes_total") == {"verify-0": 1}
    assert values(running.settings, "qmosaic_worker_up") == dict.fromkeys(instances(running), 1)
    assert values(running.settings, "qmosaic_control_leader") == {"control-0": 1}
    assert set(values(running.settings, "qmosaic_hop_lag")) == {*instances(running), "control-0"}
    assert min(values(running.settings, "process_memory_usage_bytes").values()) > 1e7
    _, text = got(running.settings, "/metrics", **OPEN)
    assert f'trace_id="{outcome.trace_id}"' in text
    assert outcome.problem_id not in text


def test_it_is_well_and_ready(running: Pipeline) -> None:
    for page in ("/healthz", "/readyz"):
        status, text = got(running.settings, page)
        assert (status, set(text.splitlines())) == (200, {f"{instance} ok" for instance in instances(running)})


def test_what_is_not_there(running: Pipeline) -> None:
    assert got(running.settings, "/../etc/passwd")[0] == 404
    assert got(running.settings, "/metrics", Host="evil.example")[0] == 403
    for hostile in (b"\x00\xff\r\n\r\n", b"GET\r\n\r\n", b"POST /metrics HTTP/1.1\r\n\r\n", b"G" * 100_000):
        with socket.create_connection((HOST, running.settings.metrics.port), 30) as line:
            line.sendall(hostile)
            line.shutdown(socket.SHUT_WR)
            reply = line.recv(20)
        assert reply == b"" or reply.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5"))
    assert got(running.settings, "/healthz")[0] == 200


def test_one_that_hangs_is_told_within_a_bound(running: Pipeline) -> None:
    running.signal("reduce-0", signal.SIGSTOP)
    try:
        assert values(running.settings, "qmosaic_worker_up") == {
            **dict.fromkeys(instances(running), 1),
            "reduce-0": 0,
        }
        for page in ("/healthz", "/readyz"):
            status, text = got(running.settings, page)
            assert status == 503
            assert "reduce-0 no answer within 2 s" in text.splitlines()
    finally:
        running.signal("reduce-0", signal.SIGCONT)
    assert got(running.settings, "/healthz")[0] == 200


async def test_one_that_hangs_is_told_to_whoever_watches(running: Pipeline) -> None:
    async with Watching(running.settings) as watching:

        async def until(wrong: list[str]) -> None:
            give_up = time.monotonic() + 60
            while (said := [short for short, _ in (await watching.report()).problems]) != wrong:
                assert time.monotonic() < give_up, said
                await asyncio.sleep(0.2)

        running.signal("reduce-0", signal.SIGSTOP)
        try:
            await until(["reduce-0 does not answer"])
        finally:
            running.signal("reduce-0", signal.SIGCONT)
        await until([])


def test_one_that_is_killed_is_not_ready_and_comes_back(running: Pipeline) -> None:
    before = running.child("route-0").starts
    running.signal("route-0", signal.SIGKILL)
    statuses: list[int] = []
    give_up = time.monotonic() + 60
    while running.child("route-0").starts == before or 503 not in statuses or statuses[-1] != 200:
        assert time.monotonic() < give_up, statuses
        assert got(running.settings, "/metrics")[0] == 200  # however early it is asked
        statuses.append(got(running.settings, "/readyz")[0])
        assert got(running.settings, "/healthz")[0] == 200  # it starts: nothing hangs
    assert running.child("route-0").starts == before + 1


async def test_the_log_names_problems_and_tells_nothing_of_them(running: Pipeline) -> None:
    settings = running.settings
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    event = {"ref": {"problem_id": "evil \x1b[2J\u202e", "x": PAYLOAD}, "model": PAYLOAD}
    headers = [("traceparent", f"00-{trace}-00f067aa0ba902b7-01".encode())]
    async with AIOKafkaProducer(bootstrap_servers=settings.broker) as producer:
        for topic in ("problems.encoded", "proposals"):
            name = topic_name(settings, topic)
            await producer.send_and_wait(name, json.dumps(event).encode(), headers=headers)
    lines = [line for path in running.logs.glob("*.log") for line in path.read_text().splitlines()]
    give_up = time.monotonic() + 30
    while time.monotonic() < give_up and sum(trace in line for line in lines) < 1:
        await asyncio.sleep(0.2)
        lines = [line for path in running.logs.glob("*.log") for line in path.read_text().splitlines()]
    told = [json.loads(line) for line in lines if line.startswith("{")]
    (said,) = [line for line in told if line.get("trace_id") == trace]
    assert said["problem_id"] == "evil \x1b[2J\u202e"
    assert said["instance"] == "verify-0"
    assert "is put aside" in said["message"]
    collector = [line for line in told if "do not reach the collector" in line["message"]]
    assert collector
    assert len({line["instance"] for line in collector}) == len(collector)  # each says it once
    text = "\n".join(lines)
    assert SECRET not in text
    assert str(PAYLOAD) not in text
    assert "Traceback" not in text
    assert "\x1b" not in text


async def test_a_hanging_collector_holds_up_nothing(running: Pipeline) -> None:
    outcome = await solve(running.settings)
    assert outcome.status == "accepted"
    assert outcome.timings.total < 30


def test_a_port_that_is_taken_is_a_sentence(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as taken:
        metrics = MetricsSettings(port=taken.getsockname()[1])
        settings = settings_for("127.0.0.1:9", tmp_path / "data", metrics=metrics)
        supervisor = Supervisor(settings, ["encode"], create=False)

        async def run() -> None:
            try:
                await supervisor.start()
            finally:
                await supervisor.stop()

        with pytest.raises(SettingsError, match=r"cannot serve metrics at http://127\.0\.0\.1:") as raised:
            asyncio.run(run())
    assert "metrics.port" in str(raised.value)
