"""Molecules for variational rounds, and the loop of their optimiser in one process, which the pipeline has to equal."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any, NamedTuple

from qmosaic.backends.base import Backend, Expectations, Job, run_sync
from qmosaic.backends.points import at_each, combined
from qmosaic.codecs.events import wire
from qmosaic.codecs.models.bundle import Bundle
from qmosaic.processors.admit import Admission, Defaults, Record, admit
from qmosaic.processors.execute import answer_of
from qmosaic.processors.families.base import Limits, Task
from qmosaic.processors.families.molecule.family import MoleculeFamily, MoleculeInstance
from qmosaic.processors.families.molecule.optimiser import Optimiser

MOLECULES: dict[str, dict[str, Any]] = {
    "H2": {"geometry": "H 0 0 0; H 0 0 0.735"},
    "LiH": {"geometry": "Li 0 0 0; H 0 0 1.595", "active_electrons": 2, "active_orbitals": [1, 5]},
    "LiH, 3 orbitals": {"geometry": "Li 0 0 0; H 0 0 1.595", "active_electrons": 2, "active_orbitals": [1, 2, 5]},
}
"""STO-3G. Of LiH the bonding orbital and the antibonding one (2 qubits, 14.5 millihartree of correlation), or one more
between them (4 qubits, 19.1 millihartree)."""


class Turn(NamedTuple):
    """The energy where the optimiser was in a turn (hartree), and its standard error."""

    energy: float
    error: float


class Loop(NamedTuple):
    """The turns, and the optimiser after the last."""

    turns: list[Turn]
    end: Optimiser


def instance_of(molecule: str) -> MoleculeInstance:
    """One of `MOLECULES`, read."""
    value = wire.dumps({"family": "molecule", "problem": MOLECULES[molecule]})
    found = admit(Record("problems", 0, 0, 0.0, value), Limits(), Defaults())
    assert isinstance(found, Admission)
    assert isinstance(found.instance, MoleculeInstance)
    return found.instance


def in_process(
    instance: MoleculeInstance, backend: Backend, shots: int, turns: int, seed_of: Callable[[int], int]
) -> Loop:
    """So many turns, or as many as it takes to converge, each a batch of the backend's; `seed_of` a turn, from 1."""
    family, state, out = MoleculeFamily(), None, list[Turn]()
    while len(out) < turns and (state is None or not Optimiser.of(state).has_converged):
        task = Task(instance.encode(), 0, 1.0, round=len(out) + 1, start=state, clock=monotonic)
        (reduction,) = family.reduce([task])
        assert reduction.kernel is not None
        assert isinstance(reduction.memory, Bundle)
        jobs = at_each(Job(reduction.kernel, shots, seed_of(len(out) + 1)))
        found = combined(run_sync(backend, [backend.prepare(job) for job in jobs]))
        assert isinstance(found, Expectations)
        out.append(Turn(float(found.values[0]), float(found.errors[0])))
        state = instance.stepped(reduction.memory, answer_of(reduction.kernel, found))
    assert state is not None
    return Loop(out, Optimiser.of(state))
