"""Spans of what hops tell: names, parents, links, what is said first; and collectors that do not answer."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from qmosaic.streams.client import Client
from qmosaic.streams.hops.steps import MOST_STEPS, TIMES, Noted, Steps
from qmosaic.streams.kafka.context import extract, root_of, trace_of
from qmosaic.streams.kafka.records import Received, Step
from qmosaic.streams.settings import Settings
from qmosaic.streams.watch.sensor import Ended
from qmosaic.streams.watch.spans import CLOSE_SECONDS, LOST_SECONDS, Telemetry
from qmosaic.streams.watch.tracing import Tracing
from tests.streams.harness import pipeline, settings_for

SENDER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
NOW = 1_700_000_000.25
SAID = {"qmosaic.outcome.status": "fallback", "qmosaic.problem.family": "maxcut", "error.type": "deadline"}


class Traced:
    """Telemetry of a hop into a file, which is read when it is closed."""

    def __init__(self, folder: Path, service: str) -> None:
        self._settings = Settings(spans_dir=str(folder), broker="kafka-1:9092")
        self._telemetry, self._file = Telemetry(self._settings, service, service), folder / f"{service}.jsonl"
        self.tracing = Tracing(self._telemetry, f"qmosaic.{service}")

    def spans(self) -> list[dict[str, Any]]:
        self._telemetry.close()
        return [json.loads(line) for line in self._file.read_text().splitlines()]


def record(topic: str = "problems", offset: int = 3, **headers: str) -> Received:
    said = {name: value.encode() for name, value in headers.items()}
    return Received(topic, 1, offset, NOW, b"{}", said, received_at=NOW + 0.01)


def by_name(spans: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {span["name"]: span for span in spans}


@pytest.mark.parametrize("sender", [None, SENDER])
def test_a_problem_has_one_root_that_encode_and_verify_agree_on(tmp_path: Path, sender: str | None) -> None:
    problem = record(traceparent=sender) if sender else record()
    encode, verify = Traced(tmp_path, "encode"), Traced(tmp_path, "verify")
    batch = encode.tracing.handled([problem], NOW + 0.02, NOW + 0.03)
    batch.decided(0, {"qmosaic.problem.id": "p"})
    trace = dict(batch.sending(0, "problems.encoded", {"qmosaic.problem.id": "p", "error.type": "no"}))
    batch.sent()
    incumbent = record("incumbents", 9, traceparent=trace["traceparent"].decode())
    end = verify.tracing.settled(Ended(problem, [incumbent], "outcomes.fallback", "p", SAID))
    sent = extract(end.headers())
    end.written()
    encoded, settled = by_name(encode.spans()), by_name(verify.spans())
    root = settled["solve maxcut: fallback"]
    known = root["context"]["span_id"]
    assert root["service"] == "qmosaic"
    assert root["parent_id"] == (f"0x{sender[36:52]}" if sender else None)
    assert encoded["process problems"]["parent_id"] == settled["process problems"]["parent_id"] == known
    assert {one["context"]["trace_id"] for one in (*encoded.values(), *settled.values())} == {
        f"0x{trace_of(problem).trace_id:032x}"
    }
    assert settled["process incumbents"]["parent_id"] == encoded["send problems.encoded"]["context"]["span_id"]
    assert sent is not None
    assert settled["send outcomes.fallback"]["context"]["span_id"] == f"0x{sent.span_id:016x}"
    red = [name for name, span in (encoded | settled).items() if span["status"] == "ERROR"]
    assert sorted(red) == ["process incumbents", "solve maxcut: fallback"]
    assert next(iter(encoded["process problems"]["attributes"])) == "qmosaic.problem.id"
    assert encoded["send problems.encoded"]["attributes"] == {
        "qmosaic.problem.id": "p",
        "messaging.system": "kafka",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "problems.encoded",
        "server.address": "kafka-1",
        "server.port": 9092,
    }


def test_a_root_does_not_begin_before_its_senders_span_nor_after_its_first_child(tmp_path: Path) -> None:
    """The broker's tick may be earlier than the moment when it was sent."""
    verify = Traced(tmp_path, "verify")
    for offset, sent in enumerate(["2023-11-14T22:13:20.250400Z", "2023-11-14T22:13:20.251000Z", "0001-01-01", "x"]):
        verify.tracing.repeated(record(offset=offset, ce_time=sent), f"{offset}")
    spans = [span for span in verify.spans() if span["name"] == "solve: repeated"]
    begun = [span["start_time"] for span in spans]
    assert [round(each / 1000) for each in begun] == [1_700_000_000_250_400, *[1_700_000_000_250_000] * 3]


