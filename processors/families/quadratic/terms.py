"""What max-cut, QUBO and Ising share: reading variables and pair terms, canonical order, a greedy answer."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from math import fsum
from typing import Any

import msgspec
import numpy as np
from jaxtyping import Float64, Int64, UInt8

from qmosaic.codecs.errors import Rejected
from qmosaic.codecs.models.polynomial import SpinPolynomial, summed
from qmosaic.processors.families.base import Limits
from qmosaic.processors.families.payload import (
    EXACT,
    converted,
    invalid,
    rejected,
    shown,
    twice,
    unknown_field,
    unwritable,
)

Names = tuple[str, ...] | None

LIGHT = 2000
"""Pairs, variables and fields up to which a problem is read and judged in a few milliseconds."""


@dataclass(frozen=True, eq=False)
class Terms:
    """Canonical polynomial of degree two: `value = offset + sum linear_i v_i + sum values_k v_rows v_cols`.

    Pairs have rows < cols and stand in order, names in theirs: what order they were given in leaves no trace.
    """

    names: Names
    linear: Float64[np.ndarray, " n"]
    rows: Int64[np.ndarray, " m"]
    cols: Int64[np.ndarray, " m"]
    values: Float64[np.ndarray, " m"]
    offset: float
    merged: int  # how many given terms were summed into others

    @property
    def n(self) -> int:
        return len(self.linear)

    @cached_property
    def size(self) -> float:
        """The sum of all sizes: no objective is larger."""
        return _apart(self.values, self.linear, self.offset) / 2

    @cached_property
    def whole(self) -> bool:
        """Whether all numbers are whole, and all their sums exact."""
        if self.size >= EXACT or not float(self.offset).is_integer():
            return False
        return bool((self.values == np.floor(self.values)).all() and (self.linear == np.floor(self.linear)).all())

    def total(self, *parts: Float64[np.ndarray, " k"]) -> int | float:
        """The sum of these parts of the numbers: exact where they are whole, else rounded once."""
        if self.whole:
            return int(sum(float(part.sum()) for part in parts))
        return fsum(value for part in parts for value in part.tolist())

    def ising(self, sign: float, share: float, h: Any, offset: float, error: float = 0.0) -> SpinPolynomial:
        """The model with these pairs, `sign * share` of their values as couplings: canonical already.

        `share` is a power of two; `error`: how far the energy of a state may be off, but for a constant.
        """
        coupling = (sign * share) * self.values
        return SpinPolynomial(
            np.asarray(h), self.rows.astype(np.int32), self.cols.astype(np.int32), coupling, float(offset), error=error
        )

    def digest(self, *identity: str) -> str:
        """Content digest (hex) of family, sense, names and numbers; the order they came in does not matter."""
        hasher = sha256(msgspec.json.encode(("qmosaic.terms/1", identity, self.n, self.names)))
        for array in (self.linear + 0.0, self.rows, self.cols, self.values, np.float64(self.offset + 0.0)):
            hasher.update(array.tobytes())
        return hasher.hexdigest()[:32]

    def named(self, values: Sequence[int]) -> list[int] | dict[str, int]:
        """Values by position, or by name where the problem has names."""
        return dict(zip(self.names, values, strict=True)) if self.names else list(values)

    def positional(self, solution: Any) -> Float64[np.ndarray, " n"]:
        """The inverse of `named`, as floats."""
        ordered = [solution[name] for name in self.names] if self.names else solution
        return np.asarray(ordered, dtype=np.float64)

    def notes(self, word: str) -> list[str]:
        """What the producer should know about how the problem was read."""
        out = [f"{self.merged} repeated {word} summed into others"] if self.merged else []
        if self.size >= EXACT:
            largest = max(np.abs(self.values).max(initial=0), np.abs(self.linear).max(initial=0), abs(self.offset))
            what = "weights beyond 2^53 were rounded" if largest >= EXACT else "the weights add up to more than 2^53"
            out.append(f"{what}: they and the objective are float64")
        return out


def read_terms(
    payload: dict[str, Any],
    limits: Limits,
    *,
    pairs: str,
    count: str,
    default: float | None,
    self_pairs: str | None,
    fields: str | None = None,
    has_offset: bool = True,
) -> Terms | Rejected:
    """Read `payload[pairs]` (lists [i, j, value]), `payload[count]` and the optional parts of a payload.

    `count` is the number of variables or the list of their names. `default` is the value of a pair given
    without one. A pair [i, i, value] is linear, or refused with the sentence `self_pairs`. `fields` names a
    list (or a map by name) of linear values. Pairs given twice, in either order, are summed, as dimod does.
    """
    known = {pairs, count} | ({fields} if fields else set()) | ({"offset"} if has_offset else set())
    if (unknown := unknown_field(payload, sorted(known))) is not None:
        return unknown
    raw = payload.get(pairs, [])
    if not isinstance(raw, list):
        return invalid(f"expected a list, got {type(raw).__name__}", f".{pairs}", "Send a list of [i, j, value].")
    if len(raw) > limits.couplings:
        return rejected(
            "too_large",
            f"{len(raw)} {pairs}, the limit is {limits.couplings}",
            f".{pairs}",
            "Send a smaller problem, or raise limits.couplings.",
        )
    linear_given = payload.get(fields) if fields else None
    for place, given in ((count, payload.get(count)), (fields, linear_given)):
        if isinstance(given, list | dict) and len(given) > limits.variables:
            return _too_many(len(given), limits, place)
    names = _names(payload.get(count), raw, linear_given, count)
    if isinstance(names, Rejected):
        return names
    table = _table(raw, names, pairs, default)
    if isinstance(table, Rejected):
        return table
    ends, values = table
    rows, cols = ends.T
    n = _size(payload.get(count), names, rows, cols, linear_given)
    if n > limits.variables:
        return _too_many(n, limits, count)
    linear = _linear(linear_given, n, names, fields)
    if isinstance(linear, Rejected):
        return linear
    offset = converted(payload.get("offset", 0.0), float, ".offset", "Send a finite number or leave it out.")
    if isinstance(offset, Rejected):
        return offset
    if not np.isfinite(offset):
        return invalid(f"expected a finite number, got {offset}", ".offset", "Send a finite number or leave it out.")
    if ends.min(initial=0) < 0 or ends.max(initial=-1) >= n:
        wrong = (ends < 0) | (ends >= n)
        what = 0 if wrong[:, 0].any() else 1
        k = int(np.argmax(wrong[:, what]))
        return invalid(
            f"index {shown(raw[k][what])} is out of range 0..{n - 1}",
            f".{pairs}[{k}][{what}]",
            f"Indices are 0-based; set {count!r} if there are more variables.",
        )
    with np.errstate(over="ignore", invalid="ignore"):
        most = _apart(values, linear, offset)
        # Where all that was given adds up to a number, so does each part of it.
        certain = bool(np.isfinite(most))
        if not certain and len(at := np.flatnonzero(~np.isfinite(values))):
            return invalid("the value is not finite", f".{pairs}[{int(at[0])}][2]", "Send finite numbers.")
        diagonal = rows == cols
        looped = bool(diagonal.any())
        if self_pairs and looped:
            k = int(np.argmax(diagonal))
            return invalid(f"{self_pairs}: {shown(raw[k])}", f".{pairs}[{k}]", "Leave it out.")
        if n == 0:
            return Rejected(
                "empty_problem", "there is no variable at all", "$.problem", f"Send at least one of {pairs!r}."
            )
        terms = _canonical(names, linear, rows, cols, values, offset, looped)
        if not certain and not np.isfinite(_apart(terms.values, terms.linear, terms.offset)):
            return invalid("the values add up to more than a float64 holds", f".{pairs}", "Scale the problem down.")
    return terms


def light(payload: dict[str, Any], *fields: str) -> bool:
    """Whether all of these fields, lists or maps or a count, are small."""
    return all(_length(payload.get(name)) <= LIGHT for name in fields)


def _length(given: Any) -> int | float:
    return len(given) if isinstance(given, list | dict) else given if isinstance(given, int | float) else 0


def _too_many(n: int, limits: Limits, place: str | None) -> Rejected:
    message = f"{shown(n)} variables, the limit is {limits.variables}"
    return rejected("too_large", message, f".{place}", "Send a smaller problem, or raise limits.variables.")


def _apart(values: Any, linear: Any, offset: float) -> float:
    """Twice the sum of all sizes: two objectives can be that far apart."""
    return float(2 * (np.abs(values).sum() + np.abs(linear).sum() + abs(offset)))


def _names(given: Any, raw: list[Any], linear: Any, count: str) -> Names | Rejected:
    if isinstance(given, list):
        if not all(isinstance(name, str) for name in given):
            return invalid("expected a list of strings", f".{count}", f"Send a number or a list of names in {count!r}.")
        if (k := twice(given)) is not None:
            return invalid(f"the name {shown(given[k])} is there twice", f".{count}", "Names must differ.")
        return _sorted(given, count)
    if given is not None and (isinstance(given, bool) or not isinstance(given, int) or given < 0):
        return invalid(
            f"expected a count or a list of names, got {shown(given)}", f".{count}", "Send a non-negative integer."
        )
    first = raw[0][0] if raw and isinstance(raw[0], list) and raw[0] else None
    if given is None and (isinstance(first, str) or isinstance(linear, dict)):
        seen: dict[str, None] = dict.fromkeys(k for k in linear) if isinstance(linear, dict) else {}
        for pair in raw:
            if isinstance(pair, list):
                seen.update((name, None) for name in pair[:2] if isinstance(name, str))
        return _sorted(list(seen), count)
    return None


def _sorted(names: list[str], count: str) -> Names | Rejected:
    if (k := unwritable(names)) is not None:
        return invalid(f"the name {shown(names[k])} is no Unicode text", f".{count}", "Send valid UTF-8.")
    return tuple(sorted(names))


def _table(
    raw: list[Any], names: Names, pairs: str, default: float | None
) -> tuple[Int64[np.ndarray, "k 2"], Float64[np.ndarray, " k"]] | Rejected:
    """Both ends of every pair, by position, and the values."""
    if default is not None and names is None:
        # Most lists that may leave the values out do so throughout; these need no list of triples made of them.
        with suppress(msgspec.ValidationError, OverflowError, UnicodeEncodeError):
            ends = np.array(msgspec.convert(raw, list[tuple[int, int]]), dtype=np.int64).reshape(-1, 2)
            return ends, np.full(len(ends), default)
    triples = _triples(raw, names, pairs, default)
    if isinstance(triples, Rejected):
        return triples
    try:
        table = np.array(triples, dtype=np.float64).reshape(-1, 3)
    except OverflowError:
        return invalid("an index is out of range", f".{pairs}", f"Indices are 0-based, up to {2**31}.")
    return np.minimum(table[:, :2], 2.0**62).astype(np.int64), table[:, 2]  # beyond int64 is as wrong as just within


def _triples(raw: list[Any], names: Names, pairs: str, default: float | None) -> list[Any] | Rejected:
    if default is not None:
        raw = [[*pair, default] if isinstance(pair, list) and len(pair) == 2 else pair for pair in raw]
    kind: Any = list[tuple[str, str, float]] if names is not None else list[tuple[int, int, float]]
    wanted = "[i, j] or [i, j, value]" if default is not None else "[i, j, value]"
    triples: list[Any] | Rejected = converted(raw, kind, f".{pairs}", f"Send {wanted} with finite numbers.")
    if isinstance(triples, Rejected) or names is None:
        return triples
    index = {name: k for k, name in enumerate(names)}
    resolved = []
    for k, (a, b, value) in enumerate(triples):
        for position, name in enumerate((a, b)):
            if name not in index:
                return invalid(f"unknown name {shown(name)}", f".{pairs}[{k}][{position}]", "Add it to the names.")
        resolved.append((index[a], index[b], value))
    return resolved


def _size(given: Any, names: Names, rows: Any, cols: Any, linear: Any) -> int:
    if names is not None:
        return len(names)
    if given is not None:
        return int(given)
    highest = int(max(rows.max(initial=-1), cols.max(initial=-1)))
    return max(highest + 1, len(linear) if isinstance(linear, list) else 0)


def _linear(given: Any, n: int, names: Names, fields: str | None) -> Any:
    if given is None:
        return np.zeros(n)
    by_name = names is not None and isinstance(given, dict)
    kind: Any = dict[str, float] if by_name else list[float]
    found: Any = converted(given, kind, f".{fields}", "Send finite numbers.")
    if isinstance(found, Rejected):
        return found
    if by_name and names is not None:
        if unknown := found.keys() - set(names):
            name = min(unknown)
            return invalid(f"unknown name {shown(name)}", f".{fields}.{name}", "Add it to the names.")
        found = [found.get(name, 0.0) for name in names]
    linear = np.array(found, dtype=np.float64)
    if len(linear) != n:
        return invalid(f"expected {n} values, got {len(linear)}", f".{fields}", "Send one value a variable.")
    if len(at := np.flatnonzero(~np.isfinite(linear))):
        return invalid("the value is not finite", f".{fields}[{int(at[0])}]", "Send finite numbers.")
    return linear


def _canonical(names: Names, linear: Any, rows: Any, cols: Any, values: Any, offset: float, looped: bool) -> Terms:
    n = len(linear)
    keys, total, merged = summed(np.minimum(rows, cols) * n + np.maximum(rows, cols), values)
    rows, cols = np.divmod(keys, n)
    if not looped:
        return Terms(names, linear, rows, cols, total, offset, merged)
    diagonal = rows == cols
    linear = linear.copy()
    linear[rows[diagonal]] += total[diagonal]
    return Terms(names, linear, rows[~diagonal], cols[~diagonal], total[~diagonal], offset, merged)


def greedy(model: SpinPolynomial) -> UInt8[np.ndarray, " n"]:
    """Set the variables one by one, heaviest first, each to its best given those before it.

    Deterministic; O(n log n + m); some 40 µs for 16 variables with three neighbours each, 20 ms for 10,000.
    """
    n = model.n
    ends = np.concatenate([model.rows, model.cols])
    order = ends.argsort(kind="stable")
    others = np.concatenate([model.cols, model.rows])[order]
    weights = np.concatenate([model.J, model.J])[order]
    starts = [0, *np.bincount(ends, minlength=n).cumsum().tolist()]
    weight = np.abs(model.h) + np.bincount(ends[order], weights=np.abs(weights), minlength=n)
    local, bits = model.h.tolist(), bytearray(n)  # for most have few neighbours, where numbers beat arrays
    for i in (-weight).argsort(kind="stable").tolist():
        bits[i] = local[i] > 0
        spin = -1.0 if bits[i] else 1.0
        near = slice(starts[i], starts[i + 1])
        for k, J in zip(others[near].tolist(), weights[near].tolist(), strict=True):
            local[k] += J * spin
    return np.frombuffer(bits, np.uint8)
