"""A qubit Hamiltonian with its basis states: energies, expectation values and the least energy, in bounded work.

Nothing here holds a matrix but for the least energy of small ones. NumPy; SciPy for these.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Complex128, Float64

from qmosaic.codecs.models.paulis import Masks, PauliOperator
from qmosaic.processors.families.molecule.fermions import restricted, sector
from qmosaic.processors.families.molecule.symmetries import lowest

SMALL = 1024, 2**20
"""Basis states, and flips times states, up to which the least energy is a matter of a tenth of a second."""
HEAVY = 2**24
"""Entries of a matrix that reduce makes at most: some 0.6 GB on the way."""
WORK = 2**26
"""Additions that an expectation value may take: a second or so."""


@dataclass(frozen=True, eq=False)
class Hamiltonian:
    """`electrons`: those of either spin; None where they are not known to be qubits. `spins`: the qubits with alpha."""

    operator: PauliOperator
    electrons: tuple[int, int] | None
    spins: int

    @cached_property
    def states(self) -> Masks:
        """The basis states that an answer may be made of, ascending."""
        if self.electrons is None:
            return np.arange(1 << self.operator.n, dtype=np.int64)
        return sector(self.operator.n, self.spins, *self.electrons)

    def inside(self, states: Masks) -> Bool[np.ndarray, " k"]:
        """Which basis states an answer may be made of."""
        if self.electrons is None:
            return np.ones(len(states), bool)
        alpha, beta = (np.bitwise_count(states & mask) for mask in (self.spins, ~self.spins))
        return np.asarray((alpha == self.electrons[0]) & (beta == self.electrons[1]))

    @cached_property
    def size(self) -> float:
        """The sum of all |c_k|: no energy is larger."""
        return float(np.abs(self.operator.coefficients).sum())

    @cached_property
    def energies(self) -> Float64[np.ndarray, " s"]:
        """Those of all 2^n basis states."""
        return self.operator.diagonal()

    def energy(self, state: int) -> float:
        """That of a basis state. Raises LookupError for one that cannot be."""
        if not 0 <= state < 1 << self.operator.n or not self.inside(np.array([state]))[0]:
            raise LookupError("not a state of this many electrons")
        return float(self.energies[state])

    @cached_property
    def reference(self) -> int:
        """The Hartree-Fock determinant: least in energy of those with the fewest open shells; of equals the last."""
        states = self.states if self.electrons is None else restricted(self.operator.n, self.spins, self.states)
        energies = self.energies[states]
        return int(states[np.flatnonzero(energies <= energies.min() + 1e-9)[-1]])

    def expectation(self, states: Masks, amplitudes: Complex128[np.ndarray, " k"]) -> float:
        """<psi|H|psi> of a state on some basis states, which differ."""
        psi = np.zeros(1 << self.operator.n, np.complex128)
        psi[states] = amplitudes
        return sum(
            float((psi[states ^ x].conj() * (d * amplitudes)).sum().real) for x, d in self.operator.parts(states)
        )

    @cached_property
    def small(self) -> bool:
        """Whether the least energy is found in no time."""
        states, entries = SMALL
        return len(self.states) <= states and self._entries <= entries

    @cached_property
    def heavy(self) -> bool:
        """Whether the matrix is too large even for reduce: complex ones count fourfold, as they are made real."""
        return self._entries * (1 if self.operator.real else 4) > HEAVY

    @cached_property
    def _entries(self) -> int:
        return len(np.unique(self.operator.x)) * len(self.states)

    @cached_property
    def matrix(self) -> Any:
        """Between the states, sparse: as large as flips times states."""
        return self.operator.matrix(self.states)

    @cached_property
    def ground(self) -> tuple[float, Any]:
        """The least energy, and its vector over the states."""
        return lowest(self.matrix)


def work(operator: PauliOperator, states: int) -> int:
    """Additions that an expectation value on so many states takes, at most: see `PauliOperator.parts`."""
    _, terms = np.unique(operator.x, return_counts=True)
    return int(np.minimum(terms * states, operator.n << operator.n).sum())
