"""The energy of a hydrogen molecule as it is pulled apart: Hartree-Fock against the answer of a quantum circuit.

    qmosaic up                      # in another terminal
    python examples/molecule.py    # finds it; or give it the address of a broker

The integrals (STO-3G, computed with PySCF) are below, so nothing else is needed. With the extra `chemistry` a geometry
does as well: qmosaic.Molecule(geometry="H 0 0 0; H 0 0 0.735", basis="sto-3g").
"""

import sys
from collections.abc import Callable

import qmosaic

# By distance in angstrom: core energy, h_00, h_11, (00|00), (00|11), (11|11), (01|01), in hartree.
CURVE = {
    0.5: (1.0583544218, -1.4105283677, -0.2569357824, 0.7197060391, 0.7072398415, 0.7448393704, 0.1688702277),
    0.735: (0.7199689944, -1.2563390730, -0.4718960073, 0.6757101548, 0.6645817303, 0.6985737227, 0.1809311998),
    1.0: (0.5291772109, -1.1108441799, -0.5891210037, 0.6264024995, 0.6217067631, 0.6530707469, 0.1967905835),
    1.5: (0.3527848073, -0.9081808725, -0.6653369358, 0.5527033831, 0.5596841556, 0.5834207612, 0.2295359361),
    2.5: (0.2116708844, -0.7001472914, -0.6540677373, 0.4856800986, 0.4931151036, 0.5020597883, 0.2822100460),
}


def molecule(distance: float) -> qmosaic.Molecule:
    """H2 at a distance in angstrom: two electrons in two orbitals, four qubits before tapering."""
    core, h00, h11, j00, j01, j11, k01 = CURVE[distance]
    return qmosaic.Molecule(
        integrals=qmosaic.OrbitalIntegrals(
            orbitals=2,
            one=[(0, 0, h00), (1, 1, h11)],
            two=[(0, 0, 0, 0, j00), (0, 0, 1, 1, j01), (1, 1, 1, 1, j11), (0, 1, 0, 1, k01)],
            core=core,
        ),
        electrons=2,
    )


def report(solve: Callable[[qmosaic.Molecule], qmosaic.Outcome]) -> None:
    """One line a distance: what came out, against the baseline."""
    print("angstrom   Hartree-Fock    variational   correlation (hartree)   outcome")
    for distance in CURVE:
        outcome = solve(molecule(distance))
        assert outcome.baseline is not None
        print(
            f"{distance:8.3f}   {outcome.baseline.objective:12.6f}   {outcome.objective:12.6f}"
            f"   {outcome.details['correlation']:21.6f}   {outcome.status}: {outcome.reason}"
        )
    # Any simulator can prepare the state again: these rotations, exp(-i angle/2 P), on this basis state.
    print("the last state:", outcome.solution["reference"], outcome.solution["rotations"])


if __name__ == "__main__":
    with qmosaic.SyncClient(sys.argv[1] if len(sys.argv) > 1 else None) as client:
        report(lambda problem: client.solve(problem, shots=0, deadline=30))
