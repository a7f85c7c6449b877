"""dimod's COO text: a binary quadratic model, minimised, over spins or bits.

    # vartype=SPIN        or BINARY
    i i bias              linear
    i j bias              quadratic; indices from 0

Source: `dimod.serialization.coo`. As there, the offset is not kept; other than there, a line that is none of these
is an error and not skipped.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from qmosaic.codecs.formats.base import MAX_VARIABLES, FileProblem, Format, fault, numbers, stem, triples
from qmosaic.codecs.formats.rows import Rows

_COMMENT = re.compile(rb"^[ \t]*#[^\n]*", re.MULTILINE)
_VARTYPE = re.compile(rb"^[ \t]*#[^\n]*?vartype[:=][ \t]*([^\s]*)", re.MULTILINE)


def read(text: bytes, name: str) -> list[FileProblem]:
    """One ising or qubo problem; its variables are 0 to the largest index."""
    rows = Rows(text, name, _COMMENT)
    vartype = _vartype(text, name)
    if not len(rows):
        raise rows.unexpected(0, "'i j bias'", "Add the biases.")
    i, j, bias = rows.table(0, len(rows), "i j bias", n=MAX_VARIABLES, base=0, counted="the number of lines")
    n = int(max(i.max(), j.max())) + 1
    if vartype == b"BINARY":
        payload: dict[str, Any] = {"variables": n, "terms": triples(i, j, numbers(bias)), "offset": 0}
        return [FileProblem("qubo", payload, "min", stem(name), 0)]
    linear = i == j
    h = np.zeros(n, dtype=bias.dtype)
    np.add.at(h, i[linear], bias[linear])
    couplings = triples(i[~linear], j[~linear], numbers(bias[~linear]))
    payload = {"variables": n, "h": numbers(h), "J": couplings, "offset": 0}
    return [FileProblem("ising", payload, "min", stem(name), 0)]


def _vartype(text: bytes, name: str) -> bytes:
    remedy = "Put '# vartype=SPIN' or '# vartype=BINARY' in the first line."
    vartype = None
    for match in _VARTYPE.finditer(text):
        if match[1] not in (b"SPIN", b"BINARY") or vartype not in (None, match[1]):
            line = text.count(b"\n", 0, match.start(1)) + 1
            raise fault(name, line, f"expected one vartype, SPIN or BINARY, got '{match[1].decode()[:60]}'", remedy)
        vartype = match[1]
    if vartype is None:
        raise fault(name, 1, "expected a line '# vartype=…': the biases alone do not tell spins from bits", remedy)
    return vartype


FORMAT = Format(
    name="coo",
    title="dimod COO text (Ising or QUBO)",
    families=("ising", "qubo"),
    suffixes=(".coo",),
    opening=re.compile(
        rb"\s*+(?:#(?![^\n]*vartype[:=])[^\n]*+\n\s*+)*+"
        rb"(?:#[^\n]*vartype[:=]|\d++[ \t]++\d++[ \t]++[-+.\d]\S*+[ \t]*+(?:\n|$))"
    ),
    read=read,
)
