"""Exactly one outcome for each of 1,000 problems, by its deadline, while everything that can die dies.

On a real Kafka: every worker in turn is killed with -9 (the supervisor starts it again), one verifier is frozen
for 20 s and wakes as a zombie, and the broker is killed and restarted once.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from typing import Any

import networkx as nx
import pytest
from aiokafka import AIOKafkaProducer

from qmosaic.codecs.events import wire
from qmosaic.codecs.events.public import Outcome, Rejection
from qmosaic.streams.client import read_outcomes
from qmosaic.streams.kafka.names import topic_name
from qmosaic.streams.settings import Settings, Topics
from qmosaic.streams.topology import STAGES
from tests.servers import RealKafka
from tests.streams.harness import Pipeline, pipeline, settings_for

pytestmark = [pytest.mark.chaos, pytest.mark.kafka]

PROBLEMS = 1000
RATE = 10.0  # a second
DEADLINE = 30.0
TOLERANCE = 2.0
FROZEN_SECONDS = 20.0


def problem(number: int) -> dict[str, Any]:
    graph: Any = nx.random_regular_graph(3, 10 + 2 * (number % 4), seed=number)
    return {
        "id": f"chaos-{number}",
        "family": "maxcut",
        "problem": {"edges": [list(edge) for edge in graph.edges]},
        "deadline": DEADLINE,
        "labels": {"number": number},
    }


async def produce(settings: Settings) -> None:
    """All problems at a steady rate; one in fifty is sent twice, as a producer does that was not sure."""
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.broker, acks="all", enable_idempotence=True, request_timeout_ms=60_000
    )
    async with producer:
        waiting = []
        started = time.monotonic()
        for number in range(PROBLEMS):
            value = wire.dumps(problem(number))
            for _ in range(2 if number % 50 == 0 else 1):
                waiting.append(
                    await producer.send(topic_name(settings, "problems"), value, key=f"chaos-{number}".encode())
                )
            await asyncio.sleep(max(0.0, started + (number + 1) / RATE - time.monotonic()))
        await asyncio.gather(*waiting)


async def torment(up: Pipeline, kafka: RealKafka) -> None:
    """Kill every worker in turn; freeze a verifier; kill the broker."""
    instances = [child.instance for child in up.supervisor.children]
    random.Random(7).shuffle(instances)
    half = len(instances) // 2
    for instance in instances[:half]:
        await asyncio.sleep(3)
        up.signal(instance, signal.SIGKILL)
    up.signal("verify-0", signal.SIGSTOP)
    await asyncio.sleep(FROZEN_SECONDS)
    up.signal("verify-0", signal.SIGCONT)
    await asyncio.sleep(5)
    await asyncio.to_thread(kafka.kill)
    await asyncio.to_thread(kafka.start)
    await asyncio.sleep(12)
    for instance in instances[half:]:
        await asyncio.sleep(3)
        up.signal(instance, signal.SIGKILL)


async def test_exactly_one_outcome_each_by_its_deadline(kafka: RealKafka, tmp_path: Any) -> None:
    settings = settings_for(kafka.address, tmp_path, topics=Topics(partitions=4), log_level="INFO")
    found: list[Outcome | Rejection] = []
    with pipeline(settings, list(STAGES), scale={"verify": 2}) as up:
        await asyncio.gather(produce(settings), torment(up, kafka))
        give_up = time.monotonic() + DEADLINE + 10
        while time.monotonic() < give_up and len(found) < PROBLEMS:
            await asyncio.sleep(2)
            found = [event async for event in read_outcomes(settings, since=None, follow=False)]
        await asyncio.sleep(3)  # a second outcome would come now
        found = [event async for event in read_outcomes(settings, since=None, follow=False)]
        starts = {child.instance: child.starts for child in up.supervisor.children}
    counts = Counter(event.problem_id for event in found)
    outcomes = [event for event in found if isinstance(event, Outcome)]
    late = {o.problem_id: o.timings.total for o in outcomes if o.timings.total > DEADLINE + TOLERANCE}
    print(
        f"\n{len(outcomes)} outcomes: {Counter((o.status, o.reason) for o in outcomes)}; "
        f"slowest {max(o.timings.total for o in outcomes):.1f} s; starts {starts}"
    )
    assert set(counts) == {f"chaos-{number}" for number in range(PROBLEMS)}
    assert {key: count for key, count in counts.items() if count > 1} == {}
    assert late == {}
    assert all(count > 1 for count in starts.values())
