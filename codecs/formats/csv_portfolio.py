"""CSV for portfolios, in two shapes that the header tells apart.

    date,A,B,…                  prices: one line a period; the date may be left out where the oldest is first
    2024-01-02,10.5,99,…

    asset,return,A,B,…          expected returns and covariance: one line an asset
    A,0.01,0.04,0.006,…

Numbers are per period of the data. A field may be quoted as in RFC 4180. What separates fields, decimals and thousands
is found from the whole file; where that leaves two meanings, the file is refused. So it is where a first column does
not tell whether time runs down or up. What is asked (risk aversion, cardinality, filters) is not in the file.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from math import isfinite
from typing import Any

from qmosaic.codecs.formats import csv_dates
from qmosaic.codecs.formats.base import FileProblem, Format, fault, stem

_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_DATES = {"date", "dates", "datetime", "time", "timestamp", "period", "day", "week", "month", "quarter", "year", "dt"}
"""Words in the name of a column that holds no prices, but says when."""
_COUNTS = {"", "index", "idx", "row", "no", "nr", "id", "t", "unnamed: 0", "#"}
"""Names of a first column that only counts lines."""
_WORDS = re.compile(r"[^a-z]+")
_CELLS = "Fill or remove the line: gaps are not guessed."
_SORT = (
    "Sort by date, the oldest first, with dates as YYYY-MM-DD; leave the column out where the oldest is first; "
    "rename it where it is an asset."
)

Line = tuple[int, list[str]]  # number of the line from 1, its cells


@dataclass(frozen=True)
class _Style:
    """How numbers are spelled: `decimal` before the fraction, `groups` between thousands."""

    pattern: re.Pattern[str]
    decimal: str
    groups: str

    def value(self, cell: str) -> float | None:
        """A finite number, None where the cell is not one in this style."""
        if not self.pattern.fullmatch(cell):
            return None
        plain = re.sub(f"[{self.groups}]", "", cell) if self.groups else cell
        value = float(plain.replace(self.decimal, "."))
        return value if isfinite(value) else None


def _style(decimal: str, groups: str) -> _Style:
    point = re.escape(decimal)
    if not groups:
        pattern = rf"[+-]?(\d++({point}\d*+)?|{point}\d++)([eE][+-]?\d++)?"
    else:  # who groups thousands groups all of them
        pattern = rf"[+-]?([1-9]\d{{0,2}}([{groups}]\d{{3}}(?!\d))++|\d{{1,3}})({point}\d*+)?"
    return _Style(re.compile(pattern, re.ASCII), decimal, groups)


_PLAIN = _style(".", "")
_SPACES = " \u00a0\u2009\u202f"
_STYLES = (
    _PLAIN,
    *(_style(",", groups) for groups in ("", ".", _SPACES, "'\u2019")),
    *(_style(".", groups) for groups in (",", _SPACES, "'\u2019")),
)


def read(text: bytes, name: str) -> list[FileProblem]:
    """One portfolio problem, minimised, with the assets' names."""
    delimiter, ((at, header), *body) = _lines(text, name)
    moments = [cell.lower() for cell in header[:2]] == ["asset", "return"]
    for line, cells in body:
        if len(cells) != len(header):
            remedy = _CELLS
            if len(cells) > len(header):
                remedy = "A field with the character that separates fields, a decimal comma for one, has to be quoted."
            raise fault(name, line, f"expected {len(header)} columns as in the header, got {len(cells)}", remedy)
    skipped = 2 if moments else 0
    if not moments:
        body, skipped = _by_time(header, body, name)
    assets = header[skipped:]
    if not assets or "" in assets:
        raise fault(name, at, "expected the name of an asset in every column", "Name the assets in the first line.")
    if len(set(assets)) < len(assets):
        known: set[str] = set()
        twice = next(asset for asset in assets if asset in known or known.add(asset))  # type: ignore[func-returns-value]
        raise fault(name, at, f"expected different names, got '{twice[:60]}' twice", "Give every asset its own name.")
    numbers = [(line, cells[1 if moments else skipped :]) for line, cells in body]
    values = _values(numbers, delimiter, name)
    payload: dict[str, Any] = {"assets": assets}
    if moments:
        payload |= _moments(assets, body, values, name, at)
    else:
        payload["prices"] = values
    return [FileProblem("portfolio", payload, "min", stem(name), 0)]


