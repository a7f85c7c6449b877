"""(t) Are the baselines strong? The incumbent of each family against kept solvers at equal time, on public instances.

A weak baseline makes any backend look good. Ours is what reduce finds in `--seconds`, as in the pipeline, tuning of the
kernel's angles included; a peer has the same time for the search alone, in the same process, one after the other.
Peers: dwave-samplers' tabu search and simulated annealing, HiGHS and OR-Tools' CP-SAT on the linearised program
(polynomials); OR-Tools' routing with guided local search (routes); PySCF's full configuration interaction (molecules);
HiGHS on the linearised program (portfolios of equal weights); all there are, one by one, which is exact (portfolios,
sequences).
One that is not installed (ortools, highspy, pyscf) has no column.

    python -m benchmarks.baselines FOLDER [--seconds 1] [--seeds 2] [--quick]

Without FOLDER it is that of the tests, QMOSAIC_INSTANCES.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import parser, tell
from benchmarks.report import sample
from benchmarks.solvers import PEERS, Posed
from qmosaic.codecs.events import wire
from qmosaic.processors.admit import Admission, Record, admit
from qmosaic.processors.encode import encode
from qmosaic.processors.reduce import reduce_events
from qmosaic.streams.settings import Settings
from tests.instances import INSTANCES

SAME = 1e-9
SKIPPED = ("circuit",)
"""Its incumbent is none to compare: an answer is right or wrong."""
RISKS, SIZES = (0.1, 0.5, 0.9), (5, 10)
"""Risk aversions and numbers of assets that are asked of a market."""


def posed(event: dict[str, Any], seed: int) -> Posed:
    """As it comes out of encode."""
    settings = Settings()
    value = wire.dumps({**event, "id": "x", "seed": seed, "deadline": settings.limits.deadline_seconds / 2})
    record = Record("problems", 0, 0, time.time(), value)
    admission = admit(record, settings.limits, settings.defaults)
    if not isinstance(admission, Admission):
        raise ValueError(admission.rejected.message)
    return Posed(str(event["labels"]["name"]), event["family"], admission, admission.instance.encode())


def ours(event: dict[str, Any], seconds: float, seed: int) -> tuple[float | None, float, str]:
    """The objective of the incumbent, the seconds it took, and what found it."""
    settings, one = Settings(), posed(event, seed)
    value = wire.dumps({**event, "id": "x", "seed": seed, "deadline": settings.limits.deadline_seconds / 2})
    (encoded,) = encode([Record("problems", 0, 0, time.time(), value)], settings.limits, settings.defaults)
    assert encoded is not None
    given = settings.reduce
    ((incumbent, _),) = reduce_events(
        [encoded],
        now=time.time(),
        max_kernel_qubits=given.max_kernel_qubits,
        layers=given.layers,
        share=1.0,
        max_seconds=seconds,
        clock=time.monotonic,
    )
    instance = one.admission.instance
    solution = instance.solution(incumbent.state)
    found = instance.evaluate(solution, incumbent.state) if solution is not None else None
    return found.objective if found is not None else None, incumbent.seconds, incumbent.solver


def compared(event: dict[str, Any], seconds: float, seeds: Sequence[int]) -> dict[str, str]:
    """A line of the table: the mean objective over the seeds of each."""
    one = posed(event, seeds[0])
    ours(event, 0.05, 0)  # a first problem of a size pays for what is compiled
    found = defaultdict[str, list[float]](list)
    took, solver = 0.0, ""
    for seed in seeds:
        objective, spent, solver = ours(event, seconds, seed)
        took += spent / len(seeds)
        if objective is not None:
            found["ours"].append(objective)
        for name, (peer, module) in PEERS.items():
            value = peer(one, seconds, seed) if find_spec(module) is not None else None
            if value is not None:
                found[name].append(value)
    means = {name: float(np.mean(values)) for name, values in found.items() if values}
    sign = 1 if one.admission.instance.sense == "max" else -1
    best = max(sign * value for value in means.values())
    won = [name for name, value in means.items() if sign * value >= best - SAME * max(1.0, abs(best))]
    line = {"problem": one.name, "family": one.family, "ours": f"{means.get('ours', np.nan):.8g}", "by": solver}
    line |= {"s": f"{took:.2f}"} | {name: f"{value:.8g}" for name, value in means.items() if name != "ours"}
    return line | {"best": ", ".join(won)}


def _asked(event: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What is asked of a problem: of a market several things."""
    if event["family"] != "portfolio":
        yield event
        return
    for risk, k in product(RISKS, SIZES):
        labels = {"name": f"{event['labels']['name']}, λ {risk:g}, {k} assets"}
        yield {**event, "problem": {**event["problem"], "risk_aversion": risk, "cardinality": k}, "labels": labels}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, as Markdown."""
    options = parser("are the baselines strong")
    options.add_argument("folder", nargs="?", type=Path, metavar="FOLDER", help="of problem files, and folders of them")
    options.add_argument("--seconds", type=float, default=1.0)
    options.add_argument("--seeds", type=int, default=2)
    given = options.parse_args(arguments)
    folder: Path = given.folder or INSTANCES
    if not folder.is_dir():
        tell("no instances here: name a folder of problem files, or QMOSAIC_INSTANCES")
        return
    events = [asked for event in sample(folder) if event["family"] not in SKIPPED for asked in _asked(event)]
    if given.quick:
        events = list({event["family"]: event for event in events}.values())
    line = partial(compared, seconds=0.2 if given.quick else given.seconds, seeds=range(1, 1 + given.seeds))
    peers = [name for name, (_, module) in PEERS.items() if find_spec(module) is not None]
    columns = ["problem", "family", "ours", "by", "s", *peers, "best"]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for event in events:
        try:
            cells = line(event)
        except ValueError as error:
            tell(f"{event['labels']['name']} is left out: {error}")
            continue
        print(f"| {' | '.join(cells.get(name, '') for name in columns)} |", flush=True)


if __name__ == "__main__":
    main()
