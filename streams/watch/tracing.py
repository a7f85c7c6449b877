"""The sensor's first listener: spans of what hops do, as the messaging conventions say."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from opentelemetry.trace import Link, SpanContext, SpanKind

from qmosaic.streams.kafka.context import extract, inject, root_of, round_of
from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.kafka.records import Headers, Received, Step, place_of
from qmosaic.streams.watch.sensor import Ended
from qmosaic.streams.watch.spans import Span, Telemetry

TICK = 0.001
"""Kafka's timestamps are in milliseconds."""


class Tracing:
    """The spans of one worker. `group`: its consumer group."""

    def __init__(self, telemetry: Telemetry, group: str) -> None:
        self._telemetry, self._group = telemetry, group
        self._problems = topic_name(telemetry.settings, "problems")

    def handled(self, batch: Sequence[Received], started: float, ended: float) -> TracedBatch:
        """A span for each record."""
        are_problems = batch[0].topic == self._problems
        parents = [self._root(record)[0] if are_problems else extract(record.headers) for record in batch]
        spans = [self._process(record, parent, started, {}) for record, parent in zip(batch, parents, strict=True)]
        return TracedBatch(self._telemetry, batch[0].topic, spans, started)

    def settled(self, ended: Ended) -> TracedEnd:
        """The span of the whole problem, one for each message read, and the send at the end."""
        spans = self._ended(ended.problem, ended.arrived, ended.problem_id, ended.attributes)
        parent, said = spans[-1].context, _unfailed(ended.attributes)
        spans.append(self._telemetry.span("send", ended.topic, parent=parent, kind=SpanKind.PRODUCER, attributes=said))
        return TracedEnd(spans)

    def rounded(
        self,
        problem: Received,
        arrived: Sequence[Received],
        attributes: Mapping[str, Any],
        number: int,
        began: float,
    ) -> TracedRound:
        """The span of the round, one for each message read."""
        root, _ = self._root(problem)
        own = round_of(root, number)
        name = f"round {number}: {attributes.get('qmosaic.outcome.reason', 'ended')}"
        spans = [self._telemetry.whole(name, own, root, min(began, time.time()), dict(attributes))]
        said = {"qmosaic.problem.id": attributes.get("qmosaic.problem.id", "")}
        spans += [self._process(record, extract(record.headers), record.received_at, said) for record in arrived]
        return TracedRound(spans, round_of(root, number + 1))

    def repeated(self, problem: Received, problem_id: str) -> None:
        """The same, without a send."""
        attributes = {"qmosaic.outcome.status": "repeated", "qmosaic.problem.id": problem_id}
        TracedEnd(self._ended(problem, [], problem_id, attributes)).written()

    def _ended(
        self, problem: Received, arrived: Sequence[Received], problem_id: str, attributes: Mapping[str, Any]
    ) -> list[Span]:
        """Of the problem, then of its record and the others; the last of them is what decided."""
        context, sender = self._root(problem)
        family, status = attributes.get("qmosaic.problem.family"), attributes.get("qmosaic.outcome.status", "ended")
        name = f"solve {family}: {status}" if family else f"solve: {status}"
        spans = [self._telemetry.whole(name, context, sender, _began(problem), dict(attributes))]
        said = {"qmosaic.problem.id": problem_id}
        spans.append(self._process(problem, context, problem.received_at, said))
        spans += [self._process(record, extract(record.headers), record.received_at, said) for record in arrived]
        spans[-1].say(attributes)
        return spans

    def _process(
        self, record: Received, parent: SpanContext | None, started: float, attributes: Mapping[str, Any]
    ) -> Span:
        return self._telemetry.span(
            "process",
            record.topic,
            parent=parent,
            kind=SpanKind.CONSUMER,
            start=started,
            attributes={**attributes, "messaging.consumer.group.name": self._group, **place_of(record)},
        )

    def _root(self, problem: Received) -> tuple[SpanContext, SpanContext | None]:
        """The span of the whole problem, and its sender's."""
        context, sender = root_of(problem)
        return context if sender else self._telemetry.sampled(context), sender


def _unfailed(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of a send: that something failed is no failure of telling so."""
    if "error.type" not in attributes:
        return attributes
    return {key: value for key, value in attributes.items() if key != "error.type"}


def _began(problem: Received) -> float:
    """When a problem arrived. The broker's tick may be earlier than it was sent; then its sender knows better."""
    began = problem.timestamp
    with suppress(ValueError, OverflowError):
        sent = datetime.fromisoformat(problem.headers.get("ce_time", b"").decode("latin-1")).timestamp()
        if began <= sent < began + TICK:
            began = sent
    return min(began, problem.received_at)


class TracedBatch:
    """The spans of a batch under way."""

    def __init__(self, telemetry: Telemetry, topic: str, spans: Sequence[Span], started: float) -> None:
        self._telemetry, self._topic, self._spans, self._started = telemetry, topic, spans, started
        self._sends: list[Span] = []

    def decided(self, cause: int, attributes: Mapping[str, Any]) -> None:
        """Its span says so."""
        self._spans[cause].say(attributes)

    def did(self, cause: int, step: Step) -> None:
        """Spans below that of the record."""
        self._step(step, self._spans[cause].context)

    def _step(self, step: Step, parent: SpanContext) -> None:
        kind = SpanKind.CLIENT if step.remote else SpanKind.INTERNAL
        span = self._telemetry.named(
            step.name, parent=parent, kind=kind, start=step.started, attributes=dict(step.attributes)
        )
        span.end(int(step.ended * 1e9))
        for inner in step.within:
            self._step(inner, span.context)

    def sending(self, cause: int, topic: str, attributes: Mapping[str, Any]) -> Headers:
        """A span under that of its cause, which whoever reads it goes on with."""
        parent, said = self._spans[cause].context, _unfailed(attributes)
        span = self._telemetry.span("send", topic, parent=parent, kind=SpanKind.PRODUCER, attributes=said)
        self._sends.append(span)
        return inject(span.context)

    def sent(self) -> None:
        """They end; a batch of several has a span of its own, with links to theirs."""
        now = time.time_ns()
        for span in (*self._sends, *self._spans):
            span.end(now)
        if len(self._spans) > 1:
            self._telemetry.span(
                "process batch",
                self._topic,
                parent=None,
                kind=SpanKind.CONSUMER,
                start=self._started,
                links=[Link(span.context) for span in self._spans],
                attributes={
                    "messaging.batch.message_count": len(self._spans),
                    "messaging.consumer.group.name": self._spans[0].attributes["messaging.consumer.group.name"],
                },
            ).end(now)


class TracedRound:
    """The spans of a round that is over; what follows belongs to the next one."""

    def __init__(self, spans: Sequence[Span], following: SpanContext) -> None:
        self._spans, self._following = spans, following

    def headers(self) -> Headers:
        """The context of the next round's span, which is written when that is over, whoever does it."""
        return inject(self._following)

    def written(self) -> None:
        """They end."""
        now = time.time_ns()
        for span in self._spans:
            span.end(now)


class TracedEnd:
    """The spans of a problem's end under way, that of the send last."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self._spans = spans

    def headers(self) -> Headers:
        """The context of the send."""
        return inject(self._spans[-1].context)

    def written(self) -> None:
        """They end."""
        now = time.time_ns()
        for span in self._spans:
            span.end(now)
