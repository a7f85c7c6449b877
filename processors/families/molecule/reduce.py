"""From the qubit Hamiltonian to the kernel: sector, tapering, variational search, and the circuit to measure."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64
from msgspec.structs import replace

from qmosaic.codecs.models.bundle import Bundle, array, bundle
from qmosaic.codecs.models.circuit import Circuit, Operation, PauliSum
from qmosaic.codecs.models.paulis import Masks, PauliOperator, odd, strings
from qmosaic.processors.families.base import Reduction, Task
from qmosaic.processors.families.molecule import vqe
from qmosaic.processors.families.molecule.fermions import Generator, excitations
from qmosaic.processors.families.molecule.hamiltonian import Hamiltonian
from qmosaic.processors.families.molecule.optimiser import MOST_ANGLES, Optimiser
from qmosaic.processors.families.molecule.symmetries import Tapering

SAME = 1e-9
"""Energies this close, in hartree, are one."""
PRESENT = 1e-3
"""The weight with which a symmetry sector must be in the ground state to have part in it."""

Rotations = list[tuple[int, int, float]]


def reduced(task: Task) -> Reduction:
    """One problem: the incumbent is the Hartree-Fock state; the kernel prepares the variational one, with one
    observable, the Hamiltonian. No kernel where no better state than a basis state is possible. Of a problem with
    rounds nothing is searched: the kernel asks for the energies that the optimiser's turn takes.
    """
    clock = task.clock
    started = clock()
    if not isinstance(task.model, Bundle):
        raise TypeError(f"expected a bundle, got {type(task.model).__name__}")
    model, values = task.model, task.model.values
    n = int(values["qubits"])
    operator = PauliOperator(n, *(array(model, name) for name in ("x", "z", "coefficients")))
    fermions = values["alpha"] >= 0
    whole = Hamiltonian(operator, (values["alpha"], values["beta"]) if fermions else None, values["spins"])
    states, energies, reference = whole.states, whole.energies[whole.states], whole.reference
    evidence = _evidence(whole, bool(values["built"]))
    if whole.heavy:  # the circuit of the determinant alone, whose energy a backend can still tell
        nothing = np.zeros(0, np.int64)
        energy = whole.energy(reference)
        lift = bundle({"x": nothing, "z": nothing, "angles": np.zeros(0)}, reference=reference, energy=energy)
        kernel = _circuit(operator, reference, [])
        return Reduction(bundle(evidence, reference=reference), "hartree_fock", clock() - started, kernel, lift)
    least, ground = whole.ground
    start = _start(operator, states, energies, np.abs(ground) ** 2, reference)
    if energies[np.searchsorted(states, start)] <= least + SAME:
        state = bundle(evidence, reference=start)
        return Reduction(state, "hartree_fock", clock() - started, None)

    tapering = Tapering.of(operator, start)
    tapered = tapering.operator(operator)
    if fermions:
        kept = (odd(states[:, None] & tapering.symmetries) == odd(start & tapering.symmetries)).all(axis=1)
        space, origin = vqe.Space.of(operator, states[kept]), start
    else:
        space = vqe.Space.of(tapered, np.arange(1 << tapering.qubits, dtype=np.int64))
        origin = int(tapering.span.coordinates(start))
    fixed: tuple[Generator, ...] = ()
    if fermions and (values["ansatz"] == "uccsd" or task.round is not None):
        fixed = vqe.Listed.of(space, excitations(n, values["spins"], start)).generators
    elif task.round is not None:
        fixed = _flipping(tapered)
    written = _Writer(operator, start, tapering, tapered, fermions, bool(values["taper"]))
    state = bundle(evidence, reference=reference)
    if task.round is not None and fixed:
        optimiser = _optimiser(task.start, len(fixed))
        turned = [written.rotations(fixed, angles) for angles in optimiser.points()]
        kernel = _at_points([written.circuit(each) for each in turned])
        lift = written.lift(turned[0], vqe.energy(space, origin, fixed, optimiser.angles))
        return Reduction(state, "hartree_fock", clock() - started, kernel, lift, memory=optimiser.packed())
    flips = tuple(x for x in np.unique(tapered.x).tolist() if x)
    found = vqe.search(
        space,
        origin,
        vqe.Listed.of(space, excitations(n, values["spins"]))
        if fermions
        else vqe.Strings(tapering.qubits, flips, space.complex),
        fixed,
        lowest=least,
        seed=task.seed,
        seconds=task.seconds - (clock() - started),
        clock=clock,
    )
    small = written.rotations(found.generators, found.angles)
    return Reduction(
        state, "hartree_fock", clock() - started, written.circuit(small), written.lift(small, found.energy)
    )


@dataclass(frozen=True, eq=False)
class _Writer:
    """Writes circuits of a Hamiltonian and its tapered form, from generators and their angles."""

    operator: PauliOperator
    start: int
    tapering: Tapering
    tapered: PauliOperator
    fermions: bool
    taper: bool

    def rotations(self, generators: Sequence[Generator], angles: Float64[np.ndarray, " k"]) -> Rotations:
        """On the tapered register."""
        small: Rotations = []
        for generator, angle in zip(generators, angles.tolist(), strict=True):
            small += _merged(generator.rotations(angle), self.tapering if self.fermions else None)
        return small

    def circuit(self, small: Rotations) -> Circuit:
        """Tapered, if it is to be."""
        if self.taper:
            return _circuit(self.tapered, int(self.tapering.span.coordinates(self.start)), small)
        x, z, angles = self._lifted(small)
        return _circuit(self.operator, self.start, list(zip(x.tolist(), z.tolist(), angles.tolist(), strict=True)))

    def lift(self, small: Rotations, energy: float) -> Bundle:
        """What makes a solution of the answer to a circuit; `energy` is its state's, in hartree."""
        x, z, angles = self._lifted(small)
        return bundle({"x": x, "z": z, "angles": angles}, reference=self.start, energy=energy)

    def _lifted(self, small: Rotations) -> tuple[Masks, Masks, Float64[np.ndarray, " r"]]:
        """On the whole register."""
        x, z = self.tapering.lift([x for x, _, _ in small], [z for _, z, _ in small])
        return x, z, np.array([angle for _, _, angle in small])


