"""The sensor's second listener: what hops do, as numbers, for whoever asks and for a collector.

It listens where one of both is set. Counters and gauges are observable instruments of OpenTelemetry's meter: nothing
happens until somebody asks. Histograms are kept here (`series`), and go out with what the meter gives.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, get_args

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    InMemoryMetricReader,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from qmosaic.codecs.events.hops import FailureReason
from qmosaic.codecs.events.public import Outcome
from qmosaic.codecs.problems import FAMILIES
from qmosaic.processors.verify import relative_gain
from qmosaic.streams.kafka.context import trace_of
from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.kafka.records import Headers, Received, Step
from qmosaic.streams.settings import Settings
from qmosaic.streams.watch.instruments import BACKEND, BY_NAME, FAMILY, INSTRUMENTS, STATUS, TARGET
from qmosaic.streams.watch.instruments import REASON as OUTCOME_REASON
from qmosaic.streams.watch.sensor import Ended
from qmosaic.streams.watch.series import OTHER, Counts, Distribution, attributes_of

EXPORT_SECONDS = 5.0
NONE = "none"
"""The value of an attribute that a problem does not have: no backend worked on it."""
ENDINGS = frozenset({"answered", *get_args(FailureReason)})
NEXT = ("problems.interim", "problems.encoded")
"""What another round of a problem writes."""
QUEUE = "qmosaic.hop.queue_seconds"
"""The attribute by which a hop says how long an event had waited."""

KEPT_ELSEWHERE = frozenset({"process.cpu.time", "qmosaic.programs"})

Observed = Iterable[tuple[float, tuple[str, ...]]]


class Metrics:
    """Those of one stage's worker. `data` has all of them now; with `otlp_endpoint` they go out once a minute, or as
    often as OTEL_METRIC_EXPORT_INTERVAL says."""

    def __init__(self, settings: Settings, resource: Resource) -> None:
        self._scope, self._resource = InstrumentationScope("qmosaic"), resource
        since = time.time_ns()
        self.counters = {one.name: Counts(one) for one in INSTRUMENTS if one.kind == "counter"}
        self.histograms = {one.name: Distribution(one, since) for one in INSTRUMENTS if one.kind == "histogram"}
        self._asked = InMemoryMetricReader()
        readers = [self._asked, *([self._pushed(settings.otlp_endpoint)] if settings.otlp_endpoint else [])]
        self._provider = MeterProvider(readers, resource=resource, shutdown_on_exit=False)
        self._meter = self._provider.get_meter("qmosaic")
        for counts in self.counters.values():
            one = counts.instrument
            if one.name in KEPT_ELSEWHERE:
                continue
            self._meter.create_observable_counter(one.name, [_callback(counts.observed)], one.unit, one.says)

    def _pushed(self, endpoint: str) -> PeriodicExportingMetricReader:
        exporter = _Exporter(endpoint=f"{endpoint.rstrip('/')}/v1/metrics", timeout=EXPORT_SECONDS)
        exporter.metrics = self
        return PeriodicExportingMetricReader(exporter)

    def observe(self, name: str, look: Callable[[], Observed]) -> None:
        """A gauge, or a counter that is kept elsewhere: `look()` gives its values, with those of its attributes. It is
        called when somebody asks, from any thread."""
        one = BY_NAME[name]
        make = self._meter.create_observable_gauge if one.kind == "gauge" else self._meter.create_observable_counter

        def observed() -> list[Observation]:
            return [Observation(value, attributes_of(one, key)) for value, key in look()]

        make(one.name, [_callback(observed)], one.unit, one.says)

    def data(self) -> MetricsData:
        """All there is."""
        return self.complete(self._asked.get_metrics_data())

    def complete(self, observed: MetricsData | None) -> MetricsData:
        """What the meter gave, and the histograms."""
        now = time.time_ns()
        metrics = [found for one in self.histograms.values() if (found := one.metric(now)).data.data_points]
        ours = ResourceMetrics(self._resource, [ScopeMetrics(self._scope, metrics, "")], "")
        return MetricsData([*(observed.resource_metrics if observed else ()), ours])

    def close(self, seconds: float) -> None:
        """Send what is left, for so long at most."""
        self._provider.shutdown(seconds * 1000)


class _Exporter(OTLPMetricExporter):
    """With the histograms."""

    metrics: Metrics

    def export(
        self, metrics_data: MetricsData, timeout_millis: float | None = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        return super().export(self.metrics.complete(metrics_data), timeout_millis, **kwargs)


def _callback(observed: Callable[[], list[Observation]]) -> Callable[[CallbackOptions], list[Observation]]:
    return lambda _: observed()


class Measuring:
    """The listener of one worker. `clock`: seconds since the epoch."""

    def __init__(
        self, metrics: Metrics, settings: Settings, stage: str, clock: Callable[[], float] = time.time
    ) -> None:
        self.stage, self.clock = stage, clock
        self._prefix = topic_name(settings, "")
        named = (*settings.paid.backends, *(name for names in settings.execute.backends.values() for name in names))
        self._backends = frozenset(named)
        counters, histograms = metrics.counters, metrics.histograms
        self.consumed, self.sends = (
            counters["messaging.client.consumed.messages"],
            counters["messaging.client.sent.messages"],
        )
        self.errors, self.decisions = counters["qmosaic.hop.errors"], counters["qmosaic.route.decisions"]
        self.attempts, self.hits, self.cost = (
            counters["qmosaic.attempts"],
            counters["qmosaic.cache.hits"],
            counters["qmosaic.cost"],
        )
        self.rounds = counters["qmosaic.rounds"]
        self.outcomes, self.misses = counters["qmosaic.outcomes"], counters["qmosaic.deadline.misses"]
        self.work, self.queue = histograms["messaging.process.duration"], histograms["qmosaic.hop.queue.duration"]
        self.batch = histograms["qmosaic.hop.batch.size"]
        self.seconds, self.slack = histograms["qmosaic.problem.duration"], histograms["qmosaic.deadline.slack"]
        self.depth, self.gates = histograms["qmosaic.circuit.depth"], histograms["qmosaic.circuit.two_qubit_gates"]
        # What an alert counts is there before it happens: a series that begins with 1 has not increased.
        self.sends.add((stage, "dead-letters"), 0)
        if stage == "verify":
            for family in FAMILIES:
                self.misses.add((family,), 0)
        self.confidence, self.gain = histograms["qmosaic.answer.confidence"], histograms["qmosaic.answer.gain"]

    def topic(self, name: str) -> str:
        """Without the namespace."""
        return name.removeprefix(self._prefix)

    def backend(self, name: str | None) -> str:
        """One of the settings', or `other`: internal events may come from anybody."""
        return NONE if name is None else name if name in self._backends else OTHER

    def handled(self, batch: Sequence[Received], started: float, ended: float) -> MeasuredBatch:
        """Its size, the work, and where it came from."""
        topic, first = self.topic(batch[0].topic), trace_of(batch[0])
        self.work.record((self.stage, topic), max(0.0, ended - started), first)
        self.batch.record((self.stage,), len(batch), first)
        self.consumed.add((self.stage, topic), len(batch))
        return MeasuredBatch(self, batch)

    def settled(self, ended: Ended) -> MeasuredEnd:
        """When it is written."""
        return MeasuredEnd(self, ended)

    def rounded(
        self,
        problem: Received,
        arrived: Sequence[Received],
        attributes: Mapping[str, Any],
        number: int,
        began: float,
    ) -> MeasuredRound:
        """When it is written."""
        return MeasuredRound(self, [record.topic for record in arrived], attributes)

    def repeated(self, problem: Received, problem_id: str) -> None:
        """The audit counts it."""


