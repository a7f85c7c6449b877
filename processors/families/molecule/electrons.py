"""How many electrons of which spin a molecule has, and in which orbitals they are looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Literal

import msgspec

from qmosaic.codecs.models.paulis import PauliOperator
from qmosaic.codecs.problems.molecule import Molecule
from qmosaic.processors.families.molecule.fermions import Ordering
from qmosaic.processors.families.payload import WrongError, shown

MAX_QUBITS = 16
"""The most for known electrons, after the choice of an active space."""
OWN_FUNCTIONS = 40
"""Basis functions up to which verify builds the Hamiltonian of a geometry on its own: a second or so."""


@dataclass(frozen=True, eq=False)
class Read:
    """A valid payload; the fields as in `MoleculeInstance`."""

    build: Callable[[], PauliOperator]
    qubits: int
    electrons: tuple[int, int] | None
    ansatz: Literal["adapt", "uccsd"]
    taper: bool
    digest: str
    ordering: Ordering = "interleaved"
    notes: list[str] = field(default_factory=list)
    own: bool = True


def spins_of(electrons: int, multiplicity: int | None, orbitals: int, place: str) -> tuple[int, int]:
    """Electrons of either spin, alpha first."""
    most = 2 * orbitals
    if not 1 <= electrons <= most:
        raise WrongError(
            f"{shown(electrons)} electrons, but {orbitals} orbitals hold 1 to {most}",
            place,
            "Correct the number of electrons.",
        )
    unpaired = (multiplicity or electrons % 2 + 1) - 1
    if (electrons - unpaired) % 2 or unpaired > min(electrons, most - electrons):
        raise WrongError(
            f"a multiplicity of {shown(unpaired + 1)} (2S+1) does not fit {electrons} electrons in {orbitals} orbitals",
            ".multiplicity",
            "An even number of electrons has an odd multiplicity, and an odd one an even.",
        )
    return (electrons + unpaired) // 2, (electrons - unpaired) // 2


def active_space(found: Molecule, spins: tuple[int, int], orbitals: int) -> tuple[list[int], list[int]]:
    """The frozen orbitals and the active ones."""
    alpha, beta = spins
    electrons = found.active_electrons if found.active_electrons is not None else alpha + beta
    twice = alpha + beta - electrons
    if twice < 0 or twice % 2 or twice // 2 > beta:
        raise WrongError(
            f"{shown(electrons)} active electrons of {alpha + beta}, {alpha - beta} of them unpaired: "
            "the others must fill orbitals",
            ".active_electrons",
            f"Ask for {alpha + beta} less an even number, at least {alpha - beta}.",
        )
    wanted = found.active_orbitals
    told = shown(wanted if isinstance(wanted, int) or wanted is None else list(wanted))
    if (wanted if isinstance(wanted, int) else len(wanted or ())) > orbitals:
        raise WrongError(
            f"{told} active orbitals of {orbitals}",
            ".active_orbitals",
            f"Choose different orbitals from 0 to {orbitals - 1}, or fewer.",
        )
    if isinstance(wanted, int) or wanted is None:
        chosen = list(range(twice // 2, orbitals if wanted is None else twice // 2 + wanted))
    else:
        chosen = list(wanted)
    if len(set(chosen)) < len(chosen) or max(chosen, default=orbitals) >= orbitals:
        raise WrongError(
            f"active orbitals {shown(chosen)} of {orbitals}, after {twice // 2} frozen ones",
            ".active_orbitals",
            f"Choose different orbitals from 0 to {orbitals - 1}, or fewer.",
        )
    frozen = [p for p in range(orbitals) if p not in set(chosen)][: twice // 2]
    if len(frozen) < twice // 2 or alpha - len(frozen) > len(chosen):
        raise WrongError(
            f"{electrons} electrons do not fit the active orbitals {shown(chosen)}",
            ".active_orbitals",
            "Choose more orbitals, or other electrons.",
        )
    if 2 * len(chosen) > MAX_QUBITS:
        raise WrongError(
            f"{len(chosen)} orbitals are {2 * len(chosen)} qubits, the limit is {MAX_QUBITS}",
            ".active_orbitals",
            "Ask for an active space: active_electrons and active_orbitals.",
            "too_large",
        )
    return frozen, chosen


def digest_of(found: Molecule, *content: Any) -> str:
    """A digest of all that makes two molecules the same (hex)."""
    return sha256(msgspec.json.encode(("qmosaic.molecule/1", found.ansatz, found.taper, content))).hexdigest()[:32]


def noted(frozen: list[int], chosen: list[int], orbitals: int) -> list[str]:
    """Notes about what was read."""
    if len(chosen) == orbitals:
        return []
    return [f"active space: orbitals {chosen}, {2 * len(frozen)} electrons frozen in {frozen}"]
