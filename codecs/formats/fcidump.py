"""FCIDUMP: the integrals over molecular orbitals.

    &FCI NORB=2, NELEC=2, MS2=0, ORBSYM=1,1, ISYM=1, &END
    value i j k l      the two-electron integral (ij|kl), orbitals from 1, each of up to eight equal ones once
    value i j 0 0      the one-electron integral h_ij
    value i 0 0 0      an orbital energy: left out
    value 0 0 0 0      the core energy

The header is a Fortran namelist: it may end in `/` instead. Exponents may be written with D. Source: Knowles and Handy,
Comput. Phys. Commun. 54 (1989) 75.
"""

from __future__ import annotations

import re
from math import isfinite

from qmosaic.codecs.formats.base import FileProblem, Format, fault, stem, whole

MAX_ORBITALS = 1000
_TOKEN = re.compile(
    rb"(?P<blank>[\s,;]++|![^\n]*+)"
    rb"|(?P<string>'[^']*+(?:''[^']*+)*+'|\"[^\"]*+(?:\"\"[^\"]*+)*+\")"
    rb"|(?P<end>/|[&$]END\b)"
    rb"|(?P<key>[A-Za-z]\w*+(?:\([\d\s,:]*+\))?)\s*+="
    rb"|(?P<value>[^\s,;!'\"/&$=]++)",
    re.IGNORECASE,
)
_OPENING = re.compile(rb"(?:\s++|![^\n]*+\n)*+[&$]FCI\b", re.IGNORECASE)
_SHORT_EXPONENT = re.compile(rb"([+-]?[\d.]+)([+-]\d{2,3})")  # Fortran leaves the E out before three digits
_REMEDY = "A line is 'value i j k l': a number and four orbitals, 0 where there is none."


def read(text: bytes, name: str) -> list[FileProblem]:
    """One molecule problem."""
    fields, end = _header(text, name)
    orbitals, electrons = _integer(fields, "NORB", None, text, name), _integer(fields, "NELEC", None, text, name)
    spin = _integer(fields, "MS2", 0, text, name)
    if not 1 <= orbitals <= MAX_ORBITALS:
        raise fault(
            name, _line(text, b"NORB"), f"expected NORB from 1 to {MAX_ORBITALS}, got {orbitals}", "Correct it."
        )
    for key in ("UHF", "IUHF"):
        if fields.get(key, b"0").strip(b".").upper() not in (b"0", b"F", b"FALSE"):
            raise fault(
                name,
                _line(text, key.encode()),
                "expected one set of orbitals for both spins, got an unrestricted file",
                "Write it from a restricted (RHF or ROHF) calculation.",
            )
    one: list[list[float]] = []
    two: list[list[float]] = []
    core = 0.0
    first = text.count(b"\n", 0, end) + 1
    for number, line in enumerate(text[end:].split(b"\n"), first):
        line = line.partition(b"!")[0]
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


def _header(text: bytes, name: str) -> tuple[dict[str, bytes], int]:
    """The fields of the namelist, each with its first value, and where the line of its end ends.

    As in Fortran: names in any case, several in a line, `!` before a comment, `3*1` for 1,1,1 (of which only the first
    is looked at), ended by `/`, which may follow a value at once, or by &END.
    """
    opening = _OPENING.match(text)
    fields: dict[str, bytes] = {}
    key: str | None = None
    at = opening.end() if opening else 0
    while opening and (token := _TOKEN.match(text, at)):
        at = token.end()
        if token["end"]:
            rest = re.compile(rb"[ \t,/]*+(?:![^\n]*+)?(?:\n|$)").match(text, at)
            if rest is None:
                line = text.count(b"\n", 0, at) + 1
                raise fault(name, line, "expected the end of the line after the header's end", "Begin a new line.")
            return fields, rest.end()
        if token["key"]:
            key = token["key"].partition(b"(")[0].decode().upper()
            fields[key] = b""
        elif key is not None and not fields[key] and not token["blank"]:
            fields[key] = (token["string"] or token["value"]).strip(b"'\"")
    line = text.count(b"\n", 0, at) + 1 if at < len(text) else 1
    raise fault(
        name, line, "expected a header from &FCI to &END or /", "Check how the file begins, and that it is whole."
    )


def _entry(line: bytes, number: int, orbitals: int, name: str) -> tuple[float, list[int]]:
    tokens = line.split(maxsplit=5)
    try:
        spelled = _SHORT_EXPONENT.sub(rb"\1E\2", tokens[0]) if _SHORT_EXPONENT.fullmatch(tokens[0]) else tokens[0]
        value, places = float(spelled.upper().replace(b"D", b"E")), [int(token) for token in tokens[1:]]
    except ValueError:
        value, places = float("nan"), []
    if len(places) != 4 or not isfinite(value) or b"_" in line:
        got = line.strip().decode()[:60]
        raise fault(name, number, f"expected 'value i j k l', real and finite, got '{got}'", _REMEDY)
    if min(places) < 0 or max(places) > orbitals:
        raise fault(
            name, number, f"expected orbitals from 1 to NORB={orbitals}, got {places}", "Correct the line, or NORB."
        )
    return value, places


def _integer(fields: dict[str, bytes], key: str, default: int | None, text: bytes, name: str) -> int:
    stated = fields.get(key, b"" if default is None else b"%d" % default)
    value = whole(stated.decode().removeprefix("1*"))
    if value is None or abs(value) >= 10**9:
        got = f"'{stated.decode()[:40]}'" if stated else "none"
        raise fault(name, _line(text, key.encode()), f"expected {key} as an integer, got {got}", "Correct the header.")
    return value


def _line(text: bytes, key: bytes) -> int:
    """The line of a header's field; the first, where there is none."""
    found = re.search(rb"\b" + key + rb"\b", text[:10_000], re.IGNORECASE)
    return text.count(b"\n", 0, found.start()) + 1 if found else 1


FORMAT = Format(
    name="fcidump",
    title="FCIDUMP (integrals of a molecule)",
    families=("molecule",),
    suffixes=(".fcidump",),
    opening=_OPENING,
    read=read,
)