def test_a_batch_is_linked_to_every_member_and_steps_are_below_theirs(tmp_path: Path) -> None:
    hop = Traced(tmp_path, "execute.quantum")
    jobs = [record("jobs.quantum", k, traceparent=SENDER) for k in range(3)]
    batch = hop.tracing.handled(jobs, NOW, NOW)
    inner = Step("submit v", NOW + 0.1, NOW + 0.2, {"error.type": "Unclear"}, remote=True)
    batch.did(1, Step("attempt v", NOW, NOW + 0.5, {"qmosaic.backend.name": "v"}, (inner,)))
    batch.sent()
    spans = hop.spans()
    named = by_name(spans)
    members = [span["context"]["span_id"] for span in spans if span["name"] == "process jobs.quantum"]
    whole = named["process batch jobs.quantum"]
    assert whole["links"] == members
    assert whole["parent_id"] is None
    assert whole["attributes"]["messaging.batch.message_count"] == 3
    assert whole["attributes"]["messaging.operation.type"] == "process"
    assert whole["attributes"]["messaging.destination.name"] == "jobs.quantum"
    assert named["attempt v"]["parent_id"] == members[1]
    assert named["submit v"]["parent_id"] == named["attempt v"]["context"]["span_id"]
    assert (named["submit v"]["status"], named["attempt v"]["status"]) == ("ERROR", "UNSET")
    assert named["attempt v"]["end_time"] - named["attempt v"]["start_time"] == pytest.approx(5e8, rel=1e-6)


def test_what_is_forged_or_from_nobody_has_no_parent_that_is_nowhere(tmp_path: Path) -> None:
    hop = Traced(tmp_path, "control")
    hop.tracing.handled([record("control.commands")], NOW, NOW).sent()
    assert [span["parent_id"] for span in hop.spans()] == [None]


def test_a_sampler_decides_about_all_of_a_trace_that_begins_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    verify = Traced(tmp_path, "verify")
    verify.tracing.handled([record()], NOW, NOW).sent()
    verify.tracing.repeated(record(), "p")
    verify.tracing.repeated(record(offset=4, traceparent=SENDER), "sampled by its sender")
    assert {span["parent_id"] for span in verify.spans() if span["name"] == "solve: repeated"} == {f"0x{SENDER[36:52]}"}
    context, sender = root_of(record(traceparent=SENDER[:-1] + "0"))
    assert sender is not None
    assert not context.trace_flags.sampled


def test_questions_are_one_step_and_a_failure_is_a_step_of_its_own() -> None:
    clock = iter(float(k) for k in range(10_000))

    class Vendor:
        name, can_find = "v", False

        async def poll(self, vendor_id: str) -> tuple[str, str]:
            if vendor_id == "lost":
                raise ValueError("not there")
            return "running", ""

    steps = Steps(lambda: next(clock))
    vendor: Any = Noted(Vendor(), steps)  # type: ignore[arg-type]
    assert vendor.can_find is False

    async def ask() -> None:
        for _ in range(5):
            await vendor.poll("there")
        with pytest.raises(ValueError, match="not there"):
            await vendor.poll("lost")
        await vendor.poll("there")

    asyncio.run(ask())
    found = steps.taken()
    assert [(one.started, one.ended, one.attributes[TIMES]) for one in found] == [(0, 9, 5), (10, 11, 1), (12, 13, 1)]
    assert found[1].attributes["error.type"] == "ValueError"
    assert all(one.remote for one in found)
    for k in range(2 * MOST_STEPS):
        with steps.noting(f"{k}"):
            pass
    assert len(steps.taken()) == MOST_STEPS
    assert steps.taken() == ()


@pytest.fixture
def dead() -> str:
    """The address of a collector that is not there."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def deaf() -> Iterator[str]:
    """A collector that takes connections, and says nothing."""
    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    held.append(server.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        assert held  # it was asked
        server.shutdown(socket.SHUT_RDWR)
    for one in held:
        one.close()


def test_a_collector_that_did_not_answer_gets_a_moment_at_the_end(deaf: str) -> None:
    telemetry = Telemetry(Settings(otlp_endpoint=deaf), "verify", "verify-0")
    assert telemetry.closing_seconds == CLOSE_SECONDS
    tracing = Tracing(telemetry, "qmosaic.verify")
    tracing.handled([record()], NOW, NOW).sent()
    give_up = time.monotonic() + 60
    while not telemetry.is_lost:
        assert time.monotonic() < give_up
        time.sleep(0.05)
    assert telemetry.closing_seconds == LOST_SECONDS
    telemetry.close()


@pytest.mark.broker
@pytest.mark.embedded
@pytest.mark.parametrize("collector", ["deaf", "dead"])
async def test_a_collector_that_hangs_or_is_away_breaks_nothing(
    broker: str, tmp_path: Path, collector: str, request: pytest.FixtureRequest
) -> None:
    settings = msgspec.structs.replace(settings_for(broker, tmp_path), otlp_endpoint=request.getfixturevalue(collector))
    with pipeline(settings, ["encode", "reduce", "verify"]) as up:
        async with Client(settings=settings) as client:
            path = {"family": "maxcut", "problem": {"edges": [[0, 1], [1, 2], [2, 3]]}}
            outcomes = [await client.solve(path, deadline=30) for _ in range(20)]
        assert {outcome.reason for outcome in outcomes} == {"solved_in_reduce"}
        assert all(child.starts == 1 for child in up.supervisor.children)
