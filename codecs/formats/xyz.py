"""XYZ: the geometry of a molecule. The number of atoms, a comment, and a line `symbol x y z` (angstrom) an atom.

An atomic number may stand for a symbol, and further columns (charges, forces) are not read. The files of QM9 have three
more lines: frequencies, SMILES and InChI. Source of these: R. Ramakrishnan et al., Scientific Data 1 (2014) 140022.
"""

from __future__ import annotations

import re
from math import isfinite

from qmosaic.codecs.formats.base import FileProblem, Format, fault, stem, whole

SYMBOLS = (  # noqa: SIM905  (a list of 118 lines says no more)
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr "
    "Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu "
    "Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr "
    "Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og"
).split()
"""Symbols of the elements, by atomic number from 1."""

_NUMBER = re.compile(r"[+-]?(\d++\.?\d*+|\.\d++)([eE][+-]?\d++)?", re.ASCII)
_REMEDY = "After the number of atoms and a comment comes one line 'symbol x y z' for each atom, in angstrom."
_MORE = "Correct the number of atoms in the first line; of a trajectory, keep one frame."


def read(text: bytes, name: str) -> list[FileProblem]:
    """One molecule problem: the geometry alone. Basis, charge and multiplicity are for the user to set."""
    lines = text.decode().split("\n")
    start = next((k for k, line in enumerate(lines) if line.strip()), 0)
    stated = lines[start].strip()
    if not re.fullmatch(r"\d{1,6}", stated, re.ASCII) or int(stated) < 1:
        raise fault(name, start + 1, f"expected the number of atoms, got '{stated[:60]}'", _REMEDY)
    count, first = int(stated), start + 2
    atoms = []
    for number, line in enumerate(lines[first : first + count], first + 1):
        tokens = line.split(maxsplit=4)
        symbol = _symbol(tokens[0]) if tokens else None
        place = [_coordinate(token) for token in tokens[1:4]]
        if symbol is None or len(place) != 3 or not all(map(isfinite, place)):
            raise fault(name, number, f"expected 'symbol x y z', got '{line.strip()[:60]}'", _REMEDY)
        atoms.append([symbol, *place])
    if len(atoms) < count:
        raise fault(name, len(lines), f"expected {count} atoms, got {len(atoms)}", _REMEDY)
    rest = [(number, line.strip()) for number, line in enumerate(lines[first + count :], first + count + 1) if line]
    rest = [(number, line) for number, line in rest if line]
    if rest and not _is_qm9([line for _, line in rest]):
        number, line = rest[0]
        raise fault(name, number, f"expected {count} atoms and the end of the file, got '{line[:60]}'", _MORE)
    return [FileProblem("molecule", {"geometry": atoms}, "min", stem(name), 0)]


def _symbol(token: str) -> str | None:
    """The symbol of an element, by itself or its atomic number; other names go as they are, None is no name."""
    if token[0].isalpha():
        return token[:60]
    protons = whole(token)
    return SYMBOLS[protons - 1] if protons is not None and 1 <= protons <= len(SYMBOLS) else None


def _coordinate(token: str) -> float:
    """Also as Mathematica (`1.5*^-6`) and Fortran (`1.5D-6`) write numbers; NaN for what is none."""
    spelled = token.replace("*^", "e").replace("D", "e").replace("d", "e")
    return float(spelled) if _NUMBER.fullmatch(spelled) else float("nan")


def _is_qm9(lines: list[str]) -> bool:
    """Frequencies, SMILES and InChI."""
    return (
        len(lines) == 3
        and all(isfinite(_coordinate(token)) for token in lines[0].split())
        and len(lines[1].split()) <= 2
        and lines[2].startswith("InChI=")
    )


FORMAT = Format(
    name="xyz",
    title="XYZ (geometry of a molecule)",
    families=("molecule",),
    suffixes=(".xyz",),
    # an atom has four columns: three are an entry of a matrix
    opening=re.compile(rb"\s*+\d++[ \t]*+\n[^\n]*+\n[ \t]*+([A-Za-z]{1,2}|\d{1,3})(?:[ \t]++[-+.\d][^\s]*+){3}"),
    read=read,
)
