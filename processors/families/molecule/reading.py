"""The molecule payload, checked: exactly what is wrong with it, or how its Hamiltonian is to be built."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from math import comb
from typing import Any

import msgspec
import numpy as np

from qmosaic.codecs.errors import Rejected
from qmosaic.codecs.models.paulis import PauliOperator
from qmosaic.codecs.problems.molecule import Molecule, OrbitalIntegrals
from qmosaic.processors.families.base import Limits
from qmosaic.processors.families.molecule.atoms import of_geometry
from qmosaic.processors.families.molecule.electrons import (
    MAX_QUBITS,
    Read,
    active_space,
    digest_of,
    noted,
    spins_of,
)
from qmosaic.processors.families.molecule.fermions import (
    Integrals,
    active,
    alpha_mask,
    conserved,
    jordan_wigner,
)
from qmosaic.processors.families.molecule.hamiltonian import WORK, work
from qmosaic.processors.families.payload import WrongError, converted, shown

MAX_BARE_QUBITS = 14
"""The most of a Hamiltonian without known electrons, where all 2^n states count."""
MAX_ENTRIES = 2**24
"""The most of a Hamiltonian's distinct flips times the basis states it acts on."""
MAX_TERMS = 2**16
"""The most of a Hamiltonian."""
MAX_ORBITALS = 40
"""The most that integrals may have, before the choice of an active space."""
EQUAL = 1e-8
"""Integrals that are equal by symmetry may differ by this much, in hartree: they were computed."""


def read(payload: dict[str, Any], limits: Limits) -> Read | Rejected:
    """What the payload says, or what is wrong with it."""
    found = converted(payload, Molecule, "", "See the fields of the family in docs/families.md.")
    if isinstance(found, Rejected):
        return msgspec.structs.replace(found, remedy=_HERMITIAN) if "hamiltonian" in found.place else found
    try:
        return _read(found, limits)
    except WrongError as wrong:
        return wrong.rejected


_HERMITIAN = "Send [Pauli string, coefficient] with real coefficients, in hartree: else it is not Hermitian."


