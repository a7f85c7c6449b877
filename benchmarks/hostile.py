"""(k) Single hostile events beside a stream of good ones: are the good ones answered as if nothing were there?

A canary, a max-cut of 12 nodes with a deadline of 5 s, is sent five times a second to one pipeline as `qmosaic up`
starts it. Each event of `benchmarks.hostile_events` is sent beside it, once, and then ten times; the figures are the
slowest canary until all of them have ended, and the most memory of the workers of verify and encode (their own
processes, without those beside them). The first row is the canary alone.

    python -m benchmarks hostile [--quick]
    python -m benchmarks.hostile --kafka --only '8 MiB*'
"""

from __future__ import annotations

import asyncio
import fnmatch
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks.common import broker_of, cubic, name_of, parser, pipeline, tell, watch_memory
from benchmarks.hostile_events import EVENTS, named
from qmosaic.codecs.events import wire
from qmosaic.streams.client import TERMINAL
from qmosaic.streams.kafka import pacing, reading
from qmosaic.streams.kafka.connect import connection, producing, record_bytes
from qmosaic.streams.life.supervisor import Supervisor
from qmosaic.streams.settings import Settings

PERIOD, DEADLINE = 0.2, 5.0
"""Seconds between canaries, and until their deadlines."""
ANSWERED, VERIFY_MB, ENCODE_MB = 1.0, 500.0, 700.0
"""The goals: seconds of the slowest canary, megabytes."""
HOSTILE_SECONDS = 20.0
"""The deadline of a hostile event."""
LEAST = 3.0
"""Seconds that each is watched at least."""


@dataclass(eq=False)
class Watch:
    """What is on its way, and what has arrived."""

    sent: dict[str, float] = field(default_factory=dict)
    arrived: dict[str, float] = field(default_factory=dict)
    accepted: set[str] = field(default_factory=set)
    most: dict[str, float] = field(default_factory=dict)
    moved: asyncio.Event = field(default_factory=asyncio.Event)

    def slowest(self, since: float) -> tuple[float, int]:
        """Of the canaries sent since a moment: the slowest in seconds, and how many fell back."""
        mine = [name for name, at in self.sent.items() if name.startswith("canary") and at >= since]
        now = time.time()
        late = max((self.arrived.get(name, now) - self.sent[name] for name in mine), default=0.0)
        return late, sum(name in self.arrived and name not in self.accepted for name in mine)


@asynccontextmanager
async def watched(up: Supervisor) -> AsyncIterator[Watch]:
    """Canaries flow, outcomes are read, memory is watched."""
    settings, watch = up.settings, Watch()
    pacing.install()
    reading.install(record_bytes(settings))
    consumer = AIOKafkaConsumer(
        *TERMINAL,
        **connection(settings),
        enable_auto_commit=False,
        isolation_level="read_committed",
        max_partition_fetch_bytes=record_bytes(settings),
    )
    await consumer.start()
    async with AIOKafkaProducer(**producing(settings), linger_ms=0) as producer:
        tasks = [
            asyncio.create_task(_read(consumer, watch)),
            asyncio.create_task(_sing(producer, watch)),
            asyncio.create_task(watch_memory(up, watch.most)),
        ]
        yield watch
        for task in tasks:
            task.cancel()
    await consumer.stop()


async def _read(consumer: AIOKafkaConsumer, watch: Watch) -> None:
    while True:
        for partition, records in (await consumer.getmany(timeout_ms=200)).items():
            watch.moved.set()
            for record in records:
                name = (record.key or b"").decode()
                watch.arrived.setdefault(name, time.time())
                if partition.topic.endswith("accepted"):
                    watch.accepted.add(name)


async def _sing(producer: AIOKafkaProducer, watch: Watch) -> None:
    payloads = [cubic(seed, 12).payload() for seed in range(64)]
    for k in range(10**9):
        name = f"canary {k} {uuid4().hex[:6]}"
        event = {"id": name, "family": "maxcut", "problem": payloads[k % 64], "deadline": DEADLINE, "seed": k}
        watch.sent[name] = time.time()
        await producer.send("problems", wire.dumps(event), key=name.encode())
        pacing.ring(["problems"])
        await asyncio.sleep(PERIOD)


