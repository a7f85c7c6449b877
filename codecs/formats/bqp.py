"""OR-Library bqp: several QUBOs in one file, maximised.

    P            the number of problems; may be missing where there is one
    n m
    i j q        m lines, from 1: Q is symmetric and lists each off-diagonal entry once

The value is x'Qx, so that an off-diagonal q counts twice. Source: J. E. Beasley, OR-Library, bqpinfo.
"""

from __future__ import annotations

import re

import numpy as np

from qmosaic.codecs.formats.base import MOST_INTEGER, FileProblem, Format, numbers, stem, triples
from qmosaic.codecs.formats.rows import Rows


def read(text: bytes, name: str) -> list[FileProblem]:
    """One qubo problem for each of the file, named after it: `bqp50-1`, `bqp50-2`, …"""
    rows = Rows(text, name)
    total, at = 1, 0
    if rows.widths[0] == 1:
        (total,), at = rows.integers(0, "P", "A bqp file begins with the number of problems in it."), 1
    if total == 0:
        raise rows.unexpected(0, "at least one problem", "Correct the number of problems.")
    problems = []
    for index in range(total):
        remedy = f"This should be problem {index + 1} of {total}; check the count of the entries before it."
        n, m = rows.integers(at, "n m", remedy)
        rows.size(at, n)
        i, j, q = rows.table(at + 1, m, "i j q", n=n, base=1, counted="the stated number of entries")
        rows.refuse_repeats(at + 1, i, j)
        large = [k for k, w in enumerate(q.tolist()) if abs(w) > MOST_INTEGER // 2] if q.dtype == object else []
        if large:
            expected = "an entry whose double is an integer of at most 64 bits"
            raise rows.unexpected(at + 1 + large[0], expected, "Scale all entries.")
        payload = {"variables": n, "terms": triples(i, j, numbers(np.where(i == j, q, 2 * q))), "offset": 0}
        label = stem(name) if total == 1 else f"{stem(name)}-{index + 1}"
        problems.append(FileProblem("qubo", payload, "max", label, index))
        at += 1 + m
    rows.end(at, f"{total} problem{'s' if total > 1 else ''}")
    return problems


FORMAT = Format(
    name="bqp",
    title="OR-Library bqp (QUBO, maximised)",
    families=("qubo",),
    suffixes=(".bqp",),
    # P, then "n m": other numbers in the second line are the means and deviations of `port`, or the atoms of `xyz`
    opening=re.compile(rb"\s*+\d++[ \t]*+(\n\s*+\d++[ \t]++\d++[ \t]*+(\n|$)|$)"),
    read=read,
)
