"""Files that are lines of numbers: read in bulk, with the exact line in every error.

All rows of a table are parsed at once; only when something is wrong are they looked at one by one.
"""

from __future__ import annotations

import re
from math import isfinite
from typing import Any

import numpy as np
from jaxtyping import Int64

from qmosaic.codecs.errors import FormatError
from qmosaic.codecs.formats.base import MAX_VARIABLES, WHOLE, exact, fault, value_of, whole

_SPELLING = {
    int: re.compile(rb"[+-]?\d{1,18}"),
    float: re.compile(rb"[+-]?(\d++\.?\d*+|\.\d++)([eE][+-]?\d++)?"),
}
_CALLED = {int: "an integer", float: "a finite number"}


class Rows:
    """The lines of a text that are not blank, as rows of tokens. Rows count from 0, lines from 1."""

    def __init__(self, text: bytes, name: str, comment: re.Pattern[bytes] | None = None) -> None:
        """`text` is from `clean`; what `comment` matches is left out (it must not match a line end)."""
        body = comment.sub(b"", text) if comment else text
        self.name = name
        self.tokens = body.split()
        codes = np.frombuffer(body, dtype=np.uint8)
        blank = (codes == 32) | ((codes >= 9) & (codes <= 13))  # what bytes.split() splits at
        begins = ~blank
        begins[1:] &= blank[:-1]
        lines = np.searchsorted(np.flatnonzero(codes == 10), np.flatnonzero(begins)) + 1
        self._first: Int64[np.ndarray, " rows"] = np.flatnonzero(np.diff(lines, prepend=0))
        self._lines = lines[self._first]
        self.widths = np.diff(self._first, append=len(self.tokens))
        # Python reads 1_000 as a number, and no file format does.
        self._underscores = b"_" in body

    def __len__(self) -> int:
        return len(self._first)

    def row(self, row: int) -> list[bytes]:
        """The tokens of a row; none past the end."""
        if row >= len(self):
            return []
        return self.tokens[self._first[row] : self._first[row] + self.widths[row]]

    def error(self, row: int, message: str, remedy: str) -> FormatError:
        """An error at a row; past the end, it points at the last line."""
        line = int(self._lines[min(row, len(self) - 1)]) if len(self) else 1
        return fault(self.name, line, message, remedy)

    def unexpected(self, row: int, expected: str, remedy: str) -> FormatError:
        """The error for a row that is not what was expected there."""
        got = b" ".join(self.row(row)).decode()
        shown = f"'{got[:60]}{'…' if len(got) > 60 else ''}'" if got else "the end of the file"
        return self.error(row, f"expected {expected}, got {shown}", remedy)

    def integers(self, row: int, shape: str, remedy: str, *, skip: int = 0) -> list[int]:
        """A row of integers that are not negative, one for each word of `shape`, after `skip` other tokens."""
        cells = self.row(row)[skip:]
        if len(cells) == len(shape.split()) and all(c.isdigit() and len(c) <= 18 for c in cells):
            return list(map(int, cells))
        raise self.unexpected(row, f"'{shape}' (integers, none negative)", remedy)

    def size(self, row: int, n: int) -> int:
        """`n`, if it is a number of variables that can be."""
        if 1 <= n <= MAX_VARIABLES:
            return n
        raise self.error(
            row, f"expected 1 to {MAX_VARIABLES} variables, got {n}", "Check the number of variables in the file."
        )

    def reals(self, row: int, shape: str, remedy: str) -> list[float]:
        """A row of finite numbers, one for each word of `shape`."""
        cells = self.row(row)
        if len(cells) != len(shape.split()):
            raise self.unexpected(row, f"'{shape}'", remedy)
        values = self._parse(cells, row, float, [0] * len(cells))
        return list(map(float, values.tolist()))

    def value(self, row: int, meaning: str, remedy: str) -> int | float:
        """A row that holds one number; an int only beyond 2^53."""
        if len(self.row(row)) != 1:
            raise self.unexpected(row, f"one number ({meaning})", remedy)
        (value,) = self._parse(self.row(row), row, float).tolist()
        return int(value) if isinstance(value, int) else float(value)

    def table(
        self,
        start: int,
        count: int,
        shape: str,
        *,
        n: int,
        base: int,
        weight_optional: bool = False,
        counted: str,
    ) -> list[Any]:
        """`count` rows of index columns and a weight: an array from 0 for each index column, then the weights.

        `shape` has one word for each column, the last one the weight's. Indices run from `base` to
        `n - 1 + base`. An optional weight is 1 where it is missing. `counted` says in words what states `count`.
        """
        columns = len(shape.split())
        stop = min(start + count, len(self))
        widths = self.widths[start:stop]
        bad = np.flatnonzero((widths != columns) & (widths != columns - weight_optional))
        remedy = f"Check this line, and {counted} against the lines that follow it."
        if len(bad):
            raise self.unexpected(start + int(bad[0]), f"'{shape}'", remedy)
        if stop < start + count:
            raise self.error(
                stop,
                f"expected {count} lines '{shape}' ({counted}), got {stop - start}",
                "The file is truncated, or the count is wrong.",
            )
        indices = [self._indices(self._column(start, stop, c), start, n, base) for c in range(columns - 1)]
        given = np.flatnonzero(widths == columns)
        cells = self._column(start, stop, columns - 1)
        found = self._parse(cells, start, float, given)
        weights = np.ones(count, dtype=found.dtype)
        weights[given] = found
        return [*indices, weights]

    def column(self, start: int, stop: int, column: int, kind: type[int] | type[float]) -> Any:
        """A column of numbers of the rows from `start` to before `stop`, which all have it.

        Integers may be written as floats (`1.0`); of the others, none may be an integer beyond 2^53.
        """
        cells = self._column(start, stop, column)
        if kind is int and not all(cell.isdigit() for cell in cells):
            found = [whole(cell.decode()) for cell in cells]
            cells = [cell if value is None else b"%d" % value for cell, value in zip(cells, found, strict=True)]
        return self._doubles(self._parse(cells, start, kind), start)

    def stream(self, start: int, stop: int) -> tuple[Any, Any]:
        """All numbers of the rows from `start` to before `stop`, wherever lines end, and the row of each.

        None may be an integer beyond 2^53.
        """
        if start >= stop:
            return np.zeros(0), np.zeros(0, dtype=np.int64)
        begin = int(self._first[start])
        rows = np.repeat(np.arange(stop - start), self.widths[start:stop])
        values = self._parse(self.tokens[begin : begin + len(rows)], start, float, rows)
        return self._doubles(values, start, rows), start + rows

    def _doubles(self, values: Any, start: int, rows: Any = None) -> Any:
        """The values, none of which may be an integer that a double does not hold for certain."""
        if values.dtype == object:
            k = next(k for k, value in enumerate(values.tolist()) if isinstance(value, int))
            row = start + (k if rows is None else int(rows[k]))
            raise self.error(row, f"expected numbers of at most 2^53 here, got {values[k]}", "Scale all of them.")
        return values

    def end(self, row: int, after: str) -> None:
        """Refuses rows from `row` on."""
        if row < len(self):
            raise self.unexpected(
                row, f"the end of the file after {after}", "Remove what follows, or correct the count."
            )

    def refuse_repeats(self, start: int, i: Any, j: Any) -> None:
        """Refuses an unordered pair that is listed twice, where readers disagree on what that would mean."""
        keys = np.minimum(i, j) * MAX_VARIABLES + np.maximum(i, j)
        order = np.argsort(keys, kind="stable")
        again = np.flatnonzero(keys[order][1:] == keys[order][:-1])
        if len(again):
            place = again[np.argmin(order[again + 1])]
            raise self.unexpected(
                start + int(order[place + 1]),
                f"every pair once (this one is in line {self._lines[start + order[place]]})",
                "Merge the two lines into one.",
            )

    def _column(self, start: int, stop: int, column: int) -> list[bytes]:
        """The cells of a column, for rows that have it."""
        widths = self.widths[start:stop]
        if start == stop:
            return []
        if (widths == widths[0]).all():
            begin = int(self._first[start])
            width = int(widths[0])
            return self.tokens[begin + column : begin + width * (stop - start) : width] if column < width else []
        places = self._first[start:stop][widths > column] + column
        return [self.tokens[place] for place in places.tolist()]

    def _parse(self, cells: list[bytes], start: int, kind: type[int] | type[float], rows: Any = None) -> Any:
        """The cells as an array. `rows[k]` is cell k's row after `start` (k itself where not given)."""
        try:
            values = np.array(list(map(kind, cells)), dtype=kind)
            finite = bool(np.isfinite(values).all())
        except (ValueError, OverflowError):
            finite = False
        large = finite and kind is float and bool((np.abs(values) >= WHOLE).any())
        if self._underscores or large or not finite:
            found = []
            for k, cell in enumerate(cells):
                wrong = not _SPELLING[kind].fullmatch(cell) or not isfinite(float(cell))
                try:
                    found += [value_of(cell.decode())] if large and not wrong else []
                except OverflowError:
                    wrong = True
                if wrong:
                    row = start + (k if rows is None else int(rows[k]))
                    raise self.error(
                        row,
                        f"expected {_CALLED[kind]}, got '{cell.decode()[:60]}'",
                        "Correct this number. An integer of more than 64 bits has to be scaled, or written as 1.2e20.",
                    )
            values = exact(found) if large else values
        return values

    def _indices(self, cells: list[bytes], start: int, n: int, base: int) -> Int64[np.ndarray, " rows"]:
        values: Int64[np.ndarray, " rows"] = self._parse(cells, start, int)
        bad = np.flatnonzero((values < base) | (values >= n + base))
        if len(bad):
            row = int(bad[0])
            raise self.error(
                start + row,
                f"expected an index from {base} to {n - 1 + base}, got {values[row]}",
                f"This format counts from {base}; check the index and the stated number of variables.",
            )
        return values - base
