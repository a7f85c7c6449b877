"""The ground state energy of a molecule, in hartree, core included.

    H = sum_k c_k P_k on qubits;   objective = <psi| H |psi>, minimised

Payload: a geometry and a basis, or integrals (FCIDUMP), or a Hamiltonian as Pauli strings; see
`codecs.problems.Molecule`. A solution names a state that anyone can prepare, and its energy:

    {"energy": -1.136, "standard_error": 0.001, "hartree_fock": -1.117, "correlation": -0.019, "qubits": 4,
     "reference": "1100", "rotations": [["YXXX", 0.225]], "state_energy": -1.137}

that is, exp(-i angle/2 P) of the rotations, first to last, on the basis state `reference`, on the qubits of the
Hamiltonian (of the active space, interleaved), the leftmost letter qubit 0. `state_energy` is that state's, `energy`
what the backend found: measured, with its standard error, or computed. The incumbent is the reference alone:
the Hartree-Fock determinant, or of a bare Hamiltonian the basis state of least energy. What backends gained is counted
from the least energy, where that is known: diagonalising finds it, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from jaxtyping import Complex128

from qmosaic.codecs.errors import Rejected
from qmosaic.codecs.events.hops import Answer
from qmosaic.codecs.events.public import Problem
from qmosaic.codecs.events.reasons import Sense
from qmosaic.codecs.models.bundle import Bundle, array, bundle
from qmosaic.codecs.models.paulis import Masks, PauliOperator, masks, rotated, strings
from qmosaic.processors.families.base import QUICK, Evaluation, Limits, Model, Reduction, Task, violated
from qmosaic.processors.families.molecule.fermions import alpha_mask
from qmosaic.processors.families.molecule.geometry import GeometryError
from qmosaic.processors.families.molecule.hamiltonian import WORK, Hamiltonian, work
from qmosaic.processors.families.molecule.optimiser import POINTS, Optimiser
from qmosaic.processors.families.molecule.symmetries import Span

SIGMAS = 5.0
"""How many of its standard errors a measured energy may be off."""
ROUNDING = 2e-6
"""How far an exact energy may be off, in units of the sum of all |c_k|: backends work in single precision."""
SAME = 1e-9
"""How far the least energy may be off in those units: it is computed in double precision."""
ESCAPED = 1e-6
"""The weight of a state outside the sector of its electrons that is rounding."""
MAX_ROTATIONS = 20_000
NOTHING = 1e-12
"""Amplitudes below this are rounding."""
LIGHT_ORBITALS, LIGHT_TERMS = 3, 200
"""Up to which a problem is judged in a few milliseconds."""


@dataclass(frozen=True, eq=False)
class MoleculeInstance:
    """`build` gives the Hamiltonian, when it is first needed: for a geometry that is a Hartree-Fock calculation.

    `electrons`: those of either spin; None where they are not known to be qubits. `spins`: the qubits with spin alpha.
    `geometry`: the payload, where that is one. `own`: whether verify builds the Hamiltonian, too, to judge by it.
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
    own: bool = True
    sense: Sense = "min"

    @property
    def size(self) -> int:
        work = 2 * self.qubits**2  # up to 4 qubits are a matter of milliseconds, from 9 on of seconds
        return work if self.geometry is None else max(work, QUICK + 1)

    @cached_property
    def operator(self) -> PauliOperator:
        return self.build()

    @cached_property
    def hamiltonian(self) -> Hamiltonian:
        """Built from the payload."""
        return Hamiltonian(self.build(), self.electrons, self.spins)

    def _judging(self, evidence: Bundle | None) -> Hamiltonian:
        """What answers are judged by: built here, or of a large geometry what reduce has built. Raises LookupError."""
        if self.own:
            return self.hamiltonian
        if evidence is None:
            raise LookupError("no Hamiltonian of this geometry")
        x, z, coefficients = (array(evidence, name) for name in ("x", "z", "coefficients"))
        if not (x.ndim == 1 and x.shape == z.shape == coefficients.shape and x.dtype == z.dtype == np.int64):
            raise ValueError("no Hamiltonian")
        masks_ = np.concatenate([x, z])
        if ((masks_ < 0) | (masks_ >= 1 << self.qubits)).any() or not np.isfinite(coefficients).all():
            raise ValueError("no Hamiltonian of this many qubits")
        operator = PauliOperator.of(self.qubits, x, z, coefficients)
        if work(operator, 1 << self.qubits) > 4 * WORK:
            raise ValueError("a Hamiltonian of too many terms")
        return Hamiltonian(operator, self.electrons, self.spins)

    def encode(self) -> Bundle:
        # Hartree-Fock takes a second or many: reduce does it, where there is a lane for what takes long.
        return self.compact() if self.geometry is None else bundle(geometry=self.geometry)

    def compact(self) -> Bundle:
        """The Hamiltonian, and what the ansatz has to know. Raises GeometryError for a geometry that is none."""
        operator = self.hamiltonian.operator
        alpha, beta = self.electrons or (-1, -1)
        return bundle(
            {"x": operator.x, "z": operator.z, "coefficients": operator.coefficients},
            qubits=self.qubits,
            alpha=alpha,
            beta=beta,
            spins=self.spins,
            built=not self.own,
            ansatz=self.ansatz,
            taper=self.taper,
        )

    def quick(self) -> Any:
        if not self.own:
            return None  # Hartree-Fock takes too long here
        try:
            return self._determinant(self.hamiltonian, self.hamiltonian.reference)
        except GeometryError:
            return None

    def solution(self, state: Bundle) -> Any:
        return self._determinant(self._judging(state), _basis_state(state))

    def answered(self, state: Bundle, lift: Bundle, answer: Answer) -> Any:
        (energy, *others), (error, *_) = answer.values, answer.errors
        if len(others) + 1 not in (1, POINTS) or len(answer.errors) != len(answer.values):
            raise ValueError("not the energies of a circuit")
        x, z = array(lift, "x"), array(lift, "z")
        if not (x.dtype == z.dtype == np.int64 and x.ndim == 1 and len(x) <= MAX_ROTATIONS):
            raise ValueError("no rotations")
        if ((x | z) < 0).any() or ((x | z) >= 1 << self.qubits).any():
            raise ValueError("no rotations of this many qubits")
        names = strings(self.qubits, x, z)
        rotations: list[Any] = [list(pair) for pair in zip(names, array(lift, "angles").tolist(), strict=True)]
        reference, stated = _basis_state(lift), lift.values["energy"]
        if not isinstance(stated, float) or not 0 <= reference < 1 << self.qubits:
            raise ValueError("not a state of this many qubits")
        return self._solution(self._judging(state), energy, error, reference, rotations, stated)

    def stepped(self, memory: Bundle, answer: Answer) -> Bundle:
        return Optimiser.of(memory).told(answer.values, answer.errors).packed()

    def has_converged(self, state: Bundle) -> bool:
        return Optimiser.of(state).has_converged

    def _determinant(self, whole: Hamiltonian, state: int) -> dict[str, Any]:
        energy = whole.energy(state)
        return self._solution(whole, energy, 0.0, state, [], energy)

    def _solution(
        self, whole: Hamiltonian, energy: float, error: float, reference: int, rotations: list[Any], state_energy: float
    ) -> dict[str, Any]:
        hartree_fock = whole.energies[whole.reference].item()
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
        whole = self._judging(evidence)
        states, amplitudes = self._prepared(solution["reference"], solution["rotations"])
        inside = whole.inside(states)
        outside = float((np.abs(amplitudes[~inside]) ** 2).sum())
        there = inside & (np.abs(amplitudes) > NOTHING)
        prepared = whole.expectation(states[there], amplitudes[there])
        size = whole.size
        exact = self._exact(whole, evidence)
        least = -size if exact is None else exact
        slack = ROUNDING * max(1.0, size)
        allowed = slack + SIGMAS * error
        shown = abs(energy - prepared) <= allowed
        # A solver may also have found the least energy by other means; it is known here, and needs no state.
        found = exact is not None and error == 0 and abs(energy - exact) <= SAME * max(1.0, size)
        violations = violated(
            [
                (outside <= ESCAPED, "the state has other numbers of electrons"),
                (0 <= error <= size, f"a standard error of {error} hartree cannot be"),
                (energy >= least - allowed, f"{energy} hartree is below the least possible, {least}"),
                (shown or found, f"the state has {prepared} hartree, not {energy}"),
                (abs(stated - prepared) <= slack, f"the state has {prepared} hartree, not the {stated} stated"),
            ]
        )
        computed = exact if found and exact is not None and abs(energy - exact) < abs(energy - prepared) else prepared
        objective = energy if error > 0 else computed
        hartree_fock = float(whole.energies[whole.reference])
        details: dict[str, Any] = {
            "hartree_fock": hartree_fock,
            "correlation": objective - hartree_fock,
            "state_energy": prepared,
            "qubits": self.qubits,
        }
        if exact is not None:
            details["exact"] = exact
            details["exact_is"] = "lowest eigenvalue" if self.electrons is None else "FCI in the active space"
            details["exact_by"] = "verify" if whole.small else "reduce"
            details["above_exact_mha"] = 1000 * (objective - exact)
        if not self.own:
            details["checked_against"] = "the Hamiltonian that reduce made of the geometry"
        if self.electrons is not None:
            details["electrons"] = list(self.electrons)
        return Evaluation(objective, not violations, violations, error, details, best_known=exact)

    def _exact(self, whole: Hamiltonian, evidence: Bundle | None) -> float | None:
        """The least energy; of a large one, that of the state that reduce says is the ground state, if it says so."""
        if whole.small:
            return whole.ground[0]
        if evidence is None or "ground" not in evidence.arrays:
            return None
        ground = array(evidence, "ground")
        if ground.dtype != np.float64 or ground.shape != (2, len(whole.states)):
            raise ValueError("no state of this many electrons")
        amplitudes = ground[0] + 1j * ground[1]
        norm = float((np.abs(amplitudes) ** 2).sum())
        if not 0.9 < norm < 1.1:
            raise ValueError("no state")
        return whole.expectation(whole.states, amplitudes) / norm

    def _prepared(self, reference: str, rotations: Sequence[Any]) -> tuple[Masks, Complex128[np.ndarray, " d"]]:
        """The basis states that the rotations reach, and the amplitudes there. Raises ValueError for what is none.

        All that the rotations can reach from the reference is its XOR with the span of their flips.
        """
        if len(reference) != self.qubits or set(reference) - {"0", "1"} or len(rotations) > MAX_ROTATIONS:
            raise ValueError("not a state of this many qubits")
        names, angles = [str(p) for p, _ in rotations], [float(angle) for _, angle in rotations]
        if any(len(p) != self.qubits or set(p) - set("IXYZ") for p in names) or not np.isfinite(angles).all():
            raise ValueError("not a rotation of this many qubits")
        x, z = masks(names)
        span = Span.of(x)
        if len(names) << span.rank > WORK:
            raise ValueError("too many rotations of too many states")
        reached = span.states(int(reference, 2))
        amplitudes = np.zeros(len(reached), np.complex128)
        amplitudes[int(span.coordinates(int(reference, 2)))] = 1.0
        for flip, a, b, angle in zip(span.coordinates(x).tolist(), x.tolist(), z.tolist(), angles, strict=True):
            amplitudes = rotated(amplitudes, reached, flip, a, b, angle)
        return reached, amplitudes


