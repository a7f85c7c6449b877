"""(s) Whether the local backends pay on public instances: `qmosaic report` of every family, on every target.

The instances are files of a folder of one's own, in any format that `qmosaic submit` reads (G-set, OR-Library, TSPLIB,
FCIDUMP, OpenQASM, …), a few of each of its folders; sequences with low autocorrelation need no file. Each is sent
to the classical, the gpu and the quantum target, again and again with other seeds, until the time is over: then the
report.

    python -m benchmarks.report FOLDER [--seconds 300] [--html FILE] [--quick]

Without FOLDER it is that of the tests, QMOSAIC_INSTANCES, so that `python -m benchmarks report` finds it, too.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Any
from uuid import uuid4

from benchmarks.common import parser, pipeline, tell
from qmosaic.codecs.errors import FormatError, ProblemError
from qmosaic.codecs.formats.registry import read
from qmosaic.codecs.text import shown
from qmosaic.streams.cli.files import read_bounded, write_new
from qmosaic.streams.cli.render import console
from qmosaic.streams.cli.report import parts
from qmosaic.streams.cli.report_page import report_page
from qmosaic.streams.client import Client
from qmosaic.streams.observe.paid import read_period
from tests.instances import INSTANCES

DEADLINE = 8.0
TARGETS = ("classical", "gpu", "quantum")
EACH, MOST_BYTES = 3, 300_000
"""Problems of one folder and family, and of one file."""
LABS = (13, 17, 21)
WINDOW = 3
"""Problems on their way at once."""


def sample(folder: Path) -> list[dict[str, Any]]:
    """A few problems of each family of each folder, the small files first; what is no problem's file is passed over."""
    found = defaultdict[tuple[Path, str], list[dict[str, Any]]](list)
    files = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size <= MOST_BYTES]
    for path in sorted(files, key=lambda path: (path.stat().st_size, path)):
        try:
            problems = read(read_bounded(path), path.name)
        except (FormatError, OSError):
            continue
        for problem in problems[:EACH]:
            mine = found[path.parent, problem.family]
            if len(mine) < EACH:
                payload = dict(problem.problem)
                if problem.family == "portfolio":  # a file of a market does not say what is asked
                    payload.setdefault("cardinality", 5)
                mine.append({"family": problem.family, "problem": payload, "labels": {"name": problem.name}})
    labs = [{"family": "labs", "problem": {"n": n}, "labels": {"name": f"labs {n}"}} for n in LABS]
    return [*labs, *(one for mine in found.values() for one in mine)]


async def solved(client: Client, problems: Sequence[dict[str, Any]], seconds: float) -> int:
    """All of them on every target, with one seed after the other, until the time is over; how many ended."""
    until, ended, refused = perf_counter() + seconds, 0, set[str]()
    jobs = ((problem, target, seed) for seed in count(1) for problem in problems for target in TARGETS)

    async def work() -> None:
        nonlocal ended
        for problem, target, seed in jobs:
            if perf_counter() > until or len(refused) == len(problems):
                return
            name = str(problem["labels"]["name"])
            if name in refused:
                continue
            try:
                await client.solve(problem, id=uuid4().hex, deadline=DEADLINE, target=target, seed=seed)
                ended += 1
            except ProblemError as error:
                refused.add(name)
                tell(f"{shown(name, 60)} is left out: {shown(str(error), 200)}")

    await asyncio.gather(*(work() for _ in range(WINDOW)))
    return ended


async def measure(problems: Sequence[dict[str, Any]], seconds: float, html: Path | None) -> None:
    """Solve, and report."""
    async with pipeline(steady=False) as (up, client):
        tell(f"{len(problems)} problems on {len(TARGETS)} targets, for {seconds:g} s")
        tell(f"{await solved(client, problems, seconds)} ended")
        found = (await read_period(up.settings)).findings
    for part in parts(found):
        console().print(part)
    if html is not None:
        write_new(html, report_page(found))
        tell(f"wrote {html}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the report."""
    options = parser("does it pay on public instances")
    options.add_argument("folder", nargs="?", type=Path, metavar="FOLDER", help="of problem files, and folders of them")
    options.add_argument("--seconds", type=float, default=300.0)
    options.add_argument("--html", type=Path, metavar="FILE", help="write the page, too")
    given = options.parse_args(arguments)
    folder: Path = given.folder or INSTANCES
    if not folder.is_dir():
        tell("no instances here: name a folder of problem files, or QMOSAIC_INSTANCES")
        return
    problems = sample(folder)
    tell(", ".join(str(one["labels"]["name"]) for one in problems))
    asyncio.run(measure(problems, 20.0 if given.quick else given.seconds, given.html))


if __name__ == "__main__":
    main()
