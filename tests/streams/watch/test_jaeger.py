"""What an operator sees in Jaeger: 50 problems of all families through `qmosaic up`, each one trace with every hop."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import networkx as nx
import pytest
from aiokafka import AIOKafkaProducer
from opentelemetry.trace import SpanKind
from typer.testing import CliRunner

from qmosaic.codecs.events.public import Outcome, Rejection
from qmosaic.streams.cli.app import app
from qmosaic.streams.cli.demo import demo_problems
from qmosaic.streams.client import Client, read_outcomes
from qmosaic.streams.life.broker import HOST
from qmosaic.streams.settings import Settings
from qmosaic.streams.watch.spans import Telemetry
from tests.servers import ROOT, Jaeger
from tests.vendors.ionq import IonqServer

pytestmark = pytest.mark.jaeger

PROBLEMS = 50
FOREIGN_TRACE, FOREIGN_SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PAID = "ionq/simulator"
SETTINGS = f"""
[paid]
backends = ["{PAID}"]
limits = {{poll_seconds = 0.05, ask_seconds = 0.05}}
[route.tenants.payer]
attempts = 2
[[route.tenants.payer.rules]]
name = "devices"
target = "quantum"
backend = "{PAID}"
then = ["exact"]
"""
# parent → child, as `service: span name`, of every problem that is sent by the client and solved by a backend.
HOPS = {
    ("client: send problems", "solve"),
    ("solve", "encode: process problems"),
    ("solve", "verify: process problems"),
    ("encode: process problems", "encode: send problems.encoded"),
    ("encode: send problems.encoded", "reduce: process problems.encoded"),
    ("reduce: process problems.encoded", "reduce: send incumbents"),
    ("reduce: process problems.encoded", "reduce: send problems.reduced"),
    ("reduce: send incumbents", "verify: process incumbents"),
    ("reduce: send problems.reduced", "route: process problems.reduced"),
    ("verify: process proposals", "verify: send outcomes.accepted"),
    ("verify: send outcomes.accepted", "client: process outcomes.accepted"),
}
# Of one that is paid for, besides.
PAID_HOPS = {
    ("route: process problems.reduced", "route: send jobs.paid"),
    ("route: send jobs.paid", "execute.paid: process jobs.paid"),
    ("execute.paid: process jobs.paid", f"execute.paid: estimate {PAID}"),
    ("execute.paid: process jobs.paid", "execute.paid: send jobs.priced"),
    ("execute.paid: send jobs.priced", "control: process jobs.priced"),
    ("control: process jobs.priced", f"control: grant {PAID}"),
    ("control: process jobs.priced", "control: send jobs.paid"),
    ("control: send jobs.paid", "execute.paid: process jobs.paid"),
    ("execute.paid: process jobs.paid", f"execute.paid: attempt {PAID}"),
    (f"execute.paid: attempt {PAID}", f"execute.paid: compile {PAID}"),
    (f"execute.paid: attempt {PAID}", f"execute.paid: submit {PAID}"),
    (f"execute.paid: attempt {PAID}", f"execute.paid: poll {PAID}"),
    (f"execute.paid: attempt {PAID}", f"execute.paid: fetch {PAID}"),
    ("execute.paid: process jobs.paid", "execute.paid: send jobs.ended"),
    ("execute.paid: send jobs.ended", "control: process jobs.ended"),
    ("control: process jobs.ended", f"control: book {PAID}"),
    ("execute.paid: process jobs.paid", "execute.paid: send proposals"),
    ("execute.paid: send proposals", "verify: process proposals"),
}
# Who calls whom, itself left out: what the service graph shows.
CALLS = {
    ("client", "qmosaic"),
    ("qmosaic", "encode"),
    ("qmosaic", "verify"),
    ("encode", "reduce"),
    ("reduce", "route"),
    ("reduce", "verify"),
    ("route", "execute.quantum"),
    ("route", "execute.paid"),
    ("execute.quantum", "verify"),
    ("execute.paid", "control"),
    ("control", "execute.paid"),
    ("execute.paid", "verify"),
    ("verify", "client"),
}
MAYBE_CALLS = {
    ("route", "execute.gpu"),
    ("route", "execute.classical"),
    ("execute.gpu", "verify"),
    ("execute.classical", "verify"),
    ("route", "verify"),
    ("execute.quantum", "execute.classical"),
}


@pytest.fixture(scope="module")
def up(jaeger: Jaeger, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """`qmosaic up` as a user starts it, its traces going to Jaeger, and a vendor."""
    folder = tmp_path_factory.mktemp("up")
    (folder / "qmosaic.toml").write_text(SETTINGS)
    with IonqServer() as vendor:
        environment = {
            **os.environ,
            **vendor.environment(),
            "QMOSAIC_SETTINGS": str(folder / "qmosaic.toml"),
            "QMOSAIC_DATA_DIR": str(folder),
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


class Trace:
    """One trace: spans by id, each with `name` (`service: name`), `parent`, `start` and `length` in µs, `tags`."""

    def __init__(self, told: dict[str, Any]) -> None:
        services = {key: process["serviceName"] for key, process in told["processes"].items()}
        self.spans: dict[str, dict[str, Any]] = {}
        for span in told["spans"]:
            parents = [r["spanID"] for r in span["references"] if r["refType"] == "CHILD_OF"]
            service = services[span["processID"]].removeprefix("qmosaic-")
            self.spans[span["spanID"]] = {
                "service": service,
                "name": f"{service}: {span['operationName']}",
                "operation": span["operationName"],
                "parent": parents[0] if parents else None,
                "links": [r["spanID"] for r in span["references"] if r["refType"] == "FOLLOWS_FROM"],
                "start": span["startTime"],
                "length": span["duration"],
                "tags": {tag["key"]: tag["value"] for tag in span["tags"]},
            }

    def named(self, name: str) -> list[dict[str, Any]]:
        """The spans of a name, by their start."""
        return sorted((one for one in self.spans.values() if one["name"] == name), key=lambda one: int(one["start"]))

    @property
    def whole(self) -> dict[str, Any]:
        """The span of the whole problem."""
        (found,) = (one for one in self.spans.values() if one["service"] == "qmosaic")
        return found

    @property
    def edges(self) -> set[tuple[str, str]]:
        """Parent and child, by name; that of the whole problem is `solve`."""

        def name(span: dict[str, Any]) -> str:
            return "solve" if span["service"] == "qmosaic" else str(span["name"])

        return {
            (name(self.spans[one["parent"]]), name(one)) for one in self.spans.values() if one["parent"] in self.spans
        }

    @property
    def orphans(self) -> list[str]:
        """Those whose parent is nowhere."""
        return [one["name"] for one in self.spans.values() if one["parent"] and one["parent"] not in self.spans]

    def check(self) -> None:
        """One root, no orphan, nothing before its cause, and every name and kind as the conventions say."""
        assert self.orphans == []
        assert len([one for one in self.spans.values() if one["parent"] is None]) == 1
        for span in self.spans.values():
            tags, parent = span["tags"], self.spans.get(span["parent"])
            assert span["length"] >= 0
            if parent is not None:
                assert span["start"] >= parent["start"], (parent, span)
            if "messaging.system" not in tags:
                continue
            what, topic = tags["messaging.operation.type"], tags["messaging.destination.name"]
            assert span["operation"] == f"{tags['messaging.operation.name']} {topic}"
            assert (what, tags["span.kind"]) in {("send", "producer"), ("process", "consumer")}
            assert tags["server.address"] == "127.0.0.1"
            if what == "process" and topic != "problems":
                assert parent is not None
                assert parent["operation"] == f"send {topic}"


def trace_of(jaeger: Jaeger, trace_id: str, wanted: set[tuple[str, str]]) -> Trace:
    """A trace when all that is wanted has come, and whatever else hangs below it."""
    give_up = time.monotonic() + 30
    while True:
        trace = Trace(jaeger.trace(trace_id, 1))
        if (wanted <= trace.edges and not trace.orphans) or time.monotonic() > give_up:
            assert wanted - trace.edges == set()
            return trace
        time.sleep(0.1)


async def ready(settings: Settings, client: Client) -> None:
    """Cirq is loaded behind."""
    give_up = time.monotonic() + 120
    first = {"family": "maxcut", "problem": {"edges": edges(99)}}
    while (await client.solve(first, deadline=30, target="quantum")).backend is None:
        assert time.monotonic() < give_up


async def test_each_problem_is_one_trace_with_every_hop(jaeger: Jaeger, up: Settings) -> None:
    problems = demo_problems()
    assert {problem["family"] for problem in problems} >= {
        "maxcut",
        "portfolio",
        "route",
        "molecule",
        "circuit",
        "labs",
    }
    events = [
        {**problems[k % len(problems)], "id": f"problem {k}", "deadline": 120, "target": "auto"}
        for k in range(PROBLEMS - 10)
    ]
    events += [
        {"family": "maxcut", "problem": {"edges": edges(k)}, "id": f"quantum {k}", "deadline": 120, "target": "quantum"}
        for k in range(9)
    ]
    events.append(
        {"family": "maxcut", "problem": {"edges": edges(9)}, "id": "paid", "deadline": 120, "tenant": "payer"}
    )
    async with Client(settings=up) as client:
        await ready(up, client)
        outcomes = await asyncio.gather(*(client.solve(event, id=event["id"], deadline=120) for event in events))
    assert len({outcome.trace_id for outcome in outcomes}) == PROBLEMS
    members: dict[str, dict[str, Any]] = {}
    for outcome in outcomes:
        status = outcome.status
        hops = {(a.replace("accepted", status), b.replace("accepted", status)) for a, b in HOPS}
        if not outcome.tried:
            hops = {edge for edge in hops if "proposals" not in edge[0] and "problems.reduced" not in "".join(edge)}
        trace = trace_of(jaeger, outcome.trace_id, hops | (PAID_HOPS if outcome.problem_id == "paid" else set()))
        trace.check()
        members |= trace.spans
        about = trace.whole["tags"]
        assert trace.whole["operation"] == f"solve {outcome.family}: {status}"
        assert about["qmosaic.problem.id"] == outcome.problem_id
        assert about["qmosaic.problem.family"] == outcome.family
        assert (about["qmosaic.outcome.status"], about["qmosaic.outcome.reason"]) == (status, outcome.reason)
        assert about.get("error", False) is (status == "fallback")
        (root,) = (one for one in trace.spans.values() if one["parent"] is None)
        assert root["name"] == "client: send problems"
        assert root["tags"]["qmosaic.outcome.status"] == status
        attempts = [one for one in trace.spans.values() if one["operation"].startswith("attempt ")]
        assert len(attempts) == len(outcome.tried or [])
        assert {one["tags"]["qmosaic.backend.name"] for one in attempts} == {one.backend for one in outcome.tried or []}
    (paid,) = (outcome for outcome in outcomes if outcome.problem_id == "paid")
    assert paid.backend == PAID
    links = [one["links"] for one in batches(jaeger)]
    assert links
    assert {link for one in links for link in one} & members.keys()
    assert calls(jaeger) >= CALLS
    assert calls(jaeger) <= CALLS | MAYBE_CALLS


def batches(jaeger: Jaeger) -> list[dict[str, Any]]:
    """The spans of batches: each has as many links as it says it has messages."""
    found = []
    for service in ("encode", "reduce", "route", "execute.quantum"):
        for trace in jaeger.ask(f"/api/traces?service=qmosaic-{service}&limit=1000"):
            for span in Trace(trace).spans.values():
                if "messaging.batch.message_count" in span["tags"]:
                    assert span["tags"]["messaging.batch.message_count"] == len(span["links"]) > 1
                    assert span["operation"] == f"process batch {span['tags']['messaging.destination.name']}"
                    found.append(span)
    return found


def calls(jaeger: Jaeger) -> set[tuple[str, str]]:
    """The edges of the service graph between different services."""
    told = jaeger.ask(f"/api/dependencies?endTs={int(time.time() * 1000) + 60_000}&lookback={3_600_000}")
    edges = {tuple(one[key].removeprefix("qmosaic-") for key in ("parent", "child")) for one in told}
    return {(a, b) for a, b in edges if a != b}


async def sent(settings: Settings, event: dict[str, Any], key: bytes | None, headers: list[tuple[str, bytes]]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=settings.broker) as producer:
        await producer.send_and_wait("problems", json.dumps(event).encode(), key=key, headers=headers)


async def ended(settings: Settings, problem_id: str) -> Outcome | Rejection:
    """The end of a problem that any client sent."""
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up:
        there = [event async for event in read_outcomes(settings, since=None, follow=False)]
        for event in there:
            if event.problem_id == problem_id:
                return event
    raise AssertionError(f"{problem_id} has no end")


async def test_a_foreign_traceparent_leads_to_one_root_of_ours(jaeger: Jaeger, up: Settings) -> None:
    event = {"family": "maxcut", "problem": {"edges": edges(99)}, "deadline": 20, "id": "foreign"}
    await sent(up, event, b"foreign", [("traceparent", f"00-{FOREIGN_TRACE}-{FOREIGN_SPAN}-01".encode())])
    outcome = await ended(up, "foreign")
    assert outcome.trace_id == FOREIGN_TRACE
    trace = trace_until(jaeger, FOREIGN_TRACE, "verify: send outcomes.accepted")
    ours = [one["name"] for one in trace.spans.values() if one["parent"] not in trace.spans]
    assert ours == ["qmosaic: solve maxcut: accepted"]
    assert trace.whole["parent"] == FOREIGN_SPAN


def trace_until(jaeger: Jaeger, trace_id: str, name: str) -> Trace:
    """A trace when a span of this name, and all parents of ours, are in it."""
    give_up = time.monotonic() + 30
    while time.monotonic() < give_up:
        trace = Trace(jaeger.trace(trace_id, 1))
        known = {*trace.spans, FOREIGN_SPAN, None}
        if trace.named(name) and all(one["parent"] in known for one in trace.spans.values()):
            return trace
        time.sleep(0.1)
    raise AssertionError(f"{trace_id} has no {name}, or orphans")


async def test_without_a_key_and_a_traceparent_it_is_one_trace_too(jaeger: Jaeger, up: Settings) -> None:
    await sent(up, {"family": "maxcut", "problem": {"edges": edges(98)}, "deadline": 20, "id": "keyless"}, None, [])
    outcome = await ended(up, "keyless")
    trace = trace_until(jaeger, outcome.trace_id, "verify: send outcomes.accepted")
    trace.check()
    assert trace.whole["parent"] is None
    assert ("verify", "encode") not in calls(jaeger)


async def test_what_is_not_accepted_is_red_and_says_why(jaeger: Jaeger, up: Settings) -> None:
    hostile = {"id": "refused", "family": "\x1b[31m" + "x" * 90, "problem": {}}
    await sent(up, hostile, b"refused", [])
    refused = await ended(up, "refused")
    trace = trace_until(jaeger, refused.trace_id, "verify: send problems.rejected")
    assert trace.whole["operation"] == "solve: rejected"
    tags = trace.whole["tags"]
    assert (tags["error"], tags["error.type"], tags["otel.status_code"]) == (True, "unknown_family", "ERROR")
    only = {"id": "only", "family": "maxcut", "problem": {"edges": edges(97)}, "cache": "only", "deadline": 20}
    await sent(up, only, b"only", [])
    fallback = await ended(up, "only")
    trace = trace_until(jaeger, fallback.trace_id, "verify: send outcomes.fallback")
    trace.check()
    assert trace.whole["operation"] == "solve maxcut: fallback"
    assert trace.whole["tags"]["error.type"] == "not_cached"
    red = {one["name"] for one in trace.spans.values() if one["tags"].get("error")}
    assert {"qmosaic: solve maxcut: fallback", "verify: process proposals"} <= red
    assert not any(": send " in name for name in red)
    for end in (refused, fallback):
        tags = quote(json.dumps({"qmosaic.outcome.status": end.status}))
        found = jaeger.ask(f"/api/traces?service=qmosaic&tags={tags}&limit=100")
        assert end.trace_id in {one["traceID"] for one in found}


async def test_a_repeat_is_a_trace_without_orphans(jaeger: Jaeger, up: Settings) -> None:
    event = {"family": "maxcut", "problem": {"edges": edges(96)}, "deadline": 20, "id": "twice"}
    await sent(up, event, b"twice", [])
    await ended(up, "twice")
    await sent(up, event, b"twice", [])
    give_up = time.monotonic() + 30
    found: list[Any] = []
    while not found and time.monotonic() < give_up:
        found = jaeger.ask(f"/api/traces?service=qmosaic&operation={quote('solve: repeated')}")
    trace_until(jaeger, found[0]["traceID"], "encode: process problems").check()


async def test_a_trace_of_jaeger_is_shown_in_the_terminal(jaeger: Jaeger, up: Settings) -> None:
    async with Client(settings=up) as client:
        outcome = await client.solve({"family": "labs", "problem": {"n": 9}}, deadline=20)
    trace_of(jaeger, outcome.trace_id, {("client: send problems", "solve")})
    trace_until(jaeger, outcome.trace_id, "client: process outcomes.accepted")
    shown = CliRunner().invoke(app, ["trace", outcome.trace_id, "--jaeger", jaeger.url])
    assert shown.exit_code == 0, shown.output
    assert "send problems  client  @0.0" in shown.output
    assert "solve labs: accepted  qmosaic" in shown.output
    lines = CliRunner().invoke(app, ["trace", outcome.trace_id, "--jaeger", jaeger.url, "--json"]).stdout.splitlines()
    spans = [msgspec.json.decode(line) for line in lines]
    assert {span["context"]["trace_id"] for span in spans} == {f"0x{outcome.trace_id}"}
    assert {span["service"] for span in spans} >= {"qmosaic", "qmosaic-client", "qmosaic-encode", "qmosaic-verify"}


def test_the_collector_keeps_what_went_wrong_or_was_slow(tmp_path: Path) -> None:
    """Jaeger as docker-compose.yml has it."""
    more = {"JAEGER_HOST": HOST, "JAEGER_DECISION_WAIT": "1s", "JAEGER_UI": str(ROOT / "tools" / "jaeger" / "ui.json")}
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
