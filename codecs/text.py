"""Text that people see: what a terminal would act on is shown, not done."""

from __future__ import annotations

import unicodedata


def shown(text: str) -> str:
    """Control, bidi and other invisible characters, and lone surrogates, as escapes; the rest as it is."""
    if text.isprintable():
        return text
    return "".join(
        c if c == " " or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp") else ascii(c)[1:-1] for c in text
    )
