"""The bundled examples: a small real problem of every family, from networkx, from the literature, or computed."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import networkx

from qmosaic.codecs.events import public
from qmosaic.codecs.problems import Circuit, Ising, Labs, MaxCut, Molecule, OrbitalIntegrals, Portfolio, Qubo, Route
from qmosaic.codecs.problems.base import ProblemData

# Yearly returns and volatilities of asset classes, of the usual size, and their correlations with the market.
ASSETS = {
    "stocks": (0.070, 0.16, 1.0),
    "small caps": (0.080, 0.20, 0.9),
    "emerging": (0.085, 0.23, 0.75),
    "bonds": (0.030, 0.05, -0.1),
    "credit": (0.042, 0.08, 0.5),
    "gold": (0.035, 0.15, 0.0),
    "property": (0.060, 0.17, 0.65),
    "commodities": (0.040, 0.18, 0.3),
    "cash": (0.020, 0.01, 0.0),
}
# German cities: longitude and latitude in degrees, times 100.
CITIES = {
    "Berlin": (1340, 5252),
    "Hamburg": (1000, 5355),
    "Munich": (1158, 4814),
    "Cologne": (696, 5094),
    "Frankfurt": (868, 5011),
    "Stuttgart": (918, 4878),
    "Leipzig": (1237, 5134),
    "Dresden": (1374, 5105),
    "Bremen": (881, 5308),
    "Hanover": (973, 5237),
    "Nuremberg": (1108, 4945),
    "Rostock": (1214, 5409),
}
# The hydrogen molecule at 0.735 angstrom, STO-3G (PySCF): integrals in hartree.
HYDROGEN = OrbitalIntegrals(
    orbitals=2,
    one=[(0, 0, -1.25633907300325), (1, 1, -0.4718960072811418)],
    two=[
        (0, 0, 0, 0, 0.6757101548035163),
        (1, 0, 1, 0, 0.1809311997842314),
        (1, 1, 0, 0, 0.6645817302552964),
        (1, 1, 1, 1, 0.6985737227320177),
    ],
    core=0.7199689944489797,
)
GHZ = """OPENQASM 3;
include "stdgates.inc";
qubit[4] q;
bit[4] c;
h q[0];
for int k in [0:2] { cx q[k], q[k + 1]; }
c = measure q;
"""


def portfolio() -> Portfolio:
    """Four of nine asset classes; correlations of a single factor, the market."""
    names = list(ASSETS)
    loads = [ASSETS[name][2] for name in names]
    correlations = [[1.0 if a == b else loads[a] * loads[b] for b in range(len(names))] for a in range(len(names))]
    return Portfolio(
        assets=names,
        returns=[ASSETS[name][0] for name in names],
        deviations=[ASSETS[name][1] for name in names],
        correlations=correlations,
        cardinality=4,
        risk_aversion=0.6,
    )


def demo_problems() -> list[dict[str, Any]]:
    """Events: Zachary's karate club (maximum cut 61), the Petersen graph (12), and others."""
    nx: Any = networkx  # its stubs are stricter than its functions
    karate = nx.karate_club_graph()
    petersen = nx.petersen_graph()
    cube = nx.convert_node_labels_to_integers(nx.dodecahedral_graph())
    lattice = nx.convert_node_labels_to_integers(nx.triangular_lattice_graph(4, 4))
    # Choose far-apart members of the club: a maximum independent set as a QUBO, 20 of 34.
    independent = [[n, n, -1] for n in karate] + [[a, b, 2] for a, b in karate.edges]
    problems: list[tuple[str, ProblemData, dict[str, Any]]] = [
        ("karate club", MaxCut(nodes=34, edges=[list(edge) for edge in karate.edges]), {}),
        ("Petersen graph", MaxCut(edges=[list(edge) for edge in petersen.edges]), {"target": "quantum"}),
        ("dodecahedron", MaxCut(edges=[list(edge) for edge in cube.edges]), {"target": "gpu"}),
        ("independent set", Qubo(variables=34, terms=independent), {"target": "classical"}),
        ("frustrated magnet", Ising(J=[[a, b, 1] for a, b in lattice.edges]), {"target": "quantum"}),
        ("asset classes", portfolio(), {}),
        ("German cities", Route(nodes=list(CITIES), coordinates=list(CITIES.values()), metric="euc_2d"), {}),
        ("hydrogen", Molecule(integrals=HYDROGEN, electrons=2), {"shots": 20_000}),
        ("GHZ state", Circuit(qasm=GHZ), {}),
        ("signal of 15", Labs(n=15), {}),
    ]
    return [
        {
            "schema": public.PROBLEM_SCHEMA,
            "id": uuid4().hex,
            "family": problem.family,
            "problem": problem.payload(),
            "deadline": 20,
            "labels": {"name": name},
            **options,
        }
        for name, problem, options in problems
    ]
