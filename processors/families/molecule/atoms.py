"""A molecule given by its atoms: their places, and how many electrons and functions they bring."""

from __future__ import annotations

from typing import Any

import numpy as np

from qmosaic.codecs.models.paulis import PauliOperator
from qmosaic.codecs.problems.molecule import Atom, Molecule
from qmosaic.processors.families.molecule import geometry
from qmosaic.processors.families.molecule.electrons import (
    OWN_FUNCTIONS,
    Read,
    active_space,
    digest_of,
    noted,
    spins_of,
)
from qmosaic.processors.families.molecule.fermions import jordan_wigner
from qmosaic.processors.families.payload import WrongError, shown

MAX_ATOMS = 50
CLOSEST = 0.1
"""Atoms cannot be closer, in angstrom."""


def of_geometry(found: Molecule) -> Read:
    """A payload with a geometry. Raises WrongError."""
    atoms = _atoms(found.geometry)
    charge = found.charge or 0
    protons = sum(geometry.SYMBOLS.index(symbol) + 1 for symbol, *_ in atoms)
    try:
        basis = geometry.basis_named(found.basis if found.basis is not None else "sto-3g")
        orbitals = geometry.basis_functions(atoms, basis)
    except geometry.GeometryError as error:
        raise WrongError(error.message, f".{error.field}", error.remedy) from None
    if abs(charge) > protons:
        raise WrongError(f"a charge of {shown(charge)} of {protons} protons", ".charge", "Correct the charge.")
    spins = spins_of(protons - charge, found.multiplicity, orbitals, ".charge" if found.charge else ".geometry")
    frozen, chosen = active_space(found, spins, orbitals)

    def build() -> PauliOperator:
        return jordan_wigner(geometry.integrals(atoms, basis, *spins, charge, frozen, chosen))

    return Read(
        build,
        2 * len(chosen),
        (spins[0] - len(frozen), spins[1] - len(frozen)),
        found.ansatz,
        found.taper,
        digest_of(found, "geometry", atoms, basis, charge, spins, frozen, chosen),
        notes=noted(frozen, chosen, orbitals),
        own=orbitals <= OWN_FUNCTIONS,
    )


def _atoms(given: Any) -> list[Atom]:
    """Sorted: in which order they are written does not matter."""
    atoms: list[Atom] = []
    if isinstance(given, str):
        lines = [line.split() for line in given.replace("\n", ";").split(";")]
        given = [tuple(line) for line in lines if line]
    if not 1 <= len(given) <= MAX_ATOMS:
        raise WrongError(f"{len(given)} atoms, expected 1 to {MAX_ATOMS}", ".geometry", "Send at least one.")
    for k, entry in enumerate(given):
        try:
            symbol, x, y, z = entry
            atom = (str(symbol).capitalize(), float(x), float(y), float(z))
        except ValueError:
            raise WrongError(
                f"expected 'symbol x y z', got {shown(' '.join(map(str, entry)))}", f".geometry[{k}]", "In angstrom."
            ) from None
        if atom[0] not in geometry.SYMBOLS:
            remedy = "Elements from H to Kr are known."
            raise WrongError(f"unknown element {shown(symbol)}", f".geometry[{k}][0]", remedy)
        if not np.isfinite(atom[1:]).all() or max(map(abs, atom[1:])) > 1000:
            raise WrongError("a position is not finite, or over 1000 angstrom", f".geometry[{k}]", "Send angstrom.")
        atoms.append(atom)
    places = np.array([atom[1:] for atom in atoms])
    distances = np.linalg.norm(places[:, None] - places, axis=2) + 1e9 * np.eye(len(atoms))
    if distances.min() < CLOSEST:
        i, j = np.unravel_index(int(distances.argmin()), distances.shape)
        raise WrongError(f"atoms {min(i, j)} and {max(i, j)} are in one place", ".geometry", "Check the positions.")
    return sorted(atoms)
