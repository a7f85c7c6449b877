"""(g) Did quantum pay? Every problem on every target: how often its kernel improved on the incumbent, and by how much.

The problems are those of the files named, or some of every family made here. Each is sent with each target. Counted
is what the outcome says: *improved* and by how much (relative to the baseline's size), *equal*, *lost* (a valid
answer that was worse, or infeasible), *none* (presolve had solved it, or the target takes no such kernel).

    python -m benchmarks.targets [FILE ...] [--each 6] [--deadline 30] [--quick]
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks.common import cubic, parser, pipeline, tell
from benchmarks.mixed import circuit, hubbard, ising, portfolio, qubo, tour
from qmosaic.codecs.events.public import Outcome
from qmosaic.codecs.formats.registry import read
from qmosaic.codecs.problems import Labs

TARGETS = ("quantum", "gpu", "classical")
WORD = {
    "improved": "improved",
    "equal": "equal",
    "verified": "verified",
    "unverified": "unverified",
    "worse_than_baseline": "lost",
    "within_error": "lost",
    "infeasible": "lost",
    "mismatch": "lost",
}
"""Outcome reasons in this table's words; all others are *none*."""


def made(each: int) -> list[tuple[str, dict[str, Any]]]:
    """Name and event of some problems of every family."""
    draw = random.Random(3)
    problems = [
        problem
        for k in range(each)
        for problem in (
            cubic(k, 30),
            qubo(draw),
            ising(draw),
            portfolio(draw),
            tour(draw),
            circuit(draw),
            Labs(n=10 + 2 * k),
            hubbard(2 + k % 2, draw.uniform(1, 8)),
        )
    ]
    return [(one.family, {"family": one.family, "problem": one.payload()}) for one in problems]


def held(files: Sequence[Path]) -> list[tuple[str, dict[str, Any]]]:
    """Name and event of every problem in the files."""
    out = []
    for path in files:
        for problem in read(path.read_bytes(), path.name):
            event = dict(problem.event or {"family": problem.family, "problem": problem.problem})
            out.append((problem.name, event | ({"sense": problem.sense} if problem.sense else {})))
    return out


async def run(problems: Sequence[tuple[str, dict[str, Any]]], deadline: float) -> dict[tuple[str, str], list[Outcome]]:
    """Outcomes by family and target, one problem after the other."""
    out: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    async with pipeline() as (_, client):
        for name, event in problems:
            for target in TARGETS:
                given = {key: value for key, value in event.items() if key != "id"}
                outcome = await client.solve({**given, "id": uuid4().hex}, deadline=deadline, target=target)
                out[outcome.family, target].append(outcome)
                gain = f"{outcome.improvement:+.6g}" if outcome.improvement is not None else ""
                tell(f"{name}, {target}: {outcome.status} ({outcome.reason}) {outcome.objective} {gain}")
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    options = parser("every family on every target")
    options.add_argument("files", nargs="*", type=Path)
    options.add_argument("--each", type=int, default=6, help="problems of each family, where no file is named")
    options.add_argument("--deadline", type=float, default=30.0)
    given = options.parse_args(arguments)
    problems = held(given.files) if given.files else made(1 if given.quick else given.each)
    found = asyncio.run(run(problems, given.deadline))
    words = ("improved", "equal", "verified", "unverified", "lost", "none")
    print(
        "\n(g) every family on every target\n| family | target | problems |",
        " | ".join(words),
        "| mean gain | mean loss |",
    )
    print("|---|---|" + "---:|" * (len(words) + 3))
    for (family, target), outcomes in sorted(found.items()):
        counts = Counter(WORD.get(outcome.reason, "none") for outcome in outcomes)
        gain = _mean(outcomes, "improved", better=True)
        loss = _mean(outcomes, "lost", better=False)
        cells = " | ".join(str(counts[word]) for word in words)
        print(f"| {family} | {target} | {len(outcomes)} | {cells} | {gain} | {loss} |")


def _mean(outcomes: Sequence[Outcome], word: str, better: bool) -> str:
    """By how much the backend's answers were better or worse, on the mean, relative to the baseline's size."""
    shares = []
    for one in outcomes:
        if WORD.get(one.reason) != word or one.baseline is None or one.proposed is None or not one.proposed.feasible:
            continue
        said, base = one.proposed.objective, one.baseline.objective
        if said is not None and base:
            gained = said - base if one.sense == "max" else base - said
            shares.append((gained if better else -gained) / abs(base))
    return f"{sum(shares) / len(shares):.3%}" if shares else ""


if __name__ == "__main__":
    main()
