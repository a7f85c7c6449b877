"""What the families' `parse` share: telling what is wrong in few words, whatever was sent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from qmosaic.codecs.errors import RejectCode, Rejected

QUOTED, TOLD, NAMED = 60, 300, 40
"""The most characters of input that a message quotes, of a message or a place, and of a field that is not known."""
EXACT = 2.0**53
"""Whole numbers below it are exact as float64, and so are their sums."""

T = TypeVar("T")


def rejected(code: RejectCode, message: str, place: str, remedy: str) -> Rejected:
    """A complaint, its texts cut and such that UTF-8 can write them; `place` inside the payload."""
    return Rejected(code, told(message), told(f"$.problem{place}"), remedy)


def invalid(message: str, place: str, remedy: str) -> Rejected:
    """The family's own complaint, `place` inside the payload."""
    return rejected("invalid_problem", message, place, remedy)


def told(text: str) -> str:
    """A text as it may go out."""
    if not text.isascii():
        text = text[: TOLD + 1].encode(errors="backslashreplace").decode()
    return text if len(text) <= TOLD else f"{text[:TOLD]}…"


def shown(value: Any) -> str:
    """A value as it was sent, in at most some `QUOTED` characters."""
    if isinstance(value, int) and value.bit_length() > 128:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, str) and len(value) > QUOTED:
        return repr(f"{value[:QUOTED]}…")
    if isinstance(value, list | tuple):
        inner = ", ".join("…" if isinstance(each, list | tuple | dict) else shown(each) for each in value[:3])
        return f"[{inner}, …]" if len(value) > 3 else f"[{inner}]"
    return "an object" if isinstance(value, dict) else repr(value)


def unknown_field(given: dict[str, Any], known: Iterable[str]) -> Rejected | None:
    """The complaint about a field that is none of these, where there is one."""
    known = list(known)
    unknown = sorted(given.keys() - set(known))
    if not unknown:
        return None
    field = unknown[0][:NAMED]
    return invalid(f"unknown field {shown(field)}", f".{field}", f"Known fields: {', '.join(known)}.")


def converted(given: Any, kind: type[T], place: str, remedy: str) -> T | Rejected:
    """`given` as a value of `kind`; `place`: where it is in the payload."""
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        message, _, inside = str(error).partition(" - at ")
        return invalid(message, f"{place}{inside.strip('`').removeprefix('$')}", remedy)
    except OverflowError:
        return invalid("a number is out of range", place, remedy)
    except UnicodeEncodeError:
        return invalid("a text is no Unicode", place, "Send valid UTF-8.")


def unwritable(names: list[Any] | tuple[Any, ...]) -> int | None:
    """The place of the first name that cannot go out again: no Unicode text, or a number of over 64 bits."""
    try:
        "".join([name for name in names if isinstance(name, str)]).encode()
    except UnicodeEncodeError:
        return next(k for k, name in enumerate(names) if isinstance(name, str) and _lone(name))
    return next((k for k, name in enumerate(names) if isinstance(name, int) and not -(2**63) <= name < 2**63), None)


def _lone(text: str) -> bool:
    return any("\ud800" <= letter <= "\udfff" for letter in text)


def twice(names: list[Any] | tuple[Any, ...]) -> int | None:
    """The place of the first name that was there before."""
    seen: set[Any] = set()
    for k, name in enumerate(names):
        if name in seen:
            return k
        seen.add(name)
    return None


class WrongError(Exception):
    """Carries the `Rejected` out of the helpers; `read` returns it. `place` is inside the payload."""

    def __init__(self, message: str, place: str, remedy: str, code: RejectCode = "invalid_problem") -> None:
        super().__init__(message)
        self.rejected = rejected(code, message, place, remedy)
