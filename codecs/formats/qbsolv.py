"""qbsolv's .qubo: one QUBO, minimised.

    c a comment
    p qubo 0 maxNodes nNodes nCouplers
    i i v        nNodes lines, from 0
    i j v        nCouplers lines

The value is the sum of v x_i x_j over the lines, each as it stands. Source: the README and readqubo.c of D-Wave's
qbsolv.
"""

from __future__ import annotations

import re

import numpy as np

from qmosaic.codecs.formats.base import FileProblem, Format, numbers, stem, triples
from qmosaic.codecs.formats.rows import Rows

_COMMENT = re.compile(rb"^[ \t]*[cC][^\n]*", re.MULTILINE)


def read(text: bytes, name: str) -> list[FileProblem]:
    """One qubo problem."""
    rows = Rows(text, name, _COMMENT)
    remedy = "Before the entries comes one line 'p qubo 0 maxNodes nNodes nCouplers'."
    head = [token.lower() for token in rows.row(0)[:3]]
    if head[:2] != [b"p", b"qubo"] or head[2:] not in ([b"0"], [b"unconstrained"]):
        raise rows.unexpected(0, "'p qubo 0 maxNodes nNodes nCouplers'", remedy)
    n, nodes, couplers = rows.integers(0, "maxNodes nNodes nCouplers", remedy, skip=3)
    rows.size(0, n)
    count = nodes + couplers
    i, j, v = rows.table(1, count, "i j v", n=n, base=0, counted="nNodes + nCouplers of the p line")
    rows.end(1 + count, f"the stated {nodes} nodes and {couplers} couplers")
    found = int(np.count_nonzero(i == j))
    if found != nodes:
        raise rows.error(
            0,
            f"expected {nodes} nodes and {couplers} couplers, got {found} and {count - found}",
            "Correct the counts in the p line.",
        )
    rows.refuse_repeats(1, i, j)
    payload = {"variables": n, "terms": triples(i, j, numbers(v)), "offset": 0}
    return [FileProblem("qubo", payload, "min", stem(name), 0)]


FORMAT = Format(
    name="qbsolv",
    title="qbsolv .qubo (QUBO, minimised)",
    families=("qubo",),
    suffixes=(".qubo",),
    opening=re.compile(rb"\s*+(c\b|p\s)", re.IGNORECASE),
    read=read,
)
