"""QPLIB text, of binary problems without constraints: types LBN, DBN, CBN, QBN and the same with B for box.

    name / type / minimize or maximize / n
    the number of quadratic entries, then 'i j q'   (not in an L problem)
    the default linear coefficient, the number of others, then 'i b'
    the constant, the value for infinity
    a starting point (primal, then dual): default value, number of others, 'i value'
    the number of variable names, then 'i name'; the number of constraint names

Indices from 1; from #, ! or % on a line is a comment. The value is 1/2 x'Qx + b'x + q0, where the file lists the
lower triangle of Q and means it as it stands, not mirrored: an entry counts q/2 x_i x_j. Source: Furini et al.,
Math. Prog. Comp. 11 (2019) 237, and qplib.zib.de/doc.html.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from qmosaic.codecs.events.reasons import Sense
from qmosaic.codecs.formats.base import FileProblem, Format, exact, number, numbers, triples
from qmosaic.codecs.formats.rows import Rows

_COMMENT = re.compile(rb"(^|(?<=[ \t]))[#!%][^\n]*", re.MULTILINE)
_SENSES: dict[bytes, Sense] = {b"minimize": "min", b"maximize": "max"}
_REMEDY = "Compare with the layout of QPLIB files; the count before may be wrong."


def read(text: bytes, name: str) -> list[FileProblem]:
    """One qubo problem, named as in its first line."""
    rows = Rows(text, name, _COMMENT)
    kind = b" ".join(rows.row(1)).upper()
    if not re.fullmatch(rb"[LDCQ]B[NB]", kind):
        raise rows.unexpected(
            1,
            "the type of a binary problem without constraints (such as QBN or QBB)",
            "Problems with other variables or with constraints are not read.",
        )
    sense = _SENSES.get(b" ".join(rows.row(2)).lower())
    if sense is None:
        raise rows.unexpected(2, "minimize or maximize", _REMEDY)
    (n,) = rows.integers(3, "n", _REMEDY)
    rows.size(3, n)

    at = 4
    i = j = np.zeros(0, dtype=np.int64)
    q = np.zeros(0)
    if kind[:1] != b"L":
        (count,) = rows.integers(at, "count", _REMEDY)
        i, j, q = rows.table(at + 1, count, "i j q", n=n, base=1, counted="the number of quadratic terms")
        at += 1 + count
    default = exact([rows.value(at, "the default linear coefficient", _REMEDY)])
    at, linear = _overrides(rows, at + 1, n, np.repeat(default, n))
    constant = rows.value(at, "the objective constant", _REMEDY)
    if len(rows.row(at + 1)) != 1:  # the library's own 1.79769313486232E+308 is more than a double holds
        raise rows.unexpected(at + 1, "the value for infinity", _REMEDY)
    at += 2
    for point in ("primal", "bound dual"):
        rows.value(at, f"the default {point} value in the starting point", _REMEDY)
        at, _ = _overrides(rows, at + 1, n, np.zeros(n))
    for _ in ("variables", "constraints"):
        (count,) = rows.integers(at, "number-of-names", _REMEDY)
        at += 1 + count
    if at > len(rows):
        raise rows.unexpected(len(rows), "the names of variables and constraints", "The file is truncated.")
    rows.end(at, "the names")

    used = np.flatnonzero(linear)
    i, j, weights = np.append(i, used), np.append(j, used), np.append(_halves(q), linear[used])
    payload = {"variables": n, "terms": triples(i, j, numbers(weights)), "offset": number(constant)}
    return [FileProblem("qubo", payload, sense, rows.row(0)[0].decode(), 0)]


def _halves(q: Any) -> Any:
    """Half of each entry: an integer beyond 2^53 stays one where it is even."""
    if q.dtype != object:
        return q / 2
    return np.array([w // 2 if isinstance(w, int) and w % 2 == 0 else w / 2 for w in q.tolist()], dtype=object)


def _overrides(rows: Rows, at: int, n: int, values: np.ndarray) -> tuple[int, np.ndarray]:
    """A count, and as many 'i value' that replace what is in `values` (shape (n,)). Returns the row after them."""
    (count,) = rows.integers(at, "count", _REMEDY)
    i, value = rows.table(at + 1, count, "i value", n=n, base=1, counted="the number of values")
    rows.refuse_repeats(at + 1, i, i)
    values = values.astype(np.result_type(values, value))
    values[i] = value
    return at + 1 + count, values


FORMAT = Format(
    name="qplib",
    title="QPLIB text, binary without constraints (QUBO)",
    families=("qubo",),
    suffixes=(".qplib", ".qs"),
    opening=re.compile(
        rb"\s*+([#!%][^\n]*+\n\s*+)*+[^\n]++\n\s*+[LDCQ][CBMIG][NBLDCQ][ \t]*+([#!%\n]|$)", re.IGNORECASE
    ),
    read=read,
)
