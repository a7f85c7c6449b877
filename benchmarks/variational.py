"""(u) Variational rounds against the same optimiser in one process: H2 and LiH on exact, noisy and simulated machines.

Each problem goes through a pipeline on the embedded broker with `rounds: "converged"`, its backend pinned by a rule.
Then the same optimiser runs here, with the backend called directly: once with the seeds that the rounds had, where the
energy of every turn has to be the same but for single precision, and once with others, where the last one has to be
within three standard errors of the difference. Energies are those measured in the last turn, in hartree.

    python -m benchmarks.variational [--quick]
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import cache
from math import hypot
from time import perf_counter
from typing import Any, NamedTuple

from benchmarks.common import parser, pipeline, tell
from qmosaic.backends.registry import create
from qmosaic.codecs.events.public import Outcome, Round
from qmosaic.processors.control.policy import Rule
from qmosaic.processors.families.molecule.optimiser import POINTS
from qmosaic.processors.rounds import seed_of
from qmosaic.streams.settings import ExecuteSettings, RouteSettings, Settings
from tests.variational import MOLECULES, Loop, in_process, instance_of

SHOTS = 32_768
BACKENDS: dict[str, int] = {
    "cirq.density": 0,
    "cirq.density/depolarizing=0.001,readout=0.005": SHOTS,
    "cirq.device/willow_pink": SHOTS,
    "readout(cirq.device/willow_pink)": SHOTS,
}
"""And their shots for each energy."""
CASES = [(name, backend) for name in ("H2", "LiH") for backend in BACKENDS] + [("LiH, 3 orbitals", "cirq.density")]
SINGLE = 2e-6
"""Hartree: backends work in single precision."""
SIGMAS = 3.0
OTHER = 99
"""A seed that no round had."""
MOST = 100
HEAD = ("Hartree-Fock", "exact", "one process", "another seed", "pipeline", "error", "energies", "s", "s, pipeline")
_backend = cache(create)


class Line(NamedTuple):
    """One case. `same`, `other`: in this process, with the seeds of the rounds (it took `seconds`) and with others."""

    molecule: str
    backend: str
    outcome: Outcome
    same: Loop
    other: Loop
    seconds: float

    @property
    def rounds(self) -> list[Round]:
        """Those of the outcome."""
        assert isinstance(self.outcome.rounds, list)
        return self.outcome.rounds

    @property
    def met(self) -> bool:
        """Whether the pipeline reached what one process reaches."""
        energies = [one.proposed or 0.0 for one in self.rounds]
        same = [turn.energy for turn in self.same.turns]
        equal = len(energies) == len(same) and all(abs(a - b) <= SINGLE for a, b in zip(energies, same, strict=True))
        there = self.other.turns[-1]
        allowed = SIGMAS * hypot(self.rounds[-1].error, there.error) + SINGLE
        return equal and abs(energies[-1] - there.energy) <= allowed


def main(argv: Sequence[str] | None = None) -> None:
    """The table."""
    given = parser("variational rounds against one process").parse_args(argv)
    cases = CASES[:1] if given.quick else CASES
    outcomes = asyncio.run(_outcomes(cases))
    lines = [_line(*case, outcome) for case, outcome in zip(cases, outcomes, strict=True)]
    wide = max(len(backend) for _, backend in CASES)
    print("\n(u) variational rounds against the same optimiser in one process; energies in hartree")
    print(f"{'':<16} {'':<{wide}} {' '.join(f'{one:>12}' for one in HEAD)}  {'outcome':<28} met")
    for line in lines:
        print(f"{line.molecule:<16} {line.backend:<{wide}} {_figures(line)}", flush=True)


def _figures(line: Line) -> str:
    outcome, last = line.outcome, line.rounds[-1]
    details = (outcome.proposed or outcome).details
    energies = (
        details["hartree_fock"],
        details["exact"],
        line.same.turns[-1].energy,
        line.other.turns[-1].energy,
        last.proposed or 0.0,
        last.error,
    )
    said = " ".join(f"{one:>12.5f}" for one in energies)
    took = f"{POINTS * len(line.rounds):>12} {line.seconds:>12.2f} {outcome.timings.total:>12.2f}"
    return f"{said} {took}  {f'{outcome.status}, {outcome.reason}':<28} {'yes' if line.met else 'no'}"


async def _outcomes(cases: Sequence[tuple[str, str]]) -> list[Outcome]:
    names = list(dict.fromkeys(backend for _, backend in cases))
    rules = tuple(Rule(f"{k}", "quantum", backend=name, tenants=(f"{k}",)) for k, name in enumerate(names))
    more: dict[str, Any] = {
        "execute": ExecuteSettings(backends={**Settings().execute.backends, "quantum": tuple(names)}),
        "route": RouteSettings(rules=rules),
    }
    outcomes = list[Outcome]()
    async with pipeline(**more) as (_, client):
        for molecule, backend in cases:
            event = {"family": "molecule", "problem": MOLECULES[molecule], "shots": BACKENDS[backend], "seed": 5}
            tenant = f"{names.index(backend)}"
            outcomes.append(await client.solve(event, tenant=tenant, deadline=600, rounds="converged"))
            tell(f"{molecule} on {backend}: {outcomes[-1].timings.total:.1f} s")
    return outcomes


def _line(molecule: str, backend: str, outcome: Outcome) -> Line:
    began = perf_counter()
    same = _beside(molecule, backend, outcome, outcome.seed)
    seconds = perf_counter() - began
    return Line(molecule, backend, outcome, same, _beside(molecule, backend, outcome, OTHER), seconds)


def _beside(molecule: str, backend: str, outcome: Outcome, seed: int) -> Loop:
    instance, shots = instance_of(molecule), BACKENDS[backend]
    return in_process(instance, _backend(backend), shots, MOST, lambda k: seed_of(outcome.digest, seed, k))


if __name__ == "__main__":
    main()
