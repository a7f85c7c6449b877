"""Three brokers, and what happens to them: nothing is lost, doubled, or later than the gap.

How long nothing came is printed; what it should be at most is a benchmark's to say (`python -m benchmarks failover`).
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.cluster.failover import DEADLINE, TOLERANCE, Seen, pipeline
from tests.servers import KAFKA_LIBS

pytestmark = pytest.mark.cluster


@pytest.fixture(autouse=True)
def _kafka() -> None:
    if not KAFKA_LIBS.is_dir():
        pytest.skip("no Apache Kafka here: make kafka")


def told(what: str, seen: Seen) -> None:
    """Nothing lost, doubled, or later than the gap, which is printed."""
    counts = f"{len(seen.late)} late, {dict(seen.statuses)}, starts {seen.starts}"
    print(f"\n{what}: longest gap {seen.gap:.1f} s, {counts}, load {os.getloadavg()[0]:.1f}")
    assert seen.lost == set()
    assert seen.doubled == set()
    assert max(seen.late.values(), default=0.0) <= DEADLINE + TOLERANCE + seen.gap
    assert set(seen.found) == seen.sent


async def test_a_broker_that_leads_and_coordinates_is_killed(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as running:
        node = running.cluster.node(await running.coordinator("verify"))

        async def fault() -> None:
            await asyncio.to_thread(node.kill)

        told("a broker killed that coordinates verify", await running.stream(fault, 40))
        node.start()
        node = running.cluster.node(await running.coordinator("reduce"))
        told("a broker killed that coordinates reduce", await running.stream(fault, 40))


@pytest.mark.parametrize("stage", ["encode", "reduce", "route", "verify"])
async def test_a_worker_is_killed(tmp_path: Path, stage: str) -> None:
    async with pipeline(tmp_path) as running:

        async def fault() -> None:
            running.kill(f"{stage}-0")

        seen = await running.stream(fault, 20)
        told(f"{stage} killed", seen)
        assert seen.starts[f"{stage}-0"] == 2


@pytest.mark.parametrize("slow", [1, 3])
async def test_brokers_are_slow(tmp_path: Path, slow: int) -> None:
    """Each answer takes two seconds longer."""
    async with pipeline(tmp_path, proxied=True) as running:

        async def fault() -> None:
            for proxy in running.cluster.proxies[:slow]:
                proxy.delay = 1.0

        seen = await running.stream(fault, 30)
        for proxy in running.cluster.proxies:
            proxy.delay = 0.0
        told(f"{slow} of 3 brokers slow by 2 s", seen)


async def test_too_few_brokers_for_twenty_seconds(tmp_path: Path) -> None:
    async with pipeline(tmp_path) as running:

        async def fault() -> None:
            for node in running.cluster.nodes[1:]:
                await asyncio.to_thread(node.kill)
            await asyncio.sleep(20)
            for node in running.cluster.nodes[1:]:
                node.launch()

        told("two of three brokers gone for 20 s", await running.stream(fault, 50))
