"""What the names of an OpenQASM program stand for while it is compiled: registers of qubits and bits, variables.

A bit is known, or it is a classical bit of the circuit that a measurement wrote: who needs its value gets `Measured`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Condition = dict[int, int]
"""Classical bits of the circuit, and what each has to read."""
ZERO, ONE = -1, -2
"""A bit known while compiling; other values are numbers of classical bits of the circuit."""


@dataclass(eq=False, slots=True)
class Bit:
    """One bit of a program. `now` is `ZERO`, `ONE` or a classical bit; a measurement into it goes to `home`."""

    home: int
    now: int = ZERO


@dataclass(frozen=True, slots=True)
class Bits:
    """A register of bits, or a part of one, which shares its bits."""

    bits: tuple[Bit, ...]
    output: bool = False
    const: bool = False

    @classmethod
    def known(cls, digits: str) -> Bits:
        """The bits of a bit string, bit 0 on the right."""
        return cls(tuple(Bit(ZERO, ONE if digit == "1" else ZERO) for digit in reversed(digits)))


@dataclass(frozen=True)
class Qubits:
    indices: tuple[int, ...]


@dataclass(eq=False, slots=True)
class Variable:
    kind: str
    width: int | None
    value: Any
    const: bool


class Measured(Exception):  # noqa: N818  (it is a question, no error)
    """The value hangs on a classical bit."""

    def __init__(self, bit: int) -> None:
        self.bit = bit
