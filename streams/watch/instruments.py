"""What is measured: every metric with its unit, its attributes and its meaning. docs/metrics.md has the same table.

Names are OpenTelemetry's where it has one, else `qmosaic.*`; units are UCUM's. Attributes have few values: those of
closed enums, and of the settings.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

MILLISECONDS_TO_MINUTES = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0),
)
POWERS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
GATES = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0)
SHARES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0)

FIXED: Final = {
    "messaging.process.duration": {"messaging.system": "kafka", "messaging.operation.name": "process"},
    "messaging.client.consumed.messages": {"messaging.system": "kafka", "messaging.operation.name": "process"},
    "messaging.client.sent.messages": {"messaging.system": "kafka", "messaging.operation.name": "send"},
}
"""Attributes that the conventions ask for and that have one value here."""

HOP, TOPIC, FAMILY = "qmosaic.hop", "messaging.destination.name", "qmosaic.problem.family"
TARGET, BACKEND = "qmosaic.route.target", "qmosaic.backend.name"
STATUS, REASON = "qmosaic.outcome.status", "qmosaic.outcome.reason"


class Instrument(NamedTuple):
    """One metric. `attributes`: what its series differ by, in this order; `buckets`: upper bounds of a histogram."""

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    unit: str
    attributes: tuple[str, ...]
    says: str
    buckets: tuple[float, ...] = ()


INSTRUMENTS: tuple[Instrument, ...] = (
    # Hops.
    Instrument(
        "histogram",
        "messaging.process.duration",
        "s",
        (HOP, TOPIC),
        "work on a micro-batch; of verify, on a problem",
        MILLISECONDS_TO_MINUTES,
    ),
    Instrument(
        "histogram",
        "qmosaic.hop.queue.duration",
        "s",
        (HOP, FAMILY),
        "an event waited for a hop, transport included",
        MILLISECONDS_TO_MINUTES,
    ),
    Instrument("histogram", "qmosaic.hop.batch.size", "{event}", (HOP,), "events of a micro-batch", POWERS),
    Instrument("counter", "messaging.client.consumed.messages", "{message}", (HOP, TOPIC), "records a hop has handled"),
    Instrument("counter", "messaging.client.sent.messages", "{message}", (HOP, TOPIC), "records a hop has sent"),
    Instrument("counter", "qmosaic.hop.errors", "{error}", (HOP, "error.type"), "failures a hop told of, by reason"),
    Instrument(
        "gauge", "qmosaic.hop.lag", "{message}", (HOP, TOPIC), "records of its partitions that a worker has not handled"
    ),
    # Decisions and attempts.
    Instrument(
        "counter",
        "qmosaic.route.decisions",
        "{kernel}",
        (TARGET, BACKEND, "qmosaic.route.reason"),
        "kernels that route has decided about",
    ),
    Instrument(
        "counter",
        "qmosaic.attempts",
        "{attempt}",
        (TARGET, BACKEND, "qmosaic.attempt.ended"),
        "attempts of problems that ended: `answered`, or why not",
    ),
    Instrument("counter", "qmosaic.cache.hits", "{result}", (BACKEND,), "answers that were had before"),
    Instrument("counter", "qmosaic.cost", "{USD}", (BACKEND,), "US dollars of attempts, as far as they are known"),
    Instrument("histogram", "qmosaic.circuit.depth", "{layer}", (BACKEND,), "depth of a circuit that ran", GATES),
    Instrument(
        "histogram",
        "qmosaic.circuit.two_qubit_gates",
        "{gate}",
        (BACKEND,),
        "two-qubit gates of a circuit that ran",
        GATES,
    ),
    # The ends of problems.
    Instrument(
        "counter", "qmosaic.outcomes", "{problem}", (FAMILY, STATUS, REASON), "problems that ended, and why as they did"
    ),
    Instrument(
        "counter",
        "qmosaic.rounds",
        "{round}",
        (FAMILY, REASON),
        "rounds of problems that asked for some",
    ),
    Instrument(
        "histogram",
        "qmosaic.problem.duration",
        "s",
        (FAMILY, STATUS),
        "from a problem's arrival until its outcome was written",
        MILLISECONDS_TO_MINUTES,
    ),
    Instrument(
        "histogram",
        "qmosaic.deadline.slack",
        "s",
        (FAMILY, STATUS),
        "time that was left when an outcome was written, 0 where there was none",
        MILLISECONDS_TO_MINUTES,
    ),
    Instrument("counter", "qmosaic.deadline.misses", "{problem}", (FAMILY,), "outcomes written after the deadline"),
    Instrument(
        "histogram",
        "qmosaic.answer.confidence",
        "1",
        (FAMILY, BACKEND),
        "share of the samples with the answer's energy",
        SHARES,
    ),
    Instrument(
        "histogram",
        "qmosaic.answer.gain",
        "1",
        (FAMILY, BACKEND),
        "gain of an accepted answer over the best that is known by classical computation, as a share of that",
        SHARES,
    ),
    Instrument(
        "gauge",
        "qmosaic.collector.away",
        "{collector}",
        (),
        "1 where a worker's spans do not reach the collector, else 0",
    ),
    Instrument("gauge", "qmosaic.problems.open", "{problem}", (), "problems of a verifier that have not ended"),
    Instrument(
        "gauge",
        "qmosaic.backend.condition",
        "{backend}",
        (BACKEND, "qmosaic.condition"),
        "1 for how a paid backend is by a worker's last look: ready, retuning, offline or unreachable",
    ),
    # Control.
    Instrument(
        "gauge",
        "qmosaic.control.leader",
        "{leader}",
        (),
        "1 where this control worker keeps the ledger, else 0",
    ),
    Instrument(
        "gauge",
        "qmosaic.breaker.state",
        "{breaker}",
        (BACKEND, "qmosaic.breaker.phase"),
        "1 for the phase that a backend's breaker is in: closed, open or half_open",
    ),
    Instrument(
        "gauge",
        "qmosaic.budget.left",
        "1",
        ("qmosaic.budget.name", "qmosaic.budget.unit"),
        "share of a budget's cap that is neither spent nor reserved in this window",
    ),
    Instrument(
        "gauge",
        "qmosaic.estimate.seconds",
        "1",
        (BACKEND,),
        "seconds that runs took over those that were estimated, a geometric mean, as control has learned",
    ),
    Instrument(
        "gauge",
        "qmosaic.estimate.cost",
        "1",
        (BACKEND,),
        "dollars that runs cost over those that were quoted, a geometric mean, as control has learned",
    ),
    Instrument(
        "gauge",
        "qmosaic.estimate.gain",
        "1",
        (BACKEND,),
        "gains over the baseline less those that were expected, a mean, as control has learned",
    ),
    Instrument(
        "gauge",
        "qmosaic.estimate.fidelity",
        "1",
        (BACKEND,),
        "fidelities of circuits less those that were expected, a mean, as control has learned; of backends with noise",
    ),
    # Processes.
    Instrument(
        "counter",
        "qmosaic.programs",
        "{program}",
        ("qmosaic.program.origin",),
        "programs of JAX that were compiled, or loaded as they had been kept",
    ),
    Instrument("counter", "process.cpu.time", "s", ("cpu.mode",), "of a processor, without helpers"),
    Instrument("gauge", "process.memory.usage", "By", (), "memory in RAM, without helpers"),
)
BY_NAME = {each.name: each for each in INSTRUMENTS}
