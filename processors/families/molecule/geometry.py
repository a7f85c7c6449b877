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

from qmosaic.processors.families.molecule.fermions import Integrals

Atom = tuple[str, float, float, float]
SYMBOLS = ("H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr").split()  # noqa: SIM905  (a list of 36 lines says no more)
"""The elements by atomic number, from 1."""
MAX_ORBITALS = 200
"""The most basis functions: the integrals over them are n^4."""
BASES = tuple(
    name
    for names in (
        "sto-3g sto-6g minao ano ano-rcc 3-21g 4-31g dz dzp tzv tzp qzp adzp atzp aqzp",
        "6-31g 6-31g* 6-31g** 6-31+g* 6-31+g** 6-31++g* 6-31++g**",
        "6-31g(d) 6-31g(d,p) 6-31+g(d) 6-31+g(d,p) 6-31++g(d,p) 6-31g(2df,p) 6-31g(3df,3pd)",
        "6-311g 6-311g* 6-311g** 6-311+g* 6-311+g** 6-311++g* 6-311++g** 6-311g(d) 6-311g(d,p)",
        "6-311+g(d,p) 6-311++g(d,p) 6-311g(2df,2pd) 6-311++g(2d,2p) 6-311++g(3df,3pd)",
        "cc-pvdz cc-pvtz cc-pvqz cc-pv5z aug-cc-pvdz aug-cc-pvtz aug-cc-pvqz aug-cc-pv5z cc-pcvdz cc-pcvtz cc-pcvqz",
        "def2-svp def2-svpd def2-tzvp def2-tzvpd def2-tzvpp def2-tzvppd def2-qzvp def2-qzvpd def2-qzvpp def2-mtzvp",
        "def2-mtzvpp pc-0 pc-1 pc-2 pc-3 pc-4 aug-pc-0 aug-pc-1 aug-pc-2 pcseg-0 pcseg-1 pcseg-2 pcseg-3",
    )
    for name in names.split()
)
"""The basis sets there are, as PySCF calls them. PySCF takes any text: as a file's name, or as a basis written out,
whose numbers it evaluates as Python. So a text of an event reaches it only as one of these."""
DEGENERATE = 1e-5
"""Orbitals whose energies are this close, in hartree, are one set."""


class GeometryError(ValueError):
    """What PySCF cannot do; `field` is the field that is wrong."""

    def __init__(self, message: str, field: str, remedy: str) -> None:
        super().__init__(message)
        self.message, self.field, self.remedy = message, field, remedy


def basis_named(text: str) -> str:
    """The one of `BASES` that is meant, whatever its capitals, hyphens and blanks. Raises GeometryError."""
    found = _BASES.get(_plain(text[: _LONGEST + 1])) if len(text) <= _LONGEST else None
    if found is None:
        shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
        raise GeometryError(f"no basis set {shown!r} is known here", "basis", f"Choose one of: {', '.join(BASES)}.")
    return found


def _plain(name: str) -> str:
    return name.lower().translate(_IGNORED)


_LONGEST = 40
_IGNORED = str.maketrans("", "", "-_ ")
_BASES = {_plain(name): name for name in BASES}


def basis_functions(atoms: Sequence[Atom], basis: str) -> int:
    """How many orbitals there will be, in one of `BASES`. Raises GeometryError where PySCF, or an element in its basis
    set, is missing."""
    basis = basis_named(basis)
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
                f"no basis set {basis!r} for {symbol}", "basis", "Choose another, such as sto-3g, 6-31g or cc-pvdz."
            )
    total = sum(sizes[atom[0]] for atom in atoms)
    if total > MAX_ORBITALS:
        raise GeometryError(f"{total} basis functions, the limit is {MAX_ORBITALS}", "basis", "Choose a smaller basis.")
    return total


@cache
def _loader() -> Any:
    """PySCF's loader of basis sets, once PySCF evaluates no text as Python any more: the second wall, see `BASES`."""
    from pyscf.gto import basis, mole
    from pyscf.gto.basis import parse_cp2k, parse_molpro, parse_nwchem, parse_nwchem_ecp

    for module in (mole, parse_nwchem, parse_nwchem_ecp, parse_cp2k, parse_molpro):
        module.DISABLE_EVAL = True
    return basis.load


def integrals(
    atoms: Sequence[Atom], basis: str, alpha: int, beta: int, charge: int, frozen: Sequence[int], chosen: Sequence[int]
) -> Integrals:
    """Restricted (open-shell) Hartree-Fock, then the integrals over its orbitals, which count from 0 by energy.

    Positions in angstrom. `frozen` orbitals are left doubly occupied, `chosen` ones are kept. Raises GeometryError.
    """
    basis = basis_named(basis)
    _loader()
    try:
        return _integrals(atoms, basis, alpha, beta, charge, frozen, chosen)
    except GeometryError:
        raise
    except Exception as error:
        message = f"PySCF fails on it: {type(error).__name__}"
        raise GeometryError(message, "geometry", "Check the geometry, charge and spin.") from error


def _integrals(
    atoms: Sequence[Atom], basis: str, alpha: int, beta: int, charge: int, frozen: Sequence[int], chosen: Sequence[int]
) -> Integrals:
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
            # by the integrals that are there: without them PySCF takes 1.6 GB, whatever the molecule
            coulomb, exchange = field.get_jk(molecule, density)
            potential = coulomb - exchange / 2
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
