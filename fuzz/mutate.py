"""Changes to inputs that a fuzzer of bytes seldom finds: to the nodes of JSON, and to the words of a text."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from random import Random
from typing import Any

import orjson

MOST_NESTED = 300
MOST_REPEATED = 20_000  # bytes that are put in by one change: changes of changes grow
Change = Callable[[bytes, Random], bytes]
"""What a fuzzer does to an input; equal draws, equal changes."""


def nested(depth: int) -> Any:
    """Lists in lists."""
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


JUNK: tuple[Callable[[Random], Any], ...] = (
    lambda _: None,
    lambda draw: draw.random() < 0.5,
    lambda draw: draw.choice([0, 1, -1, 2, 3, 63, 64, 65, 255, 1000, 2**31 - 1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63)]),
    lambda draw: draw.choice([2**63, 2**64, -(2**63) - 1, 10**30, 10**400]),
    lambda draw: draw.choice([0.5, -0.0, 1e-320, 1e-9, 1e15, 1e300, -1.7e308, float("inf"), float("nan")]),
    lambda draw: draw.choice(["", "a", "0", "-1", "1e999", "é\u202e", "\x1b[2J", "$", "__class__", "/etc/hostname"]),
    lambda draw: draw.choice("xIZ9") * draw.choice([2, 64, 300, 5000]),
    lambda draw: draw.choice([[], {}, [[]], {"": {}}, [None], [0, 0], ["a", "b"], [0, 1, 1.5]]),
    lambda draw: nested(draw.choice([3, 90, 110, MOST_NESTED])),
    lambda draw: [draw.choice([0, "a", [], [0, 1]])] * draw.choice([2, 100, 2000]),
)
NUMBERS = (b"0", b"-1", b"2", b"-0.0", b"1.5", b"1e999", b"-1e400", b"nan", b"inf", b"0x1f", b"1_000", b"007", b".5",
           b"5.", b"2147483648", b"9007199254740993", b"18446744073709551616", b"9" * 400)  # fmt: skip
_TOKEN = re.compile(rb"[A-Za-z_]\w*|\d[\w.]*|\s+|.", re.DOTALL)


def junk(draw: Random) -> Any:
    """A value of any type."""
    return draw.choice(JUNK)(draw)


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every node but the root, as container and key. Neither deep nor endless: no recursion."""
    found: list[tuple[Any, Any]] = []
    left = [value]
    while left and len(found) < 5000:
        one = left.pop()
        keys: Any = list(one) if isinstance(one, dict) else range(len(one)) if isinstance(one, list) else ()
        for key in keys:
            found.append((one, key))
            left.append(one[key])
    return found


def mutated_value(value: Any, draw: Random, changes: int = 1) -> Any:
    """A copy of a JSON value with so many nodes changed."""
    value = json.loads(json.dumps(value))
    for _ in range(changes):
        places = _places(value)
        if not places:
            return junk(draw)
        inside, key = draw.choice(places)
        match draw.randrange(8):
            case 0 | 1:
                inside[key] = junk(draw)
            case 2:
                del inside[key]
            case 3:  # twice, or under another name
                if isinstance(inside, list):
                    small = not isinstance(inside[key], list | dict | str)
                    inside[key:key] = [copy.deepcopy(inside[key])] * draw.choice([1, 1, 50 if small else 1])
                else:
                    inside[draw.choice(["", f"{key} ", f"{key}2"])] = inside[key]
            case 4:  # what stands elsewhere
                other, where = draw.choice(places)
                try:
                    inside[key] = copy.deepcopy(other[where])
                except LookupError:
                    inside[key] = None
            case 5:
                inside[key] = [inside[key]] if draw.random() < 0.5 else {"a": inside[key]}
            case 6:
                inside[key] = _near(inside[key], draw)
            case _:
                if isinstance(inside, list):
                    draw.shuffle(inside)
                else:
                    inside[draw.choice(list(inside))] = inside[key]
    return value


def _near(value: Any, draw: Random) -> Any:
    """A value of the same type."""
    if isinstance(value, str):
        return mutated_text(value.encode(errors="replace"), draw).decode(errors="replace")
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int | float):
        return draw.choice([value + 1, -value, value * 10, value * 1e20, value - 1e-13, float(value)])
    return value


def dumped(value: Any) -> bytes:
    """As JSON, or as what looks like it: integers of any size, NaN, any depth that `json` writes."""
    return json.dumps(value, ensure_ascii=False, skipkeys=True, default=str).encode(errors="surrogatepass")


def mutated_json(data: bytes, draw: Random) -> bytes:
    """A JSON text with some nodes changed; what is none, changed as text."""
    try:
        return dumped(mutated_value(orjson.loads(data), draw, draw.choice([1, 1, 2, 4])))
    except (ValueError, RecursionError, OverflowError):
        return mutated_text(data, draw)


def mutated_text(data: bytes, draw: Random) -> bytes:
    """A text with some words or lines changed."""
    whole_lines = draw.random() < 0.3
    parts = data.splitlines(keepends=True) if whole_lines else [*_TOKEN.findall(data[:20_000]), data[20_000:]]
    for _ in range(draw.choice([1, 1, 2, 5])):
        if not parts:
            return b"0"
        k = draw.randrange(len(parts))
        match draw.randrange(6):
            case 0:
                del parts[k : k + draw.choice([1, 1, 3])]
            case 1:
                parts[k:k] = [parts[k]] * min(draw.choice([1, 1, 2, 100, 1000]), MOST_REPEATED // (len(parts[k]) + 1))
            case 2:
                other = draw.randrange(len(parts))
                parts[k], parts[other] = parts[other], parts[k]
            case 3:
                parts[k] = draw.choice(NUMBERS)
            case 4:
                parts[k] = parts[draw.randrange(len(parts))]
            case _:
                parts[k] = draw.choice([b"", b" ", b"\n", b"\t", b"\r\n", b"9" * 400, b"(" * 200, b"-", b"\0", b"\xff"])
    return b"".join(parts)


def mutated_bytes(data: bytes, draw: Random) -> bytes:
    """Cut, inserted into, or flipped."""
    out = bytearray(data)
    for _ in range(draw.choice([1, 1, 3])):
        at = draw.randrange(len(out) + 1)
        match draw.randrange(3):
            case 0:
                del out[at : at + draw.choice([1, 2, 10, len(out)])]
            case 1:
                out[at:at] = draw.randbytes(draw.choice([1, 2, 8]))
            case _:
                if at < len(out):
                    out[at] ^= 1 << draw.randrange(8)
    return bytes(out)