def _lines(text: bytes, name: str) -> tuple[str, list[Line]]:
    """What separates the fields, and the lines that are not empty, cells stripped; at least two.

    That is the one character by which the header has several columns and every line as many. Where several do, it is
    the one that leaves numbers; a first line `sep=;`, as spreadsheets write it, names it.
    """
    decoded = text.decode()
    first = decoded.lstrip().partition("\n")[0]
    told = re.fullmatch(r'"?sep=([,;\t|])"?[ \t]*', first)
    if told:
        decoded = decoded.replace(first, "", 1)
    within = [told[1]] if told else [mark for mark in _DELIMITERS if mark in first]
    found = {mark: _split(decoded, mark) for mark in within or [","]}
    if len(found) > 1:
        even = {mark: lines for mark, (lines, wrong) in found.items() if not wrong and _is_even(lines)}
        sure = {mark for mark, lines in even.items() if _has_numbers(lines)} if len(even) > 1 else set(even)
        if len(sure) > 1:
            marks = " and ".join(_DELIMITERS[mark] for mark in sorted(sure))
            raise fault(
                name, 1, f"expected one way to separate fields, got {marks}", "Write the file with one of them."
            )
        widest = max(found, key=lambda mark: len(found[mark][0][0][1]) if found[mark][0] else 0)
        found = {mark: found[mark] for mark in sure or {widest}}
    ((delimiter, (lines, wrong)),) = found.items()
    if wrong:
        raise fault(name, wrong[0], f"expected CSV, got {wrong[1]}", "Close quotes, and quote commas.")
    if len(lines) < 2:
        raise fault(name, 1, "expected a header and lines of numbers", "See the two shapes in docs/formats.md.")
    return delimiter, lines


def _split(text: str, delimiter: str) -> tuple[list[Line], tuple[int, str] | None]:
    """The lines, and where and why they end early, if they do."""
    reader = csv.reader(io.StringIO(text), strict=True, delimiter=delimiter)
    lines: list[Line] = []
    try:
        lines.extend((reader.line_num, [cell.strip() for cell in cells]) for cells in reader if any(cells))
    except csv.Error as error:
        return lines, (reader.line_num, str(error))
    return lines, None


def _is_even(lines: list[Line]) -> bool:
    return len(lines) > 1 and len(lines[0][1]) > 1 and all(len(cells) == len(lines[0][1]) for _, cells in lines)


def _has_numbers(lines: list[Line]) -> bool:
    """Whether the last column is numbers in some way to write them."""
    return any(all(style.value(cells[-1]) is not None for _, cells in lines[1:]) for style in _STYLES)


def _values(body: list[Line], delimiter: str, name: str) -> list[list[float]]:
    """The numbers of all lines, in the one style that all of them are in."""
    cells = [cell for _, line in body for cell in line]
    plain = _all(_PLAIN, cells)
    # In a file of decimal points and commas between the fields, 1.234 is no thousand.
    others = [] if plain and (delimiter == "," or not any("." in cell for cell in cells)) else _STYLES[1:]
    meanings = {tuple(values) for values in (plain, *(_all(style, cells) for style in others)) if values is not None}
    if len(meanings) == 1:
        flat = iter(meanings.pop())
        return [[next(flat) for _ in line] for _, line in body]
    if meanings:
        line, cell = next((n, cell) for n, line in body for cell in line if "," in cell or "." in cell)
        raise fault(
            name,
            line,
            f"expected numbers of one meaning, got '{cell[:60]}', which may be thousands or a fraction",
            "Write the numbers without a separator of thousands, and with a decimal point.",
        )
    for line, row in body:
        for cell in row:
            if _PLAIN.value(cell) is None:
                raise fault(name, line, f"expected a finite number, got '{cell[:60]}'", _remedy(cell))
    raise AssertionError("a cell that is no plain number")


def _all(style: _Style, cells: list[str]) -> list[float] | None:
    values = []
    for cell in cells:
        value = style.value(cell)
        if value is None:
            return None
        values.append(value)
    return values


def _remedy(cell: str) -> str:
    """What to do about a cell that is no number."""
    if not any(c.isdigit() for c in cell):
        return _CELLS
    if csv_dates.are_dates([cell]):
        return "Dates belong into the first column; every other column is an asset's prices."
    if any(style.value(cell) is not None for style in _STYLES):
        return "Write all numbers in one way: with a decimal point, and without a separator of thousands."
    return "Correct this number: without units, signs of money or percent, and with a decimal point."


