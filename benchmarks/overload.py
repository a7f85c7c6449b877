"""(j) Far more problems at once than can be answered in time: how late is the latest outcome, how many are answered?

A burst of 16-node max-cuts, all with one deadline, on one pipeline as `qmosaic up` starts it; one worker a stage; the
embedded broker, which gets slower with all that it holds, or a real Kafka. First the capacity is measured, with a fixed
number of problems on their way. In one scenario the verifier is killed (SIGKILL) in the middle. Lateness is when a
client has the outcome, after the deadline that counts from the problem record's timestamp. `accepted` is the share of
what the capacity would allow until the deadline. Rates are compared across minutes, so each is corrected by the speed
of the machine at the time (`benchmarks.speed`); both are told as they are measured.

    python -m benchmarks overload [--quick]
    python -m benchmarks.overload --kafka
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import median
from uuid import uuid4

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from benchmarks.common import (
    Figure,
    broker_of,
    cubic,
    name_of,
    parser,
    pipeline,
    print_figures,
    solve_all,
    tell,
    watch_memory,
)
from benchmarks.speed import Speed
from qmosaic.codecs.events import wire
from qmosaic.codecs.events.public import PROBLEM_SCHEMA
from qmosaic.streams.client import TERMINAL, Client
from qmosaic.streams.kafka import pacing, reading
from qmosaic.streams.kafka.connect import connection, producing, record_bytes
from qmosaic.streams.life.supervisor import Supervisor
from qmosaic.streams.settings import Settings

GRAPHS = 256
"""Distinct problems; their events differ in id and seed as well."""
PATIENCE = 60.0
"""Seconds after the deadline until an outcome counts as lost."""
ROUNDS = 3
"""Of measuring the capacity: a single one varies by a tenth."""
ACCEPTED = 0.6
MEMORY_MB = 700.0


@dataclass(frozen=True)
class Scenario:
    """A burst. `late`: the seconds that an outcome may be late. `share`: whether a goal of answers applies."""

    name: str
    count: int
    deadline: float
    late: float
    share: bool = True
    kill: bool = False


SCENARIOS = (
    Scenario("4,000 in 10 s", 4000, 10.0, 1.0),
    Scenario("10,000 in 15 s", 10_000, 15.0, 1.0),
    Scenario("20,000 in 15 s", 20_000, 15.0, 3.0, share=False),
    Scenario("10,000 in 15 s, verifier killed", 10_000, 15.0, 7.0, share=False, kill=True),
)


@dataclass(frozen=True, eq=False)
class Found:
    """What a burst came to: seconds late of each outcome, and why each was written."""

    late: list[float]
    reasons: Counter[str]
    accepted: int
    lost: int
    twice: int


async def burst(settings: Settings, scenario: Scenario, up: Supervisor) -> Found:
    """Send all of it as fast as it goes, and read all the outcomes."""
    run = uuid4().hex[:8]
    payloads = [cubic(seed, 16).payload() for seed in range(GRAPHS)]
    topics = list(TERMINAL)
    pacing.install()
    reading.install(record_bytes(settings))
    consumer = AIOKafkaConsumer(
        *topics, **connection(settings), enable_auto_commit=False, isolation_level="read_committed"
    )
    await consumer.start()
    partitions = sorted(consumer.assignment())
    for partition, end in (await consumer.end_offsets(partitions)).items():
        consumer.seek(partition, end)
    arrived: dict[str, list[float]] = {}
    values: list[tuple[TopicPartition, bytes]] = []
    sent: dict[str, float] = {}

    async def read() -> None:
        while len(arrived) < scenario.count:
            for partition, records in (await consumer.getmany(timeout_ms=200)).items():
                now = time.time()
                for record in records:
                    key = (record.key or b"").decode()
                    if key.startswith(run):
                        arrived.setdefault(key, []).append(now)
                        values.append((partition, record.value or b""))

    async def kill() -> None:
        await asyncio.sleep(scenario.deadline / 2)
        child = next(child for child in up.children if child.stage == "verify")
        if child.process is not None:
            os.kill(child.process.pid, signal.SIGKILL)

    outcomes_read = asyncio.create_task(read())
    killing = asyncio.create_task(kill()) if scenario.kill else None
    async with AIOKafkaProducer(**producing(settings), linger_ms=5) as producer:
        futures = []
        for k in range(scenario.count):
            key = f"{run}-{k}"
            event = {
                "schema": PROBLEM_SCHEMA,
                "id": key,
                "family": "maxcut",
                "problem": payloads[k % GRAPHS],
                "deadline": scenario.deadline,
                "seed": k,
            }
            futures.append((key, time.time(), await producer.send("problems", wire.dumps(event), key=key.encode())))
            if k % 500 == 0:
                pacing.ring(["problems"])
        for key, began, future in futures:
            meta = await future
            sent[key] = meta.timestamp / 1000 if meta.timestamp and meta.timestamp > 0 else began
        pacing.ring(["problems"])
    tell(f"  sent within {max(sent.values()) - min(sent.values()):.1f} s")
    with suppress(TimeoutError):
        await asyncio.wait_for(outcomes_read, scenario.deadline + PATIENCE)
    if killing is not None:
        await killing
    await consumer.stop()
    outcomes = [orjson.loads(value) for _, value in values]
    reasons = Counter(f"{one['status']}: {one.get('reason') or one.get('code')}" for one in outcomes)
    late = [arrived[key][0] - sent[key] - scenario.deadline for key in arrived]
    return Found(
        late,
        reasons,
        sum(one["status"] == "accepted" for one in outcomes),
        scenario.count - len(arrived),
        sum(len(times) > 1 for times in arrived.values()),
    )


async def capacity(client: Client, speed: Speed, count: int, first: int) -> float:
    """Outcomes a second with a fixed number of problems on their way, the median of rounds.

    Each for the speed that the machine had at first, by what it has before and after the round.
    """
    rates, before = [], await speed.read()
    for k in range(ROUNDS):
        rate = await _capacity(client, count, first + k * count)
        after = await speed.read()
        rates.append(2 * rate / (before + after))
        tell(f"  {rate:.0f}/s with the machine at {(before + after) / 2:.2f} of its speed at first")
        before = after
    return median(rates)


async def _capacity(client: Client, count: int, first: int) -> float:
    window = min(512, count // 4)
    problems = [(cubic(first + k, 16), None) for k in range(count)]
    _, arrived = await solve_all(client, problems, window)
    full = arrived[window - 1 : len(arrived) - window]
    return (len(full) - 1) / (full[-1] - full[0])


async def measure(scenarios: Sequence[Scenario], count: int, broker: str, speed: Speed) -> list[Figure]:
    """The rows of the table."""
    figures: list[Figure] = []
    async with pipeline(steady=False, broker=broker) as (up, client):
        await _capacity(client, 256, -1000)
        await speed.read()  # the processes that measure it start
        rate = await capacity(client, speed, count, 0)
        figures.append(Figure("capacity", rate, "1/s"))
        for scenario in scenarios:
            tell(scenario.name)
            most: dict[str, float] = {}
            watching = asyncio.create_task(watch_memory(up, most))
            before = await speed.read()
            found = await burst(up.settings, scenario, up)
            now = (before + await speed.read()) / 2
            watching.cancel()
            tell(f"  {dict(found.reasons)}")
            tell(f"  most memory, MB: { {stage: round(size) for stage, size in most.items()} }")
            goal, latest = scenario.late, max(found.late, default=0.0)
            over = sum(late > goal for late in found.late)
            figures += [
                Figure(
                    f"{scenario.name}: lost or twice",
                    found.lost + found.twice,
                    "problems",
                    "0",
                    found.lost + found.twice == 0,
                ),
                Figure(f"{scenario.name}: later than {goal:g} s", over, "problems", "0", over == 0),
                Figure(f"{scenario.name}: the latest, after its deadline", latest, "s"),
            ]
            share = found.accepted / min(rate * now * scenario.deadline, scenario.count)
            judged = (f"≥ {ACCEPTED:g}", share >= ACCEPTED) if scenario.share else (None, None)
            figures.append(Figure(f"{scenario.name}: accepted of capacity", share, "", *judged))
            memory = max(most.get("verify", 0.0), most.get("encode", 0.0))
            figures.append(
                Figure(
                    f"{scenario.name}: memory, verify or encode", memory, "MB", f"≤ {MEMORY_MB:g}", memory <= MEMORY_MB
                )
            )
            again = await capacity(client, speed, count, 50_000)
            figures.append(
                Figure(f"{scenario.name}: rate afterwards, of capacity", again / rate, "", "≥ 0.9", again >= 0.9 * rate)
            )
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    options = parser("overload", kafka=True)
    options.add_argument("--only", type=int, help="one scenario, by number from 0")
    given = options.parse_args(arguments)
    scenarios = SCENARIOS if given.only is None else (SCENARIOS[given.only],)
    if given.quick:
        scenarios = (Scenario("1,000 in 3 s", 1000, 3.0, 1.0, share=False),)
    with broker_of(given) as broker, Speed() as speed:
        figures = asyncio.run(measure(scenarios, 256 if given.quick else 3000, broker, speed))
    print_figures(f"(j) overload, 16-node max-cut, {name_of(given)}", figures)


if __name__ == "__main__":
    main()
