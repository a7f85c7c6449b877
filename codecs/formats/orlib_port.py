"""OR-Library port: expected returns, deviations and correlations of the assets of a market index.

    N
    mean deviation       N lines
    i j correlation      N(N+1)/2 lines, every pair i <= j once, from 1

The numbers are per period of the data (weekly in the library's own files). What is asked (risk aversion,
cardinality, filters) is not in the file. Source: J. E. Beasley, OR-Library, portinfo; T.-J. Chang, N. Meade,
J. E. Beasley and Y. M. Sharaiha, Computers & Operations Research 27 (2000) 1271.
"""

from __future__ import annotations

import re

import numpy as np

from qmosaic.codecs.formats.base import FileProblem, Format, stem
from qmosaic.codecs.formats.rows import Rows

MAX_ASSETS = 4096
"""The most assets a file may state: their correlations are a full matrix."""


def read(text: bytes, name: str) -> list[FileProblem]:
    """One portfolio problem, minimised; asset i of the file is index i - 1."""
    rows = Rows(text, name)
    (n,) = rows.integers(0, "N", "A port file begins with the number of assets.")
    if not 1 <= n <= MAX_ASSETS:
        raise rows.error(0, f"expected 1 to {MAX_ASSETS} assets, got {n}", "Check the number of assets in the file.")
    remedy = f"The {n} assets follow first, one a line; check the count in the first line."
    moments = [rows.reals(1 + k, "mean deviation", remedy) for k in range(n)]
    pairs = n * (n + 1) // 2
    i, j, value = rows.table(
        1 + n, pairs, "i j correlation", n=n, base=1, counted=f"one line for every pair of {n} assets, itself included"
    )
    rows.refuse_repeats(1 + n, i, j)
    rows.end(1 + n + pairs, f"the {pairs} pairs of {n} assets")
    correlations = np.empty((n, n))
    correlations[i, j] = correlations[j, i] = value
    payload = {
        "returns": [mean for mean, _ in moments],
        "deviations": [deviation for _, deviation in moments],
        "correlations": correlations.tolist(),
    }
    return [FileProblem("portfolio", payload, "min", stem(name), 0)]


FORMAT = Format(
    name="port",
    title="OR-Library portfolio",
    families=("portfolio",),
    suffixes=(".port",),
    opening=re.compile(rb"\s*+\d++[ \t]*+\n\s*+(?=[^\n]*[.eE])[-+.\deE]++[ \t]++[-+.\deE]++[ \t]*+(\n|$)"),
    read=read,
)