class MeasuredBatch:
    """A batch under way."""

    def __init__(self, to: Measuring, batch: Sequence[Received]) -> None:
        self._to, self._batch = to, batch
        self._seen = set[int]()
        self._sends: dict[str, int] = {}

    def decided(self, cause: int, attributes: Mapping[str, Any]) -> None:
        """How long it had waited, where it goes, what went wrong."""
        to, said = self._to, attributes
        if cause not in self._seen and (waited := said.get(QUEUE)) is not None:
            self._seen.add(cause)
            span = None if len(self._seen) > 1 else trace_of(self._batch[cause])  # one of a batch leads to a trace
            to.queue.record((to.stage, family_of(said)), waited, span)
        if (error := said.get("error.type")) is not None:
            to.errors.add((to.stage, error))
        if to.stage == "route" and (reason := said.get("qmosaic.route.reason")) is not None:
            to.decisions.add((said.get(TARGET, NONE), to.backend(said.get(BACKEND)), reason))

    def did(self, cause: int, step: Step) -> None:
        """Attempts are counted by how they ended."""

    def sending(self, cause: int, topic: str, attributes: Mapping[str, Any]) -> Headers:
        """One more for its topic."""
        self._sends[topic] = self._sends.get(topic, 0) + 1
        return []

    def sent(self) -> None:
        """They are there."""
        for topic, count in self._sends.items():
            self._to.sends.add((self._to.stage, self._to.topic(topic)), count)


