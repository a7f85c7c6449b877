"""Molecules, as their users write them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

import msgspec

from qmosaic.codecs.problems.base import Count, ProblemData, described

Positive = Annotated[int, msgspec.Meta(ge=1)]
Atom = tuple[str, float, float, float]
Coefficient = float | tuple[float, float]


class OrbitalIntegrals(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Integrals over real orbitals, in hartree, as in an FCIDUMP but counted from 0; those left out are 0."""

    orbitals: Annotated[Positive, described("number of spatial orbitals")]
    one: Annotated[Sequence[tuple[int, int, float]], described("[p, q, h_pq], once for each symmetric pair")] = ()
    two: Annotated[
        Sequence[tuple[int, int, int, int, float]],
        described("[p, q, r, s, (pq|rs)] in chemists' order, once for each of up to eight equal ones"),
    ] = ()
    core: Annotated[float, described("energy of nuclei and frozen electrons, in hartree")] = 0.0


class Molecule(ProblemData, frozen=True, kw_only=True, omit_defaults=True):
    """The ground state energy of a molecule, in hartree: from its geometry, its integrals or a qubit Hamiltonian."""

    family: ClassVar[str] = "molecule"
    example: ClassVar[dict[str, Any]] = {"geometry": [["H", 0.0, 0.0, 0.0], ["H", 0.0, 0.0, 0.735]], "basis": "sto-3g"}
    geometry: Annotated[
        str | Sequence[Atom] | None,
        described("atoms as [symbol, x, y, z] in angstrom, or 'H 0 0 0; H 0 0 0.735'; needs the extra 'chemistry'"),
    ] = None
    basis: Annotated[
        str | None,
        described("basis set of a geometry: one of a list of names such as 6-31g or cc-pvdz; default sto-3g"),
    ] = None
    charge: Annotated[int | None, described("charge of a geometry, in elementary charges; default 0")] = None
    integrals: Annotated[OrbitalIntegrals | None, described("one- and two-electron integrals, instead")] = None
    hamiltonian: Annotated[
        Sequence[tuple[str, Coefficient]] | None,
        described("[Pauli string, coefficient in hartree], instead; the leftmost letter is qubit 0"),
    ] = None
    qubits: Annotated[Count | None, described("length of the Hamiltonian's strings, to check them by")] = None
    electrons: Annotated[
        Count | None,
        described("electrons of the integrals; of a Hamiltonian, only if it is a Jordan-Wigner transform"),
    ] = None
    multiplicity: Annotated[
        Positive | None, described("2S+1 of the electrons: alpha less beta, plus 1; default the lowest that fits")
    ] = None
    ordering: Annotated[
        Literal["interleaved", "blocked"],
        described("qubits of a Jordan-Wigner Hamiltonian: alpha and beta in turn, or all alpha first"),
    ] = "interleaved"
    active_electrons: Annotated[
        Positive | None, described("active space: the others are frozen, two in each of the lowest orbitals")
    ] = None
    active_orbitals: Annotated[
        Positive | Sequence[Count] | None,
        described("active space: how many orbitals after the frozen ones, or which (from 0); default all"),
    ] = None
    ansatz: Annotated[
        Literal["adapt", "uccsd"], described("grown one excitation after the other, or all singles and doubles")
    ] = "adapt"
    taper: Annotated[bool, described("whether Z2 symmetries take qubits away")] = True
