"""(a) Outcomes per second of the whole pipeline, and of a script that does the same work (`benchmarks.naive`).

Problems: max-cut on distinct random 3-regular graphs of 16 nodes, target auto, tracing on, embedded broker, one
worker a stage. A client keeps a fixed number of problems on their way; the rate is taken while that many are,
from the arrival of the first window's last outcome to the time when the last problem has been submitted, outcomes
counted where the client reads them. The script goes first, on the idle machine, and has the problems in memory.

The goal is held against the script that tunes its angles as the pipeline does, on a part of ten variables; the one
that tunes them on the whole problem, with as many evaluations, is shown beside it.

    python -m benchmarks.throughput [--problems 2000] [--quick]
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from time import perf_counter
from typing import Any

from benchmarks.common import Row, cubic, parser, pipeline, print_table, solve_all, tell
from benchmarks.naive import Effort, solve
from qmosaic.codecs.events.public import Outcome
from qmosaic.codecs.problems import MaxCut
from qmosaic.processors.spins import angles, population, tabu
from qmosaic.streams.client import Client
from qmosaic.streams.settings import Settings

GOAL = 10.0
NODES = 16
WINDOW = 512
WARM_UP = 64
"""Problems that go through beforehand and do not count."""


def effort(tuned_on: int = angles.DONOR) -> Effort:
    """What the pipeline spends on one such problem, read from its own constants."""
    settings = Settings()
    gammas, betas = angles.transferred(settings.reduce.layers)
    return Effort(
        replicas=tabu.REPLICAS,
        steps=tabu.steps(NODES),
        easy=round(population.EASY * tabu.REPLICAS),
        populations=tabu.AGREE,
        gammas=gammas,
        betas=betas,
        factors=angles.GRID,
        tuned_on=tuned_on,
        shots=settings.defaults.shots,
    )


def naive_seconds(problems: Sequence[MaxCut], spent: Effort) -> tuple[list[float], list[float]]:
    """Of the script: seconds and cut of each problem, after one that does not count."""
    seconds, cuts = [], []
    solve(NODES, problems[0].edges, spent, seed=0)
    for problem in problems:
        start = perf_counter()
        cuts.append(solve(NODES, problem.edges, spent, seed=0)[0])
        seconds.append(perf_counter() - start)
    return seconds, cuts


async def ours(problems: Sequence[MaxCut], window: int, **more: Any) -> tuple[float, list[Outcome]]:
    """Outcomes per second with `window` problems on their way, and the outcomes. `more`: settings."""
    async with pipeline(**more) as (_, client):
        return await rate_of(client, problems, window)


async def rate_of(client: Client, problems: Sequence[MaxCut], window: int) -> tuple[float, list[Outcome]]:
    """The same, of a pipeline that runs."""
    await solve_all(client, [(cubic(-1 - k), None) for k in range(WARM_UP)], window)
    outcomes, arrived = await solve_all(client, [(problem, None) for problem in problems], window)
    full = arrived[window - 1 : len(arrived) - window]
    return (len(full) - 1) / (full[-1] - full[0]), outcomes


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    options = parser("outcomes per second")
    options.add_argument("--problems", type=int, default=2000)
    given = options.parse_args(arguments)
    count, window, peers = (240, 64, 4) if given.quick else (given.problems, min(WINDOW, given.problems // 4), 36)
    problems = [cubic(seed, NODES) for seed in range(count)]
    seconds, cuts = naive_seconds(problems[:peers], effort())
    whole, _ = naive_seconds(problems[: peers // 2], effort(tuned_on=NODES))
    rate, outcomes = asyncio.run(ours(problems, window))
    tell(f"{count} outcomes: {dict(Counter(f'{o.status} ({o.reason}) by {o.backend}' for o in outcomes))}")
    found = [(outcome.objective or 0, cut) for outcome, cut in zip(outcomes, cuts, strict=False)]
    tell(f"cuts of the first {peers}: {sum(a > b for a, b in found)} better, {sum(a < b for a, b in found)} worse")
    row = Row("script that does the same", rate, len(seconds) / sum(seconds))
    rows = [
        row.judged(f"ratio ≥ {GOAL:g}", row.ratio >= GOAL),
        Row("script that tunes on all nodes", rate, len(whole) / sum(whole)),
    ]
    print_table(f"(a) end to end, {NODES}-node max-cut, outcomes/s", "pipeline", "script", rows)


if __name__ == "__main__":
    main()
