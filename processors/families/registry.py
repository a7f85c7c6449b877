"""The families by name. Those outside register an entry point in the group `qmosaic.families`, loaded lazily."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points

from qmosaic.codecs.errors import Rejected
from qmosaic.codecs.text import choose
from qmosaic.processors.families.base import Family
from qmosaic.processors.families.circuit.family import CircuitFamily
from qmosaic.processors.families.labs.family import LabsFamily
from qmosaic.processors.families.molecule.family import MoleculeFamily
from qmosaic.processors.families.portfolio.family import PortfolioFamily
from qmosaic.processors.families.quadratic.ising import IsingFamily
from qmosaic.processors.families.quadratic.maxcut import MaxCutFamily
from qmosaic.processors.families.quadratic.qubo import QuboFamily
from qmosaic.processors.families.routing.family import RouteFamily

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        MaxCutFamily(),
        QuboFamily(),
        IsingFamily(),
        LabsFamily(),
        PortfolioFamily(),
        RouteFamily(),
        MoleculeFamily(),
        CircuitFamily(),
    )
}


@cache
def _outside() -> dict[str, Family]:
    return {point.name: point.load()() for point in entry_points(group="qmosaic.families")}


def known(name: str) -> Family:
    """The family called `name`, which an event has passed the door with. Raises KeyError for any other."""
    found = FAMILIES.get(name)
    return found if found is not None else _outside()[name]


def family(name: str) -> Family | Rejected:
    """The family called `name`; an unknown name lists the choices."""
    if name in FAMILIES:
        return FAMILIES[name]
    if name in _outside():
        return _outside()[name]
    remedy = choose(name, {*FAMILIES, *_outside()})
    return Rejected("unknown_family", f"no family is called {name!r}", "$.family", remedy)
