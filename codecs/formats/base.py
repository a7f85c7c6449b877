"""What every file format has in common: what a reader returns, what a format says of itself, and clean text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import msgspec
import numpy as np
from jaxtyping import Float64

from qmosaic.codecs.errors import FormatError
from qmosaic.codecs.events import Sense

MAX_BYTES = 64 * 2**20
"""The largest file that is read unless the caller says otherwise."""

MAX_VARIABLES = 1_000_000
"""The most nodes or variables a file may state: a number in a header must not be able to fill the memory."""

_WHOLE = 2.0**53  # beyond it a double no longer holds every integer


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
    """The error for a line (from 1) of a file, to be raised."""
    return FormatError(message, place=f"{name}:{line}", remedy=remedy)


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
    text = data.removeprefix(b"\xef\xbb\xbf")
    if not text.strip():
        raise fault(name, 1, "expected a problem, got an empty file", "Check how the file was written or copied.")
    try:
        text.decode()
        bad = text.find(b"\0")
    except UnicodeDecodeError as error:
        bad = error.start
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


def numbers(values: Float64[np.ndarray, " k"]) -> list[Any]:
    """As JSON numbers: ints where all are whole (and a double holds them exactly), else floats."""
    whole = bool((np.abs(values) <= _WHOLE).all()) and bool((values == np.floor(values)).all())
    return list((values.astype(np.int64) if whole else values).tolist())


def number(value: float) -> Any:
    """One value as `numbers` would give it."""
    return numbers(np.array([value], dtype=np.float64))[0]


def triples(i: Any, j: Any, values: Iterable[Any]) -> list[list[Any]]:
    """`[[i, j, value], …]` from two index arrays and the values."""
    return [list(entry) for entry in zip(i.tolist(), j.tolist(), values, strict=True)]
