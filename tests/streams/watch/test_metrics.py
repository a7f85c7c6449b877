"""Metrics without a broker: what the listener counts, what comes out of it, and collectors that are of no use."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import log
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import SpanContext, TraceFlags
from prometheus_client import parser
from prometheus_client.openmetrics import parser as open_parser

from qmosaic.codecs.events.control import BackendStatus
from qmosaic.codecs.events.evidence import Calibration, Learned, Sums
from qmosaic.codecs.events.hops import Ref
from qmosaic.codecs.events.public import Attempt, Baseline, CircuitInfo, Outcome, Timing, Timings
from qmosaic.processors.control.breakers import Known
from qmosaic.processors.control.evidence import backend_key
from qmosaic.streams.kafka.records import Received
from qmosaic.streams.life.broker import HOST
from qmosaic.streams.life.observed import observe_control, observe_vendors
from qmosaic.streams.settings import Settings
from qmosaic.streams.watch.exposition import merged, names_of, text
from qmosaic.streams.watch.instruments import BY_NAME, INSTRUMENTS
from qmosaic.streams.watch.metrics import QUEUE, Measuring, Metrics
from qmosaic.streams.watch.sensor import Ended, Several
from qmosaic.streams.watch.series import MOST_SERIES, OTHER, Counts, Distribution
from qmosaic.streams.watch.spans import CLOSE_SECONDS, Telemetry
from qmosaic.streams.watch.tracing import Tracing

openmetrics: Any = open_parser.text_string_to_metric_families
plain: Any = parser.text_string_to_metric_families
OPEN = "application/openmetrics-text; version=1.0.0"
NOW = 1_000_000.0
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = SpanContext(int(TRACE, 16), int(SPAN, 16), True, TraceFlags(1))
Found = dict[tuple[str, frozenset[tuple[str, str]]], Any]


def listener(stage: str, settings: Settings | None = None) -> tuple[Metrics, Measuring]:
    given = settings or Settings(namespace="ns")
    metrics = Metrics(given, Resource.create({}))
    return metrics, Measuring(metrics, given, stage, clock=lambda: NOW)


def record(topic: str, flags: str = "01", offset: int = 0) -> Received:
    headers = {"traceparent": f"00-{TRACE}-{SPAN}-{flags}".encode()}
    return Received(f"ns.{topic}", 0, offset, NOW - 2.0, b"", headers, NOW - 1.0)


def samples(metrics: Metrics, accept: str = OPEN) -> Found:
    """By name and labels, the worker's apart."""
    body, kind = text([("w-0", metrics.data())], accept)
    assert kind.startswith("application/openmetrics-text" if accept == OPEN else "text/plain")
    families = (openmetrics if accept == OPEN else plain)(body.decode())
    found = [sample for family in families for sample in family.samples]
    assert all(sample.labels.pop("worker") == "w-0" for sample in found)
    return {(sample.name, frozenset(sample.labels.items())): sample for sample in found}


def value(found: Found, name: str, **labels: str) -> float | None:
    fits = [s for (n, at), s in found.items() if n == name and labels.items() <= dict(at).items()]
    return sum(sample.value for sample in fits) if fits else None


def ref(deadline_at: float) -> Ref:
    return Ref(
        problem_id="p",
        partition=0,
        offset=0,
        family="maxcut",
        digest="",
        tenant="acme",
        priority="normal",
        target="auto",
        shots=1,
        seed=1,
        received_at=NOW - 2.0,
        deadline_at=deadline_at,
    )


def outcome(**more: Any) -> Outcome:
    tried = [
        Attempt(target="quantum", backend="cirq.statevector", ended="execution_failed"),
        Attempt(target="classical", backend="exact", ended="answered", cost_usd=0.25, cached=True),
        Attempt(target="classical", backend="\x1bevil\n", ended="\x1banything"),
    ]
    given: dict[str, Any] = {
        "problem_id": "p",
        "family": "maxcut",
        "status": "accepted",
        "reason": "improved",
        "sense": "max",
        "objective": 11,
        "solution": None,
        "feasible": True,
        "baseline": Baseline(10, "tabu", 0.1),
        "improvement": 1,
        "target": "classical",
        "backend": "exact",
        "route_reason": "rule",
        "circuit": CircuitInfo(4, 17, 30, 100),
        "confidence": 0.6,
        "timings": Timings({"verify": Timing(0.002, 0.003)}, 2.0),
        "attempts": 3,
        "tried": tried,
        "seed": 1,
        "digest": "",
        "versions": {},
        "trace_id": TRACE,
        "tenant": "acme",
        "labels": {},
        "notes": [],
    }
    return Outcome(**{**given, **more})


