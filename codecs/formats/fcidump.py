"""FCIDUMP: the integrals over molecular orbitals.

    &FCI NORB=2, NELEC=2, MS2=0, ORBSYM=1,1, ISYM=1, &END
    value i j k l      the two-electron integral (ij|kl), orbitals from 1, each of up to eight equal ones once
    value i j 0 0      the one-electron integral h_ij
    value i 0 0 0      an orbital energy: left out
    value 0 0 0 0      the core energy

The header may end in `/` instead, and exponents be written with D. Source: Knowles and Handy, Comput. Phys. Commun.
54 (1989) 75.
"""

from __future__ import annotations

import re
from math import isfinite

from qmosaic.codecs.formats.base import FileProblem, Format, fault, stem

MAX_ORBITALS = 1000
_HEADER = re.compile(rb"\s*[&$]FCI\b(.*?)(?:[&$]END\b|(?<=[\s,])/|^\s*/)[^\n]*(?:\n|$)", re.IGNORECASE | re.DOTALL)
_FIELD = re.compile(rb"([A-Za-z]\w*)\s*=\s*([^=]*?)(?=[,\s]*(?:[A-Za-z]\w*\s*=|$))", re.DOTALL)
_REMEDY = "A line is 'value i j k l': a number and four orbitals, 0 where there is none."


def read(text: bytes, name: str) -> list[FileProblem]:
    """One molecule problem."""
    match = _HEADER.match(text)
    if match is None:
        raise fault(
            name, 1, "expected a header from &FCI to &END or /", "Check how the file begins, and that it is whole."
        )
    fields = {key.upper().decode(): value.strip() for key, value in _FIELD.findall(match[1])}
    orbitals, electrons = _integer(fields, "NORB", None, text, name), _integer(fields, "NELEC", None, text, name)
    spin = _integer(fields, "MS2", 0, text, name)
    if not 1 <= orbitals <= MAX_ORBITALS:
        raise fault(
            name, _line(text, b"NORB"), f"expected NORB from 1 to {MAX_ORBITALS}, got {orbitals}", "Correct it."
        )
    for key in ("UHF", "IUHF"):
        if fields.get(key, b"0").strip(b".,").upper() not in (b"0", b"F", b"FALSE"):
            raise fault(
                name,
                _line(text, key.encode()),
                "expected one set of orbitals for both spins, got an unrestricted file",
                "Write it from a restricted (RHF or ROHF) calculation.",
            )
    one: list[list[float]] = []
    two: list[list[float]] = []
    core = 0.0
    first = text.count(b"\n", 0, match.end()) + 1
    for number, line in enumerate(text[match.end() :].split(b"\n"), first):
        if not line.strip():
            continue
        value, (i, j, k, m) = _entry(line, number, orbitals, name)
        if i and j and k and m:
            two.append([i - 1, j - 1, k - 1, m - 1, value])
        elif i and j and not k and not m:
            one.append([i - 1, j - 1, value])
        elif not (i or j or k or m):
            core += value
        elif j or k or m:
            raise fault(name, number, f"expected i j k l, i j 0 0, i 0 0 0 or 0 0 0 0, got {i} {j} {k} {m}", _REMEDY)
    payload = {
        "integrals": {"orbitals": orbitals, "one": one, "two": two, "core": core},
        "electrons": electrons,
        "multiplicity": abs(spin) + 1,
    }
    return [FileProblem("molecule", payload, "min", stem(name), 0)]


def _entry(line: bytes, number: int, orbitals: int, name: str) -> tuple[float, list[int]]:
    tokens = line.split()
    try:
        value, places = float(tokens[0].upper().replace(b"D", b"E")), [int(token) for token in tokens[1:]]
    except ValueError:
        value, places = float("nan"), []
    if len(places) != 4 or not isfinite(value) or b"_" in line:
        shown = line.strip().decode()[:60]
        raise fault(name, number, f"expected 'value i j k l', real and finite, got '{shown}'", _REMEDY)
    if min(places) < 0 or max(places) > orbitals:
        raise fault(
            name, number, f"expected orbitals from 1 to NORB={orbitals}, got {places}", "Correct the line, or NORB."
        )
    return value, places


def _integer(fields: dict[str, bytes], key: str, default: int | None, text: bytes, name: str) -> int:
    value = fields.get(key, b"" if default is None else str(default).encode()).strip(b", \t\n")
    if not re.fullmatch(rb"[+-]?\d{1,9}", value):
        got = f"'{value.decode()[:40]}'" if value else "none"
        raise fault(name, _line(text, key.encode()), f"expected {key} as an integer, got {got}", "Correct the header.")
    return int(value)


def _line(text: bytes, key: bytes) -> int:
    """The line of a header's field; the first, where there is none."""
    found = re.search(rb"\b" + key + rb"\b", text[:10_000], re.IGNORECASE)
    return text.count(b"\n", 0, found.start()) + 1 if found else 1


FORMAT = Format(
    name="fcidump",
    title="FCIDUMP (integrals of a molecule)",
    families=("molecule",),
    suffixes=(".fcidump",),
    opening=re.compile(rb"\s*[&$]FCI\b", re.IGNORECASE),
    read=read,
)