def _basis_state(of: Bundle) -> int:
    """Its `reference`. Raises LookupError or TypeError where there is none."""
    state = of.values["reference"]
    if not isinstance(state, int):
        raise TypeError("no basis state")
    return state


class MoleculeFamily:
    name = "molecule"
    exact_shots = True

    def parse(self, problem: Problem, limits: Limits) -> MoleculeInstance | Rejected:
        if problem.sense == "max":
            return Rejected("invalid_event", "an energy is minimised", "$.sense", "Leave sense out, or send 'min'.")
        return _instance(problem.problem, limits)

    def light(self, problem: Problem) -> bool:
        given = problem.problem
        if given.get("geometry") is not None:
            return False
        integrals, terms = given.get("integrals"), given.get("hamiltonian")
        orbitals: Any = 0
        if isinstance(integrals, dict):
            orbitals, lists = integrals.get("orbitals"), [integrals.get("one"), integrals.get("two"), terms]
        else:
            lists = [terms]
            first = terms[0] if isinstance(terms, list) and terms else None
            if isinstance(first, list) and first and isinstance(first[0], str):
                orbitals = len(first[0]) // 2
        few = all(len(each) <= LIGHT_TERMS for each in lists if isinstance(each, list))
        return few and isinstance(orbitals, int) and orbitals <= LIGHT_ORBITALS

    def reduce(self, tasks: Sequence[Task]) -> list[Reduction]:
        from qmosaic.processors.families.molecule.reduce import reduced

        return [reduced(replace(task, model=_compact(task.model))) for task in tasks]

    def warm_up(self, layers: int, slow: bool) -> None:
        from qmosaic.processors.families.molecule import vqe

        vqe.warm_up(slow)


def _instance(payload: dict[str, Any], limits: Limits) -> MoleculeInstance | Rejected:
    from qmosaic.processors.families.molecule.electrons import Read
    from qmosaic.processors.families.molecule.reading import read

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
        own=found.own,
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