def end(measuring: Measuring, deadline_at: float = NOW + 3.0, status: str = "accepted", **more: Any) -> None:
    said = {
        "qmosaic.problem.id": "p",
        "qmosaic.problem.family": "maxcut",
        "qmosaic.outcome.status": status,
        "qmosaic.outcome.reason": "improved",
    }
    told = (record("problems"), [record("proposals")], "ns.outcomes.accepted", "p", said)
    measuring.settled(Ended(*told, ref(deadline_at), outcome(**more))).written()


def test_a_batch_is_one_work_and_a_wait_for_each_event() -> None:
    metrics, measuring = listener("route")
    batch = measuring.handled([record("problems.reduced", offset=k) for k in range(3)], NOW, NOW + 0.02)
    for cause in (0, 1, 1, 2):  # one leads to two records
        said = {QUEUE: 0.2, "qmosaic.problem.family": "maxcut", "qmosaic.route.reason": "rule"}
        batch.decided(cause, {**said, "qmosaic.route.target": "classical", "qmosaic.backend.name": "exact"})
        assert batch.sending(cause, "ns.jobs.classical", {}) == []
    assert value(samples(metrics), "messaging_client_sent_messages_total", qmosaic_hop="route") == 0
    batch.sent()
    found = samples(metrics)
    assert value(found, "messaging_process_duration_seconds_count", qmosaic_hop="route") == 1
    assert value(found, "qmosaic_hop_queue_duration_seconds_count", qmosaic_problem_family="maxcut") == 3
    assert value(found, "qmosaic_hop_queue_duration_seconds_bucket", le="0.1") == 0
    assert value(found, "qmosaic_hop_queue_duration_seconds_bucket", le="0.25") == 3
    assert value(found, "qmosaic_hop_batch_size_sum") == 3
    consumed = {"messaging_destination_name": "problems.reduced", "messaging_system": "kafka"}
    assert value(found, "messaging_client_consumed_messages_total", **consumed) == 3
    assert value(found, "messaging_client_sent_messages_total", messaging_destination_name="jobs.classical") == 4
    assert value(found, "qmosaic_route_decisions_total", qmosaic_backend_name="exact") == 4


def test_an_outcome_is_everything_that_is_known_of_it() -> None:
    metrics, measuring = listener("verify")
    end(measuring)
    found = samples(metrics)
    assert value(found, "qmosaic_outcomes_total", qmosaic_outcome_status="accepted") == 1
    assert value(found, "qmosaic_problem_duration_seconds_sum") == 2.0
    assert value(found, "qmosaic_deadline_slack_seconds_sum") == 3.0
    assert value(found, "qmosaic_deadline_misses_total", qmosaic_problem_family="maxcut") == 0
    assert value(found, "qmosaic_circuit_depth_sum", qmosaic_backend_name="exact") == 17
    assert value(found, "qmosaic_circuit_two_qubit_gates_sum") == 30
    assert value(found, "qmosaic_answer_confidence_ratio_sum") == 0.6
    assert value(found, "qmosaic_answer_gain_ratio_sum") == pytest.approx(0.1)
    assert value(found, "qmosaic_cost_total", qmosaic_backend_name="exact") == 0.25
    assert value(found, "qmosaic_cache_hits_total", qmosaic_backend_name="exact") == 1
    assert value(found, "qmosaic_attempts_total", qmosaic_attempt_ended="execution_failed") == 1
    assert value(found, "qmosaic_hop_queue_duration_seconds_sum", qmosaic_hop="verify") == 0.002
    assert value(found, "messaging_client_consumed_messages_total", messaging_destination_name="proposals") == 1


