"""rudy, and so the G-set and the Biq Mac library: a weighted graph.

    n m
    i j w        m lines; nodes from 1; a missing w is 1

Source: G. Rinaldi, rudy (a graph generator); Helmberg and Rendl, SIAM J. Optim. 10 (2000) 673.
"""

from __future__ import annotations

import re

import numpy as np

from qmosaic.codecs.formats.base import FileProblem, Format, numbers, stem, triples
from qmosaic.codecs.formats.rows import Rows


def read(text: bytes, name: str) -> list[FileProblem]:
    """One maxcut problem. Edges that are listed twice stay two edges: their weights add."""
    rows = Rows(text, name)
    n, m = rows.integers(0, "n m", "A rudy file begins with the numbers of nodes and edges.")
    rows.size(0, n)
    i, j, w = rows.table(1, m, "i j w", n=n, base=1, weight_optional=True, counted="the stated number of edges")
    loops = np.flatnonzero(i == j)
    if len(loops):
        raise rows.unexpected(
            1 + int(loops[0]),
            "an edge between two different nodes",
            "Remove the line: it is never cut. If the file is a QUBO matrix, read it as format 'bqp'.",
        )
    rows.end(1 + m, f"the stated {m} edges")
    return [FileProblem("maxcut", {"nodes": n, "edges": triples(i, j, numbers(w))}, "max", stem(name), 0)]


FORMAT = Format(
    name="rudy",
    title="rudy / G-set graph",
    families=("maxcut",),
    suffixes=(".rud", ".rudy", ".mc"),
    opening=re.compile(rb"\s*+\d++[ \t]++\d++[ \t]*+(\n|$)"),
    read=read,
)
