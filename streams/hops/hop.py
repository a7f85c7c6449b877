"""The agents' insides: what each stage does with a micro-batch. Take a batch, call the pure step, say what to send.

A handler blocks the event loop for some milliseconds at most: numerical work goes to a thread, what holds Python's
lock to a process.
Heavy libraries are imported when a worker of that stage starts, and in no other.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Collection, Sequence
from typing import Any, Protocol

import msgspec

from qmosaic.codecs.events.control import BackendStatus
from qmosaic.codecs.events.hops import JobEvent, Proposal
from qmosaic.streams.kafka.records import Received, Send, Step

log = logging.getLogger("qmosaic.worker")
RANKS = {b"high": 0, b"low": 2, "high": 0, "low": 2}


class Look(msgspec.Struct, frozen=True, gc=False):
    """A record at a first look: how much work it is, in the measure of its stage's lanes, its class (0 goes first), and
    its deadline (epoch seconds)."""

    size: float
    rank: int
    deadline_at: float
    tenant: str = ""


class Handler(Protocol):
    """One stage's work. Made once a worker; `start` before it takes partitions, `stop` after the last batch."""

    async def start(self) -> asyncio.Task[None] | None:
        """Until it can handle what comes. What is returned goes on behind, and ends the worker where it fails."""
        ...

    def look(self, record: Received) -> Look:
        """What decides about a record's lane and turn. Microseconds, and no exceptions, whatever it is."""
        ...

    async def handle(self, batch: Sequence[Received], lane: int) -> list[Send]:
        """What to send for a batch. Raises for what it does not know: the shell isolates the culprit. BrokenProcessPool
        where a process died at it: the shell tries it again, alone.

        `lane`: which of the stage's lanes it came through; each lane has one batch at a time, or as many as the
        stage's `concurrency` says.
        """
        ...

    def status(self) -> BackendStatus | None:
        """A sign of life to publish now and then, for stages that are chosen by it."""
        ...

    async def stop(self) -> None: ...


def looked(record: Received) -> Look:
    """At a record of ours: its sender says it in headers. Without them it is small, and has its turn among the last."""
    said = record.headers
    try:
        size, deadline_at = float(said.get("ce_size", b"0")), float(said.get("ce_deadline", b"inf"))
    except ValueError:
        size, deadline_at = 0.0, math.inf
    rank, tenant = RANKS.get(said.get("ce_priority", b""), 1), said.get("ce_tenant", b"").decode(errors="replace")
    return Look(size, rank, deadline_at if deadline_at == deadline_at else math.inf, tenant)


def next_send(event: JobEvent | Proposal, cause: int, paid: Collection[str], steps: tuple[Step, ...] = ()) -> Send:
    """What a decision or an attempt led to, on its way, and the steps that it took."""
    send = job_send(event, cause, paid) if isinstance(event, JobEvent) else proposal_send(event, cause)
    return msgspec.structs.replace(send, steps=steps) if steps else send


def attempt_step(job: JobEvent, led_to: JobEvent | Proposal, started: float, ended: float, *within: Step) -> Step:
    """An attempt at a job, from when to when (seconds since the epoch), and what it `led_to`."""
    last = led_to.tried[-1]
    attributes: dict[str, Any] = {
        "qmosaic.backend.name": job.route.backend,
        "qmosaic.attempt.number": job.attempt,
        "qmosaic.attempt.ended": last.ended,
    }
    if last.ended != "answered":
        attributes |= {"error.type": last.ended, "qmosaic.failure.message": last.message}
    return Step(f"attempt {job.route.backend}", started, ended, attributes, within)


def job_send(event: JobEvent, cause: int, paid: Collection[str]) -> Send:
    """A job on its way to the workers of its backend. `paid`: the backends that only `execute.paid` runs, which first
    says what a job takes; then control grants it."""
    attributes = {
        "qmosaic__route__reason": event.route.reason,
        "qmosaic__route__target": event.route.target,
        "qmosaic__backend__name": event.route.backend,
    }
    topic = f"jobs.{event.route.target}"
    if event.route.backend in paid:
        topic = "jobs.paid" if event.reservation or event.quote is None else "jobs.priced"
    return Send(topic, event, cause, key=event.kernel_digest, attributes=attributes, size=event.work_seconds)


def proposal_send(event: Proposal, cause: int) -> Send:
    """A proposal on its way to verify, and what its span says."""
    ref, ran = event.ref, event.answer or event.failure
    circuit, usage = event.answer.circuit if event.answer else None, ran.usage if ran else None
    attributes = {
        "qmosaic__backend__name": event.route.backend if event.route else None,
        "qmosaic__circuit__qubits": circuit.qubits if circuit else None,
        "qmosaic__circuit__depth": circuit.depth if circuit else None,
        "qmosaic__circuit__two_qubit_gates": circuit.two_qubit_gates if circuit else None,
        "qmosaic__circuit__shots": circuit.shots if circuit else None,
        "qmosaic__execute__queue_seconds": usage.queue_seconds if usage else None,
        "qmosaic__execute__device_seconds": usage.device_seconds if usage else None,
        "qmosaic__execute__cost_usd": usage.cost_usd if usage else None,
        "qmosaic__execute__vendor_job_id": usage.vendor_job_id if usage else None,
        "qmosaic__failure__reason": event.failure.reason if event.failure else None,
        "qmosaic__failure__message": event.failure.message if event.failure else None,
        "error__type": event.failure.reason if event.failure else None,
        "qmosaic__route__reason": event.failure.route_reason if event.failure else None,
    }
    return Send("proposals", event, cause, key=ref.problem_id, partition=ref.partition, attributes=attributes)
