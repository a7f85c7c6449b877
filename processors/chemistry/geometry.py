"""From a geometry and a basis to integrals, by PySCF (the extra `chemistry`), imported only where a geometry is sent.

encode and verify both do this, each on its own, from the same geometry. So the orbitals must come out the same each
time, down to their signs: one thread, a fixed start, and a fixed frame for degenerate orbitals.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float64

from qmosaic.processors.chemistry.fermions import Integrals

Atom = tuple[str, float, float, float]
SYMBOLS = ("H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr").split()  # noqa: SIM905  (a list of 36 lines says no more)
"""The elements by atomic number, from 1."""
MAX_ORBITALS = 200
"""The most basis functions: the integrals over them are n^4."""
DEGENERATE = 1e-5
"""Orbitals whose energies are this close, in hartree, are one set."""


class GeometryError(ValueError):
    """What PySCF cannot do; `field` is the field that is wrong."""

    def __init__(self, message: str, field: str, remedy: str) -> None:
        super().__init__(message)
        self.message, self.field, self.remedy = message, field, remedy


def basis_functions(atoms: Sequence[Atom], basis: str) -> int:
    """How many orbitals there will be. Raises GeometryError where PySCF, or an element in its basis set, is missing."""
    try:
        load = _loader()
    except ImportError:
        raise GeometryError(
            "a geometry needs PySCF, which is not installed here",
            "geometry",
            "Install qmosaic[chemistry] where encode and verify run, or send integrals (FCIDUMP).",
        ) from None
    sizes: dict[str, int] = {}
    for symbol in dict.fromkeys(atom[0] for atom in atoms):
        try:
            shells = load(basis, symbol)
            # [l, (optional kappa,) [exponent, coefficient of each contraction, ...], ...]
            sizes[symbol] = sum((2 * shell[0] + 1) * (len(shell[-1]) - 1) for shell in shells)
        except Exception:  # noqa: BLE001  (PySCF raises what its parsers happen to)
            sizes[symbol] = 0
        if not sizes[symbol]:
            raise GeometryError(
                f"no basis set {basis!r} for {symbol}", "basis", "Name one of PySCF's, such as sto-3g, 6-31g, cc-pvdz."
            )
    total = sum(sizes[atom[0]] for atom in atoms)
    if total > MAX_ORBITALS:
        raise GeometryError(f"{total} basis functions, the limit is {MAX_ORBITALS}", "basis", "Choose a smaller basis.")
    return total


@cache
def _loader() -> Any:
    from pyscf.gto.basis import load

    return load


def integrals(
    atoms: Sequence[Atom], basis: str, alpha: int, beta: int, charge: int, frozen: Sequence[int], chosen: Sequence[int]
) -> Integrals:
    """Restricted (open-shell) Hartree-Fock, then the integrals over its orbitals, which count from 0 by energy.

    Positions in angstrom. `frozen` orbitals are left doubly occupied, `chosen` ones are kept. Raises GeometryError.
    """
    from pyscf import ao2mo, gto, lib, scf

    with lib.with_omp_threads(1):
        molecule = gto.M(
            atom=[(symbol, (x, y, z)) for symbol, x, y, z in atoms],
            basis=basis,
            charge=charge,
            spin=alpha - beta,
            unit="Angstrom",
            verbose=0,
        )
        field = scf.RHF(molecule) if alpha == beta else scf.ROHF(molecule)
        field.conv_tol, field.conv_tol_grad, field.max_cycle, field.chkfile = 1e-11, 1e-7, 200, None
        field.kernel()
        if not field.converged:
            field = field.newton()
            field.kernel()
        if not field.converged:
            raise GeometryError("Hartree-Fock does not converge", "geometry", "Check the geometry, charge and spin.")
        orbitals = _framed(molecule, field)
        kept, inner = orbitals[:, list(chosen)], orbitals[:, list(frozen)]
        one, core = field.get_hcore(), float(molecule.energy_nuc())
        if frozen:
            density = 2 * inner @ inner.T
            potential = scf.hf.get_veff(molecule, density)
            core += float(np.einsum("ij,ji", one + potential / 2, density))
            one = one + potential
        m = kept.shape[1]
        two = ao2mo.restore(1, ao2mo.kernel(molecule, kept), m).reshape(m, m, m, m)
        return Integrals(kept.T @ one @ kept, two, core, alpha - len(frozen), beta - len(frozen))


def _framed(molecule: Any, field: Any) -> Float64[np.ndarray, "ao mo"]:
    """The orbitals, those of one energy and occupation turned to a frame of their own, and all with a fixed sign.

    Within such a set: the eigenvectors of a function of position that no symmetry leaves alone.
    """
    orbitals, energies, full = np.array(field.mo_coeff), field.mo_energy, field.mo_occ
    with molecule.with_common_origin(molecule.atom_coords().mean(axis=0)):
        first = molecule.intor("int1e_r")
        second = molecule.intor("int1e_rr").reshape(3, 3, *first.shape[1:])
    weights = np.array([[1.0, 0.0, 0.0], [0.0, 1.7, 0.0], [0.0, 0.0, 2.9]])
    probe = np.einsum("xyij,xy->ij", second, weights) + np.einsum("xij,x->ij", first, [0.31, 0.37, 0.41])
    start = 0
    for stop in range(1, len(energies) + 1):
        if stop < len(energies) and energies[stop] - energies[stop - 1] < DEGENERATE and full[stop] == full[start]:
            continue
        block = orbitals[:, start:stop]
        if stop - start > 1:
            block = block @ np.linalg.eigh(block.T @ probe @ block)[1]
        largest = np.argmax(np.round(np.abs(block), 6), axis=0)
        orbitals[:, start:stop] = block * np.sign(block[largest, np.arange(stop - start)])
        start = stop
    return orbitals