def _optimiser(state: Bundle | None, angles: int) -> Optimiser:
    """The one that a round begins with; at the reference, where there is none that fits."""
    if state is not None:
        with suppress(ValueError, LookupError, TypeError):
            found = Optimiser.of(state)
            if len(found.angles) == angles:
                return found
    return Optimiser(np.zeros(angles))


def _at_points(circuits: Sequence[Circuit]) -> Circuit:
    """The kernel of a round: nobody may answer it with a lower energy than that of its state."""
    first, *others = circuits
    return replace(first, variational=False, points=tuple(one.operations for one in others))


def _flipping(operator: PauliOperator) -> tuple[Generator, ...]:
    """A rotation for each of an operator's flips, the heaviest first, and each once more: Y on one of the qubits and X
    on the others, and where it is complex X on all, too."""
    flips, place = np.unique(operator.x, return_inverse=True)
    weights = np.bincount(place, np.abs(operator.coefficients), len(flips))
    heaviest = [flips[k] for k in np.argsort(-weights, kind="stable") if flips[k]]
    signs = (True,) if operator.real else (True, False)
    found = [Generator(int(x), int(x & -x) if turned else 0) for x in heaviest for turned in signs]
    return tuple((2 * found)[:MOST_ANGLES])


def _evidence(whole: Hamiltonian, built: bool) -> dict[str, Any]:
    """What verify does not work out by itself: the ground state of a large one, the Hamiltonian of a large geometry."""
    arrays: dict[str, Any] = {}
    if not whole.small and not whole.heavy:
        _, ground = whole.ground
        arrays["ground"] = np.stack([ground.real, np.imag(ground)]).astype(np.float64)
    if built:
        operator = whole.operator
        arrays |= {"x": operator.x, "z": operator.z, "coefficients": operator.coefficients}
    return arrays


def _start(operator: PauliOperator, states: Masks, energies: Masks, weights: Masks, reference: int) -> int:
    """The Hartree-Fock state; or, where the ground state has another symmetry, the basis state of least energy that
    has it: no rotation that conserves the symmetries would lead there.
    """
    symmetries = Tapering.of(operator, reference).symmetries
    signs = odd(states[:, None] & symmetries)
    own = (signs == odd(reference & symmetries)).all(axis=1)
    if weights[own].sum() >= PRESENT:
        return reference
    there = (signs == signs[np.argmax(weights)]).all(axis=1)
    return int(states[there][np.argmin(energies[there])])


def _merged(rotations: Rotations, tapering: Tapering | None) -> Rotations:
    """Commuting rotations on the tapered register, where several may have become one string."""
    if tapering is None:
        return [rotation for rotation in rotations if rotation[2]]
    xs, zs, signs = tapering.taper([x for x, _, _ in rotations], [z for _, z, _ in rotations])
    total: dict[tuple[int, int], float] = {}
    for x, z, sign, (_, _, angle) in zip(xs.tolist(), zs.tolist(), signs.tolist(), rotations, strict=True):
        total[x, z] = total.get((x, z), 0.0) + sign * angle
    return [(x, z, angle) for (x, z), angle in total.items() if abs(angle) > 1e-12]


def _circuit(observable: PauliOperator, reference: int, rotations: Rotations) -> Circuit:
    n = observable.n
    operations = [Operation("x", (i,)) for i in range(n) if reference >> (n - 1 - i) & 1]
    names = strings(n, [x for x, _, _ in rotations], [z for _, z, _ in rotations])
    for name, (_, _, angle) in zip(names, rotations, strict=True):
        qubits = tuple(i for i, letter in enumerate(name) if letter != "I")
        operations.append(Operation("rotation", qubits, (angle,), "".join(name[i] for i in qubits)))
    energy = PauliSum(n, observable.strings(), tuple(observable.coefficients.tolist()))
    return Circuit(n, 0, tuple(operations), (energy,), variational=True)
