"""The sensor's first listener: spans of what hops do, as the messaging conventions say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from opentelemetry.trace import Link, SpanKind

from qmosaic.codecs.events.hops import Ref
from qmosaic.codecs.events.public import Outcome
from qmosaic.streams.kafka.context import extract, inject, trace_of
from qmosaic.streams.kafka.records import Headers, Received, place_of
from qmosaic.streams.watch.spans import Span, Telemetry


class Tracing:
    """The spans of one worker. `group`: its consumer group."""

    def __init__(self, telemetry: Telemetry, group: str) -> None:
        self._telemetry, self._group = telemetry, group

    def handled(self, batch: Sequence[Received], started: float, ended: float) -> TracedBatch:
        """A span for each record."""
        spans = [
            self._telemetry.span(
                "process",
                record.topic,
                parent=trace_of(record),
                kind=SpanKind.CONSUMER,
                start=started,
                attributes={"messaging.consumer.group.name": self._group, **place_of(record)},
            )
            for record in batch
        ]
        return TracedBatch(self._telemetry, batch[0].topic, spans, started)

    def settled(
        self,
        problem: Received,
        arrived: Iterable[Received],
        topic: str,
        problem_id: str,
        attributes: Mapping[str, Any],
        ref: Ref | None = None,
        outcome: Outcome | None = None,
    ) -> TracedEnd:
        """The root where the producer brought none, a span for each message read, and the send at the end."""
        spans: list[Span] = []
        trace = trace_of(problem)
        if extract(problem.headers) is None:
            root = self._telemetry.span(
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
            self._telemetry.span(
                "process",
                record.topic,
                parent=trace if record is problem else extract(record.headers),
                kind=SpanKind.CONSUMER,
                start=record.received_at,
                attributes={
                    "messaging.consumer.group.name": self._group,
                    "qmosaic.problem.id": problem_id,
                    **place_of(record),
                },
            )
            for record in (problem, *arrived)
        ]
        last = spans[-1]
        last.attributes.update(attributes)
        spans.append(
            self._telemetry.span("send", topic, parent=last.context, kind=SpanKind.PRODUCER, attributes=attributes)
        )
        return TracedEnd(spans)


class TracedBatch:
    """The spans of a batch under way."""

    def __init__(self, telemetry: Telemetry, topic: str, spans: Sequence[Span], started: float) -> None:
        self._telemetry, self._topic, self._spans, self._started = telemetry, topic, spans, started
        self._sends: list[Span] = []

    def decided(self, cause: int, attributes: Mapping[str, Any]) -> None:
        """Its span says so."""
        self._spans[cause].attributes.update(attributes)

    def sending(self, cause: int, topic: str, attributes: Mapping[str, Any]) -> Headers:
        """A span under that of its cause, which whoever reads it goes on with."""
        parent = self._spans[cause].context
        span = self._telemetry.span("send", topic, parent=parent, kind=SpanKind.PRODUCER, attributes=attributes)
        self._sends.append(span)
        return inject(span.context)

    def sent(self) -> None:
        """They end; a batch of several has a span of its own, with links to theirs."""
        for span in (*self._sends, *self._spans):
            span.end()
        if len(self._spans) > 1:
            self._telemetry.span(
                "process",
                f"batch {self._topic}",
                parent=None,
                kind=SpanKind.INTERNAL,
                start=self._started,
                links=[Link(span.context) for span in self._spans],
                attributes={"messaging.batch.message_count": len(self._spans)},
            ).end()


class TracedEnd:
    """The spans of a problem's end under way, that of the send last."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self._spans = spans

    def headers(self) -> Headers:
        """The context of the send."""
        return inject(self._spans[-1].context)

    def written(self) -> None:
        """They end."""
        for span in self._spans:
            span.end()