class MeasuredRound:
    """The end of a round under way. `arrived`: the topics of the records that decided it."""

    def __init__(self, to: Measuring, arrived: Sequence[str], attributes: Mapping[str, Any]) -> None:
        self._to, self._arrived, self._said, self._sent = to, arrived, attributes, tuple[str, ...]()

    def headers(self) -> Headers:
        """Nothing of ours; only where another round follows is anything sent."""
        self._sent = NEXT
        return []

    def written(self) -> None:
        """One more."""
        to, said = self._to, self._said
        for topic in self._arrived:
            to.consumed.add((to.stage, to.topic(topic)))
        for topic in self._sent:
            to.sends.add((to.stage, topic))
        to.rounds.add((family_of(said), said.get(OUTCOME_REASON, OTHER)))


class MeasuredEnd:
    """The end of a problem under way."""

    def __init__(self, to: Measuring, ended: Ended) -> None:
        self._to, self._ended = to, ended

    def headers(self) -> Headers:
        """Nothing of ours."""
        return []

    def written(self) -> None:
        """Everything that is known of it."""
        to, ended, now = self._to, self._ended, self._to.clock()
        said, ref = ended.attributes, ended.ref
        for record in (ended.problem, *ended.arrived):
            to.consumed.add((to.stage, to.topic(record.topic)))
        to.sends.add((to.stage, to.topic(ended.topic)))
        family, status = family_of(said), said.get(STATUS, "rejected")
        to.outcomes.add((family, status, said.get(OUTCOME_REASON) or said.get("error.type", OTHER)))
        if ref is None:
            return
        span = trace_of(ended.problem)
        to.seconds.record((family, status), max(0.0, now - ref.received_at), span)
        to.slack.record((family, status), max(0.0, ref.deadline_at - now), span)
        if now > ref.deadline_at:
            to.misses.add((family,))
        if ended.outcome is not None:
            self._told(ended.outcome, family)

    def _told(self, outcome: Outcome, family: str) -> None:
        to, problem = self._to, self._ended.problem
        span = trace_of(problem)
        if (timing := outcome.timings.hops.get("verify")) is not None:
            to.queue.record((to.stage, family), timing.queue, span)
            to.work.record((to.stage, to.topic(problem.topic)), timing.work, span)
        backend = to.backend(outcome.backend)
        if (circuit := outcome.circuit) is not None:
            to.depth.record((backend,), circuit.depth, span)
            to.gates.record((backend,), circuit.two_qubit_gates, span)
        if outcome.confidence is not None:
            to.confidence.record((family, backend), outcome.confidence, span)
        is_compared = outcome.status == "accepted" and outcome.backend is not None and outcome.improvement is not None
        if is_compared and outcome.objective is not None:
            gained = relative_gain(outcome, outcome.objective)
            if gained is not None:
                to.gain.record((family, backend), max(0.0, gained), span)
        for attempt in outcome.tried or ():
            name = to.backend(attempt.backend)
            to.attempts.add((attempt.target, name, attempt.ended if attempt.ended in ENDINGS else OTHER))
            if attempt.cached:
                to.hits.add((name,))
            if attempt.cost_usd:
                to.cost.add((name,), attempt.cost_usd)


def family_of(attributes: Mapping[str, Any]) -> str:
    """One of those there are, `none` where a record was no problem."""
    family = attributes.get(FAMILY, NONE)
    return family if family in FAMILIES or family == NONE else OTHER
