"""What OpenQASM's expressions mean while a program is compiled: see `qasm`.

Classical values are numbers, truth values, bit strings (text, bit 0 on the right) and registers of bits (`Bits`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from qmosaic.codecs.errors import RejectCode
from qmosaic.codecs.qasm import syntax
from qmosaic.codecs.qasm.arithmetic import CONSTANTS, FUNCTIONS, Arithmetic, UndefinedError, shown
from qmosaic.codecs.qasm.expressions import MAX_BITS
from qmosaic.codecs.qasm.names import ONE, Bit, Bits, Condition, Measured, Qubits, Variable
from qmosaic.codecs.qasm.syntax import Expr, QasmError, quoted

MAX_ANGLE = 1e300
"""No angle is as large, so that sums of a few are finite."""
OPERATOR, CALL = 3, 8
"""Units of work: of an operator, of a function or cast."""


@dataclass
class Values(Arithmetic, ABC):
    """The names of a program being compiled, and the values of expressions.

    `asked`: values that measured bits are supposed to have, while a condition is taken apart.
    """

    scopes: list[dict[str, Any]] = field(default_factory=lambda: [{}])
    defs: dict[str, syntax.Def] = field(default_factory=dict)
    calls: int = 0
    conditions: tuple[Condition, ...] = ()
    guarded: int = 0  # scopes that a branch on a measurement must not change
    asked: Condition | None = None

    @abstractmethod
    def call(self, call: syntax.Call) -> Any:
        """The value of a subroutine."""

    def look(self, name: syntax.Name, *, write: bool = False) -> Any:
        self.work.add(len(self.scopes) >> 2)
        for depth in range(len(self.scopes) - 1, -1, -1):
            found = self.scopes[depth].get(name.name)
            if found is None:
                continue
            if self.calls and depth == 0 and not (isinstance(found, Variable | Bits) and not write):
                break  # gates and subroutines see no global qubits, and change nothing global
            if write and isinstance(found, Variable | Bits):
                if found.const:
                    raise QasmError(f"{quoted(name.name)} is constant", name.at, "Declare it without const.")
                if isinstance(found, Variable) and self.conditions and depth < self.guarded:
                    raise QasmError(
                        f"{quoted(name.name)} is changed where a measured bit decides",
                        name.at,
                        "Only gates, resets and measurements may be there.",
                    )
            return found
        raise QasmError(f"{quoted(name.name)} is not declared", name.at, "Declare it before its use, or mend its name.")

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
            chosen = range(start, stop + (1 if step > 0 else -1), step)
            self.work.add(len(chosen))
            return list(chosen)
        if isinstance(index, syntax.SetOf):
            if len(index.items) > MAX_BITS:
                raise QasmError(f"{len(index.items)} indices", index.at, f"At most {MAX_BITS}.", "too_large")
            self.work.add(len(index.items))
            return [self.place(item, size) for item in index.items]
        return [self.place(index, size)]

    def place(self, index: Expr, size: int) -> int:
        place = self.whole(index)
        if not -size <= place < size or (place < 0 and self.program.version == 2):
            raise QasmError(f"index {shown(place)} is out of range 0..{size - 1}", index.at, "Indices start at 0.")
        return place % size

    def qubits_of(self, operand: Expr) -> tuple[int, ...]:
        if isinstance(operand, syntax.Binary) and operand.op == "++":
            parts: list[tuple[int, ...]] = []
            left: Expr = operand
            while isinstance(left, syntax.Binary) and left.op == "++":
                self.work.add(OPERATOR)
                parts.append(self.qubits_of(left.right))
                left = left.left
            all_of_them = [*self.qubits_of(left), *chain.from_iterable(reversed(parts))]
            self.work.add(len(all_of_them))
            if len(set(all_of_them)) < len(all_of_them):
                raise QasmError("a qubit is in it twice", operand.at, "Leave it out once.")
            return tuple(all_of_them)
        if isinstance(operand, syntax.Index):
            self.work.add(1)
            whole = self.qubits_of(operand.base)
            if isinstance(operand.index, syntax.Constant):  # most of them are that
                return (whole[self.place(operand.index, len(whole))],)
            chosen = tuple(whole[k] for k in self.places(operand, len(whole)))
            if len(set(chosen)) < len(chosen):
                raise QasmError("a qubit is in it twice", operand.at, "Leave it out once.")
            return chosen
        if isinstance(operand, syntax.Name):
            found = self.look(operand)
            if isinstance(found, Qubits):
                return found.indices
            raise QasmError(
                f"{quoted(operand.name)} is not a qubit", operand.at, "Name a qubit or a register of qubits."
            )
        raise QasmError("expected a qubit", operand.at, "Name a qubit or a register of qubits.")

    def bits_of(self, operand: Expr, *, write: bool = False) -> Bits:
        """A register of bits, or a part of one that shares nothing but the numbers of its bits."""
        root = operand.base if isinstance(operand, syntax.Index) else operand
        found = self.look(root, write=write) if isinstance(root, syntax.Name) else None
        if not isinstance(found, Bits):
            name = f"{quoted(root.name)} is not a bit" if isinstance(root, syntax.Name) else "expected a bit"
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
                if name in CONSTANTS:
                    self.work.add(len(self.scopes) >> 1)
                if name in CONSTANTS and not any(name in scope for scope in self.scopes):
                    return CONSTANTS[name]
                found = self.look(expression)
                if isinstance(found, Qubits):
                    raise QasmError(f"{quoted(name)} is a qubit, not a value", expression.at, "Measure it first.")
                return found.value if isinstance(found, Variable) else found
            case syntax.Unary(op=op, of=of):
                self.work.add(OPERATOR)
                inner = self.value(of)
                if op == "!":
                    return not self.truth(inner)
                if op == "~" and isinstance(inner, Bits | str):
                    bits = self.known(inner) if isinstance(inner, str) else inner
                    self.work.add(len(bits.bits))
                    return "".join("10"[self.bit(each)] for each in reversed(bits.bits))
                plain = self.plain(inner)
                return ~self.integer(plain, of.at) if op == "~" else -plain if op == "-" else +plain
            case syntax.Binary():
                return self.binary(expression)
            case syntax.Call():
                return self.function(expression)
            case syntax.Cast(type=declared, of=of):
                self.work.add(CALL)
                size = self.width(declared)
                inner = self.value(of)
                if declared.kind == "bit":
                    number = self.integer(self.plain(inner), of.at)
                    self.work.add(size or 1)
                    return "".join(str(number >> k & 1) for k in reversed(range(size or 1)))
                return self.converted(declared.kind, size, inner, of.at)
            case syntax.Index(base=base):
                self.work.add(OPERATOR)
                whole = self.value(base)
                if isinstance(whole, str):
                    whole = self.known(whole)
                if isinstance(whole, int) and not isinstance(whole, bool):
                    return whole >> self.place(expression.index, 64) & 1
                if not isinstance(whole, Bits):
                    raise QasmError("only bits have elements", expression.at, "Index a register of bits.")
                return Bits(tuple(whole.bits[k] for k in self.places(expression, len(whole.bits))))
        raise QasmError("this is no value", expression.at, "Write a number or bits.")

    def binary(self, expression: syntax.Binary) -> Any:
        """From the left; sums may be long, and need not be deep."""
        steps = [expression]
        while isinstance(left := steps[-1].left, syntax.Binary):
            steps.append(left)
        value = self.value(left)
        for step in reversed(steps):
            value = self.combined(value, step)
        return value

    def combined(self, left: Any, of: syntax.Binary) -> Any:
        """An operator, given the value of its left side."""
        self.work.add(OPERATOR)
        op = of.op
        if op in ("&&", "||"):
            known = self.truth(left)
            return known if known == (op == "||") else self.truth(self.value(of.right))
        right = self.value(of.right)
        if op in ("==", "!="):
            return self.equal(left, right) == (op == "==")
        return self.arithmetic(op, self.plain(left), self.plain(right), of.at)

    def equal(self, left: Any, right: Any) -> bool:
        """Bit by bit, so that the first difference decides and no more bits are asked for."""
        if isinstance(right, Bits):
            left, right = right, left
        if not isinstance(left, Bits):
            return bool(self.plain(left) == self.plain(right))
        self.work.add(len(left.bits))
        if isinstance(right, str):
            right = self.known(right)
        if isinstance(right, Bits) and len(left.bits) == len(right.bits):
            return all(self.bit(a) == self.bit(b) for a, b in zip(left.bits, right.bits, strict=True))
        number = self.plain(right)
        if number != int(number) or not 0 <= number < 1 << len(left.bits):
            return False
        digits = f"{int(number):b}".zfill(len(left.bits))[::-1]
        return all(self.bit(each) == int(digit) for each, digit in zip(left.bits, digits, strict=True))

    def known(self, digits: str) -> Bits:
        """The register that a bit string is."""
        self.work.add(len(digits))
        return Bits.known(digits)

    def bit(self, bit: Bit) -> int:
        if bit.now < 0:
            return int(bit.now == ONE)
        if self.asked is not None and bit.now in self.asked:
            return self.asked[bit.now]
        raise Measured(bit.now)

    def plain(self, value: Any) -> Any:
        """As a number; bits are a number with bit 0 the least significant."""
        if isinstance(value, Bits):
            self.work.add(len(value.bits))
            return int("".join([str(self.bit(each)) for each in value.bits])[::-1], 2)
        if isinstance(value, str):
            return int(value, 2)
        return int(value) if isinstance(value, bool) else value

    def truth(self, value: Any) -> bool:
        if isinstance(value, Bits):
            self.work.add(len(value.bits))
            return any(self.bit(each) for each in value.bits)  # the first 1 decides
        return bool(self.plain(value))

    def function(self, call: syntax.Call) -> Any:
        if call.name in self.defs:
            if self.asked is not None:
                raise QasmError("a subroutine in a condition is not supported", call.at, "Assign its value first.")
            result = self.call(call)
            if result is None:
                raise QasmError("this has no value", call.at, "Return one.")
            return result
        self.work.add(CALL + len(call.arguments))
        if call.name == "sizeof" and len(call.arguments) == 1:
            found = self.look(call.arguments[0]) if isinstance(call.arguments[0], syntax.Name) else None
            if isinstance(found, Bits | Qubits):
                return len(found.bits if isinstance(found, Bits) else found.indices)
        arguments = [self.plain(self.value(argument)) for argument in call.arguments]
        if call.name == "pow" and len(arguments) == 2:
            return self.arithmetic("**", arguments[0], arguments[1], call.at)
        if call.name not in FUNCTIONS:
            message = f"the function {quoted(call.name)} is not known"
            raise QasmError(message, call.at, f"Known are {', '.join(sorted(FUNCTIONS))}, pow.")
        count, function = FUNCTIONS[call.name]
        if len(arguments) != count:
            raise QasmError(
                f"{quoted(call.name)} takes {count} arguments, got {len(arguments)}", call.at, "Mend the call."
            )
        try:
            result = function(*arguments)
        except (ArithmeticError, ValueError):
            message = f"{call.name}({', '.join(map(shown, arguments))}) has no value"
            raise UndefinedError(message, call.at, "Mend the expression.") from None
        return self.bounded(result, call.name, call.at)

    def number(self, expression: Expr) -> Any:
        """A number known while compiling."""
        try:
            return self.plain(self.value(expression))
        except Measured:
            raise QasmError(
                "a measured bit cannot be a number here", expression.at, "Use if on the bit, and constants in it."
            ) from None

    def whole(self, expression: Expr) -> int:
        if isinstance(expression, syntax.Constant) and type(expression.value) is int:
            return expression.value
        return self.integer(self.number(expression), expression.at)

    def width(self, declared: syntax.Type) -> int | None:
        """Bits of a type, if it says how many."""
        if declared.size is None:
            return None
        width = self.whole(declared.size)
        if not 1 <= width <= MAX_BITS:
            code: RejectCode = "invalid_problem" if width < 1 else "too_large"
            raise QasmError(f"a type of {shown(width)} bits", declared.size.at, f"From 1 to {MAX_BITS}.", code)
        return width

    def real(self, expression: Expr) -> float:
        return self.floating(self.number(expression), expression.at)

    def angle(self, expression: Expr) -> float:
        value = self.real(expression)
        if not abs(value) < MAX_ANGLE:
            raise QasmError(f"a parameter of {shown(value)}", expression.at, "Write an angle in radians.")
        return value

    def converted(self, kind: str, width: int | None, value: Any, at: int) -> Any:
        """As a variable of a type holds it."""
        try:
            number = self.plain(value)
        except Measured:
            if self.asked is not None:
                raise
            raise QasmError("arithmetic with measured bits is not supported", at, "Use if on the bits.") from None
        if kind in ("float", "angle"):
            return self.floating(number, at)
        if kind == "bool":
            return bool(number)
        whole = int(number)
        if width is not None:
            whole %= 1 << width
            if kind == "int" and whole >> (width - 1):
                whole -= 1 << width
        return whole
