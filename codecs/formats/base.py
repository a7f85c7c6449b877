"""What every file format has in common: what a reader returns, what a format says of itself, and clean text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import msgspec
import numpy as np

from qmosaic.codecs.errors import FormatError
from qmosaic.codecs.events.public import PROBLEM_SCHEMA
from qmosaic.codecs.events.reasons import Sense

MAX_BYTES = 64 * 2**20
"""The largest file that is read unless the caller says otherwise."""

MAX_VARIABLES = 1_000_000
"""The most nodes or variables a file may state: a number in a header must not be able to fill the memory."""

MOST_SAID = 400
"""Characters of a message at most."""

WHOLE = 2.0**53
"""Beyond it a double no longer holds every integer."""

MOST_INTEGER = 2**63 - 1
"""The largest integer that stays one: events are JSON, whose integers have 64 bits."""

_INTEGER = re.compile(r"[+-]?\d{1,400}", re.ASCII)
_WHOLE_NUMBER = re.compile(r"[+-]?(\d{1,20}\.?0{0,20}|\d{1,20}\.?\d{0,20}[eEdD][+-]?\d{1,2})", re.ASCII)


class FileProblem(msgspec.Struct, frozen=True):
    """One problem of a file, in the public form of its family.

    - maxcut: `{"nodes": n, "edges": [[i, j, w], …]}`;
    - qubo: `{"variables": n, "terms": [[i, j, q], …], "offset": c}`, value c + Σ q x_i x_j over the listed terms;
    - ising: `{"variables": n, "h": [h_0, …], "J": [[i, j, J], …], "offset": c}`, minimised.

    Indices start at 0. Weights are ints where all of a problem's are whole numbers. `sense` is what the format's
    own convention does with the value; None where the file leaves it open. `index` is the position in the file.
    `event` is the whole problem event where the file holds one: its other fields are the user's wishes.
    """

    family: str
    problem: dict[str, Any]
    sense: Sense | None
    name: str
    index: int
    event: dict[str, Any] | None = None


def event_of(problem: FileProblem, file: str) -> dict[str, Any]:
    """The event that a problem of a file is sent as, but for its id where the file gives none."""
    event = {"schema": PROBLEM_SCHEMA, "family": problem.family, **(problem.event or {}), "problem": problem.problem}
    if problem.sense and not event.get("sense"):
        event["sense"] = problem.sense
    event["labels"] = {**event.get("labels", {}), "file": file, "name": problem.name, "index": problem.index}
    return event


@dataclass(frozen=True)
class Format:
    """A file format: `opening` matches how its files begin, `read` turns text of `clean` into problems.

    `read(text, name)` raises FormatError for whatever does not fit. `families`: those whose problems it holds.
    `write(problem, solution, objective, name)`, where the format has files of solutions: suffix and text of one.
    """

    name: str
    title: str
    families: tuple[str, ...]
    suffixes: tuple[str, ...]
    opening: re.Pattern[bytes]
    read: Callable[[bytes, str], list[FileProblem]]
    write: Callable[[Mapping[str, Any], Any, float, str], tuple[str, str]] | None = None


def fault(name: str, line: int, message: str, remedy: str) -> FormatError:
    """The error for a line (from 1) of a file, to be raised. However much a message quotes, it stays short."""
    return FormatError(message[:MOST_SAID], place=f"{name}:{line}", remedy=remedy)


def clean(data: bytes, name: str, limit: int) -> bytes:
    """The file's text as UTF-8 bytes, without byte order mark, every line end a `\\n`.

    Raises FormatError for a file that is empty, over `limit` bytes, binary or not UTF-8.
    """
    if len(data) > limit:
        raise fault(
            name,
            1,
            f"expected at most {limit} bytes, got {len(data)}",
            "Raise the limit if this file is meant, or split it.",
        )
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise fault(
            name,
            1,
            f"expected UTF-8 text, got UTF-16 or UTF-32 (it begins with the byte 0x{data[0]:02x})",
            "Save the file as UTF-8: `iconv -f UTF-16 -t UTF-8`, or 'CSV UTF-8' in a spreadsheet.",
        )
    text = data.removeprefix(b"\xef\xbb\xbf")
    try:
        empty, bad = not text or text.decode().isspace(), text.find(b"\0")
    except UnicodeDecodeError as error:
        empty, bad = False, error.start
    if empty:
        raise fault(name, 1, "expected a problem, got an empty file", "Check how the file was written or copied.")
    if bad >= 0:
        raise fault(
            name,
            text.count(b"\n", 0, bad) + 1,
            f"expected UTF-8 text, got the byte 0x{text[bad]:02x}",
            "Decompress the file if it is an archive, or save it as UTF-8.",
        )
    return text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def stem(name: str) -> str:
    """The file's name without folder and suffix; a number is no suffix: `g05_100.0` stays."""
    path = PurePath(name)
    return path.name if path.suffix[1:].isdigit() else path.stem


def exact(values: Sequence[int | float]) -> Any:
    """As an array (k,): float64 where that holds every integer exactly, else of Python's own numbers.

    Raises OverflowError for an integer that neither 64 bits nor a double hold.
    """
    if not any(isinstance(v, int) and abs(v) > WHOLE for v in values):
        return np.array(values, dtype=np.float64)
    kept = [float(v) if isinstance(v, int) and abs(v) > MOST_INTEGER else v for v in values]
    if any(isinstance(v, int) and k != v for v, k in zip(values, kept, strict=True)):
        raise OverflowError("an integer of more than 64 bits, which no double holds exactly")
    return np.array(kept, dtype=object)


def value_of(text: str) -> int | float:
    """A number as it is written: an int where it is spelled as one, and 64 bits hold it.

    Raises ValueError for what is none, OverflowError for an integer that neither 64 bits nor a double hold.
    """
    if not _INTEGER.fullmatch(text):
        return float(text)
    (kept,) = exact([int(text)]).tolist()
    return int(kept) if abs(kept) <= MOST_INTEGER else float(kept)


def whole(text: str) -> int | None:
    """An integer that may be written as a float (`10.0`, `1e3`, `1.D1`); None for what is none, or above 2^53."""
    if not _WHOLE_NUMBER.fullmatch(text):
        return None
    value = float(text.replace("d", "e").replace("D", "E"))
    return int(value) if value.is_integer() and abs(value) <= WHOLE else None


def numbers(values: Any) -> list[Any]:
    """An array of `exact` as JSON numbers: ints where all are whole, else floats; an integer beyond 2^53 stays one.

    Raises FormatError where sums have become larger than an integer of 64 bits.
    """
    if values.dtype == object:
        out = [int(v) if isinstance(v, float) and abs(v) <= WHOLE and v.is_integer() else v for v in values.tolist()]
        if any(isinstance(v, int) and abs(v) > MOST_INTEGER for v in out):
            raise FormatError("expected integers of at most 64 bits, got more in a sum", remedy="Scale the weights.")
        return out
    integral = bool((np.abs(values) <= WHOLE).all()) and bool((values == np.floor(values)).all())
    return list((values.astype(np.int64) if integral else values).tolist())


def number(value: float) -> Any:
    """One value as `numbers` would give it; what 64 bits do not hold, as a float."""
    return numbers(exact([float(value) if abs(value) > MOST_INTEGER else value]))[0]


def triples(i: Any, j: Any, values: Iterable[Any]) -> list[list[Any]]:
    """`[[i, j, value], …]` from two index arrays and the values."""
    return [list(entry) for entry in zip(i.tolist(), j.tolist(), values, strict=True)]
