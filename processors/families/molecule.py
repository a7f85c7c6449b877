"""The ground state energy of a molecule, in hartree, core included.

    H = sum_k c_k P_k on qubits;   objective = <psi| H |psi>, minimised

Payload: a geometry and a basis, or integrals (FCIDUMP), or a Hamiltonian as Pauli strings; see
`codecs.problems.Molecule`. A solution names a state that anyone can prepare, and its energy:

    {"energy": -1.136, "standard_error": 0.001, "hartree_fock": -1.117, "correlation": -0.019, "qubits": 4,
     "reference": "1100", "rotations": [["YXXX", 0.225]], "state_energy": -1.137}

that is, exp(-i angle/2 P) of the rotations, first to last, on the basis state `reference`, on the qubits of the
Hamiltonian (of the active space, interleaved), the leftmost letter qubit 0. `state_energy` is that state's, `energy`
what the backend found: measured, with its standard error, or computed. The incumbent is the reference alone:
the Hartree-Fock determinant, or of a bare Hamiltonian the basis state of least energy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from jaxtyping import Complex128

from qmosaic.codecs.bundle import Bundle, array, bundle
from qmosaic.codecs.errors import Rejected
from qmosaic.codecs.events import Answer, Problem, Sense
from qmosaic.codecs.paulis import Masks, PauliOperator, Span, lowest, masks, rotated, strings
from qmosaic.processors.chemistry.fermions import alpha_mask, restricted, sector
from qmosaic.processors.chemistry.geometry import GeometryError
from qmosaic.processors.families.base import QUICK, Evaluation, Limits, Model, Reduction, Task, violated

SIGMAS = 5.0
"""How many of its standard errors a measured energy may be off."""
ROUNDING = 2e-6
"""How far an exact energy may be off, in units of the sum of all |c_k|: backends work in single precision."""
SAME = 1e-9
"""How far the least energy may be off in those units: it is computed in double precision."""
ESCAPED = 1e-6
"""The weight of a state outside the sector of its electrons that is rounding."""
MAX_ROTATIONS = 20_000


@dataclass(frozen=True, eq=False)
class MoleculeInstance:
    """`build` gives the Hamiltonian, when it is first needed: for a geometry that is a Hartree-Fock calculation.

    `electrons`: those of either spin; None where they are not known to be qubits. `spins`: the qubits with spin alpha.
    `geometry`: the payload, where that is one.
    """

    build: Callable[[], PauliOperator]
    qubits: int
    electrons: tuple[int, int] | None
    spins: int
    ansatz: Literal["adapt", "uccsd"]
    taper: bool
    digest: str
    notes: list[str] = field(default_factory=list)
    geometry: dict[str, Any] | None = None
    sense: Sense = "min"

    @property
    def size(self) -> int:
        work = 2 * self.qubits**2  # up to 4 qubits are a matter of milliseconds, from 9 on of seconds
        return work if self.geometry is None else max(work, QUICK + 1)

    @cached_property
    def operator(self) -> PauliOperator:
        return self.build()

    @cached_property
    def states(self) -> Masks:
        """The basis states that the answer may be made of."""
        if self.electrons is None:
            return np.arange(1 << self.qubits, dtype=np.int64)
        return sector(self.qubits, self.spins, *self.electrons)

    @cached_property
    def matrix(self) -> Any:
        return self.operator.matrix(self.states)

    @cached_property
    def exact(self) -> float:
        """The least energy there can be."""
        return lowest(self.matrix)[0]

    @cached_property
    def reference(self) -> int:
        """The Hartree-Fock determinant: least in energy of those with the fewest open shells; of equals the first."""
        states = self.states if self.electrons is None else restricted(self.qubits, self.spins, self.states)
        energies = self.energies[np.searchsorted(self.states, states)]
        return int(states[np.flatnonzero(energies <= energies.min() + 1e-9)[-1]])

    @cached_property
    def energies(self) -> Any:
        """Those of the basis states."""
        return self.matrix.diagonal().real

    def energy(self, state: int) -> float:
        """That of a basis state. Raises LookupError for one that cannot be."""
        place = int(np.searchsorted(self.states, state))
        if place == len(self.states) or self.states[place] != state:
            raise LookupError("not a state of this many electrons")
        return float(self.energies[place])

    def encode(self) -> Bundle:
        # Hartree-Fock takes a second or many: reduce does it, where there is a lane for what takes long.
        return self.compact() if self.geometry is None else bundle(geometry=self.geometry)

    def compact(self) -> Bundle:
        """The Hamiltonian, and what the ansatz has to know. Raises GeometryError for a geometry that is none."""
        operator = self.operator
        alpha, beta = self.electrons or (-1, -1)
        return bundle(
            {"x": operator.x, "z": operator.z, "coefficients": operator.coefficients},
            qubits=self.qubits,
            alpha=alpha,
            beta=beta,
            spins=self.spins,
            reference=self.reference,
            ansatz=self.ansatz,
            taper=self.taper,
        )

    def quick(self) -> Any:
        try:
            return self._determinant(self.reference)
        except GeometryError:
            return None

    def solution(self, state: Bundle) -> Any:
        return self._determinant(int(state.values["reference"]))

    def answered(self, state: Bundle, lift: Bundle, answer: Answer) -> Any:
        (energy,), (error,) = answer.values, answer.errors
        names = strings(self.qubits, array(lift, "x"), array(lift, "z"))
        rotations: list[Any] = [list(pair) for pair in zip(names, array(lift, "angles").tolist(), strict=True)]
        return self._solution(energy, error, int(lift.values["reference"]), rotations, float(lift.values["energy"]))

    def _determinant(self, state: int) -> dict[str, Any]:
        energy = self.energy(state)
        return self._solution(energy, 0.0, state, [], energy)

    def _solution(
        self, energy: float, error: float, reference: int, rotations: list[Any], state_energy: float
    ) -> dict[str, Any]:
        hartree_fock = self.energy(self.reference)
        return {
            "energy": energy,
            "standard_error": error,
            "hartree_fock": hartree_fock,
            "correlation": energy - hartree_fock,
            "qubits": self.qubits,
            "reference": f"{reference:0{self.qubits}b}",
            "rotations": rotations,
            "state_energy": state_energy,
        }

    def evaluate(self, solution: Any, evidence: Bundle | None = None) -> Evaluation:
        energy, error = float(solution["energy"]), float(solution["standard_error"])
        stated = float(solution["state_energy"])
        state, outside = self._prepared(solution["reference"], solution["rotations"])
        prepared = float((state.conj() @ (self.matrix @ state)).real)
        size = float(np.abs(self.operator.coefficients).sum())
        slack = ROUNDING * max(1.0, size)
        allowed = slack + SIGMAS * error
        shown = abs(energy - prepared) <= allowed
        # A solver may also have found the least energy by other means; it is known here, and needs no state.
        found = error == 0 and abs(energy - self.exact) <= SAME * max(1.0, size)
        violations = violated(
            [
                (outside <= ESCAPED, "the state has other numbers of electrons"),
                (0 <= error <= size, f"a standard error of {error} hartree cannot be"),
                (energy >= self.exact - allowed, f"{energy} hartree is below the least possible, {self.exact}"),
                (shown or found, f"the state has {prepared} hartree, not {energy}"),
                (abs(stated - prepared) <= slack, f"the state has {prepared} hartree, not the {stated} stated"),
            ]
        )
        computed = self.exact if found and abs(energy - self.exact) < abs(energy - prepared) else prepared
        objective = energy if error > 0 else computed
        hartree_fock = self.energy(self.reference)
        details: dict[str, Any] = {
            "hartree_fock": hartree_fock,
            "correlation": objective - hartree_fock,
            "exact": self.exact,
            "exact_is": "lowest eigenvalue" if self.electrons is None else "FCI in the active space",
            "above_exact_mha": 1000 * (objective - self.exact),
            "state_energy": prepared,
            "qubits": self.qubits,
        }
        if self.electrons is not None:
            details["electrons"] = list(self.electrons)
        return Evaluation(objective, not violations, violations, error, details)

    def _prepared(self, reference: str, rotations: Sequence[Any]) -> tuple[Complex128[np.ndarray, " d"], float]:
        """The state on `states`, and its weight outside of them. Raises ValueError for what is none.

        All that the rotations can reach from the reference is its XOR with the span of their flips.
        """
        if len(reference) != self.qubits or set(reference) - {"0", "1"} or len(rotations) > MAX_ROTATIONS:
            raise ValueError("not a state of this many qubits")
        names, angles = [str(p) for p, _ in rotations], [float(angle) for _, angle in rotations]
        if any(len(p) != self.qubits or set(p) - set("IXYZ") for p in names) or not np.isfinite(angles).all():
            raise ValueError("not a rotation of this many qubits")
        x, z = masks(names)
        span = Span.of(x)
        reached = span.states(int(reference, 2))
        amplitudes = np.zeros(len(reached), np.complex128)
        amplitudes[int(span.coordinates(int(reference, 2)))] = 1.0
        for flip, a, b, angle in zip(span.coordinates(x).tolist(), x.tolist(), z.tolist(), angles, strict=True):
            amplitudes = rotated(amplitudes, reached, flip, a, b, angle)
        place = np.minimum(np.searchsorted(self.states, reached), len(self.states) - 1)
        inside = self.states[place] == reached
        state = np.zeros(len(self.states), np.complex128)
        state[place[inside]] = amplitudes[inside]
        return state, float((np.abs(amplitudes[~inside]) ** 2).sum())


class MoleculeFamily:
    name = "molecule"
    exact_shots = True

    def parse(self, problem: Problem, limits: Limits) -> MoleculeInstance | Rejected:
        if problem.sense == "max":
            return Rejected("invalid_event", "an energy is minimised", "$.sense", "Leave sense out, or send 'min'.")
        return _instance(problem.problem, limits)

    def light(self, problem: Problem) -> bool:
        return False

    def reduce(self, tasks: Sequence[Task]) -> list[Reduction]:
        from qmosaic.processors.chemistry.reduction import reduced

        return [reduced(replace(task, model=_compact(task.model))) for task in tasks]

    def warm_up(self, layers: int, slow: bool) -> None:
        from qmosaic.processors.chemistry import vqe

        vqe.warm_up(slow)


def _instance(payload: dict[str, Any], limits: Limits) -> MoleculeInstance | Rejected:
    from qmosaic.processors.chemistry.reading import Read, read

    found = read(payload, limits)
    if not isinstance(found, Read):
        return found
    return MoleculeInstance(
        build=found.build,
        qubits=found.qubits,
        electrons=found.electrons,
        spins=alpha_mask(found.qubits, found.ordering),
        ansatz=found.ansatz,
        taper=found.taper,
        digest=found.digest,
        notes=found.notes,
        geometry=payload if payload.get("geometry") is not None else None,
    )


def _compact(model: Model) -> Bundle:
    """The compact model of what encode sent, which is that already unless it is a geometry."""
    assert isinstance(model, Bundle)
    geometry = model.values.get("geometry")
    if geometry is None:
        return model
    instance = _instance(geometry, Limits())  # it passed the limits of the settings at the door
    assert isinstance(instance, MoleculeInstance)
    return instance.compact()


__all__ = ["MoleculeFamily", "MoleculeInstance"]
