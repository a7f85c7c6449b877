"""OpenTelemetry: one tracer a process, W3C context in the record headers, spans as the messaging conventions say.

A span costs some microseconds, and every event has several at every hop. So a span is its ids first, which go out
with a record, and becomes what the SDK's processors take when it ends; the SDK's own way, a tracer, costs five times as
much. Context is always passed by hand (headers in, headers out): Faust's consumer runs in a thread of its own, where
context variables do not follow. A problem has a span of its own, whose ids follow from where it arrived, so that encode
and verify, which both read it, agree on it. What is slow, or away, on the other side costs spans and nothing else.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode

from qmosaic.streams.kafka.context import NO_FLAGS, RANDOM
from qmosaic.streams.settings import Settings
from qmosaic.streams.watch import otlp
from qmosaic.streams.watch.logs import open_log

_SCOPE = InstrumentationScope("qmosaic")
_UNSET = Status()
PROBLEMS = "qmosaic"
"""The service of the spans that stand for whole problems: no hop's, so that none seems to call another."""
MOST_SPANS, MOST_AT_ONCE = 16_384, 2048
"""Spans that wait for a collector, some 20 MB of them, before new ones are dropped; and of one request."""
LATE_SECONDS, AWAY_SECONDS = 1.5, 60.0
"""A collector that does not answer for so long hangs; one that failed is away until something arrives there, or for so
long, where nothing more is sent."""
CLOSE_SECONDS, LOST_SECONDS = 2.0, 0.2
"""For the last spans and metrics, at the end of a process, and where the collector did not answer before."""


class _ToCollector(OTLPSpanExporter):
    """Knows whether what it sends arrives."""

    _began: float | None = None
    _failed_at = -math.inf

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._began = time.monotonic()
        found = super().export(spans)
        self._failed_at = -math.inf if found is SpanExportResult.SUCCESS else time.monotonic()
        self._began = None
        return found

    def is_away(self, now: float) -> bool:
        """Whether the last request failed, and not long ago, or waits for its answer (`now`: monotonic)."""
        began = self._began  # of the exporter's thread
        return now - self._failed_at < AWAY_SECONDS or (began is not None and now - began >= LATE_SECONDS)


class FileExporter(SpanExporter):
    """Spans as JSON lines in a file of this process, for whoever has no collector."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = open_log(path)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._file.write(b"".join(orjson.dumps(_plain(span), option=orjson.OPT_APPEND_NEWLINE) for span in spans))
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self._file.close()


def _plain(span: ReadableSpan) -> dict[str, Any]:
    """What the SDK's own `to_json` writes of a span, less what nobody reads here: many times as fast."""
    context, parent = span.context, span.parent
    return {
        "name": span.name,
        "context": {"trace_id": f"0x{context.trace_id:032x}", "span_id": f"0x{context.span_id:016x}"},
        "parent_id": f"0x{parent.span_id:016x}" if parent else None,
        "start_time": span.start_time,
        "end_time": span.end_time,
        "attributes": dict(span.attributes or {}),
        "status": span.status.status_code.name,
        "links": [f"0x{link.context.span_id:016x}" for link in span.links],
        "service": span.resource.attributes.get("service.name"),
    }


class Span:
    """A span under way. `context`: its ids, for the records and spans that follow from it. End it yourself."""

    __slots__ = (
        "_end",
        "_kind",
        "_links",
        "_name",
        "_parent",
        "_resource",
        "_start",
        "_telemetry",
        "attributes",
        "context",
    )

    def __init__(
        self,
        telemetry: Telemetry,
        resource: Resource,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        kind: SpanKind,
        start: int,
        attributes: dict[str, Any],
        links: Sequence[Link],
    ) -> None:
        self._telemetry, self._name, self.context, self._parent = telemetry, name, context, parent
        self._kind, self._start, self.attributes, self._links = kind, start, attributes, links
        self._resource, self._end = resource, 0

    def say(self, attributes: Mapping[str, Any]) -> None:
        """What it says besides: before what the conventions want of it, as viewers keep the order."""
        self.attributes = {**attributes, **self.attributes}

    def stop(self) -> None:
        """Its end is now; it is not exported yet, as something about it may still be found out."""
        self._end = time.time_ns()

    def end(self, at: int = 0) -> None:
        """Its end is `at` (nanoseconds since the epoch), or where it was stopped, or now. Exported if its trace is
        sampled."""
        if self.context.trace_flags.sampled:
            self._telemetry.export(
                ReadableSpan(
                    self._name,
                    self.context,
                    self._parent,
                    self._resource,
                    self.attributes,
                    links=self._links,
                    kind=self._kind,
                    start_time=self._start,
                    end_time=at or self._end or time.time_ns(),
                    status=_status(self.attributes),
                    instrumentation_scope=_SCOPE,
                )
            )


def _status(attributes: Mapping[str, Any]) -> Status:
    """An error where the attributes name one (`error.type`, semantic conventions for recording errors)."""
    kind = attributes.get("error.type")
    return _UNSET if kind is None else Status(StatusCode.ERROR, str(attributes.get("qmosaic.failure.message", kind)))


