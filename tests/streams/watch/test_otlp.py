"""Our encoding of spans says what the exporter's own does, and is what its exporter sends."""

from __future__ import annotations

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as encoded_by_the_sdk
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags, TraceState

from qmosaic.streams.settings import Settings
from qmosaic.streams.watch.otlp import encode_spans
from qmosaic.streams.watch.spans import Telemetry

REMOTE = SpanContext(2**127 + 7, 2**63 + 9, True, TraceFlags(1), TraceState([("vendor", "a:b")]))
ATTRIBUTES = {"a": "text ümlaut", "b": 1, "c": True, "d": 0.5, "e": -7, "f": "", "g": 2**40, "h": "x" * 300, "one": 1.0}


def spans() -> list[ReadableSpan]:
    telemetry, out = Telemetry(Settings(), "verify", "verify-0"), list[ReadableSpan]()
    vars(telemetry)["export"] = out.append
    for kind in (SpanKind.CONSUMER, SpanKind.PRODUCER, SpanKind.INTERNAL):
        for parent in (None, REMOTE):
            telemetry.span("process", "problems", parent=parent, kind=kind, attributes=ATTRIBUTES).end()
    local = SpanContext(1, 2, False, TraceFlags(1))
    links = [Link(REMOTE), Link(local)]
    telemetry.whole("solve maxcut: accepted", local, REMOTE, 1.0, {"of": "another service"}).end()
    failed = {"error.type": "deadline", "qmosaic.failure.message": "too late", "c": 1, "b": True}
    telemetry.span("send", "x", parent=local, kind=SpanKind.PRODUCER, links=links, attributes=failed).end()
    return out


def test_it_says_the_same() -> None:
    made = spans()
    assert len(made) == 8
    ours = ExportTraceServiceRequest.FromString(encode_spans(made))
    theirs = ExportTraceServiceRequest.FromString(encoded_by_the_sdk(made).SerializeToString())
    assert ours == theirs


def test_the_exporter_encodes_like_this() -> None:
    Telemetry(Settings(otlp_endpoint="http://127.0.0.1:9"), "verify", "verify-0").close()
    assert vars(trace_exporter)["encode_spans"] is encode_spans
