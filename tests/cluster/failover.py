"""A pipeline on three brokers under a stream of small problems, and what a fault does to the stream of outcomes.

For the tests of this folder, which ask that nothing is lost, doubled or late, and for `python -m benchmarks failover`,
which asks how long nothing came.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count, pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import networkx as nx
from aiokafka import AIOKafkaProducer

from qmosaic.codecs.events import wire
from qmosaic.codecs.events.public import Outcome, Rejection
from qmosaic.streams.client import Client, read_outcomes
from qmosaic.streams.kafka.names import group_id, topic_name
from qmosaic.streams.life.supervisor import Supervisor
from qmosaic.streams.life.topics import admin, create_topics
from qmosaic.streams.settings import ExecuteSettings, RouteSettings, Settings, Topics
from tests.servers import KafkaCluster

RATE = 10.0  # problems a second
DEADLINE, TOLERANCE = 60.0, 1.0
BEFORE, AFTER = 5.0, 20.0  # seconds of the stream around a fault
STAGES = ("encode", "reduce", "route", "execute.classical", "verify")
CLASSICAL: dict[str, tuple[str, ...]] = {"classical": ("exact",)}


@dataclass
class Seen:
    """What came of a stream of problems."""

    sent: set[str] = field(default_factory=set)
    arrived: list[float] = field(default_factory=list)  # monotonic, of each outcome
    found: Counter[str] = field(default_factory=Counter)
    late: dict[str, float] = field(default_factory=dict)
    statuses: Counter[str] = field(default_factory=Counter)
    fault: float = 0.0
    starts: dict[str, int] = field(default_factory=dict)

    @property
    def gap(self) -> float:
        """The longest time without any outcome, from just before the fault on; seconds."""
        times = [self.fault, *(at for at in self.arrived if at > self.fault)]
        return max((b - a for a, b in pairwise(times)), default=0.0)

    @property
    def lost(self) -> set[str]:
        """Without an outcome."""
        return self.sent - set(self.found)

    @property
    def doubled(self) -> set[str]:
        """With more than one."""
        return {name for name, count in self.found.items() if count > 1}


class Running:
    """A pipeline on a cluster, and its client."""

    def __init__(self, cluster: KafkaCluster, up: Supervisor, client: Client) -> None:
        self.cluster, self.up, self.client, self.settings = cluster, up, client, up.settings

    async def coordinator(self, stage: str) -> int:
        """The node that coordinates a stage's group."""
        async with admin(self.settings) as client:
            return int(await client.find_coordinator(group_id(self.settings, stage)))

    def kill(self, instance: str) -> None:
        """A worker, with -9. The supervisor starts it again."""
        process = next(child.process for child in self.up.children if child.instance == instance)
        assert process is not None
        process.kill()

    async def stream(self, fault: Callable[[], Awaitable[Any]], seconds: float = AFTER) -> Seen:
        """Problems at `RATE`; after `BEFORE` seconds the fault, then `seconds` more of them, and all their outcomes."""
        await self.flowing()
        seen, run = Seen(), uuid4().hex[:6]
        listening = asyncio.create_task(self._listen(seen))
        producing = asyncio.create_task(self._produce(seen, run, BEFORE + seconds))
        await asyncio.sleep(BEFORE)
        seen.fault = time.monotonic()
        await fault()
        await producing
        give_up = time.monotonic() + DEADLINE + 10
        while len(seen.arrived) < len(seen.sent) and time.monotonic() < give_up:
            await asyncio.sleep(0.2)
        await asyncio.sleep(2)  # a second outcome would come now
        listening.cancel()
        async for event in read_outcomes(self.settings, since=None, follow=False):
            if event.problem_id.startswith(run):
                seen.found[event.problem_id] += 1
                seen.statuses[event.status if isinstance(event, Outcome) else "rejected"] += 1
                if isinstance(event, Outcome) and event.timings.total > DEADLINE + TOLERANCE:
                    seen.late[event.problem_id] = event.timings.total
        seen.starts = {child.instance: child.starts for child in self.up.children}
        return seen

    async def flowing(self) -> None:
        """Until a problem is answered in a moment: what the last fault broke is whole again."""
        async with asyncio.timeout(240):
            for number in count():
                begun = time.monotonic()
                await self.client.solve(problem(uuid4().hex, number), deadline=10.0)
                if time.monotonic() - begun < 3:
                    return

    async def _listen(self, seen: Seen) -> None:
        async for event in self.client.outcomes():
            assert isinstance(event, Outcome | Rejection)
            seen.arrived.append(time.monotonic())

    async def _produce(self, seen: Seen, run: str, seconds: float) -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=self.settings.broker,
            acks="all",
            enable_idempotence=True,
            request_timeout_ms=60_000,
            metadata_max_age_ms=5_000,
        )
        topic = topic_name(self.settings, "problems")
        async with producer:
            waiting, begun = [], time.monotonic()
            for number in range(int(seconds * RATE)):
                name = f"{run}-{number}"
                seen.sent.add(name)
                sending = producer.send(topic, wire.dumps(problem(name, number)), key=name.encode())
                waiting.append(asyncio.create_task(_sent(sending)))
                await asyncio.sleep(max(0.0, begun + (number + 1) / RATE - time.monotonic()))
            await asyncio.gather(*waiting)


async def _sent(sending: Awaitable[Any]) -> None:
    await (await sending)


def problem(name: str, number: int) -> dict[str, Any]:
    """A max-cut that presolve leaves to a backend."""
    graph: Any = nx.random_regular_graph(3, 10, seed=number)
    said = {"edges": [list(edge) for edge in graph.edges]}
    return {"id": name, "family": "maxcut", "problem": said, "deadline": DEADLINE}


@asynccontextmanager
async def pipeline(
    directory: Path, *, proxied: bool = False, scale: dict[str, int] | None = None
) -> AsyncIterator[Running]:
    """Three brokers, every stage that small problems need, and a client; warm."""
    cluster = KafkaCluster(directory, proxied=proxied)
    try:
        cluster.start()
        settings = Settings(
            broker=cluster.address,
            namespace=f"c{uuid4().hex[:6]}",
            data_dir=str(directory / "data"),
            topics=Topics(partitions=6, replication=3),
            execute=ExecuteSettings(backends=CLASSICAL),
            route=RouteSettings(preference=CLASSICAL),
            log_level="INFO",
        )
        await create_topics(settings)
        up = Supervisor(settings, STAGES, scale=scale, logs=directory / "logs", create=False)
        starting = asyncio.create_task(up.start())
        try:
            async with Client(settings=settings) as client:
                running = Running(cluster, up, client)
                await (
                    running.flowing()
                )  # not until all is warm: what large problems need takes minutes at a first start
                yield running
        finally:
            starting.cancel()
            await up.stop()
    finally:
        cluster.stop()
