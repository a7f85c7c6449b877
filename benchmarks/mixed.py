"""(f) Problems of all families at once: does a slow one hold up the quick ones?

A stream of problems arrives at random (Poisson) on one pipeline, as `qmosaic up` starts it: half of them 16-node
max-cuts, the *small* ones, the rest of every other family, now and then a molecule of 12 qubits, which takes
seconds. First the small ones alone are sent, at the same moments, then all. The figure is the 95th percentile of
the small ones' time (submit to outcome) in the mix, the peer is their own without the others.

    python -m benchmarks.mixed [--problems 500] [--rate 3] [--quick]
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from time import perf_counter
from uuid import uuid4

import numpy as np

from benchmarks.common import Row, cubic, parser, percentiles, pipeline, print_table, tell
from qmosaic.codecs.events.public import Outcome
from qmosaic.codecs.problems import Circuit, Ising, Labs, Molecule, OrbitalIntegrals, Portfolio, Qubo, Route
from qmosaic.codecs.problems.base import ProblemData
from qmosaic.streams.client import Client

GOAL = 2.0
DEADLINE = 30.0
SMALL = 0.5
"""Share of the small ones."""
SLOW = 0.01
"""Share of the slow molecules."""


def portfolio(draw: random.Random) -> Portfolio:
    """Five of thirty assets."""
    rng = np.random.default_rng(draw.getrandbits(32))
    loads = rng.normal(0, 0.02, (30, 4))
    covariance = loads @ loads.T + np.diag(rng.uniform(1e-4, 4e-4, 30))
    return Portfolio(returns=rng.normal(0.003, 0.002, 30).tolist(), covariance=covariance.tolist(), cardinality=5)


def tour(draw: random.Random) -> Route:
    """A tour through twelve places."""
    return Route(coordinates=[[draw.randrange(1000), draw.randrange(1000)] for _ in range(12)], metric="euc_2d")


def hubbard(sites: int, repulsion: float) -> Molecule:
    """A ring of sites, half filled: the smallest molecule there is, of any size. Two qubits a site."""
    hops = [(p, (p + 1) % sites, -1.0) for p in range(sites)]
    one = hops if sites > 2 else hops[:1]
    two = [(p, p, p, p, repulsion) for p in range(sites)]
    return Molecule(integrals=OrbitalIntegrals(orbitals=sites, one=one, two=two), electrons=sites)


def circuit(draw: random.Random) -> Circuit:
    """Five entangled qubits, measured."""
    lines = ["OPENQASM 2.0;", 'include "qelib1.inc";', "qreg q[5];", "creg c[5];"]
    for _ in range(3):
        lines += [f"ry({draw.uniform(0, 3):.3f}) q[{k}];" for k in range(5)]
        lines += [f"cx q[{k}], q[{k + 1}];" for k in range(4)]
    return Circuit(qasm="\n".join([*lines, "measure q -> c;"]))


def qubo(draw: random.Random) -> Qubo:
    """Thirty variables, a third of the pairs."""
    terms = [(i, j, draw.randint(-9, 9)) for i in range(30) for j in range(i, 30) if draw.random() < 0.3]
    return Qubo(terms=terms, variables=30)


def ising(draw: random.Random) -> Ising:
    """A spin glass on 24 spins."""
    return Ising(J=[(i, j, draw.choice((-1, 1))) for i in range(24) for j in range(i) if draw.random() < 0.3])


def problems(count: int) -> list[tuple[str, ProblemData]]:
    """Named after what they are; `small` is the one that is timed."""
    draw = random.Random(1)
    others: dict[str, Callable[[random.Random], ProblemData]] = {
        "qubo": qubo,
        "ising": ising,
        "portfolio": portfolio,
        "route": tour,
        "circuit": circuit,
        "labs": lambda draw: Labs(n=draw.randrange(8, 16)),
        "molecule": lambda draw: hubbard(2, draw.uniform(1, 8)),
    }

    def one(k: int) -> tuple[str, ProblemData]:
        share = draw.random()
        if share < SMALL:
            return "small", cubic(k)
        if share < SMALL + SLOW:
            return "slow molecule", hubbard(6, draw.uniform(1, 8))
        name = draw.choice(list(others))
        return name, others[name](draw)

    return [one(k) for k in range(count)]


async def play(
    client: Client, stream: Sequence[tuple[str, ProblemData]], moments: Sequence[float]
) -> list[tuple[str, float, Outcome]]:
    """Each at its moment (seconds from now); name, seconds and outcome of each."""
    start = perf_counter()

    async def one(name: str, problem: ProblemData, moment: float) -> tuple[str, float, Outcome]:
        await asyncio.sleep(max(0.0, start + moment - perf_counter()))
        sent = perf_counter()
        outcome = await client.solve(problem, id=uuid4().hex, deadline=DEADLINE)
        return name, perf_counter() - sent, outcome

    return await asyncio.gather(*(one(*named, moment) for named, moment in zip(stream, moments, strict=True)))


def said(played: Sequence[tuple[str, float, Outcome]]) -> None:
    """How it went, by kind."""
    for name in dict.fromkeys(name for name, *_ in played):
        mine = [(seconds, outcome) for other, seconds, outcome in played if other == name]
        p50, p95 = percentiles([seconds for seconds, _ in mine])
        ends = dict(Counter(f"{outcome.status} ({outcome.reason})" for _, outcome in mine))
        spent = [
            (hop, [outcome.timings.hops[hop] for _, outcome in mine if hop in outcome.timings.hops])
            for hop in ("encode", "reduce", "route", "execute", "verify")
        ]
        for word, part in (
            ("work", [(hop, [one.work for one in all_]) for hop, all_ in spent]),
            ("wait", [(hop, [one.queue for one in all_]) for hop, all_ in spent]),
        ):
            told = ", ".join(
                f"{hop} {1000 * percentiles(seconds)[0]:.0f}/{1000 * percentiles(seconds)[1]:.0f}"
                for hop, seconds in part
                if seconds
            )
            tell(f"{name}: p50/p95 of {word}, ms: {told}")
        tell(f"{name}: {len(mine)}, p50 {1000 * p50:.0f} ms, p95 {1000 * p95:.0f} ms, {ends}")


async def measure(count: int, rate: float) -> tuple[float, float, int]:
    """The small ones' 95th percentile in the mix and alone (seconds), and how many of all were late."""
    stream = problems(count)
    draw = random.Random(2)
    moments = np.cumsum([draw.expovariate(rate) for _ in stream]).tolist()
    async with pipeline() as (_, client):
        # once each beforehand: a first problem pays for what no warm-up compiles
        await play(client, list(dict(stream).items()), [0.0] * len(dict(stream)))
        small = [k for k, (name, _) in enumerate(stream) if name == "small"]
        alone = await play(client, [stream[k] for k in small], [moments[k] for k in small])
        said(alone)
        tell("now with the others")
        mixed = await play(client, stream, moments)
        said(mixed)
    late = sum(outcome.timings.total > DEADLINE for *_, outcome in mixed)
    tell(f"{len(mixed)} outcomes, {late} of them after their deadline")
    times = [[seconds for name, seconds, _ in played if name == "small"] for played in (mixed, alone)]
    return percentiles(times[0])[1], percentiles(times[1])[1], late


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    options = parser("small problems among slow ones")
    options.add_argument("--problems", type=int, default=500)
    options.add_argument("--rate", type=float, default=3.0, help="problems a second")
    given = options.parse_args(arguments)
    mixed, alone, late = asyncio.run(measure(60 if given.quick else given.problems, given.rate))
    row = Row("small ones' p95, ms", 1000 * mixed, 1000 * alone)
    count = Row("after their deadline", float(late), 1.0)
    rows = [row.judged(f"ratio ≤ {GOAL:g}", row.ratio <= GOAL), count.judged("none", late == 0)]
    print_table("(f) small problems in a mix of all families", "in the mix", "alone", rows)


if __name__ == "__main__":
    main()
