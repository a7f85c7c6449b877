"""OpenTelemetry: one tracer a process, W3C context in the record headers, spans as the messaging conventions say.

A span costs some microseconds, and every event has several at every hop. So a span is its ids first, which go out
with a record, and becomes what the SDK's processors take when it ends; the SDK's own way, a tracer, costs five times as
much. Context is always passed by hand (headers in, headers out): Faust's consumer runs in a thread of its own, where
context variables do not follow. A problem that arrives without a `traceparent` gets a trace derived from
where it arrived, so that encode and verify, which both read it, agree on the trace and its root.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from functools import cache
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

    __slots__ = ("_kind", "_links", "_name", "_parent", "_start", "_telemetry", "attributes", "context")

    def __init__(
        self,
        telemetry: Telemetry,
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

    def end(self) -> None:
        """Its end is now. Exported if its trace is sampled."""
        if self.context.trace_flags.sampled:
            self._telemetry.export(
                ReadableSpan(
                    self._name,
                    self.context,
                    self._parent,
                    self._telemetry.resource,
                    self.attributes,
                    links=self._links,
                    kind=self._kind,
                    start_time=self._start,
                    end_time=time.time_ns(),
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
        self.resource = Resource.create(
            {"service.name": f"qmosaic-{service}", "service.namespace": "qmosaic", "service.instance.id": instance}
        )
        # The sampler that the OTEL_* variables say, for traces that begin here.
        self._sampler = TracerProvider(resource=self.resource, shutdown_on_exit=False).sampler
        self._processors: list[SpanProcessor] = []
        if settings.otlp_endpoint:
            otlp.install()
            exporter = OTLPSpanExporter(endpoint=f"{settings.otlp_endpoint.rstrip('/')}/v1/traces", timeout=5)
            self._processors.append(
                BatchSpanProcessor(
                    exporter, max_queue_size=65_536, max_export_batch_size=2048, schedule_delay_millis=500
                )
            )
        if settings.spans_dir:
            file = FileExporter(Path(settings.spans_dir) / f"{instance}.jsonl")
            self._processors.append(BatchSpanProcessor(file, schedule_delay_millis=200))

    def export(self, span: ReadableSpan) -> None:
        """To where the settings say."""
        for processor in self._processors:
            processor.on_end(span)

    def close(self) -> None:
        """Send what is left; bounded by the exporter's own time-out."""
        for processor in self._processors:
            processor.shutdown()

    def span(
        self,
        operation: str,
        destination: str,
        *,
        parent: SpanContext | None,
        kind: SpanKind,
        start: float | None = None,
        links: Sequence[Link] = (),
        forced: SpanContext | None = None,
        attributes: Mapping[str, Any],
    ) -> Span:
        """A span `{operation} {destination}`; `start` in seconds since the epoch.

        Without a parent it begins a trace. `forced`: the ids it has then, instead of random ones.
        """
        name, said = _operation(operation, destination)
        if parent is not None:
            flags, state = parent.trace_flags, parent.trace_state
            context = SpanContext(parent.trace_id, random.getrandbits(64) or 1, False, flags, state)
        else:
            trace_id = forced.trace_id if forced else random.getrandbits(128) or 1
            decision = self._sampler.should_sample(None, trace_id, name, kind).decision
            flags = RANDOM if decision is Decision.RECORD_AND_SAMPLE else NO_FLAGS
            context = SpanContext(trace_id, forced.span_id if forced else random.getrandbits(64) or 1, False, flags)
        begin = time.time_ns() if start is None else int(start * 1e9)
        return Span(self, name, context, parent, kind, begin, {**said, **attributes}, links)


@cache
def _operation(operation: str, destination: str) -> tuple[str, dict[str, str]]:
    """Name and attributes that all spans of an operation on a topic share."""
    return f"{operation} {destination}", {
        "messaging.system": "kafka",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation if operation in ("send", "receive", "process") else "settle",
        "messaging.destination.name": destination,
    }
