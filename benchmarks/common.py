"""What the benchmarks of the pipeline share: problems, a running pipeline, a closed loop of problems, the table."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any
from uuid import uuid4

import networkx as nx
import numpy as np

from qmosaic.codecs.events.public import Outcome
from qmosaic.codecs.problems import MaxCut
from qmosaic.streams.client import Client
from qmosaic.streams.life.supervisor import Supervisor
from qmosaic.streams.settings import EMBEDDED, Settings
from qmosaic.streams.topology import STAGES
from tests.servers import KAFKA_LIBS, RealKafka

DEADLINE = 600.0
"""Seconds; far off, so that no benchmark is sped up by fallbacks."""


@dataclass(frozen=True)
class Row:
    """One figure beside its peer's. `goal` None: shown for comparison only."""

    what: str
    figure: float
    peer: float
    goal: str | None = None
    met: bool | None = None

    @property
    def ratio(self) -> float:
        """Figure over peer's figure."""
        return self.figure / self.peer

    def judged(self, goal: str, met: bool) -> Row:
        """The same row against a goal."""
        return replace(self, goal=goal, met=met)


def print_table(title: str, figure: str, peer: str, rows: Sequence[Row]) -> None:
    """`figure` and `peer` head their columns, units included."""
    wide = max(len(row.what) for row in rows)
    print(f"\n{title}\n{'':<{wide}} {figure:>18} {peer:>18} {'ratio':>8} {'goal':>20} {'met':>5}")
    for row in rows:
        met = "" if row.met is None else "yes" if row.met else "no"
        print(
            f"{row.what:<{wide}} {row.figure:>18.1f} {row.peer:>18.1f} {row.ratio:>8.2f} {row.goal or '':>20} {met:>5}",
            flush=True,
        )


@dataclass(frozen=True)
class Figure:
    """A figure against its own goal, without a peer. `goal` None: shown for comparison only."""

    what: str
    value: float
    unit: str
    goal: str | None = None
    met: bool | None = None


def print_figures(title: str, figures: Sequence[Figure]) -> None:
    """The table of figures that have no peer."""
    wide = max(len(figure.what) for figure in figures)
    print(f"\n{title}\n{'':<{wide}} {'figure':>12} {'unit':<10} {'goal':>16} {'met':>5}")
    for one in figures:
        met = "" if one.met is None else "yes" if one.met else "no"
        print(f"{one.what:<{wide}} {one.value:>12.2f} {one.unit:<10} {one.goal or '':>16} {met:>5}", flush=True)


def parser(description: str, kafka: bool = False) -> argparse.ArgumentParser:
    """With `--quick`, that all of them know, and `--kafka`, for those that can run on either broker."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--quick", action="store_true", help="small sizes: shows that it works, not how fast")
    if kafka:
        made.add_argument(
            "--kafka", action="store_true", help="on an Apache Kafka (make kafka), not the embedded broker"
        )
    return made


@contextmanager
def broker_of(given: argparse.Namespace) -> Iterator[str]:
    """The address of the broker that was chosen; a Kafka runs meanwhile."""
    if not given.kafka:
        yield EMBEDDED
        return
    if not KAFKA_LIBS.is_dir():
        sys.exit("no Apache Kafka here: make kafka")
    with tempfile.TemporaryDirectory(prefix="qmosaic-kafka-") as folder:
        server = RealKafka(Path(folder))
        server.start()
        try:
            yield server.address
        finally:
            server.stop()


def name_of(given: argparse.Namespace) -> str:
    """Of the broker that was chosen."""
    return "Apache Kafka" if given.kafka else "the embedded broker"


def tell(line: str) -> None:
    """Progress, beside the table."""
    print(line, file=sys.stderr, flush=True)


def cubic(seed: int, nodes: int = 16) -> MaxCut:
    """Max-cut on a random 3-regular graph, every weight 1."""
    graph: Any = nx.random_regular_graph(3, nodes, seed=seed)
    return MaxCut(edges=[list(edge) for edge in graph.edges], nodes=nodes)


@asynccontextmanager
async def pipeline(
    steady: bool = True, broker: str = EMBEDDED, **more: Any
) -> AsyncIterator[tuple[Supervisor, Client]]:
    """Every stage, tracing on, and a client. `steady`: a restarted worker raises RuntimeError. `more`: settings."""
    with tempfile.TemporaryDirectory(prefix="qmosaic-bench-") as folder:
        data = Path(folder)
        settings = Settings(**{"broker": broker, "data_dir": folder, "spans_dir": str(data / "spans"), **more})
        tell("starting the pipeline (a first start compiles every program)")
        async with Supervisor(settings, list(STAGES), logs=data / "logs", tell=tell) as up:
            await up.all_ready()
            async with Client(settings=up.settings) as client:
                yield up, client
            restarted = [child.instance for child in up.children if child.starts > 1]
            if steady and restarted:
                raise RuntimeError(f"restarted in between, so the figures mean nothing: {', '.join(restarted)}")


def resident(pid: int) -> float:
    """Memory of a process that is in RAM, in MB; 0 where it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def watch_memory(up: Supervisor, most: dict[str, float]) -> None:
    """Note the most memory of each worker's own process, in MB, until cancelled."""
    while True:
        for child in up.children:
            if child.process is not None and child.process.returncode is None:
                most[child.stage] = max(most.get(child.stage, 0.0), resident(child.process.pid))
        await asyncio.sleep(0.2)


async def solve(client: Client, problem: MaxCut, target: Any = None) -> Outcome:
    """One problem, in the client's ordinary way."""
    return await client.solve(problem, id=uuid4().hex, deadline=DEADLINE, target=target)


async def solve_all(
    client: Client, problems: Sequence[tuple[MaxCut, Any]], window: int
) -> tuple[list[Outcome], list[float]]:
    """All of (problem, target), never more than `window` on their way; outcomes, and when each arrived (seconds)."""
    gate = asyncio.Semaphore(window)
    arrived: list[float] = []

    async def one(problem: MaxCut, target: Any) -> Outcome:
        async with gate:
            outcome = await solve(client, problem, target)
            arrived.append(perf_counter())
            return outcome

    return await asyncio.gather(*(one(*pair) for pair in problems)), arrived


def percentiles(values: Sequence[float]) -> tuple[float, float]:
    """The median and the 95th percentile."""
    p50, p95 = np.percentile(values, [50, 95])
    return float(p50), float(p95)
