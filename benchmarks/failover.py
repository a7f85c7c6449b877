"""(l) How long no outcome comes when a broker or a worker is killed.

Three brokers of a real Kafka (`make kafka`), every stage that small problems need, ten problems a second.

    python -m benchmarks failover [--quick] [--folder FOLDER]
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from benchmarks.common import parser, tell
from tests.cluster.failover import Running, Seen, pipeline
from tests.servers import KAFKA_LIBS

BROKER_SECONDS, WORKER_SECONDS = 8.0, 7.0  # the goals

Fault = Callable[[], Awaitable[None]]


async def broker(running: Running, stage: str, rest: float) -> Seen:
    """The node that coordinates a stage's group is killed, and comes back behind the stream."""
    node = running.cluster.node(await running.coordinator(stage))
    seen = await running.stream(lambda: asyncio.to_thread(node.kill), rest)
    node.start()
    return seen


async def worker(running: Running, stage: str, rest: float) -> Seen:
    """A worker is killed; the supervisor starts it again."""

    async def kill() -> None:
        running.kill(f"{stage}-0")

    return await running.stream(kill, rest)


async def run(folder: Path, quick: bool) -> list[str]:
    """The rows of the table."""
    rows = []

    def row(what: str, seen: Seen, goal: float) -> None:
        met = "yes" if seen.gap <= goal and not seen.lost and not seen.doubled else "no"
        counts = f"{len(seen.sent)} | {len(seen.lost)} | {len(seen.doubled)} | {len(seen.late)}"
        rows.append(f"| {what} | {seen.gap:.1f} | {goal:.0f} | {met} | {counts} | {os.getloadavg()[0]:.1f} |")
        tell(rows[-1])

    async with pipeline(folder) as running:
        for stage in ("verify",) if quick else ("verify", "reduce"):
            what = f"the broker that coordinates {stage}"
            row(what, await broker(running, stage, 30.0), BROKER_SECONDS)
        for stage in ("encode",) if quick else ("encode", "reduce", "route", "verify"):
            row(f"a worker of {stage}", await worker(running, stage, 25.0), WORKER_SECONDS)
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    options = parser("how long no outcome comes after a fault")
    options.add_argument("--folder", type=Path, help="where the logs stay; by default they go")
    given = options.parse_args(arguments)
    if not KAFKA_LIBS.is_dir():
        tell("failover: no Apache Kafka here (make kafka)")
        return
    with tempfile.TemporaryDirectory(prefix="qmosaic-failover-") as folder:
        rows = asyncio.run(run(given.folder or Path(folder), given.quick))
    print("\n(l) the longest time without any outcome, seconds")
    print("| killed | gap | goal | met | problems | lost | doubled | late | load |")
    print("|---|---:|---:|---|---:|---:|---:|---:|---:|", *rows, sep="\n")


if __name__ == "__main__":
    main()
