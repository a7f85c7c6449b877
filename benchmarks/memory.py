"""(d) Resident memory of each worker, its child processes included, after some problems and after ten times as many.

Mixed problems, so that every worker has work: mostly 16 nodes, some 10 (whose kernels the rules give to quantum),
some with the classical target, a few of 60 to 100. Tracing on, embedded broker. The peer of a worker is itself,
earlier. The verifier is meant to remember ids for its repeat window, so it grows by that much.

    python -m benchmarks.memory [--problems 10000] [--quick]
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import psutil

from benchmarks.common import Row, cubic, parser, pipeline, print_table, solve_all, tell
from qmosaic.codecs.problems import MaxCut
from qmosaic.streams.life.supervisor import Supervisor

GOAL = 1.10
WINDOW = 256
SETTLE = 3.0
"""Seconds for spans to be exported and offsets committed before memory is read."""


def mixed(count: int, seed: int) -> list[tuple[MaxCut, Any]]:
    """Problems with their targets."""
    draw = random.Random(seed)

    def one(k: int) -> tuple[MaxCut, Any]:
        share = draw.random()
        if share < 0.05:
            return cubic(seed + k, draw.randrange(60, 101, 2)), None
        if share < 0.15:
            return cubic(seed + k, 10), None
        return cubic(seed + k), "classical" if share < 0.25 else None

    return [one(k) for k in range(count)]


def resident(up: Supervisor) -> dict[str, float]:
    """Worker to MiB, with the processes below it."""
    found = {}
    for child in up.children:
        assert child.process is not None
        process = psutil.Process(child.process.pid)
        family = [process, *process.children(recursive=True)]
        found[child.instance] = sum(member.memory_info().rss for member in family) / 2**20
    return found


async def measure(few: int, many: int) -> tuple[dict[str, float], dict[str, float]]:
    """Memory after `few` problems and after `many` in all."""
    async with pipeline() as (up, client):
        readings = []
        for count, seed in ((few, 0), (many - few, few)):
            outcomes, _ = await solve_all(client, mixed(count, seed), WINDOW)
            tell(f"{count} outcomes: {dict(Counter(f'{o.backend} ({o.status})' for o in outcomes))}")
            await asyncio.sleep(SETTLE)
            readings.append(resident(up))
    return readings[0], readings[1]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    options = parser("memory of the workers")
    options.add_argument("--problems", type=int, default=10_000)
    given = options.parse_args(arguments)
    many = 500 if given.quick else given.problems
    few = many // 10
    before, after = asyncio.run(measure(few, many))
    rows = [Row(name, after[name], before[name]) for name in before]
    judged = [row.judged(f"ratio ≤ {GOAL:.2f}", row.ratio <= GOAL) for row in rows]
    print_table("(d) resident memory, MiB", f"after {many}", f"after {few}", judged)


if __name__ == "__main__":
    main()
