"""The families' problems as Python values. A family is one file here, and its lines here."""

from qmosaic.codecs.problems.base import ProblemData
from qmosaic.codecs.problems.circuit import Circuit
from qmosaic.codecs.problems.ising import Ising
from qmosaic.codecs.problems.labs import Labs
from qmosaic.codecs.problems.maxcut import MaxCut
from qmosaic.codecs.problems.molecule import Molecule, OrbitalIntegrals
from qmosaic.codecs.problems.portfolio import Portfolio
from qmosaic.codecs.problems.qubo import Qubo
from qmosaic.codecs.problems.route import Route

FAMILIES: dict[str, type[ProblemData]] = {
    kind.family: kind
    for kind in (
        MaxCut,
        Qubo,
        Ising,
        Labs,
        Portfolio,
        Route,
        Molecule,
        Circuit,
    )
}

__all__ = [
    "Circuit",
    "Ising",
    "Labs",
    "MaxCut",
    "Molecule",
    "OrbitalIntegrals",
    "Portfolio",
    "Qubo",
    "Route",
]
