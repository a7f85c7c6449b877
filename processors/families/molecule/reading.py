"""The molecule payload, checked: exactly what is wrong with it, or how its Hamiltonian is to be built."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from math import comb
from typing import Any, Literal

import msgspec
import numpy as np

from qmosaic.codecs.errors import Rejected
from qmosaic.codecs.models.paulis import PauliOperator
from qmosaic.codecs.problems.molecule import Atom, Molecule, OrbitalIntegrals
from qmosaic.processors.families.base import Limits
from qmosaic.processors.families.molecule import geometry
from qmosaic.processors.families.molecule.fermions import (
    Integrals,
    Ordering,
    active,
    alpha_mask,
    conserved,
    jordan_wigner,
)
from qmosaic.processors.families.molecule.hamiltonian import WORK, work
from qmosaic.processors.families.payload import converted, rejected, shown

MAX_QUBITS = 16
"""Of electrons, after the choice of an active space."""
MAX_BARE_QUBITS = 14
"""Of a Hamiltonian without known electrons, where all 2^n states count."""
MAX_ENTRIES = 2**24
"""Of a Hamiltonian: its distinct flips times the basis states it acts on."""
MAX_TERMS = 2**16
"""Of a Hamiltonian."""
OWN_FUNCTIONS = 40
"""Basis functions up to which verify builds the Hamiltonian of a geometry on its own: a second or so."""
MAX_ORBITALS = 40
"""Of integrals, before the choice of an active space."""
MAX_ATOMS = 50
CLOSEST = 0.1
"""Atoms cannot be closer, in angstrom."""
EQUAL = 1e-8
"""Integrals that are equal by symmetry may differ by this much, in hartree: they were computed."""


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


class _Wrong(Exception):  # noqa: N818  (a value on its way out, not an error)
    def __init__(self, message: str, place: str, remedy: str, code: Literal["invalid_problem", "too_large"]) -> None:
        self.rejected = rejected(code, message, place, remedy)


def _wrong(message: str, place: str, remedy: str) -> _Wrong:
    return _Wrong(message, place, remedy, "invalid_problem")


def read(payload: dict[str, Any], limits: Limits) -> Read | Rejected:
    """What the payload says, or what is wrong with it."""
    found = converted(payload, Molecule, "", "See the fields of the family in docs/families.md.")
    if isinstance(found, Rejected):
        return msgspec.structs.replace(found, remedy=_HERMITIAN) if "hamiltonian" in found.place else found
    try:
        return _read(found, limits)
    except _Wrong as wrong:
        return wrong.rejected


_HERMITIAN = "Send [Pauli string, coefficient] with real coefficients, in hartree: else it is not Hermitian."


def _read(found: Molecule, limits: Limits) -> Read:
    given = [name for name in ("geometry", "integrals", "hamiltonian") if getattr(found, name) is not None]
    if len(given) != 1:
        raise _wrong(
            f"expected one of geometry, integrals and hamiltonian, got {' and '.join(given) or 'none'}",
            "",
            "Send exactly one of them.",
        )
    foreign = {
        "geometry": ("electrons", "qubits"),
        "integrals": ("basis", "charge", "qubits"),
        "hamiltonian": ("basis", "charge", "active_electrons", "active_orbitals"),
    }[given[0]]
    for name in foreign:
        if getattr(found, name) is not None:
            raise _wrong(f"{name} does not go with {given[0]}", f".{name}", "Leave it out.")
    if found.integrals is not None:
        return _integrals(found, found.integrals)
    if found.hamiltonian is not None:
        return _hamiltonian(found, limits)
    return _geometry(found)


def _spins(electrons: int, multiplicity: int | None, orbitals: int, place: str) -> tuple[int, int]:
    """Electrons of either spin, alpha first."""
    most = 2 * orbitals
    if not 1 <= electrons <= most:
        raise _wrong(
            f"{shown(electrons)} electrons, but {orbitals} orbitals hold 1 to {most}",
            place,
            "Correct the number of electrons.",
        )
    unpaired = (multiplicity or electrons % 2 + 1) - 1
    if (electrons - unpaired) % 2 or unpaired > min(electrons, most - electrons):
        raise _wrong(
            f"a multiplicity of {shown(unpaired + 1)} (2S+1) does not fit {electrons} electrons in {orbitals} orbitals",
            ".multiplicity",
            "An even number of electrons has an odd multiplicity, and an odd one an even.",
        )
    return (electrons + unpaired) // 2, (electrons - unpaired) // 2


def _space(found: Molecule, spins: tuple[int, int], orbitals: int) -> tuple[list[int], list[int]]:
    """The frozen orbitals and the active ones."""
    alpha, beta = spins
    electrons = found.active_electrons if found.active_electrons is not None else alpha + beta
    twice = alpha + beta - electrons
    if twice < 0 or twice % 2 or twice // 2 > beta:
        raise _wrong(
            f"{shown(electrons)} active electrons of {alpha + beta}, {alpha - beta} of them unpaired: "
            "the others must fill orbitals",
            ".active_electrons",
            f"Ask for {alpha + beta} less an even number, at least {alpha - beta}.",
        )
    wanted = found.active_orbitals
    told = shown(wanted if isinstance(wanted, int) or wanted is None else list(wanted))
    if (wanted if isinstance(wanted, int) else len(wanted or ())) > orbitals:
        raise _wrong(
            f"{told} active orbitals of {orbitals}",
            ".active_orbitals",
            f"Choose different orbitals from 0 to {orbitals - 1}, or fewer.",
        )
    if isinstance(wanted, int) or wanted is None:
        chosen = list(range(twice // 2, orbitals if wanted is None else twice // 2 + wanted))
    else:
        chosen = list(wanted)
    if len(set(chosen)) < len(chosen) or max(chosen, default=orbitals) >= orbitals:
        raise _wrong(
            f"active orbitals {shown(chosen)} of {orbitals}, after {twice // 2} frozen ones",
            ".active_orbitals",
            f"Choose different orbitals from 0 to {orbitals - 1}, or fewer.",
        )
    frozen = [p for p in range(orbitals) if p not in set(chosen)][: twice // 2]
    if len(frozen) < twice // 2 or alpha - len(frozen) > len(chosen):
        raise _wrong(
            f"{electrons} electrons do not fit the active orbitals {shown(chosen)}",
            ".active_orbitals",
            "Choose more orbitals, or other electrons.",
        )
    if 2 * len(chosen) > MAX_QUBITS:
        raise _Wrong(
            f"{len(chosen)} orbitals are {2 * len(chosen)} qubits, the limit is {MAX_QUBITS}",
            ".active_orbitals",
            "Ask for an active space: active_electrons and active_orbitals.",
            "too_large",
        )
    return frozen, chosen


def _digest(found: Molecule, *content: Any) -> str:
    return sha256(msgspec.json.encode(("qmosaic.molecule/1", found.ansatz, found.taper, content))).hexdigest()[:32]


# Integrals


def _integrals(found: Molecule, integrals: OrbitalIntegrals) -> Read:
    m = integrals.orbitals
    if m > MAX_ORBITALS:
        raise _Wrong(
            f"{shown(m)} orbitals, the limit is {MAX_ORBITALS}",
            ".integrals.orbitals",
            "Write the integrals of an active space alone.",
            "too_large",
        )
    if found.electrons is None:
        raise _wrong("the number of electrons is missing", ".electrons", "Send it with the integrals.")
    if not np.isfinite(integrals.core):
        raise _wrong("the value is not finite", ".integrals.core", "Send a finite number.")
    spins = _spins(found.electrons, found.multiplicity, m, ".electrons")
    one, two = _tensor(integrals.one, m, 2, "one"), _tensor(integrals.two, m, 4, "two")
    frozen, chosen = _space(found, spins, m)
    _added(np.concatenate([[integrals.core], one.ravel(), two.ravel()]), ".integrals")
    full = Integrals(one, two, integrals.core, *spins)
    kept = active(full, frozen, chosen)
    digest = _digest(found, "integrals", spins, frozen, chosen, integrals.core + 0.0, _sparse(one), _sparse(two))
    return Read(
        lambda: jordan_wigner(kept),
        2 * len(chosen),
        (kept.alpha, kept.beta),
        found.ansatz,
        found.taper,
        digest,
        notes=_noted(frozen, chosen, m),
    )


def _noted(frozen: list[int], chosen: list[int], orbitals: int) -> list[str]:
    if len(chosen) == orbitals:
        return []
    return [f"active space: orbitals {chosen}, {2 * len(frozen)} electrons frozen in {frozen}"]


def _tensor(entries: Sequence[tuple[Any, ...]], m: int, rank: int, name: str) -> Any:
    """The entries and all that equal them, real orbitals: h_pq = h_qp, (pq|rs) = (qp|rs) = (pq|sr) = (rs|pq)."""
    try:
        table = np.array(entries, np.float64).reshape(-1, rank + 1)
    except OverflowError:
        raise _wrong("an orbital is out of range", f".integrals.{name}", "Orbitals count from 0.") from None
    index, values = np.clip(table[:, :rank], -1, m).astype(np.int64), table[:, rank]
    for wrong, message in (
        (~np.isfinite(values), "the value is not finite"),
        (((index < 0) | (index >= m)).any(axis=1), f"an orbital is out of range 0..{m - 1}"),
    ):
        if wrong.any():
            k = int(np.flatnonzero(wrong)[0])
            raise _wrong(
                f"{message}: {[_plain(each) for each in entries[k]]}",
                f".integrals.{name}[{k}]",
                "Orbitals count from 0.",
            )
    pairs = -np.sort(-index.reshape(-1, rank // 2, 2), axis=2) @ [m, 1]  # each pair as one number, its larger first
    keys = np.sort(pairs, axis=1) @ [m * m, 1][-rank // 2 :]
    _, first, of = np.unique(keys, return_index=True, return_inverse=True)
    if len(at := np.flatnonzero(np.abs(values - values[first[of]]) > EQUAL)):
        k = int(at[0])
        raise _wrong(
            f"{list(entries[k])} must equal {list(entries[first[of[k]]])}: it is not Hermitian",
            f".integrals.{name}[{k}]",
            "Give each integral once, or all that are equal by symmetry alike.",
        )
    tensor = np.zeros((m,) * rank)
    swaps = [(0, 1), (1, 0)]
    orders: list[tuple[int, ...]] = list(swaps)
    if rank == 4:
        orders = [(a, b, c + 2, d + 2) for a, b in swaps for c, d in swaps]
        orders += [(*order[2:], *order[:2]) for order in orders]
    for order in orders:
        tensor[tuple(index[:, order].T)] = values[first[of]]
    return tensor


def _plain(value: Any) -> Any:
    return value if isinstance(value, float) else min(max(value, -(2**63)), 2**63)


def _added(values: Any, place: str) -> None:
    """Refuses numbers whose sums a float64 cannot hold."""
    with np.errstate(over="ignore"):
        total = 1e6 * np.abs(values).sum()
    if not np.isfinite(total):
        raise _wrong("the numbers add up to more than a float64 holds", place, "Send hartree.")


def _sparse(tensor: Any) -> str:
    return sha256(np.ascontiguousarray(tensor + 0.0).tobytes()).hexdigest()


# A qubit Hamiltonian


def _hamiltonian(found: Molecule, limits: Limits) -> Read:
    terms = found.hamiltonian or ()
    if not terms:
        raise _Wrong("there is no term at all", ".hamiltonian", "Send at least one.", "invalid_problem")
    if len(terms) > (most_terms := min(limits.couplings, MAX_TERMS)):
        raise _Wrong(f"{len(terms)} terms, the limit is {most_terms}", ".hamiltonian", "Send fewer.", "too_large")
    n = found.qubits if found.qubits is not None else len(terms[0][0])
    most = MAX_BARE_QUBITS if found.electrons is None else MAX_QUBITS
    if not 1 <= n <= most:
        raise _Wrong(
            f"{shown(n)} qubits, the limit is {most}",
            ".hamiltonian",
            "Taper it, or choose an active space, before it is sent.",
            "too_large" if n else "invalid_problem",
        )
    coefficients = []
    for k, (pauli, coefficient) in enumerate(terms):
        if len(pauli) != n or set(pauli) - set("IXYZ"):
            raise _wrong(
                f"expected {n} letters I, X, Y, Z, got {pauli[:60]!r}", f".hamiltonian[{k}][0]", "One letter a qubit."
            )
        real, imaginary = coefficient if isinstance(coefficient, tuple) else (coefficient, 0.0)
        if not np.isfinite([real, imaginary]).all():
            raise _wrong("the coefficient is not finite", f".hamiltonian[{k}][1]", "Send finite numbers.")
        if imaginary:
            raise _wrong(
                f"the coefficient of {pauli} is complex ({real}{imaginary:+}i): the Hamiltonian is not Hermitian",
                f".hamiltonian[{k}][1]",
                "The coefficients of Pauli strings must be real.",
            )
        coefficients.append(real)
    _added(coefficients, ".hamiltonian")
    operator = PauliOperator.of_strings(n, [pauli for pauli, _ in terms], coefficients)
    merged = len(terms) - len({pauli for pauli, _ in terms})
    notes = [f"{merged} repeated terms summed into others"] if merged else []
    spins = _qubit_electrons(found, operator) if found.electrons is not None else None
    if spins is None:
        notes.append("no electrons were stated: the lowest eigenvalue is sought, whatever their number")
    states = 1 << n if spins is None else comb(n // 2, spins[0]) * comb(n // 2, spins[1])
    if len(np.unique(operator.x)) * states > MAX_ENTRIES:
        raise _Wrong(
            f"{len(np.unique(operator.x))} distinct flips of {states} states, the limit is {MAX_ENTRIES} in all",
            ".hamiltonian",
            "Send a smaller Hamiltonian.",
            "too_large",
        )
    if work(operator, states) > WORK:
        raise _Wrong(
            f"{len(operator.x)} strings on {states} states take {work(operator, states)} additions for an energy, "
            f"the limit is {WORK}",
            ".hamiltonian",
            "Send a smaller Hamiltonian.",
            "too_large",
        )
    content = (n, operator.x.tolist(), operator.z.tolist(), (operator.coefficients + 0.0).tolist(), spins)
    digest = _digest(found, "hamiltonian", content, found.ordering if spins else None)
    return Read(lambda: operator, n, spins, found.ansatz, found.taper, digest, found.ordering, notes)


def _qubit_electrons(found: Molecule, operator: PauliOperator) -> tuple[int, int]:
    n = operator.n
    if n % 2:
        raise _wrong(f"{n} qubits are no spin orbitals", ".electrons", "Leave out electrons, or send both spins.")
    spins = _spins(found.electrons or 0, found.multiplicity, n // 2, ".electrons")
    if not operator.real or not conserved(operator, alpha_mask(n, found.ordering)):
        raise _wrong(
            f"as a Jordan-Wigner transform with {found.ordering} spins it does not conserve the electrons of each spin"
            if operator.real
            else "a Jordan-Wigner transform over real orbitals has no strings with an odd number of Y",
            ".hamiltonian",
            "Set ordering, or leave out electrons if it is another mapping.",
        )
    return spins


# A geometry


def _geometry(found: Molecule) -> Read:
    atoms = _atoms(found.geometry)
    charge = found.charge or 0
    protons = sum(geometry.SYMBOLS.index(symbol) + 1 for symbol, *_ in atoms)
    try:
        basis = geometry.basis_named(found.basis if found.basis is not None else "sto-3g")
        orbitals = geometry.basis_functions(atoms, basis)
    except geometry.GeometryError as error:
        raise _wrong(error.message, f".{error.field}", error.remedy) from None
    if abs(charge) > protons:
        raise _wrong(f"a charge of {shown(charge)} of {protons} protons", ".charge", "Correct the charge.")
    spins = _spins(protons - charge, found.multiplicity, orbitals, ".charge" if found.charge else ".geometry")
    frozen, chosen = _space(found, spins, orbitals)

    def build() -> PauliOperator:
        return jordan_wigner(geometry.integrals(atoms, basis, *spins, charge, frozen, chosen))

    return Read(
        build,
        2 * len(chosen),
        (spins[0] - len(frozen), spins[1] - len(frozen)),
        found.ansatz,
        found.taper,
        _digest(found, "geometry", atoms, basis, charge, spins, frozen, chosen),
        notes=_noted(frozen, chosen, orbitals),
        own=orbitals <= OWN_FUNCTIONS,
    )


def _atoms(given: Any) -> list[Atom]:
    """Sorted: in which order they are written does not matter."""
    atoms: list[Atom] = []
    if isinstance(given, str):
        lines = [line.split() for line in given.replace("\n", ";").split(";")]
        given = [tuple(line) for line in lines if line]
    if not 1 <= len(given) <= MAX_ATOMS:
        raise _wrong(f"{len(given)} atoms, expected 1 to {MAX_ATOMS}", ".geometry", "Send at least one.")
    for k, entry in enumerate(given):
        try:
            symbol, x, y, z = entry
            atom = (str(symbol).capitalize(), float(x), float(y), float(z))
        except ValueError:
            raise _wrong(
                f"expected 'symbol x y z', got {shown(' '.join(map(str, entry)))}", f".geometry[{k}]", "In angstrom."
            ) from None
        if atom[0] not in geometry.SYMBOLS:
            raise _wrong(f"unknown element {shown(symbol)}", f".geometry[{k}][0]", "Elements from H to Kr are known.")
        if not np.isfinite(atom[1:]).all() or max(map(abs, atom[1:])) > 1000:
            raise _wrong("a position is not finite, or over 1000 angstrom", f".geometry[{k}]", "Send angstrom.")
        atoms.append(atom)
    places = np.array([atom[1:] for atom in atoms])
    distances = np.linalg.norm(places[:, None] - places, axis=2) + 1e9 * np.eye(len(atoms))
    if distances.min() < CLOSEST:
        i, j = np.unravel_index(int(distances.argmin()), distances.shape)
        raise _wrong(f"atoms {min(i, j)} and {max(i, j)} are in one place", ".geometry", "Check the positions.")
    return sorted(atoms)
