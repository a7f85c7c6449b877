"""(e) Where the time of one problem goes on an idle pipeline: work in the hops, and waiting between them.

One 16-node max-cut problem at a time, embedded broker, tracing on. Total: from the client's call to the outcome in
its hands; work: the sum of the hops' own work, from the outcome; waiting: all the rest (broker, queues, client).
Beside it the time of the script (`benchmarks.naive`) for the same problems, which waits for nobody.

    python -m benchmarks.latency [--problems 200] [--quick]
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import perf_counter

from benchmarks.common import Row, cubic, parser, percentiles, pipeline, print_table, solve, tell
from benchmarks.throughput import NODES, effort, naive_seconds
from qmosaic.codecs.events.public import Timings
from qmosaic.codecs.problems import MaxCut

GOAL = 50.0
"""Milliseconds of waiting."""
PAUSE = 0.05
WARM_UP = 10


async def ours(problems: Sequence[MaxCut]) -> list[tuple[float, Timings]]:
    """Of each problem, seconds as the client measures them and the timings in its outcome."""
    found = []
    async with pipeline() as (_, client):
        for problem in (*(cubic(-1 - k, NODES) for k in range(WARM_UP)), *problems):
            await asyncio.sleep(PAUSE)
            start = perf_counter()
            outcome = await solve(client, problem)
            found.append((perf_counter() - start, outcome.timings))
    return found[WARM_UP:]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    options = parser("latency on an idle pipeline")
    options.add_argument("--problems", type=int, default=200)
    given = options.parse_args(arguments)
    count, peers = (30, 8) if given.quick else (given.problems, min(48, given.problems))
    problems = [cubic(seed, NODES) for seed in range(count)]
    naive = [1000 * value for value in percentiles(naive_seconds(problems[:peers], effort())[0])]
    measured = asyncio.run(ours(problems))
    total = [1000 * seconds for seconds, _ in measured]
    work = [1000 * sum(hop.work for hop in timings.hops.values()) for _, timings in measured]
    waiting = [whole - own for whole, own in zip(total, work, strict=True)]
    for hop in measured[0][1].hops:
        queue, own = ([1000 * getattr(t.hops[hop], part) for _, t in measured] for part in ("queue", "work"))
        tell(f"{hop}: p50 {percentiles(queue)[0]:.1f} ms before it, {percentiles(own)[0]:.1f} ms in it")
    rows = []
    for what, values in (("total", total), ("work", work), ("waiting", waiting)):
        for name, value, peer in zip(("p50", "p95"), percentiles(values), naive, strict=True):
            row = Row(f"{what} {name}", value, peer)
            rows.append(row.judged(f"≤ {GOAL:g} ms", value <= GOAL) if what == "waiting" else row)
    print_table(f"(e) one {NODES}-node problem at a time, ms", "pipeline", "script", rows)


if __name__ == "__main__":
    main()
