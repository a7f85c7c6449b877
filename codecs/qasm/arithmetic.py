"""Numbers of OpenQASM programs, known while they are compiled: operators and functions. No result is without bound."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from qmosaic.codecs.qasm import syntax
from qmosaic.codecs.qasm.syntax import QasmError
from qmosaic.codecs.qasm.work import Work

MAX_WHOLE = 2**63
"""No result of integers gets as large; literals may, as registers of bits are compared with them."""
FRACTION = 8
"""Units of work: more for a result that is a fraction."""

FUNCTIONS: dict[str, tuple[int, Callable[..., Any]]] = {
    "sin": (1, math.sin),
    "cos": (1, math.cos),
    "tan": (1, math.tan),
    "arcsin": (1, math.asin),
    "arccos": (1, math.acos),
    "arctan": (1, math.atan),
    "exp": (1, math.exp),
    "ln": (1, math.log),
    "log": (1, math.log),
    "sqrt": (1, math.sqrt),
    "floor": (1, math.floor),
    "ceiling": (1, math.ceil),
    "abs": (1, abs),
    "mod": (2, lambda a, b: a % b),
    "popcount": (1, lambda a: int(a).bit_count()),
}
CONSTANTS = {
    "pi": math.pi,
    "π": math.pi,
    "tau": math.tau,
    "τ": math.tau,
    "euler": math.e,
    "ℇ": math.e,
}


class UndefinedError(QasmError):
    """Arithmetic without a result, such as 1/0."""


@dataclass
class Arithmetic:
    """On numbers of one program."""

    program: syntax.Program
    work: Work

    def arithmetic(self, op: str, a: Any, b: Any, at: int) -> Any:
        try:
            result = self.computed(op, a, b, at)
        except (ArithmeticError, ValueError):
            raise UndefinedError(f"{shown(a)} {op} {shown(b)} has no value", at, "Mend the expression.") from None
        if isinstance(result, complex) or (isinstance(result, float) and not math.isfinite(result)):
            raise UndefinedError(f"{shown(a)} {op} {shown(b)} is no finite number", at, "Mend the expression.")
        return self.bounded(result, op, at)

    def bounded(self, result: Any, of: str, at: int) -> Any:
        """A result, neither an integer nor a fraction of endless digits."""
        if not isinstance(result, float) and abs(result) >= MAX_WHOLE:
            raise QasmError(f"{of} gives an integer of more than 63 bits", at, "Use float numbers.", "too_large")
        if isinstance(result, Fraction):
            self.work.add(FRACTION)
            return float(result) if result.denominator >= MAX_WHOLE else result
        return result

    def computed(self, op: str, a: Any, b: Any, at: int) -> Any:
        match op:
            case "+":
                return a + b
            case "-":
                return a - b
            case "*":
                return a * b
            case "/" if isinstance(a, float) or isinstance(b, float) or self.program.version == 2:
                return a / b
            case "/" if a % b == 0:
                return a // b
            case "/":
                # kept exact: it is rounded towards 0 only where an integer is needed, and 1/2 stays a half elsewhere
                return Fraction(a) / Fraction(b)
            case "%":
                return math.fmod(a, b) if isinstance(a, float) or isinstance(b, float) else a % b
            case "**":
                if isinstance(a, int) and isinstance(b, int) and 0 <= b <= 63 and abs(a) < 2**32:
                    return a**b
                return float(a) ** float(b)
            case "<":
                return a < b
            case ">":
                return a > b
            case "<=":
                return a <= b
            case ">=":
                return a >= b
        left, right = self.integer(a, at), self.integer(b, at)
        match op:
            case "&":
                return left & right
            case "|":
                return left | right
            case "^":
                return left ^ right
            case "<<" if 0 <= right < 64:
                return left << right
            case ">>" if right >= 0:
                return left >> right
        raise QasmError(f"the operator '{op}' does not fit here", at, "Mend the expression.")

    def integer(self, value: Any, at: int) -> int:
        if isinstance(value, float) and not value.is_integer():
            raise QasmError(f"expected an integer, got {shown(value)}", at, "Write an integer.")
        return int(value)

    def floating(self, number: Any, at: int) -> float:
        try:
            return float(number)
        except OverflowError:
            message = f"{shown(number)} is more than a number can be"
            raise QasmError(message, at, "Write a finite number.", "too_large") from None


def shown(number: Any) -> str:
    """A number in a message."""
    if not isinstance(number, float) and abs(number) >= 2**64:
        return f"an integer of {int(abs(number)).bit_length()} bits"
    return str(number)