def test_a_late_one_is_a_miss() -> None:
    metrics, measuring = listener("verify")
    end(measuring, deadline_at=NOW - 0.5, status="fallback", improvement=None)
    found = samples(metrics)
    assert value(found, "qmosaic_deadline_misses_total", qmosaic_problem_family="maxcut") == 1
    assert value(found, "qmosaic_deadline_slack_seconds_sum") == 0
    assert value(found, "qmosaic_answer_gain_ratio_count") is None


def test_what_is_not_of_the_settings_is_other() -> None:
    metrics, measuring = listener("verify")
    end(measuring, backend="made up", improvement=1)
    said = {"qmosaic.problem.family": "no family", "error.type": "invalid_event"}
    measuring.settled(Ended(record("problems"), [], "ns.problems.rejected", "p", said)).written()
    found = samples(metrics)
    values = {value for _, labels in found for _, value in labels}
    assert not values & {"made up", "no family", "\x1bevil\n", "\x1banything"}
    assert value(found, "qmosaic_attempts_total", qmosaic_backend_name=OTHER, qmosaic_attempt_ended=OTHER) == 1
    assert value(found, "qmosaic_outcomes_total", qmosaic_outcome_status="rejected") == 1


def test_no_attribute_is_an_id_or_a_tenant() -> None:
    keys = {key for each in INSTRUMENTS for key in each.attributes}
    assert not {key for key in keys if key.endswith(".id") or "tenant" in key}


def test_exemplars_lead_to_the_trace_if_it_is_sampled() -> None:
    metrics, measuring = listener("encode")
    for flags, seconds in (("01", 0.02), ("00", 3.0)):
        measuring.handled([record("problems", flags)], NOW, NOW + seconds)
    buckets = [s for (name, _), s in samples(metrics).items() if name == "messaging_process_duration_seconds_bucket"]
    (found,) = [each.exemplar for each in buckets if each.exemplar]
    assert found.labels == {"trace_id": TRACE, "span_id": SPAN}
    assert found.value == pytest.approx(0.02)
    assert not any(each.exemplar for each in samples(metrics, "text/plain").values())


def test_series_are_bounded() -> None:
    counts, waits = Counts(BY_NAME["qmosaic.cost"]), Distribution(BY_NAME["qmosaic.circuit.depth"], 0)
    for number in range(2 * MOST_SERIES):
        counts.add((f"b{number}",), 1)
        waits.record((f"b{number}",), 1.0, SAMPLED)
    observed = counts.observed()
    assert len(observed) == MOST_SERIES + 1
    assert sum(each.value for each in observed) == 2 * MOST_SERIES
    assert len(waits.metric(1).data.data_points) == MOST_SERIES + 1


def test_every_instrument_has_its_name_in_the_text() -> None:
    metrics, measuring = listener("verify")
    end(measuring)
    for each in INSTRUMENTS:
        if each.kind == "gauge" or each.name in ("process.cpu.time", "qmosaic.programs"):
            metrics.observe(each.name, lambda each=each: [(1.0, ("x",) * len(each.attributes))])  # type: ignore[misc]
    for counts in metrics.counters.values():
        counts.add(("x",) * len(counts.instrument.attributes))
    for distribution in metrics.histograms.values():
        distribution.record(("x",) * len(distribution.instrument.attributes), 1.0)
    names = {name for name, _ in samples(metrics)}
    assert {name for each in INSTRUMENTS for name in names_of(each)} <= names


OF_ESTIMATES = ("seconds", "cost", "gain", "fidelity")


def test_how_good_estimates_are_is_told_by_the_leader_of_known_backends() -> None:
    off = Calibration(
        NOW, Sums(2, 2 * log(2), 2 * log(2) ** 2), Sums(2, 0, 0), Sums(2, -0.02, 0.0002), Sums(2, 0.08, 0.0032)
    )
    learned = Learned(calibrations={backend_key(size, name): off for size in (4, 40) for name in ("exact", "whose")})
    metrics, _ = listener("control")
    control: Any = SimpleNamespace(owned={}, learned=learned, is_known=lambda name: name == "exact")
    told: Any = SimpleNamespace(state=Known())
    observe_control(metrics, control, told)
    said = {name: value(samples(metrics), f"qmosaic_estimate_{name}_ratio") for name in OF_ESTIMATES}
    assert said == dict(zip(OF_ESTIMATES, map(pytest.approx, (2.0, 1.0, -0.01, 0.04)), strict=True))
    assert value(samples(metrics), "qmosaic_estimate_seconds_ratio", qmosaic_backend_name="whose") is None


