"""Records in and out: Kafka headers (CloudEvents 1.0 binary mode, W3C trace context) around orjson values."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, Protocol

import msgspec
from aiokafka import ConsumerRecord

from qmosaic.codecs.events import hops, public
from qmosaic.codecs.events.reasons import MOST_ROUNDS
from qmosaic.processors.admit import Record
from qmosaic.streams.kafka.store import Kept
from qmosaic.streams.settings import Settings

CONTENT_TYPE = "application/json"
Headers = list[tuple[str, bytes]]


class Received(Record, frozen=True, eq=False, gc=False):
    """A record as a hop gets it. `received_at`: seconds since the epoch."""

    received_at: float = msgspec.field(default_factory=time.time)
    kept: Kept | None = None  # the value, where it is not held here
    key: bytes | None = None  # where somebody may ask for it: of what Faust's workers get


def received_of(record: ConsumerRecord, now: float) -> Received:
    """A record of aiokafka's, received at `now`."""
    headers = {key: value for key, value in record.headers if value is not None}
    return Received(record.topic, record.partition, record.offset, record.timestamp / 1000, record.value, headers, now)


def whole(received: Received) -> Received:
    """A record with its value, which may be kept elsewhere."""
    kept = received.kept
    return received if kept is None else msgspec.structs.replace(received, value=kept.value(), kept=None)


CLOCK_SECONDS = 60.0
"""Clocks of brokers and workers may be this far apart."""


def fits(ref: hops.Ref, record: Received, settings: Settings, partition: int | None, end: int | None) -> str | None:
    """What is wrong with the `ref` of an internal event, or None: numbers and times of a problem that can be.

    `partition`: of problems, where the record's topic is joined with it; `end`: of that partition, where it is known.
    """
    if not 0 <= ref.partition < settings.topics.partitions or partition not in (None, ref.partition):
        return f"it is about partition {ref.partition}"
    if not 0 <= ref.offset < 2**63 or (end and ref.offset > end + AHEAD):
        return f"there is no problem at offset {ref.offset} yet"
    if not 1 <= ref.round <= MOST_ROUNDS:
        return f"there is no round {ref.round}"
    if not 0 <= ref.shots <= settings.limits.shots or not 0 <= ref.seed < 2**31:
        return "shots or seed are out of range"
    now = record.received_at + CLOCK_SECONDS
    if (
        not ref.received_at <= min(now, ref.deadline_at)
        or not ref.deadline_at <= now + settings.limits.deadline_seconds
    ):
        return "its times cannot be"
    if len(ref.problem_id) > 512 or len(ref.tenant) > 128:
        return "its names are too long"
    return None


AHEAD = 10_000
"""How far an internal event may be ahead of what is known of the problems' end: that is asked a moment before."""


class Step(msgspec.Struct, frozen=True, eq=False):
    """Something that was done for a record, from when to when (seconds since the epoch): an attempt, a request.

    `name`: what, and on which backend; `remote`: somebody else did it; `attributes`: what its span says, by their full
    names; `within`: the steps that it is made of.
    """

    name: str
    started: float
    ended: float
    attributes: dict[str, Any] = {}
    within: tuple[Step, ...] = ()
    remote: bool = False


class Send(msgspec.Struct, frozen=True, eq=False):
    """A record as a hop wants it sent. `partition` where the join needs it, else by `key`.

    `cause`: which message of the batch it answers; its trace goes on here. `topic` without the namespace.
    `attributes`: what its span and that of its cause say besides, `__` for a dot in the names. `steps`: what was done
    for its cause.
    """

    topic: str
    event: msgspec.Struct
    cause: int
    key: str | None = None
    partition: int | None = None
    attributes: dict[str, Any] = {}
    size: float | None = None  # variables, where the next hop keeps large problems from holding up small ones
    steps: tuple[Step, ...] = ()


class Place(Protocol):
    """Whatever knows where it stood in a topic."""

    @property
    def partition(self) -> int: ...

    @property
    def offset(self) -> int: ...


def place_of(record: Place) -> dict[str, Any]:
    """What a span says about the record it is of."""
    return {
        "messaging.destination.partition.id": str(record.partition),
        "messaging.kafka.offset": record.offset,
    }


def headers_of(kind: str, source: str, subject: str, trace: Headers, extra: Mapping[str, str] | None = None) -> Headers:
    """CloudEvents 1.0 Kafka binding, binary mode, and the trace context. `kind` is `name/major`."""
    version, of_type, of_source, content = _fixed_headers(kind, source)
    return [
        version,
        # Not uuid4: os.urandom gives up Python's lock, and a busy process waits to get it back.
        ("ce_id", b"%032x" % random.getrandbits(128)),
        of_type,
        of_source,
        ("ce_time", datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").encode()),
        ("ce_subject", subject.encode()),
        content,
        *((key, value.encode()) for key, value in (extra or {}).items()),
        *trace,
    ]


@cache
def _fixed_headers(kind: str, source: str) -> tuple[tuple[str, bytes], ...]:
    """Those that all records of a kind share, in a process."""
    return (
        ("ce_specversion", b"1.0"),
        ("ce_type", f"org.{kind.replace('/', '.v')}".encode()),
        ("ce_source", source.encode()),
        ("content-type", CONTENT_TYPE.encode()),
    )


def stamp(event: Any, timings: dict[str, public.Timing], now: float) -> Any:
    """The event with what its hop adds to its `ref`: seconds of the hop, and when it was sent."""
    ref = event.ref
    return msgspec.structs.replace(
        event, ref=msgspec.structs.replace(ref, sent_at=now, timings={**ref.timings, **timings})
    )


def headers_for_turns(ref: hops.Ref) -> dict[str, str]:
    """What says in whose turn an event is, before anybody looks into it."""
    return {"ce_priority": ref.priority, "ce_deadline": f"{ref.deadline_at:.3f}", "ce_tenant": ref.tenant}


def whose(ref: hops.Ref) -> dict[str, str]:
    """What every span of a problem says."""
    return {"qmosaic.problem.id": ref.problem_id, "qmosaic.problem.family": ref.family, "qmosaic.tenant": ref.tenant}
