"""(r) Rounds against one long search: at equal total time, how often several rounds end at least as good.

Max-cut on the graphs of 800 nodes of the G-set, as far as they are at hand (`QMOSAIC_INSTANCES`), from several seeds.
Both go through the hops' own functions, in one process and without a broker: reduce, an exact solver for the kernel,
verify's judgement. The long search has all of a time limit in reduce; what it needs from its beginning to its outcome
is the total time. The rounds are those of `rounds: "deadline"` with that as their deadline: each has half of what
reduce would have of the time left. What is not verified by then does not count.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from statistics import mean
from time import monotonic, perf_counter
from typing import Any, NamedTuple

from benchmarks.common import Figure, parser, print_figures, tell
from qmosaic.backends.registry import create
from qmosaic.codecs.events import wire
from qmosaic.codecs.events.hops import Encoded, Interim, JobEvent, Reduced, Route
from qmosaic.codecs.events.public import Outcome
from qmosaic.processors.admit import Admission, Defaults, Record, admit
from qmosaic.processors.encode import encoded
from qmosaic.processors.execute import execute, job_id
from qmosaic.processors.families.base import Limits
from qmosaic.processors.reduce import reduce_events
from qmosaic.processors.terminal import judge
from tests.instances import INSTANCES

NODES = 800
SECONDS = (0.3, 0.6, 1.2)
SEEDS = 8
GOAL = 90.0
"""Percent of the pairs."""
AT = 1_700_000_000.0
ROUTE = Route(target="classical", backend="exact", reason="rule", rule="")
MOST = 10**8
_backend = cache(create)


class End(NamedTuple):
    """What was verified in the end, after so many seconds and rounds."""

    objective: float
    seconds: float
    rounds: int


def main(argv: Sequence[str] | None = None) -> None:
    """The table."""
    options = parser("rounds against one long search")
    options.add_argument("--seeds", type=int, default=SEEDS)
    given = options.parse_args(argv)
    graphs = {path.stem: edges for path, edges in _graphs()}
    if not graphs:
        tell(f"no graphs of {NODES} nodes in {INSTANCES / 'maxcut' / 'gset'}: set QMOSAIC_INSTANCES")
        return
    seeds, times = (1, SECONDS[:1]) if given.quick else (given.seeds, SECONDS)
    figures: list[Figure] = []
    for edges in graphs.values():
        solved(edges, 0, 0.1, 1)  # compiles, or loads what is compiled
        solved(edges, 0, 1.0, "deadline")
    for seconds in times:
        figures += _compared(graphs, seeds, seconds)
    print_figures(f"rounds against one long search, {', '.join(graphs)}, {seeds} seeds each", figures)


def _compared(graphs: dict[str, list[Any]], seeds: int, seconds: float) -> list[Figure]:
    pairs: dict[str, list[tuple[End, End]]] = defaultdict(list)
    for name, edges in graphs.items():
        for seed in range(seeds):
            long = solved(edges, seed, seconds, 1)
            pairs[name].append((long, solved(edges, seed, long.seconds, "deadline")))
    every = [pair for of in pairs.values() for pair in of]
    good, better = (_share(every, strictly) for strictly in (False, True))
    what = f"{seconds:g} s"
    tell(f"{what}: " + ", ".join(f"{name} {_share(of, False):.0f} %" for name, of in pairs.items()))
    return [
        Figure(f"{what}: at least as good", good, "%", f">= {GOAL:g}", good >= GOAL),
        Figure(f"{what}: better", better, "%"),
        Figure(f"{what}: rounds", mean(ours.rounds for _, ours in every), ""),
        Figure(f"{what}: total of the long search", mean(long.seconds for long, _ in every), "s"),
        Figure(f"{what}: total of the rounds", mean(ours.seconds for _, ours in every), "s"),
    ]


def _share(pairs: Sequence[tuple[End, End]], strictly: bool) -> float:
    wins = sum(
        ours.objective > long.objective if strictly else ours.objective >= long.objective for long, ours in pairs
    )
    return 100 * wins / len(pairs)


def _graphs() -> list[tuple[Path, list[Any]]]:
    out = []
    for path in sorted((INSTANCES / "maxcut" / "gset").glob("*.rud")):
        nodes, count, *rest = map(int, path.read_text().split())
        if nodes == NODES:
            out.append((path, [[rest[3 * k] - 1, rest[3 * k + 1] - 1, rest[3 * k + 2]] for k in range(count)]))
    return out


def solved(edges: list[Any], seed: int, seconds: float, rounds: Any) -> End:
    """A problem with so many seconds, from reduce to its outcome."""
    event = {"family": "maxcut", "problem": {"edges": edges, "nodes": NODES}, "deadline": seconds, "seed": seed}
    value = wire.dumps({**event, **({} if rounds == 1 else {"rounds": rounds})})
    admission = admit(Record("problems", 0, 0, AT, value), Limits(), Defaults())
    assert isinstance(admission, Admission)
    given, interim = encoded(admission), None
    began = monotonic()
    while True:
        outcome, interim_now, again = _round(admission, given, interim, began, AT + seconds)
        took = monotonic() - began
        if took > seconds and interim is not None:  # at the deadline verify would have ended it
            return End(_objective(interim.best), seconds, interim.ref.round - 1)
        if again is None:
            return End(_objective(outcome), took, len(outcome.rounds or [1]))
        given, interim = again, interim_now


def _round(
    admission: Admission, given: Encoded, interim: Interim | None, began: float, until: float
) -> tuple[Outcome, Interim | None, Encoded | None]:
    now = AT + monotonic() - began
    ((incumbent, reduced),) = reduce_events(
        [given], now=now, max_kernel_qubits=16, layers=2, share=1.0, max_seconds=30.0, clock=monotonic
    )
    assert reduced is not None
    (proposal,) = execute([_job(reduced)], _backend)
    known: dict[str, Any] = {
        "queue": 0.0,
        "trace_id": "",
        "versions": {},
        "tick": perf_counter,
        "now": AT + monotonic() - began,
    }
    verdict = judge(admission, incumbent, proposal, MOST, interim=interim, until=until, **known)
    assert verdict.summary is not None
    if verdict.onward is None:
        return verdict.summary, None, None
    return verdict.summary, verdict.onward.interim, wire.decode(verdict.onward.encoded, Encoded)


def _job(reduced: Reduced) -> JobEvent:
    return JobEvent(
        ref=reduced.ref,
        job_id=job_id(reduced.ref, 1),
        attempt=1,
        route=ROUTE,
        kernel=reduced.kernel,
        kernel_digest=reduced.kernel_digest,
        work_seconds=reduced.work_seconds,
        gammas=reduced.gammas,
        betas=reduced.betas,
    )


def _objective(outcome: Outcome) -> float:
    return float(outcome.objective or 0)


if __name__ == "__main__":
    main()
