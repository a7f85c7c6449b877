"""(i) What mitigation gains and costs: energies of QAOA and VQE circuits under noise, with and without it.

The circuits are kernels as the pipeline makes them: max-cut on a 3-regular graph of 6 nodes, 2 layers with tuned angles
(the circuit, with the cost as its observable), and the ground states of H2 and of a Hubbard dimer by ADAPT, each on
4 qubits (not tapered). The noise is a model (`cirq.density`, depolarising and readout) and that of a virtual device.
Each is run with several seeds, and its energy held against the exact
one of the noiseless circuit:

- `mean error`, over the seeds, with its standard error: what is left of the noise;
- `rms`: what a single run is off, noise and shots together, and in `of plain` how that compares to no mitigation;
- `stated`: the standard error that the answers give themselves, which knows the shots but not the noise;
- circuits and shots of a run, the seconds of the inner backend. A readout calibration is made once, and counted apart.

    python -m benchmarks.mitigation [--seeds 10] [--shots 8192] [--quick]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic, perf_counter
from typing import Any

import msgspec
import networkx as nx
import numpy as np

from benchmarks.common import parser, tell
from benchmarks.mixed import hubbard
from qmosaic.backends.base import Answer, Backend, Estimate, Expectations, Job, Placed, run_sync
from qmosaic.backends.mitigation.readout import CALIBRATION_SHOTS, Readout
from qmosaic.backends.mitigation.zero_noise import ZeroNoise
from qmosaic.backends.registry import create
from qmosaic.codecs.errors import BackendError
from qmosaic.codecs.events.public import Problem
from qmosaic.codecs.models.circuit import Circuit, Operation, PauliSum
from qmosaic.codecs.models.polynomial import SpinPolynomial
from qmosaic.codecs.problems import Molecule, OrbitalIntegrals
from qmosaic.processors.families.base import Limits, Task
from qmosaic.processors.families.molecule.family import MoleculeFamily, MoleculeInstance
from qmosaic.processors.spins.angles import tune

LAYERS = 2
NOISY = ("cirq.density/depolarizing=0.002,readout=0.02", "cirq.device/willow_pink")
MITIGATED: dict[str, Callable[[Backend], Backend]] = {
    "plain": lambda inner: inner,
    "readout": Readout,
    "zne": ZeroNoise,
    "readout(zne)": lambda inner: Readout(ZeroNoise(inner)),
}
H2 = Molecule(
    integrals=OrbitalIntegrals(
        orbitals=2,
        one=[(0, 0, -1.25633907300325), (1, 1, -0.4718960072811418)],
        two=[
            (0, 0, 0, 0, 0.6757101548035163),
            (1, 0, 1, 0, 0.1809311997842314),
            (1, 1, 0, 0, 0.6645817302552964),
            (1, 1, 1, 1, 0.6985737227320177),
        ],
        core=0.7199689944489797,
    ),
    electrons=2,
)


class Counted(Backend):
    """A backend, and what it was asked for: circuits, shots and seconds since `start`."""

    def __init__(self, inner: Backend) -> None:
        self.inner, self.name, self.capabilities = inner, inner.name, inner.capabilities
        self.start()

    def start(self) -> None:
        """Count anew."""
        self.circuits, self.shots, self.seconds = 0, 0, 0.0

    def prepare(self, job: Job) -> Any:
        return job, self.inner.prepare(job)

    def run(self, batch: Sequence[Any]) -> Sequence[Answer]:
        began = perf_counter()
        found = run_sync(self.inner, [prepared for _, prepared in batch])
        self.seconds += perf_counter() - began
        self.circuits += len(batch)
        self.shots += sum(job.shots for job, _ in batch)
        return found

    def placed(self, job: Job) -> Placed:
        return self.inner.placed(job)

    def estimate(self, job: Job) -> Estimate:
        return self.inner.estimate(job)


def qaoa(nodes: int) -> Circuit:
    """The QAOA circuit of a random 3-regular max-cut, its cost the observable."""
    rows, cols = zip(*nx.random_regular_graph(3, nodes, seed=1).edges, strict=True)
    kernel = SpinPolynomial.of(nodes, rows=rows, cols=cols, J=np.ones(len(rows)))
    pairs = list(zip(kernel.rows.tolist(), kernel.cols.tolist(), kernel.J.tolist(), strict=True))
    ((gammas, betas),) = tune([kernel], LAYERS)
    steps = [Operation("h", (q,)) for q in range(nodes)]
    for gamma, beta in zip(gammas.tolist(), betas.tolist(), strict=True):
        steps += [Operation("rzz", (i, j), (2 * gamma * J,)) for i, j, J in pairs]
        steps += [Operation("rx", (q,), (2 * beta,)) for q in range(nodes)]
    strings = tuple("".join("Z" if q in (i, j) else "I" for q in range(nodes)) for i, j, _ in pairs)
    return Circuit(nodes, 0, tuple(steps), (PauliSum(nodes, strings, tuple(J for *_, J in pairs)),))


def vqe(molecule: Molecule) -> Circuit:
    """The kernel of a molecule, on all of its qubits."""
    family, payload = MoleculeFamily(), msgspec.structs.replace(molecule, taper=False).payload()
    instance = family.parse(Problem(family="molecule", problem=payload), Limits())
    assert isinstance(instance, MoleculeInstance)
    (found,) = family.reduce([Task(instance.encode(), 1, 30.0, clock=monotonic)])
    assert isinstance(found.kernel, Circuit)
    return found.kernel


def energy(backend: Backend, circuit: Circuit, shots: int, seed: int) -> tuple[float, float]:
    """Value and standard error of its one observable."""
    (answer,) = run_sync(backend, [backend.prepare(Job(circuit, shots, seed))])
    assert isinstance(answer, Expectations)
    return float(answer.values[0]), float(answer.errors[0])


def compared(name: str, title: str, circuit: Circuit, shots: int, seeds: int) -> None:
    """Print the rows of one kernel on one backend. Raises BackendError where it does not run there."""
    ideal, _ = energy(create("cirq.statevector"), circuit, 0, 0)
    plain = np.nan
    for mitigation, wrapped in MITIGATED.items():
        inner = Counted(create(name))
        backend = wrapped(inner)
        energy(backend, circuit, shots, seeds)  # calibrates, and fills caches
        inner.start()
        found = np.array([energy(backend, circuit, shots, seed) for seed in range(seeds)])
        off, stated = found[:, 0] - ideal, found[:, 1].mean()
        rms = float(np.sqrt((off**2).mean()))
        plain = rms if mitigation == "plain" else plain
        print(
            f"{title:<16} {ideal:>9.4f}  {mitigation:<13} {off.mean():>+9.4f} ± {off.std(ddof=1) / seeds**0.5:<7.4f}"
            f"{rms:>8.4f} {rms / plain:>9.2f} {stated:>8.4f} {inner.circuits / seeds:>9.0f} {inner.shots / seeds:>7.0f}"
            f" {inner.seconds / seeds:>8.3f}",
            flush=True,
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table for each backend."""
    options = parser("what mitigation gains and costs")
    options.add_argument("--seeds", type=int, default=10)
    options.add_argument("--shots", type=int, default=8192)
    given = options.parse_args(arguments)
    seeds = 2 if given.quick else given.seeds
    tell("reducing the molecules to circuits")
    kernels = {
        "max-cut, QAOA": qaoa(4 if given.quick else 6),
        "H2, VQE": vqe(H2),
        "Hubbard, VQE": vqe(hubbard(2, 4.0)),
    }
    for name in NOISY:
        try:
            backend = create(name)
        except BackendError as error:
            tell(f"{name} is left out: {error}")
            continue
        print(f"\n(i) {name}: {backend.capabilities.noise}; {given.shots} shots, {seeds} seeds")
        print(f"a readout calibration: 2 circuits of {CALIBRATION_SHOTS} shots, once")
        print(
            f"{'kernel':<16} {'exact':>9}  {'mitigation':<13} {'mean error':>19} {'rms':>7} {'of plain':>9}"
            f" {'stated':>8} {'circuits':>9} {'shots':>7} {'seconds':>8}"
        )
        for title, circuit in kernels.items():
            try:
                compared(name, title, circuit, given.shots, seeds)
            except BackendError as error:
                tell(f"{title} does not run on {name}: {error}")


if __name__ == "__main__":
    main()