def _read(found: Molecule, limits: Limits) -> Read:
    given = [name for name in ("geometry", "integrals", "hamiltonian") if getattr(found, name) is not None]
    if len(given) != 1:
        raise WrongError(
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
            raise WrongError(f"{name} does not go with {given[0]}", f".{name}", "Leave it out.")
    if found.integrals is not None:
        return _integrals(found, found.integrals)
    if found.hamiltonian is not None:
        return _hamiltonian(found, limits)
    return of_geometry(found)


# Integrals


def _integrals(found: Molecule, integrals: OrbitalIntegrals) -> Read:
    m = integrals.orbitals
    if m > MAX_ORBITALS:
        raise WrongError(
            f"{shown(m)} orbitals, the limit is {MAX_ORBITALS}",
            ".integrals.orbitals",
            "Write the integrals of an active space alone.",
            "too_large",
        )
    if found.electrons is None:
        raise WrongError("the number of electrons is missing", ".electrons", "Send it with the integrals.")
    if not np.isfinite(integrals.core):
        raise WrongError("the value is not finite", ".integrals.core", "Send a finite number.")
    spins = spins_of(found.electrons, found.multiplicity, m, ".electrons")
    one, two = _tensor(integrals.one, m, 2, "one"), _tensor(integrals.two, m, 4, "two")
    frozen, chosen = active_space(found, spins, m)
    _added(np.concatenate([[integrals.core], one.ravel(), two.ravel()]), ".integrals")
    full = Integrals(one, two, integrals.core, *spins)
    kept = active(full, frozen, chosen)
    digest = digest_of(found, "integrals", spins, frozen, chosen, integrals.core + 0.0, _sparse(one), _sparse(two))
    return Read(
        lambda: jordan_wigner(kept),
        2 * len(chosen),
        (kept.alpha, kept.beta),
        found.ansatz,
        found.taper,
        digest,
        notes=noted(frozen, chosen, m),
    )


def _tensor(entries: Sequence[tuple[Any, ...]], m: int, rank: int, name: str) -> Any:
    """The entries and all that equal them, real orbitals: h_pq = h_qp, (pq|rs) = (qp|rs) = (pq|sr) = (rs|pq)."""
    try:
        table = np.array(entries, np.float64).reshape(-1, rank + 1)
    except OverflowError:
        raise WrongError("an orbital is out of range", f".integrals.{name}", "Orbitals count from 0.") from None
    index, values = np.clip(table[:, :rank], -1, m).astype(np.int64), table[:, rank]
    for wrong, message in (
        (~np.isfinite(values), "the value is not finite"),
        (((index < 0) | (index >= m)).any(axis=1), f"an orbital is out of range 0..{m - 1}"),
    ):
        if wrong.any():
            k = int(np.flatnonzero(wrong)[0])
            raise WrongError(
                f"{message}: {[_plain(each) for each in entries[k]]}",
                f".integrals.{name}[{k}]",
                "Orbitals count from 0.",
            )
    pairs = -np.sort(-index.reshape(-1, rank // 2, 2), axis=2) @ [m, 1]  # each pair as one number, its larger first
    keys = np.sort(pairs, axis=1) @ [m * m, 1][-rank // 2 :]
    _, first, of = np.unique(keys, return_index=True, return_inverse=True)
    if len(at := np.flatnonzero(np.abs(values - values[first[of]]) > EQUAL)):
        k = int(at[0])
        raise WrongError(
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
        raise WrongError("the numbers add up to more than a float64 holds", place, "Send hartree.")


def _sparse(tensor: Any) -> str:
    return sha256(np.ascontiguousarray(tensor + 0.0).tobytes()).hexdigest()


# A qubit Hamiltonian


def _hamiltonian(found: Molecule, limits: Limits) -> Read:
    terms = found.hamiltonian or ()
    if not terms:
        raise WrongError("there is no term at all", ".hamiltonian", "Send at least one.", "invalid_problem")
    if len(terms) > (most_terms := min(limits.couplings, MAX_TERMS)):
        raise WrongError(f"{len(terms)} terms, the limit is {most_terms}", ".hamiltonian", "Send fewer.", "too_large")
    n = found.qubits if found.qubits is not None else len(terms[0][0])
    most = MAX_BARE_QUBITS if found.electrons is None else MAX_QUBITS
    if not 1 <= n <= most:
        raise WrongError(
            f"{shown(n)} qubits, the limit is {most}",
            ".hamiltonian",
            "Taper it, or choose an active space, before it is sent.",
            "too_large" if n else "invalid_problem",
        )
    coefficients = []
    for k, (pauli, coefficient) in enumerate(terms):
        if len(pauli) != n or set(pauli) - set("IXYZ"):
            raise WrongError(
                f"expected {n} letters I, X, Y, Z, got {pauli[:60]!r}", f".hamiltonian[{k}][0]", "One letter a qubit."
            )
        real, imaginary = coefficient if isinstance(coefficient, tuple) else (coefficient, 0.0)
        if not np.isfinite([real, imaginary]).all():
            raise WrongError("the coefficient is not finite", f".hamiltonian[{k}][1]", "Send finite numbers.")
        if imaginary:
            raise WrongError(
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
        raise WrongError(
            f"{len(np.unique(operator.x))} distinct flips of {states} states, the limit is {MAX_ENTRIES} in all",
            ".hamiltonian",
            "Send a smaller Hamiltonian.",
            "too_large",
        )
    if work(operator, states) > WORK:
        raise WrongError(
            f"{len(operator.x)} strings on {states} states take {work(operator, states)} additions for an energy, "
            f"the limit is {WORK}",
            ".hamiltonian",
            "Send a smaller Hamiltonian.",
            "too_large",
        )
    content = (n, operator.x.tolist(), operator.z.tolist(), (operator.coefficients + 0.0).tolist(), spins)
    digest = digest_of(found, "hamiltonian", content, found.ordering if spins else None)
    return Read(lambda: operator, n, spins, found.ansatz, found.taper, digest, found.ordering, notes)


def _qubit_electrons(found: Molecule, operator: PauliOperator) -> tuple[int, int]:
    n = operator.n
    if n % 2:
        raise WrongError(f"{n} qubits are no spin orbitals", ".electrons", "Leave out electrons, or send both spins.")
    spins = spins_of(found.electrons or 0, found.multiplicity, n // 2, ".electrons")
    if not operator.real or not conserved(operator, alpha_mask(n, found.ordering)):
        raise WrongError(
            f"as a Jordan-Wigner transform with {found.ordering} spins it does not conserve the electrons of each spin"
            if operator.real
            else "a Jordan-Wigner transform over real orbitals has no strings with an odd number of Y",
            ".hamiltonian",
            "Set ordering, or leave out electrons if it is another mapping.",
        )
    return spins


# A geometry