class Telemetry:
    """The spans of a process. `service` is its `service.name`; exports where the settings say."""

    def __init__(self, settings: Settings, service: str, instance: str) -> None:
        self.settings = settings
        about = {"service.namespace": "qmosaic", "service.instance.id": instance}
        self.resource = Resource.create({"service.name": f"qmosaic-{service}", **about})
        self._of_problems = Resource.create({"service.name": PROBLEMS, **about})
        self._server = _server(settings.broker)
        self._operations: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {}
        # The sampler that the OTEL_* variables say, for traces that begin here.
        self._sampler = TracerProvider(resource=self.resource, shutdown_on_exit=False).sampler
        self._processors: list[SpanProcessor] = []
        self._collector: _ToCollector | None = None
        if settings.otlp_endpoint:
            otlp.install()
            collector = _ToCollector(endpoint=f"{settings.otlp_endpoint.rstrip('/')}/v1/traces", timeout=5)
            self._collector = collector
            self._processors.append(
                BatchSpanProcessor(
                    collector, max_queue_size=MOST_SPANS, max_export_batch_size=MOST_AT_ONCE, schedule_delay_millis=500
                )
            )
        self._file: SpanProcessor | None = None
        if settings.spans_dir:
            file = FileExporter(Path(settings.spans_dir) / f"{instance}.jsonl")
            self._file = BatchSpanProcessor(file, schedule_delay_millis=500)
            self._processors.append(self._file)

    def export(self, span: ReadableSpan) -> None:
        """To where the settings say."""
        for processor in self._processors:
            processor.on_end(span)

    @property
    def is_lost(self) -> bool:
        """Whether spans do not reach the collector, as far as was tried lately."""
        return self._collector is not None and self._collector.is_away(time.monotonic())

    @property
    def closing_seconds(self) -> float:
        """What the collector gets for the last spans and metrics. Workers end one after the other, so that one that
        hangs would hold each of them up."""
        return LOST_SECONDS if self.is_lost else CLOSE_SECONDS

    def close(self) -> None:
        """Send what is left, for some seconds at most."""
        began, patience = time.monotonic(), self.closing_seconds
        threads = [threading.Thread(target=each.shutdown, name="last spans", daemon=True) for each in self._processors]
        for thread in threads:
            thread.start()
        for thread, processor in zip(threads, self._processors, strict=True):
            seconds = CLOSE_SECONDS if processor is self._file else patience
            thread.join(max(0.0, began + seconds - time.monotonic()))

    def span(
        self,
        operation: str,
        destination: str,
        *,
        parent: SpanContext | None,
        kind: SpanKind,
        start: float | None = None,
        links: Sequence[Link] = (),
        attributes: Mapping[str, Any],
    ) -> Span:
        """A span `{operation} {destination}`, as of `named`."""
        known = self._operations.get((operation, destination))
        if known is None:
            known = self._operations[operation, destination] = self._operation(operation, destination)
        name, said = known
        return self.named(name, parent=parent, kind=kind, start=start, links=links, attributes={**attributes, **said})

    def named(
        self,
        name: str,
        *,
        parent: SpanContext | None,
        kind: SpanKind = SpanKind.INTERNAL,
        start: float | None = None,
        links: Sequence[Link] = (),
        attributes: dict[str, Any],
    ) -> Span:
        """A span; `start` in seconds since the epoch. Without a parent it begins a trace."""
        if parent is not None:
            flags, state = parent.trace_flags, parent.trace_state
            context = SpanContext(parent.trace_id, random.getrandbits(64) or 1, False, flags, state)
        else:
            ids = random.getrandbits(128) or 1, random.getrandbits(64) or 1
            context = self.sampled(SpanContext(*ids, False, RANDOM))
        begin = time.time_ns() if start is None else int(start * 1e9)
        return Span(self, self.resource, name, context, parent, kind, begin, attributes, links)

    def whole(
        self, name: str, context: SpanContext, sender: SpanContext | None, start: float, attributes: dict[str, Any]
    ) -> Span:
        """The span that stands for a whole problem, of which everybody knows the `context`."""
        begin = int(start * 1e9)
        return Span(self, self._of_problems, name, context, sender, SpanKind.INTERNAL, begin, attributes, ())

    def sampled(self, begun: SpanContext) -> SpanContext:
        """The context of a span that begins a trace, with the sampler's decision: equal in all processes."""
        decision = self._sampler.should_sample(None, begun.trace_id, "").decision
        flags = RANDOM if decision is Decision.RECORD_AND_SAMPLE else NO_FLAGS
        if begun.trace_flags == flags:
            return begun
        return SpanContext(begun.trace_id, begun.span_id, begun.is_remote, flags)

    def _operation(self, operation: str, destination: str) -> tuple[str, dict[str, Any]]:
        """Name and attributes that all spans of an operation on a topic share."""
        return f"{operation} {destination}", {
            "messaging.system": "kafka",
            "messaging.operation.name": operation,
            "messaging.operation.type": operation.partition(" ")[0],
            "messaging.destination.name": destination,
            **self._server,
        }


def _server(brokers: str) -> dict[str, Any]:
    """The broker's address as the conventions want it, where there is one alone."""
    host, _, port = brokers.strip().rpartition(":")
    return (
        {"server.address": host.strip("[]"), "server.port": int(port)} if port.isdecimal() and "," not in host else {}
    )
