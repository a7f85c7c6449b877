"""What an operator sees in Jaeger: 20 problems through `qmosaic up`, each one trace with every hop."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
from aiokafka import AIOKafkaProducer
from opentelemetry.trace import SpanKind

from qmosaic.codecs.events.public import Outcome
from qmosaic.streams.client import Client, read_outcomes
from qmosaic.streams.life.broker import HOST
from qmosaic.streams.settings import Settings
from qmosaic.streams.watch.spans import Telemetry
from tests.servers import ROOT, Jaeger

pytestmark = pytest.mark.jaeger

PROBLEMS = 20
FOREIGN_TRACE, FOREIGN_SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
# parent → child, as `service: span name`; each must be in every trace of a problem sent by the client.
HOPS = [
    ("client: send problems", "encode: process problems"),
    ("client: send problems", "verify: process problems"),
    ("encode: process problems", "encode: send problems.encoded"),
    ("encode: send problems.encoded", "reduce: process problems.encoded"),
    ("reduce: process problems.encoded", "reduce: send incumbents"),
    ("reduce: process problems.encoded", "reduce: send problems.reduced"),
    ("reduce: send incumbents", "verify: process incumbents"),
    ("reduce: send problems.reduced", "route: process problems.reduced"),
    ("route: process problems.reduced", "route: send jobs.quantum"),
    ("route: send jobs.quantum", "execute.quantum: process jobs.quantum"),
    ("execute.quantum: process jobs.quantum", "execute.quantum: send proposals"),
    ("execute.quantum: send proposals", "verify: process proposals"),
    ("verify: process proposals", "verify: send outcomes.accepted"),
    ("verify: send outcomes.accepted", "client: process outcomes.accepted"),
]


@pytest.fixture
def up(jaeger: Jaeger, tmp_path: Path) -> Iterator[Settings]:
    """`qmosaic up` as a user starts it, its traces going to Jaeger."""
    environment = {
        **os.environ,
        "QMOSAIC_DATA_DIR": str(tmp_path),
        "QMOSAIC_OTLP_ENDPOINT": jaeger.otlp_endpoint,
    }
    command = [sys.executable, "-m", "qmosaic.streams.cli.main", "up", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as process:
        assert process.stdout is not None
        while "broker" not in (said := json.loads(process.stdout.readline())):
            pass  # how far it is
        yield Settings(broker=said["broker"], otlp_endpoint=jaeger.otlp_endpoint)
        process.terminate()
        assert process.wait(60) == 0


def edges(number: int) -> list[list[int]]:
    graph: Any = nx.random_regular_graph(3, 10, seed=number)
    return [list(edge) for edge in graph.edges]


async def test_each_problem_is_one_trace_with_every_hop(jaeger: Jaeger, up: Settings) -> None:
    async with Client(settings=up) as client:
        give_up = time.monotonic() + 60
        first = {"family": "maxcut", "problem": {"edges": edges(99)}}
        while (await client.solve(first, deadline=30, target="quantum")).backend is None:
            assert time.monotonic() < give_up  # Cirq is loaded behind
        outcomes = [
            await client.solve({"family": "maxcut", "problem": {"edges": edges(number)}}, deadline=30, target="quantum")
            for number in range(PROBLEMS)
        ]
    assert {outcome.status for outcome in outcomes} == {"accepted"}
    assert len({outcome.trace_id for outcome in outcomes}) == PROBLEMS
    for outcome in outcomes:
        spans = named_spans(jaeger, outcome.trace_id, len(HOPS) + 1)
        names = {span["id"]: span["name"] for span in spans.values()}
        found = {(names.get(span["parent"]), span["name"]) for span in spans.values()}
        assert set(HOPS) <= found, set(HOPS) - found
        orphans = [span["name"] for span in spans.values() if span["parent"] and span["parent"] not in names]
        assert orphans == []
        assert [span["name"] for span in spans.values() if not span["parent"]] == ["client: send problems"]
        by_id = {span["id"]: span for span in spans.values()}
        for span in spans.values():
            if span["parent"]:
                assert span["start"] >= by_id[span["parent"]]["start"], span
        for span in spans.values():
            assert span["length"] >= 0


async def test_a_foreign_traceparent_is_the_root(jaeger: Jaeger, up: Settings) -> None:
    event = {"family": "maxcut", "problem": {"edges": edges(99)}, "deadline": 20, "id": "foreign"}
    header = [("traceparent", f"00-{FOREIGN_TRACE}-{FOREIGN_SPAN}-01".encode())]
    async with AIOKafkaProducer(bootstrap_servers=up.broker) as producer:
        await producer.send_and_wait("problems", json.dumps(event).encode(), key=b"foreign", headers=header)
    give_up = time.monotonic() + 30
    found: list[Any] = []
    while not found and time.monotonic() < give_up:
        found = [event async for event in read_outcomes(up, since=None, follow=False)]
    (outcome,) = found
    assert isinstance(outcome, Outcome)
    assert outcome.trace_id == FOREIGN_TRACE
    spans = named_spans(jaeger, FOREIGN_TRACE, len(HOPS) - 1)
    roots = {span["name"] for span in spans.values() if span["parent"] == FOREIGN_SPAN}
    assert roots == {"encode: process problems", "verify: process problems"}


def named_spans(jaeger: Jaeger, trace_id: str, least: int) -> dict[str, dict[str, Any]]:
    """The spans of a trace by id, once Jaeger has `least` of them: name with service, parent, start in µs."""
    trace = jaeger.trace(trace_id, least)
    services = {key: process["serviceName"] for key, process in trace["processes"].items()}
    out = {}
    for span in trace["spans"]:
        parents = [r["spanID"] for r in span["references"] if r["refType"] == "CHILD_OF"]
        out[span["spanID"]] = {
            "id": span["spanID"],
            "name": f"{services[span['processID']].removeprefix('qmosaic-')}: {span['operationName']}",
            "parent": parents[0] if parents else None,
            "start": span["startTime"],
            "length": span["duration"],
        }
    return out


def test_the_collector_keeps_what_went_wrong_or_was_slow(tmp_path: Path) -> None:
    """Jaeger as docker-compose.yml has it."""
    more = {"JAEGER_HOST": HOST, "JAEGER_DECISION_WAIT": "1s"}
    server = Jaeger(tmp_path, ROOT / "deploy" / "jaeger.yaml", **more)
    server.start()
    try:
        telemetry = Telemetry(Settings(otlp_endpoint=server.otlp_endpoint), "verify", "verify-0")
        ends: dict[str, list[str]] = {}

        def ended(kind: str, seconds: float, **attributes: str) -> None:
            said = {key.replace("__", "."): value for key, value in attributes.items()}
            start = time.time() - seconds
            span = telemetry.span("send", "outcomes", parent=None, kind=SpanKind.PRODUCER, start=start, attributes=said)
            span.end()
            ends.setdefault(kind, []).append(f"{span.context.trace_id:032x}")

        for _ in range(100):
            ended("plain", 0.1, qmosaic__outcome__status="accepted")
        for _ in range(5):
            ended("slow", 6.0, qmosaic__outcome__status="accepted")
            ended("fallback", 0.1, qmosaic__outcome__status="fallback")
            ended("rejected", 0.1, error__type="invalid_event")
        telemetry.close()
        plain = ends.pop("plain")
        kept = {kind: sum(bool(server.trace(each, 1)["spans"]) for each in traces) for kind, traces in ends.items()}
        assert kept == {"slow": 5, "fallback": 5, "rejected": 5}
        assert sum(bool(server.trace(each, 1, timeout=0.01)["spans"]) for each in plain) < 50  # decided before these
    finally:
        server.stop()
