"""Text that people see: what a terminal would act on is shown, not done."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches

LONGEST_NAME = 60
"""Characters of a name whose like is looked for; looking takes the square of them."""


def shown(text: str, most: int | None = None) -> str:
    """Control, bidi and other invisible characters, and lone surrogates, as escapes; the rest as it is.

    Of a text of more than `most` characters the beginning, and `…`.
    """
    if most is not None and len(text) > most:
        text = text[: most - 1] + "…"
    if text.isprintable():
        return text
    return "".join(
        c if c == " " or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp") else ascii(c)[1:-1] for c in text
    )


def quoted(text: str, most: int | None = None) -> str:
    """The same in quotation marks, for the middle of a sentence."""
    return f"'{shown(text, most)}'"


def choose(name: str, known: Iterable[str]) -> str:
    """The remedy for a name that nobody knows: the nearest of the known ones first, then all of them."""
    names = sorted(known)
    near = get_close_matches(name, names, n=1) if len(name) <= LONGEST_NAME else []
    guess = f"Did you mean {near[0]}? " if near else ""
    return f"{guess}Choose one of: {', '.join(names)}."


def shown_json(text: str) -> str:
    """A JSON text of one line with the same characters as escapes of JSON: its meaning stays."""
    return text if text.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)
