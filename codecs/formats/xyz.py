"""XYZ: the geometry of a molecule. The number of atoms, a comment, and a line `symbol x y z` (angstrom) an atom."""

from __future__ import annotations

import re
from math import isfinite

from qmosaic.codecs.formats.base import FileProblem, Format, fault, stem

_REMEDY = "After the number of atoms and a comment comes one line 'symbol x y z' for each atom, in angstrom."


def read(text: bytes, name: str) -> list[FileProblem]:
    """One molecule problem: the geometry alone. Basis, charge and multiplicity are for the user to set."""
    lines = text.decode().split("\n")
    start = next(k for k, line in enumerate(lines) if line.strip())
    count = lines[start].strip()
    if not re.fullmatch(r"\d{1,6}", count, re.ASCII):
        raise fault(name, start + 1, f"expected the number of atoms, got '{count[:60]}'", _REMEDY)
    atoms: list[list[str | float]] = []
    for number, line in enumerate(lines[start + 2 : start + 2 + int(count)], start + 3):
        tokens = line.split()
        try:
            place = [float(token) for token in tokens[1:4]]
        except ValueError:
            place = []
        if len(place) != 3 or not all(map(isfinite, place)) or "_" in line:
            raise fault(name, number, f"expected 'symbol x y z', got '{line.strip()[:60]}'", _REMEDY)
        atoms.append([tokens[0], *place])
    rest = [number for number, line in enumerate(lines, 1) if line.strip() and number > start + 2 + int(count)]
    if len(atoms) < int(count) or not atoms or rest:
        got = "more lines" if rest else f"{len(atoms)}"
        raise fault(name, rest[0] if rest else len(lines), f"expected {count} atoms, got {got}", _REMEDY)
    return [FileProblem("molecule", {"geometry": atoms}, "min", stem(name), 0)]


FORMAT = Format(
    name="xyz",
    title="XYZ (geometry of a molecule)",
    families=("molecule",),
    suffixes=(".xyz",),
    opening=re.compile(rb"\s*\d+[ \t]*\n[^\n]*\n[ \t]*[A-Za-z]{1,2}[ \t]+[-+.\d]"),
    read=read,
)
