"""The file formats, by name, and the way from a file's bytes to its problems.

A format is one file of this folder and its line here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

from qmosaic.codecs.errors import FormatError
from qmosaic.codecs.formats import (
    bqp,
    coo,
    csv_portfolio,
    fcidump,
    json_file,
    orlib_port,
    qasm,
    qbsolv,
    qplib,
    rudy,
    tsplib,
    xyz,
)
from qmosaic.codecs.formats.base import MAX_BYTES, FileProblem, Format, clean, fault

FORMATS: dict[str, Format] = {
    module.FORMAT.name: module.FORMAT
    for module in (
        rudy,
        bqp,
        qbsolv,
        coo,
        qplib,
        fcidump,
        xyz,
        tsplib,
        orlib_port,
        csv_portfolio,
        qasm,
        json_file,
    )
}


def read(
    data: bytes,
    name: str,
    format: str | None = None,  # noqa: A002  (what a user calls it)
    *,
    limit: int = MAX_BYTES,
) -> list[FileProblem]:
    """The problems in a file's bytes, in their order; at least one.

    `name` is the file's name, for messages, for names of problems and, by its suffix, for detection.
    `format` is one of FORMATS and overrides the detection. Raises FormatError (its `place` is `name:line`, or
    `name` for what no line alone is wrong about).
    """
    text = clean(data, name, limit)
    chosen = _detect(text, name) if format is None else _named(format, name)
    try:
        return chosen.read(text, name)
    except FormatError as error:
        if error.place:
            raise
        raise FormatError(error.message, place=name, remedy=error.remedy) from None  # of no line more than of others


def detect(data: bytes, name: str, *, limit: int = MAX_BYTES) -> str:
    """The format of a file: by its first lines, and where these leave it open, by its suffix.

    Raises FormatError where neither tells, and where they tell different ones.
    """
    return _detect(clean(data, name, limit), name).name


def writer(family: str) -> Callable[[Mapping[str, Any], Any, float, str], tuple[str, str]] | None:
    """What writes a family's solutions to a file (suffix and text), if a format of it does."""
    return next((one.write for one in FORMATS.values() if family in one.families and one.write), None)


def _detect(text: bytes, name: str) -> Format:
    suffix = PurePath(name).suffix.lower()
    fitting = [choice for choice in FORMATS.values() if choice.opening.match(text)]
    named = [choice for choice in FORMATS.values() if suffix in choice.suffixes]
    # Where no opening fits, the reader that the suffix names says best what is wrong.
    chosen = [choice for choice in named if choice in fitting] if named and fitting else named or fitting
    if len(chosen) != 1:
        got = "one that fits " + " and ".join(choice.name for choice in fitting) if fitting else "an unknown one"
        but = f", and a suffix that says {' or '.join(choice.name for choice in named)}" if named else ""
        raise fault(name, 1, f"expected a file of a known format, got {got}{but}", _choices())
    return chosen[0]


def _named(wanted: str, name: str) -> Format:
    try:
        return FORMATS[wanted]
    except KeyError:
        raise FormatError(f"expected a known format, got '{wanted[:60]}'", place=name, remedy=_choices()) from None


def _choices() -> str:
    return "Name the format: " + ", ".join(f"{choice.name} ({choice.title})" for choice in FORMATS.values()) + "."