def _moments(assets: list[str], body: list[Line], values: list[list[float]], name: str, at: int) -> dict[str, Any]:
    """Returns and covariance, rows in the order of the header's columns."""
    rows: dict[str, list[float]] = {asset: [] for asset in assets}
    for (line, (asset, *_)), row in zip(body, values, strict=True):
        if rows.get(asset, [0.0]):
            expected = f"a column of the header, each once, got '{asset[:60]}'"
            raise fault(name, line, f"expected {expected}", "Columns and lines are the same assets.")
        rows[asset] = row
    if missing := [asset for asset in assets if not rows[asset]]:
        raise fault(name, at, f"expected a line for every column, got none for '{missing[0][:60]}'", "Add the line.")
    return {"returns": [rows[a][0] for a in assets], "covariance": [rows[a][1:] for a in assets]}


def _by_time(header: list[str], body: list[Line], name: str) -> tuple[list[Line], int]:
    """The lines with the oldest first, and how many first columns say when or only count: none, one, or one of each."""
    skipped = 0
    if _counts(header[0], [line[0] for _, line in body]):
        skipped = 1
        _order(0, body, name, "rising")
    if len(header) > skipped:
        cells = [line[skipped] for _, line in body]
        if _says_when(header[skipped], cells) or (not skipped and _only_rises(header[0], cells, body[0][0], name)):
            whole = csv_dates.direction_of(cells) is not None or csv_dates.are_dates(cells)
            if _order(skipped, body, name, None if whole else "rising") == "falling":
                body = body[::-1]
            skipped += 1
    for column in range(skipped, len(header)):
        if len(body) > 1 and csv_dates.are_days([line[column] for _, line in body]):
            expected = f"prices, got days in the column '{header[column][:60]}'"
            raise fault(name, body[0][0], f"expected {expected}", "Dates belong into the first column.")
    return body, skipped


def _counts(title: str, cells: list[str]) -> bool:
    """Whether a first column only counts the lines."""
    return title.lower() in _COUNTS and csv_dates.direction_of(cells) is not None and not csv_dates.are_days(cells)


def _says_when(title: str, cells: list[str]) -> bool:
    """Whether a column is dates, by its name or by what is in it."""
    return not title or bool(_DATES & set(_WORDS.split(title.lower()))) or csv_dates.are_dates(cells)


def _only_rises(title: str, cells: list[str], line: int, name: str) -> bool:
    """Whether a first column of rising whole numbers is years, seconds or lines; refused where it may be prices."""
    if len(cells) < 2 or csv_dates.direction_of(cells) != "rising":
        return False
    first, last = float(cells[0]), float(cells[-1])
    if (first in (0, 1) and last - first == len(cells) - 1) or 1900 <= first <= last <= 2100 or first >= 1e8:
        return True
    raise fault(
        name,
        line,
        f"expected dates or prices in the first column '{title[:60]}', got whole numbers that only rise",
        "If they count periods, call the column 'date' or 'index'; if they are prices, put a column of dates first.",
    )


def _order(column: int, body: list[Line], name: str, only: csv_dates.Order | None) -> csv_dates.Order:
    """How time runs down a column; refuses what does not tell, for every return may have the wrong sign."""
    cells = [line[column] for _, line in body]
    order, at = csv_dates.order_of(cells)
    if order == "unknown":
        got = f"'{cells[0][:60]}'"
        raise fault(name, body[0][0], f"expected dates that tell which line is the oldest, got {got}", _SORT)
    if order == "neither" or only not in (None, order):
        after = "after" if at == 0 or csv_dates.order_of(cells[:2])[0] != "falling" else "before"
        at = at or 1
        message = f"expected a date {after} {cells[at - 1][:60]}, got {cells[at][:60]}"
        raise fault(name, body[at][0], message, _SORT)
    return order


FORMAT = Format(
    name="csv",
    title="CSV: prices, or returns and covariance",
    families=("portfolio",),
    suffixes=(".csv", ".tsv"),
    # not lines of numbers between tabs, nor keywords; the first separator of the header comes back, before a number
    opening=re.compile(
        rb"\s*+(?:\"?sep=.\"?[ \t]*+\n\s*+)?(?![-+.\deE \t]*+(?:\n|$)|[A-Za-z_]++[ \t]*+:)[^\s{\[#/&$]"
        rb"[^\n,;\t|]*+([,;\t|])[^\n]*+\n\s*+(?:(?!\1)[^\n])*+\1[ \t]*+\"?[-+.\d][^\n]*+(?:\n|$)"
    ),
    read=read,
)
