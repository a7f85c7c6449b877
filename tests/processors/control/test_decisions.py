"""Some hundred decisions of the default policy, as a table in a file: nothing about them changes by itself."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import msgspec

from qmosaic.codecs.models.kernel import Kind
from qmosaic.processors.control.alive import Alive
from qmosaic.processors.control.facts import Facts
from qmosaic.processors.control.policy import Policy, decide
from tests.processors.test_route import reduced

GOLDEN = Path(__file__).parent / "golden" / "decisions.txt"
SMALL: dict[Kind, int] = {"spins": 16, "narrow": 16, "circuit": 12, "variational": 12}
ALL: Alive = {
    "classical": {
        "exact": {"spins": 20, "narrow": 200},
        "tabu": {"spins": 10_000, "narrow": 10_000},
        "cirq.clifford": {"clifford": 500},
        "lanczos": {"variational": 16},
    },
    "gpu": {"jax.statevector": {"spins": 20, "narrow": 20, "circuit": 20, "clifford": 20, "variational": 20}},
    "quantum": {"cirq.statevector": {**SMALL, "clifford": 12}, "ionq/qpu.forte-1": SMALL},
}
WORLDS: dict[str, Alive] = {
    "all": ALL,
    "no quantum": {name: ALL[name] for name in ("classical", "gpu")},
    "no gpu": {name: ALL[name] for name in ("classical", "quantum")},
    "no classical": {name: ALL[name] for name in ("gpu", "quantum")},
    "paid alone": {"quantum": {"ionq/qpu.forte-1": SMALL}},
    "nobody": {},
}
TARGETS = ("auto", "classical", "gpu", "quantum")


def lines() -> Iterator[str]:
    """`world | wanted | kind, qubits, seconds left => decision`."""
    for world, wanted in product(WORLDS, TARGETS):
        for kind, sizes in (("spins", (1, 4, 12, 13, 20, 21)), ("narrow", (30,)), ("clifford", (40,))):
            for n, left in product(sizes, (0.5, 5.0)):
                yield _line(world, wanted, kind, n, left)
        for kind, n in product(("circuit", "variational"), (4, 16)):
            yield _line(world, wanted, kind, n, 5.0)


def _line(world: str, wanted: str, kind: Any, n: int, left: float) -> str:
    given = msgspec.structs.replace(reduced(n, target=wanted), kind=kind)
    found = decide(given, Facts(given.ref.deadline_at - left, WORLDS[world]), Policy(paid=("ionq/qpu.forte-1",)))
    said = [(one.target, one.backend, one.reason, one.rule) for one in found.candidates]
    told = said[0] if said else (found.reason, found.message)
    return f"{world} | {wanted} | {kind}, {n}, {left:g} => {', '.join(told)}"


def test_decisions_are_as_they_were() -> None:
    assert list(lines()) == GOLDEN.read_text(encoding="utf-8").splitlines()