@dataclass(frozen=True)
class Found:
    """Of one event, sent so many times."""

    slowest: float
    fallbacks: int
    verify: float
    encode: float
    hanging: int

    @property
    def met(self) -> bool:
        """Whether the goals are."""
        return (
            self.slowest <= ANSWERED
            and not self.fallbacks
            and not self.hanging
            and self.verify <= VERIFY_MB
            and self.encode <= ENCODE_MB
        )


def send(settings: Settings, event: str, names: Sequence[str]) -> None:
    """In a process of its own, as it is a stranger's: the canaries must not wait for it in their own client."""

    async def work() -> None:
        value = EVENTS[event]()
        # as they are: small ones would be what the broker has to bear
        async with AIOKafkaProducer(**producing(settings) | {"compression_type": None}, linger_ms=0) as producer:
            for name in names:
                await producer.send_and_wait("problems", named(value, name, HOSTILE_SECONDS), key=name.encode())
        pacing.ring(["problems"])

    pacing.install()
    asyncio.run(work())


async def beside(watch: Watch, strangers: Executor, settings: Settings, event: str, count: int) -> Found:
    """Send an event so many times, and watch until all have ended."""
    since, run = time.time(), uuid4().hex[:6]
    watch.most.clear()
    names = [f"{event} {run} {k}" for k in range(count)]
    if names:
        await asyncio.get_running_loop().run_in_executor(strangers, send, settings, event, names)
        if not EVENTS[event]().startswith(b"{"):
            names = []  # it has no id to end by
    until = since + HOSTILE_SECONDS + 10
    await asyncio.sleep(LEAST)
    while time.time() < until and any(name not in watch.arrived for name in names):
        watch.moved.clear()
        await watch.moved.wait()  # the canaries see to that
    slowest, fallbacks = watch.slowest(since)
    hanging = sum(name not in watch.arrived for name in names)
    return Found(slowest, fallbacks, watch.most.get("verify", 0.0), watch.most.get("encode", 0.0), hanging)


def print_row(name: str, once: Found, ten: Found | None) -> None:
    """Of the table."""
    last = ten or once
    met = once.met and (ten is None or ten.met)
    many = f"{ten.slowest:>8.2f}" if ten else f"{'':>8}"
    left = once.fallbacks + once.hanging + (ten.fallbacks + ten.hanging if ten else 0)
    print(
        f"{name:<46} {once.slowest:>8.2f} {many} {left:>6} {max(once.verify, last.verify):>8.0f} "
        f"{max(once.encode, last.encode):>8.0f} {'yes' if met else 'no':>4}",
        flush=True,
    )


async def measure(chosen: Sequence[str], broker: str, title: str) -> None:
    """Row by row."""
    async with pipeline(broker=broker) as (up, _), watched(up) as watch:
        strangers = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        await asyncio.sleep(5)
        print(
            f"\n(k) a canary (12-node max-cut) beside hostile events, {title}; goals: slowest ≤ "
            f"{ANSWERED:g} s, none falls back or hangs, verify ≤ {VERIFY_MB:g} MB, encode ≤ {ENCODE_MB:g} MB\n"
            f"{'event':<46} {'once, s':>8} {'ten, s':>8} {'lost':>6} {'verify':>8} {'encode':>8} {'met':>4}"
        )
        print_row("(the canary alone)", await beside(watch, strangers, up.settings, "", 0), None)
        for name in chosen:
            once, ten = [await beside(watch, strangers, up.settings, name, count) for count in (1, 10)]
            print_row(name, once, ten)
        lost = [name for name in watch.sent if name.startswith("canary") and name not in watch.arrived]
        tell(f"{len(watch.sent)} events, {len(lost)} canaries on their way")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    options = parser("hostile events", kafka=True)
    options.add_argument("--only", default="*", help="names of events, * and ? as in a shell")
    given = options.parse_args(arguments)
    chosen = [name for name in EVENTS if fnmatch.fnmatchcase(name, given.only)][:: 12 if given.quick else 1]
    with broker_of(given) as broker:
        asyncio.run(measure(chosen, broker, name_of(given)))


if __name__ == "__main__":
    main()
