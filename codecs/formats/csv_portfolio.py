"""CSV for portfolios, in two shapes that the header tells apart.

    date,A,B,…                  prices: one line a period, the oldest first; the date may be left out
    2024-01-02,10.5,99,…

    asset,return,A,B,…          expected returns and covariance: one line an asset
    A,0.01,0.04,0.006,…

Numbers are per period of the data. A field may be quoted as in RFC 4180. What is asked (risk aversion,
cardinality, filters) is not in the file.
"""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, datetime
from itertools import pairwise
from math import isfinite
from typing import Any

from qmosaic.codecs.formats.base import FileProblem, Format, fault, stem

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_DATES = ("date", "time", "timestamp", "period", "day", "week", "month", "year", "")
"""What a first column may be called that holds no prices."""

Line = tuple[int, list[str]]  # number of the line from 1, its cells


def read(text: bytes, name: str) -> list[FileProblem]:
    """One portfolio problem, minimised, with the assets' names."""
    (at, header), *body = _lines(text, name)
    moments = [cell.lower() for cell in header[:2]] == ["asset", "return"]
    labelled = moments or header[0].lower() in _DATES
    assets = header[2 if moments else 1 if labelled else 0 :]
    if not assets or "" in assets:
        raise fault(name, at, "expected the name of an asset in every column", "Name the assets in the first line.")
    if len(set(assets)) < len(assets):
        twice = next(asset for k, asset in enumerate(assets) if asset in assets[:k])
        raise fault(name, at, f"expected different names, got '{twice}' twice", "Give every asset its own name.")
    for line, cells in body:
        if len(cells) != len(header):
            raise fault(name, line, f"expected {len(header)} columns as in the header, got {len(cells)}", _CELLS)
    payload: dict[str, Any] = {"assets": assets}
    if moments:
        payload |= _moments(assets, body, name, at)
    else:
        if labelled:
            _ascending(body, name)
        payload["prices"] = [_numbers(line, cells[labelled:], name) for line, cells in body]
    return [FileProblem("portfolio", payload, "min", stem(name), 0)]


_CELLS = "Fill or remove the line: gaps are not guessed."


def _lines(text: bytes, name: str) -> list[Line]:
    """The lines that are not empty, cells stripped; at least two."""
    reader = csv.reader(io.StringIO(text.decode()), strict=True)
    lines: list[Line] = []
    try:
        lines.extend((reader.line_num, [cell.strip() for cell in cells]) for cells in reader if any(cells))
    except csv.Error as error:
        raise fault(name, reader.line_num, f"expected CSV, got {error}", "Close quotes, and quote commas.") from None
    if len(lines) < 2:
        raise fault(name, 1, "expected a header and lines of numbers", "See the two shapes in docs/formats.md.")
    return lines


def _moments(assets: list[str], body: list[Line], name: str, at: int) -> dict[str, Any]:
    """Returns and covariance, rows in the order of the header's columns."""
    rows: dict[str, list[float]] = {}
    for line, (asset, *cells) in body:
        if asset not in assets or asset in rows:
            expected = f"a column of the header, each once, got '{asset[:60]}'"
            raise fault(name, line, f"expected {expected}", "Columns and lines are the same assets.")
        rows[asset] = _numbers(line, cells, name)
    if missing := [asset for asset in assets if asset not in rows]:
        raise fault(name, at, f"expected a line for every column, got none for '{missing[0]}'", "Add the line.")
    return {"returns": [rows[a][0] for a in assets], "covariance": [rows[a][1:] for a in assets]}


def _ascending(body: list[Line], name: str) -> None:
    """Refuses prices with the newest first, where the dates tell: every return would have the wrong sign."""
    for (_, (before, *_)), (line, (cell, *_)) in pairwise(body):
        day, earlier = _day(cell), _day(before)
        if day and earlier and day <= earlier:
            raise fault(name, line, f"expected a date after {before}, got {cell}", "Sort by date, the oldest first.")


def _day(cell: str) -> datetime | None:
    try:
        day = datetime.fromisoformat(cell)
    except ValueError:
        return None
    return day if day.tzinfo else day.replace(tzinfo=UTC)


def _numbers(line: int, cells: list[str], name: str) -> list[float]:
    for cell in cells:
        if not _NUMBER.fullmatch(cell) or not isfinite(float(cell)):
            raise fault(name, line, f"expected a finite number, got '{cell[:60]}'", _CELLS)
    return [float(cell) for cell in cells]


FORMAT = Format(
    name="csv",
    title="CSV: prices, or returns and covariance",
    families=("portfolio",),
    suffixes=(".csv",),
    opening=re.compile(rb"\s*[^\s{\[#/&$][^\n]*,[^\n]*\n\s*[^\n,]*,[ \t]*\"?[-+.\d][^\n]*(\n|$)"),
    read=read,
)
