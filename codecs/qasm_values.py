"""What OpenQASM's names and expressions mean while a program is compiled: see `qasm`.

Classical values are numbers, truth values, bit strings (text, bit 0 on the right) and registers of bits (`Bits`). A bit
is known, or it is a classical bit of the circuit that a measurement wrote: who needs its value gets `Measured`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from qmosaic.codecs import qasm_syntax as syntax
from qmosaic.codecs.qasm_syntax import Expr, QasmError

MAX_WHOLE = 2**63
"""No classical integer gets as large."""

Condition = tuple[tuple[int, ...], int]
ZERO, ONE = -1, -2
"""A bit known while compiling; other values are numbers of classical bits of the circuit."""


@dataclass(eq=False)
class Bit:
    """One bit of a program. `now` is `ZERO`, `ONE` or a classical bit; a measurement into it goes to `home`."""

    home: int
    now: int = ZERO


@dataclass(frozen=True)
class Bits:
    """A register of bits, or a part of one, which shares its bits."""

    bits: tuple[Bit, ...]
    output: bool = False
    const: bool = False

    @classmethod
    def known(cls, digits: str) -> Bits:
        """Of a bit string, bit 0 on the right."""
        return cls(tuple(Bit(ZERO, ONE if digit == "1" else ZERO) for digit in reversed(digits)))


@dataclass(frozen=True)
class Qubits:
    indices: tuple[int, ...]


@dataclass(eq=False)
class Variable:
    kind: str
    width: int | None
    value: Any
    const: bool


class Measured(Exception):  # noqa: N818  (it is a question, no error)
    """The value hangs on a classical bit."""

    def __init__(self, bit: int) -> None:
        self.bit = bit


class UndefinedError(QasmError):
    """Arithmetic without a result, such as 1/0."""


_FUNCTIONS: dict[str, tuple[int, Callable[..., Any]]] = {
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
_CONSTANTS = {
    "pi": math.pi,
    "π": math.pi,
    "tau": math.tau,
    "τ": math.tau,
    "euler": math.e,
    "ℇ": math.e,
}


@dataclass
class Values(ABC):
    """The names of a program being compiled, and the values of expressions.

    `asked`: values that measured bits are supposed to have, while a condition is taken apart.
    """

    program: syntax.Program
    scopes: list[dict[str, Any]] = field(default_factory=lambda: [{}])
    defs: dict[str, syntax.Def] = field(default_factory=dict)
    calls: int = 0
    conditions: tuple[Condition, ...] = ()
    guarded: int = 0  # scopes that a branch on a measurement must not change
    asked: dict[int, int] | None = None

    @abstractmethod
    def call(self, call: syntax.Call) -> Any:
        """The value of a subroutine."""

    def look(self, name: syntax.Name, *, write: bool = False) -> Any:
        for depth in range(len(self.scopes) - 1, -1, -1):
            found = self.scopes[depth].get(name.name)
            if found is None:
                continue
            if self.calls and depth == 0 and not (isinstance(found, Variable | Bits) and not write):
                break  # gates and subroutines see no global qubits, and change nothing global
            if write and isinstance(found, Variable | Bits):
                if found.const:
                    raise QasmError(f"'{name.name}' is constant", name.at, "Declare it without const.")
                if isinstance(found, Variable) and self.conditions and depth < self.guarded:
                    raise QasmError(
                        f"'{name.name}' is changed where a measured bit decides",
                        name.at,
                        "Only gates, resets and measurements may be there.",
                    )
            return found
        raise QasmError(f"'{name.name}' is not declared", name.at, "Declare it before its use, or mend its name.")

    def places(self, target: Expr, size: int) -> list[int]:
        """Which elements of a register of `size` an operand names."""
        if not isinstance(target, syntax.Index):
            return list(range(size))
        index = target.index
        if isinstance(index, syntax.Range):
            start = 0 if index.start is None else self.place(index.start, size)
            stop = size - 1 if index.stop is None else self.place(index.stop, size)
            step = 1 if index.step is None else self.whole(index.step)
            if step == 0:
                raise QasmError("a range with step 0", index.at, "Choose another step.")
            return list(range(start, stop + (1 if step > 0 else -1), step))
        if isinstance(index, syntax.SetOf):
            return [self.place(item, size) for item in index.items]
        return [self.place(index, size)]

    def place(self, index: Expr, size: int) -> int:
        place = self.whole(index)
        if not -size <= place < size or (place < 0 and self.program.version == 2):
            raise QasmError(f"index {place} is out of range 0..{size - 1}", index.at, "Indices start at 0.")
        return place % size

    def qubits_of(self, operand: Expr) -> tuple[int, ...]:
        if isinstance(operand, syntax.Binary) and operand.op == "++":
            both = self.qubits_of(operand.left) + self.qubits_of(operand.right)
            if len(set(both)) < len(both):
                raise QasmError("a qubit is in it twice", operand.at, "Leave it out once.")
            return both
        if isinstance(operand, syntax.Index):
            whole = self.qubits_of(operand.base)
            chosen = tuple(whole[k] for k in self.places(operand, len(whole)))
            if len(set(chosen)) < len(chosen):
                raise QasmError("a qubit is in it twice", operand.at, "Leave it out once.")
            return chosen
        if isinstance(operand, syntax.Name):
            found = self.look(operand)
            if isinstance(found, Qubits):
                return found.indices
            raise QasmError(f"'{operand.name}' is not a qubit", operand.at, "Name a qubit or a register of qubits.")
        raise QasmError("expected a qubit", operand.at, "Name a qubit or a register of qubits.")

    def bits_of(self, operand: Expr, *, write: bool = False) -> Bits:
        """A register of bits, or a part of one that shares nothing but the numbers of its bits."""
        root = operand.base if isinstance(operand, syntax.Index) else operand
        found = self.look(root, write=write) if isinstance(root, syntax.Name) else None
        if not isinstance(found, Bits):
            name = f"'{root.name}' is not a bit" if isinstance(root, syntax.Name) else "expected a bit"
            raise QasmError(name, operand.at, "Name a bit or a register of bits.")
        if not isinstance(operand, syntax.Index):
            return found
        return Bits(tuple(found.bits[k] for k in self.places(operand, len(found.bits))))

    def value(self, expression: Expr) -> Any:
        """A number, a truth value, a bit string or `Bits`. Raises Measured where a measured bit is needed."""
        match expression:
            case syntax.Constant(value=value):
                return value
            case syntax.Name(name=name):
                if name in _CONSTANTS and not any(name in scope for scope in self.scopes):
                    return _CONSTANTS[name]
                found = self.look(expression)
                if isinstance(found, Qubits):
                    raise QasmError(f"'{name}' is a qubit, not a value", expression.at, "Measure it first.")
                return found.value if isinstance(found, Variable) else found
            case syntax.Unary(op=op, of=of):
                inner = self.value(of)
                if op == "!":
                    return not self.truth(inner, of.at)
                if op == "~" and isinstance(inner, Bits | str):
                    bits = Bits.known(inner) if isinstance(inner, str) else inner
                    return "".join("10"[self.bit(each)] for each in reversed(bits.bits))
                plain = self.plain(inner)
                return ~self.integer(plain, of.at) if op == "~" else -plain if op == "-" else +plain
            case syntax.Binary():
                return self.binary(expression)
            case syntax.Call():
                return self.function(expression)
            case syntax.Cast(type=declared, of=of):
                size = None if declared.size is None else self.whole(declared.size)
                inner = self.value(of)
                if declared.kind == "bit":
                    number = self.integer(self.plain(inner), of.at)
                    return "".join(str(number >> k & 1) for k in reversed(range(size or 1)))
                return self.converted(declared.kind, size, inner, of.at)
            case syntax.Index(base=base):
                whole = self.value(base)
                if isinstance(whole, str):
                    whole = Bits.known(whole)
                if isinstance(whole, int) and not isinstance(whole, bool):
                    return whole >> self.place(expression.index, 64) & 1
                if not isinstance(whole, Bits):
                    raise QasmError("only bits have elements", expression.at, "Index a register of bits.")
                return Bits(tuple(whole.bits[k] for k in self.places(expression, len(whole.bits))))
        raise QasmError("this is no value", expression.at, "Write a number or bits.")

    def binary(self, expression: syntax.Binary) -> Any:
        op, at = expression.op, expression.at
        if op in ("&&", "||"):
            left = self.truth(self.value(expression.left), expression.left.at)
            if left == (op == "||"):
                return left
            return self.truth(self.value(expression.right), expression.right.at)
        left, right = self.value(expression.left), self.value(expression.right)
        if op in ("==", "!="):
            return self.equal(left, right) == (op == "==")
        return self.arithmetic(op, self.plain(left), self.plain(right), at)

    def equal(self, left: Any, right: Any) -> bool:
        """Bit by bit, so that the first difference decides and no more bits are asked for."""
        if isinstance(right, Bits):
            left, right = right, left
        if not isinstance(left, Bits):
            return bool(self.plain(left) == self.plain(right))
        if isinstance(right, str):
            right = Bits.known(right)
        if isinstance(right, Bits) and len(left.bits) == len(right.bits):
            return all(self.bit(a) == self.bit(b) for a, b in zip(left.bits, right.bits, strict=True))
        number = self.plain(right)
        if number != int(number) or not 0 <= number < 1 << len(left.bits):
            return False
        return all(self.bit(each) == int(number) >> k & 1 for k, each in enumerate(left.bits))

    def bit(self, bit: Bit) -> int:
        if bit.now < 0:
            return int(bit.now == ONE)
        if self.asked is not None and bit.now in self.asked:
            return self.asked[bit.now]
        raise Measured(bit.now)

    def plain(self, value: Any) -> Any:
        """As a number; bits are a number with bit 0 the least significant."""
        if isinstance(value, Bits):
            return sum(self.bit(each) << k for k, each in enumerate(value.bits))
        if isinstance(value, str):
            return int(value, 2)
        return int(value) if isinstance(value, bool) else value

    def truth(self, value: Any, at: int) -> bool:
        if value is None:
            raise QasmError("this has no value", at, "Return one.")
        return bool(self.plain(value))

    def function(self, call: syntax.Call) -> Any:
        if call.name in self.defs:
            if self.asked is not None:
                raise QasmError("a subroutine in a condition is not supported", call.at, "Assign its value first.")
            return self.call(call)
        if call.name == "sizeof" and len(call.arguments) == 1:
            found = self.look(call.arguments[0]) if isinstance(call.arguments[0], syntax.Name) else None
            if isinstance(found, Bits | Qubits):
                return len(found.bits if isinstance(found, Bits) else found.indices)
        arguments = [self.plain(self.value(argument)) for argument in call.arguments]
        if call.name == "pow" and len(arguments) == 2:
            return self.arithmetic("**", arguments[0], arguments[1], call.at)
        if call.name not in _FUNCTIONS:
            message = f"the function '{call.name}' is not known"
            raise QasmError(message, call.at, f"Known are {', '.join(sorted(_FUNCTIONS))}, pow.")
        count, function = _FUNCTIONS[call.name]
        if len(arguments) != count:
            raise QasmError(f"'{call.name}' takes {count} arguments, got {len(arguments)}", call.at, "Mend the call.")
        try:
            return function(*arguments)
        except (ArithmeticError, ValueError):
            message = f"{call.name}({', '.join(str(float(each)) for each in arguments)}) has no value"
            raise UndefinedError(message, call.at, "Mend the expression.") from None

    def arithmetic(self, op: str, a: Any, b: Any, at: int) -> Any:
        if a is None or b is None:
            raise QasmError("this has no value", at, "Return one.")
        try:
            result = self.computed(op, a, b, at)
        except (ArithmeticError, ValueError):
            raise UndefinedError(f"{float(a)} {op} {float(b)} has no value", at, "Mend the expression.") from None
        if isinstance(result, complex) or (isinstance(result, float) and not math.isfinite(result)):
            raise UndefinedError(f"{float(a)} {op} {float(b)} is no finite number", at, "Mend the expression.")
        if not isinstance(result, float) and abs(result) >= MAX_WHOLE:
            raise QasmError(f"{op} gives an integer of more than 63 bits", at, "Use float numbers.", "too_large")
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
            raise QasmError(f"expected an integer, got {value}", at, "Write an integer.")
        return int(value)

    def number(self, expression: Expr) -> Any:
        """A number known while compiling."""
        try:
            value = self.plain(self.value(expression))
        except Measured:
            raise QasmError(
                "a measured bit cannot be a number here", expression.at, "Use if on the bit, and constants in it."
            ) from None
        if value is None:
            raise QasmError("this has no value", expression.at, "Return one.")
        return value

    def whole(self, expression: Expr) -> int:
        return self.integer(self.number(expression), expression.at)

    def angle(self, expression: Expr) -> float:
        try:
            value = float(self.number(expression))
        except OverflowError:
            value = math.inf
        if not math.isfinite(value):
            raise QasmError("a parameter is not finite", expression.at, "Write a finite number.")
        return value

    def converted(self, kind: str, width: int | None, value: Any, at: int) -> Any:
        """As a variable of a type holds it."""
        try:
            number = self.plain(value)
        except Measured:
            if self.asked is not None:
                raise
            raise QasmError("arithmetic with measured bits is not supported", at, "Use if on the bits.") from None
        if number is None:
            raise QasmError("this has no value", at, "Return one.")
        if kind in ("float", "angle"):
            return float(number)
        if kind == "bool":
            return bool(number)
        whole = int(number)
        if width is not None and 1 <= width <= 64:
            whole %= 1 << width
            if kind == "int" and whole >> (width - 1):
                whole -= 1 << width
        return whole
