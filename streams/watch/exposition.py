"""Metrics as text for Prometheus: the SDK's points in prometheus_client's words, which writes both of its formats.

OpenTelemetry's own exporter for Prometheus leaves out exemplars, and is a pre-release. Names and units are as its
conventions translate them: `qmosaic.problem.duration` in `s` is `qmosaic_problem_duration_seconds`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

from opentelemetry.sdk.metrics.export import Histogram, Metric, MetricsData, Sum
from prometheus_client import exposition
from prometheus_client.core import (
    CounterMetricFamily,
    Exemplar,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric as Family

from qmosaic.streams.watch.instruments import Instrument

UNITS = {"s": "seconds", "By": "bytes", "1": "ratio"}
_BLOCK = re.compile(rb"(?m)^(?=# HELP )")
_HEAD = re.compile(rb"((?:^# (?:HELP|TYPE|UNIT) .*\n)+)", re.M)
END = b"# EOF\n"


def text(data: Iterable[tuple[str, MetricsData]], accept: str) -> tuple[bytes, str]:
    """Of the workers of a process, and its content type; `accept`: what is asked for. With exemplars in OpenMetrics."""
    families: dict[str, Family] = {}
    for worker, each in data:
        for metric in _metrics(each):
            _add(families, metric, worker)
    return written(families.values(), accept)


def written(families: Iterable[Family], accept: str) -> tuple[bytes, str]:
    """Families as text of the format that is asked for, and its content type."""
    encode, kind = exposition.choose_encoder(accept)
    registry: Any = SimpleNamespace(collect=lambda: families)
    return encode(registry), kind


def names_of(instrument: Instrument) -> list[str]:
    """What Prometheus calls a metric's series."""
    unit = UNITS.get(instrument.unit)
    name = "_".join([instrument.name.replace(".", "_"), *([unit] if unit else [])])
    endings = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"], "gauge": [""]}
    return [f"{name}{ending}" for ending in endings[instrument.kind]]


def merged(texts: Iterable[bytes]) -> bytes:
    """Texts of one format as one: each family once, with the samples of all. They differ by their workers' names."""
    families: dict[bytes, list[bytes]] = {}
    ends = False
    for each in texts:
        body = each.removesuffix(END)
        ends |= len(body) < len(each)
        for block in _BLOCK.split(body):
            head = _HEAD.match(block)
            if head is not None:
                families.setdefault(head[1], []).append(block[head.end() :])
    return b"".join(head + b"".join(samples) for head, samples in families.items()) + (END if ends else b"")


def _metrics(data: MetricsData) -> Iterator[Metric]:
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            yield from scope.metrics


def _add(families: dict[str, Family], metric: Metric, worker: str) -> None:
    name, unit = metric.name.replace(".", "_"), UNITS.get(metric.unit or "", "")
    kind: Any = GaugeMetricFamily
    if isinstance(metric.data, Histogram):
        kind = HistogramMetricFamily
    elif isinstance(metric.data, Sum):
        kind = CounterMetricFamily
    points: Sequence[Any] = metric.data.data_points
    keys = list(points[0].attributes or {})
    family: Any = families.get(name)
    if family is None:
        labels = ["worker", *(key.replace(".", "_") for key in keys)]
        family = families[name] = kind(name, metric.description or "", labels=labels, unit=unit)
    for point in points:
        values = [worker, *(str(point.attributes[key]) for key in keys)]
        if kind is HistogramMetricFamily:
            family.add_metric(values, _buckets(point), sum_value=point.sum)
        else:
            family.add_metric(values, point.value)


def _buckets(point: Any) -> list[tuple[str, int, Exemplar | None]]:
    """Counts up to each bound, with the exemplar that lies in it."""
    bounds = [*point.explicit_bounds, float("inf")]
    lows = [float("-inf"), *point.explicit_bounds]
    out, total = [], 0
    for low, bound, count in zip(lows, bounds, point.bucket_counts, strict=True):
        total += count
        found = next((each for each in point.exemplars if low < each.value <= bound), None)
        out.append((_bound(bound), total, found and _exemplar(found)))
    return out


def _exemplar(found: Any) -> Exemplar:
    ids = {"trace_id": f"{found.trace_id:032x}", "span_id": f"{found.span_id:016x}"}
    return Exemplar(ids, found.value, found.time_unix_nano / 1e9)


def _bound(value: float) -> str:
    return "+Inf" if value == float("inf") else str(value)