def test_how_vendors_are_is_told_by_who_looks_at_them() -> None:
    metrics, _ = listener("execute.paid")
    names = ("ionq/qpu.forte-1", "aqt/default/ibex")
    status = BackendStatus(
        worker="", target="quantum", backends={name: {} for name in names}, at=NOW, conditions={names[0]: "unreachable"}
    )
    paid: Any = SimpleNamespace(status=lambda: status)
    observe_vendors(metrics, paid)
    found = {
        (name, condition): value(
            samples(metrics),
            "qmosaic_backend_condition",
            qmosaic_backend_name=name,
            qmosaic_condition=condition,
        )
        for name in names
        for condition in ("ready", "retuning", "offline", "unreachable")
    }
    assert {key for key, one in found.items() if one} == {(names[0], "unreachable"), (names[1], "ready")}
    assert set(found.values()) == {0.0, 1.0}


def test_texts_of_several_workers_are_one() -> None:
    texts = []
    for worker in ("a", "b"):
        metrics, measuring = listener("encode")
        measuring.handled([record("problems")], NOW, NOW + 1)
        texts.append(text([(worker, metrics.data())], OPEN)[0])
    families = {family.name: family for family in openmetrics(merged(texts).decode())}  # it refuses families twice
    counts = [s for s in families["qmosaic_hop_batch_size"].samples if s.name.endswith("_count")]
    assert [(sample.labels["worker"], sample.value) for sample in counts] == [("a", 1), ("b", 1)]


def test_several_listeners_hear_the_same() -> None:
    settings = Settings(namespace="ns")
    metrics, measuring = listener("encode", settings)
    both = Several(Tracing(Telemetry(settings, "encode", "encode-0"), "group"), measuring)
    batch = both.handled([record("problems")], NOW, NOW + 1)
    batch.decided(0, {})
    assert [key for key, _ in batch.sending(0, "ns.problems.encoded", {})] == ["traceparent"]
    batch.sent()
    assert value(samples(metrics), "qmosaic_hop_batch_size_count") == 1
    ending = both.settled(Ended(record("problems"), [], "ns.problems.rejected", "p", {}))
    assert [key for key, _ in ending.headers()] == ["traceparent"]
    ending.written()
    assert value(samples(metrics), "qmosaic_outcomes_total") == 1


@contextmanager
def collector(answers: bytes | None) -> Iterator[tuple[str, list[bytes]]]:
    """That takes connections, and says nothing, or the same to all; its address, and what it was sent."""
    taken: list[bytes] = []
    with socket.create_server((HOST, 0)) as server:

        def take() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                taken.append(connection.recv(65_536))
                if answers is not None:
                    connection.sendall(answers)
                    connection.close()
                else:
                    held.append(connection)

        held: list[socket.socket] = []
        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        yield f"http://{HOST}:{server.getsockname()[1]}", taken
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        for each in held:
            each.close()


@pytest.mark.parametrize("answers", [None, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"nonsense"])
def test_whatever_the_collector_does_is_out_of_the_way(answers: bytes | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "50")
    with collector(answers) as (address, taken):
        metrics, measuring = listener("verify", Settings(namespace="ns", otlp_endpoint=address))
        give_up = time.monotonic() + 30
        while not taken and time.monotonic() < give_up:
            end(measuring)
        assert taken
        assert taken[0].startswith(b"POST /v1/metrics ")
        end(measuring)
        assert value(samples(metrics), "qmosaic_outcomes_total")
        metrics.close(CLOSE_SECONDS)


def test_no_collector_is_out_of_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "50")
    metrics, measuring = listener("verify", Settings(namespace="ns", otlp_endpoint=f"http://{HOST}:9"))
    end(measuring)
    metrics.close(CLOSE_SECONDS)
    assert value(samples(metrics), "qmosaic_outcomes_total") == 1
