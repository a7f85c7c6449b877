"""Text that people see: what a terminal would act on is shown, not done."""

from __future__ import annotations

import json
import unicodedata


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


def shown_json(text: str) -> str:
    """A JSON text of one line with the same characters as escapes of JSON: its meaning stays."""
    return text if text.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)
