"""The families' problems as Python values. A family is one file here, and its lines here."""

from qmosaic.codecs.problems.base import ProblemData
from qmosaic.codecs.problems.ising import Ising
from qmosaic.codecs.problems.labs import Labs
from qmosaic.codecs.problems.maxcut import MaxCut
from qmosaic.codecs.problems.portfolio import Portfolio
from qmosaic.codecs.problems.qubo import Qubo

FAMILIES: dict[str, type[ProblemData]] = {kind.family: kind for kind in (MaxCut, Qubo, Ising, Portfolio, Labs)}

__all__ = ["Ising", "Labs", "MaxCut", "Portfolio", "Qubo"]
