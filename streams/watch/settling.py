"""The spans at a problem's end: verify reads several messages about it, and sends one."""

from __future__ import annotations

from collections.abc import Iterable

from opentelemetry.trace import SpanContext, SpanKind

from qmosaic.streams.kafka.context import extract, root_of
from qmosaic.streams.kafka.records import Received, place_of
from qmosaic.streams.watch.spans import Span, Telemetry


def trace_of(problem: Received) -> SpanContext:
    """Where a problem's trace hangs: the producer's span, or the root that follows from its place."""
    return extract(problem.headers) or root_of(problem)


def settling(
    telemetry: Telemetry, group: str, problem: Received, arrived: Iterable[Received], topic: str, problem_id: str
) -> tuple[Span, ...]:
    """Open spans: the root where the producer brought none, one a message read, and the send to `topic` at the end."""
    spans: list[Span] = []
    trace = trace_of(problem)
    if extract(problem.headers) is None:
        root = telemetry.span(
            "receive",
            problem.topic,
            parent=None,
            kind=SpanKind.CONSUMER,
            start=min(problem.timestamp, problem.received_at),
            forced=trace,
            attributes=place_of(problem),
        )
        spans.append(root)
    spans += [
        telemetry.span(
            "process",
            record.topic,
            parent=trace if record is problem else extract(record.headers),
            kind=SpanKind.CONSUMER,
            start=record.received_at,
            attributes={
                "messaging.consumer.group.name": group,
                "qmosaic.problem.id": problem_id,
                **place_of(record),
            },
        )
        for record in (problem, *arrived)
    ]
    spans.append(telemetry.span("send", topic, parent=spans[-1].context, kind=SpanKind.PRODUCER, attributes={}))
    return tuple(spans)
