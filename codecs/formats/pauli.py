"""Qubit Hamiltonians as JSON: Pauli strings and their coefficients, and what they are of. Read by `json_file`.

    {"n_qubits": 4, "terms": [["IIIZ", -0.2257], …], "mapping": "jordan_wigner", "n_electrons": 2, "multiplicity": 1}

The leftmost letter is qubit 0, coefficients are in hartree, the core's energy is in the identity. Electrons are only
known to be qubits by the Jordan-Wigner mapping (OpenFermion's ordering); under any other mapping they are left out.
All other fields are for people.
"""

from __future__ import annotations

from typing import Any

import msgspec


class PauliDocument(msgspec.Struct, frozen=True):
    """One document."""

    terms: list[list[Any]]
    n_qubits: int | None = None
    mapping: str = ""
    n_electrons: int | None = None
    multiplicity: int | None = None


def is_one(document: dict[str, Any]) -> bool:
    """Whether a JSON object is meant to be one."""
    return "terms" in document


def payload(document: dict[str, Any]) -> dict[str, Any]:
    """The molecule problem. Raises msgspec.ValidationError for fields of another type."""
    found = msgspec.convert(document, PauliDocument)
    out: dict[str, Any] = {"hamiltonian": found.terms}
    if found.n_qubits is not None:
        out["qubits"] = found.n_qubits
    if found.mapping.strip().lower().replace("-", "_") == "jordan_wigner" and found.n_electrons is not None:
        out["electrons"] = found.n_electrons
        if found.multiplicity is not None:
            out["multiplicity"] = found.multiplicity
    return out
