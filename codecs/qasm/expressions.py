"""OpenQASM's expressions, types and operands, from tokens to trees."""

from __future__ import annotations

import math

from qmosaic.codecs.qasm.syntax import (
    Binary,
    Call,
    Cast,
    Constant,
    Expr,
    Index,
    Name,
    QasmError,
    Range,
    SetOf,
    Type,
    Unary,
    quoted,
)
from qmosaic.codecs.qasm.tokens import SCALARS, UNSUPPORTED, Tokens
from qmosaic.codecs.qasm.work import Work

MAX_TERMS = 256
"""Operators in one expression."""
MAX_BITS = 4096
"""Bits of a literal, a bit string, or a type."""
MAX_DIGITS = 1300
"""Characters of a number: more than MAX_BITS need in decimal."""

_LEVELS = ("||", "&&", "|", "^", "&", "== !=", "< > <= >=", "<< >>", "+ - ++", "* / %")
"""Operators of two sides, the loosest first."""
_BINARY = {op: level for level, ops in enumerate(_LEVELS) for op in ops.split()}
_OPERATORS_2 = {"+", "-", "*", "/", "=="}
"""Besides the power, which is ^ there."""

_AFTER_NUMBER = {")", "]", ",", ";", ":"}
"""What ends an expression."""


class Expressions(Tokens):
    """`terms`: operators of the expression so far."""

    def __init__(self, source: str, work: Work) -> None:
        self.terms = 0
        super().__init__(source, work)

    def type(self) -> Type:
        at = self.at
        if self.text in UNSUPPORTED and self.text in self.words:
            raise self.unsupported(UNSUPPORTED[self.text], self.text)
        if self.text not in SCALARS | {"qubit", "qreg", "creg"}:
            raise self.unexpected("a type")
        kind = self.next()
        size = None
        if kind in SCALARS | {"qubit"} and self.took("["):
            size = self.expression()
            self.need("]")
        return Type(at, kind, size)

    def operands(self) -> tuple[Expr, ...]:
        found = [self.operand()]
        while self.took(","):
            found.append(self.operand())
        return tuple(found)

    def operand(self) -> Expr:
        if self.kind != "word" or self.text in self.words:
            self.identifier()
        return self.postfix()

    def expression(self) -> Expr:
        here = self.here
        if self.kinds[here] == "number" and self.texts[here + 1] in _AFTER_NUMBER:  # most of them are that
            self.here += 1
            return Constant(self.places[here], _number(self.texts[here], self.places[here]))
        self.nest(2)
        self.work.at = self.places[here]
        self.work.add(2)
        before, self.terms = self.terms, 0
        found = self.binary(0)
        self.terms = before
        self.depth -= 2
        return found

    def binary(self, level: int) -> Expr:
        left = self.unary()
        while True:
            op = self.text
            own = _BINARY.get(op, -1)
            if own < level or (self.version == 2 and op not in _OPERATORS_2):
                return left
            at = self.at
            self.here += 1
            self.terms += 1
            if self.terms > MAX_TERMS:
                raise QasmError(f"more than {MAX_TERMS} operators", at, "Split the expression.", "too_large")
            self.nest(1)
            left = Binary(at, op, left, self.binary(own + 1))
            self.depth -= 1

    def unary(self) -> Expr:
        at, op = self.at, self.text
        if op in ("-", "+", "!", "~"):
            self.here += 1
            self.nest(1)
            found = Unary(at, op, self.unary())
            self.depth -= 1
            return found
        base = self.postfix()
        power = "^" if self.version == 2 else "**"
        if self.sees(power):
            at = self.at
            self.here += 1
            self.nest(1)
            found_power = Binary(at, "**", base, self.unary())  # from the right
            self.depth -= 1
            return found_power
        return base

    def postfix(self) -> Expr:
        base = self.primary()
        before = self.depth
        while self.texts[self.here] == "[":
            self.nest(3)
            self.here += 1
            place = self.at
            index: Expr = SetOf(place, self.set()) if self.took("{") else self.range(place)
            if self.sees(","):
                raise self.unsupported("an index of several dimensions", ",")
            self.need("]")
            base = Index(base.at, base, index)
        self.depth = before
        return base

    def range(self, at: int) -> Expr:
        """An index, or `a:b`, or `a:step:b`, with any of them left out."""
        parts: list[Expr | None] = []
        while True:
            parts.append(None if self.sees(":") or self.sees("]") else self.expression())
            if len(parts) == 3 or not self.took(":"):
                break
        if len(parts) == 1:
            if parts[0] is None:
                raise self.unexpected("an index")
            return parts[0]
        return Range(at, parts[0], parts[1] if len(parts) == 3 else None, parts[-1])

    def set(self) -> tuple[Expr, ...]:
        return self.listed("}")

    def listed(self, end: str) -> tuple[Expr, ...]:
        found: list[Expr] = []
        while not self.took(end):
            if found:
                self.need(",")
            found.append(self.expression())
        return tuple(found)

    def primary(self) -> Expr:
        here = self.here
        kind, text, at = self.kinds[here], self.texts[here], self.places[here]
        if kind == "word":
            return self.word(text, at)
        if kind == "number":
            if self.kinds[here + 1] == "word" and self.places[here + 1] == at + len(text):
                raise self.unsupported("a number with a unit", text + self.texts[here + 1])
            self.here += 1
            return Constant(at, _number(text, at))
        if kind == "string" and self.version == 3:
            digits = self.next()[1:-1].replace("_", "")
            if not digits or digits.strip("01"):
                raise QasmError("expected a bit string of 0 and 1", at, 'Write it as "0101".')
            if len(digits) > MAX_BITS:
                raise QasmError(f"{len(digits)} bits, the limit is {MAX_BITS}", at, "Divide them.", "too_large")
            return Constant(at, digits)
        if self.took("("):
            inner = self.expression()
            self.need(")")
            return inner
        if self.version == 3 and self.took("{"):
            return SetOf(at, self.set())
        if kind == "physical":
            raise self.unsupported("a physical qubit", text)
        raise self.unexpected("an expression")

    def word(self, text: str, at: int) -> Expr:
        if self.version == 3 and text in self.words:
            if text in ("true", "false"):
                self.here += 1
                return Constant(at, text == "true")
            if text == "measure":
                raise QasmError(
                    "a measurement inside an expression is not supported",
                    at,
                    "Assign it to a bit first: bit b = measure q;",
                )
            if text in SCALARS:
                cast = self.type()
                self.need("(")
                self.nest(1)
                inner = self.expression()
                self.depth -= 1
                self.need(")")
                return Cast(at, cast, inner)
            if text in ("pow", "sizeof"):  # these are functions, too
                self.here += 1
                self.need("(")
                return self.called(text, at)
        name = self.identifier()
        if self.took("("):
            return self.called(name, at)
        return Name(at, name)

    def called(self, name: str, at: int) -> Call:
        self.nest(1)
        found = Call(at, name, self.listed(")"), self.depth)
        self.depth -= 1
        return found


def _number(text: str, at: int) -> int | float:
    if len(text) < 16 and text.isdecimal():
        return int(text)
    plain = text.replace("_", "")
    if len(plain) > MAX_DIGITS:
        raise QasmError(f"a number of {len(plain)} digits", at, "Write fewer digits.", "too_large")
    if plain[:2].lower() in ("0x", "0b", "0o"):
        if len(plain) == 2:
            raise QasmError(f"expected digits, got {quoted(text)}", at, "Mend the number.")
        value: int | float = int(plain, 0)
    else:
        value = int(plain) if plain.isdecimal() else float(plain)
    if value == math.inf:
        raise QasmError(f"{quoted(text)} is more than a number can be", at, "Write a finite number.")
    return value
