"""W3C trace context in the headers of records, and the span that stands for a whole problem."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.trace import SpanContext, TraceFlags, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from qmosaic.streams.kafka.records import Headers

if TYPE_CHECKING:
    from qmosaic.streams.kafka.records import Received

_PROPAGATOR = TraceContextTextMapPropagator()
_TRACEPARENT = re.compile("00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
NO_FLAGS = TraceFlags(TraceFlags.DEFAULT)
RANDOM = TraceFlags(TraceFlags.SAMPLED | TraceFlags.RANDOM_TRACE_ID)


def extract(headers: Mapping[str, bytes] | Sequence[tuple[str, bytes]] | None) -> SpanContext | None:
    """The span that a record's headers tell of; None where they tell of none that is valid."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
    carrier = {
        lower: value.decode("latin-1")
        for key, value in pairs
        if (lower := key.lower()) in ("traceparent", "tracestate") and value
    }
    if not carrier:
        return None
    if len(carrier) == 1 and (plain := _TRACEPARENT.fullmatch(carrier.get("traceparent", ""))):
        found = SpanContext(int(plain[1], 16), int(plain[2], 16), True, TraceFlags(int(plain[3], 16)))
    else:
        found = get_current_span(_PROPAGATOR.extract(carrier, context=Context())).get_span_context()
    return found if found.is_valid else None


def inject(context: SpanContext) -> Headers:
    """`traceparent` (and `tracestate`) of a span, as record headers."""
    traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    headers = [("traceparent", traceparent.encode())]
    if context.trace_state:
        headers.append(("tracestate", context.trace_state.to_header().encode()))
    return headers


def root_of(record: Received) -> tuple[SpanContext, SpanContext | None]:
    """The span that stands for a problem, of which this is the record, and its sender's, if it brought one.

    It is in its sender's trace, or in one that follows, as the span's id does, from where and when the record arrived:
    whoever reads the record knows it.
    """
    sender = extract(record.headers)
    place = f"qmosaic\0{record.topic}\0{record.partition}\0{record.offset}\0{record.timestamp:.3f}"
    digest = sha256(place.encode()).digest()
    span_id = int.from_bytes(digest[16:24]) or 1
    if sender is None:
        return SpanContext(int.from_bytes(digest[:16]) or 1, span_id, True, RANDOM), None
    return SpanContext(sender.trace_id, span_id, True, sender.trace_flags, sender.trace_state), sender


def round_of(problem: SpanContext, number: int) -> SpanContext:
    """The span that stands for a round of a problem, whose own span is known: it follows from that."""
    digest = sha256(f"{problem.trace_id:032x}{problem.span_id:016x}-{number}".encode()).digest()
    span_id = int.from_bytes(digest[:8]) or 1
    return SpanContext(problem.trace_id, span_id, True, problem.trace_flags, problem.trace_state)


def trace_of(record: Received) -> SpanContext:
    """Where a record belongs: to its sender's span, or to the one that stands for a problem that came without any."""
    return extract(record.headers) or root_of(record)[0]
