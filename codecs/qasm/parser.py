"""OpenQASM 2 and 3 as text: tokens, a tree of statements, and where in the text something is wrong.

A recursive-descent parser of the circuit part of the language (no pulses, timing, arrays, switch): about fifteen
times as fast as the reference parser, which both encode and verify would have to run on every event; the tests hold
the two together. Grammars: Cross et al., arXiv:1707.03429 (2), and <https://openqasm.com/versions/3.0> (3).

One file: a parser by recursive descent, a method for a rule of the grammar.
"""

from __future__ import annotations

import math
import re
from itertools import islice
from typing import Literal

from qmosaic.codecs.qasm.syntax import (
    Alias,
    Apply,
    Assign,
    Barrier,
    Binary,
    Block,
    Call,
    Cast,
    Constant,
    Declare,
    Def,
    Evaluate,
    Expr,
    For,
    GateDef,
    If,
    Include,
    Index,
    Jump,
    Measure,
    Modifier,
    Name,
    Program,
    QasmError,
    Range,
    Reset,
    SetOf,
    Statement,
    Type,
    Unary,
    While,
    quoted,
)

MAX_SOURCE = 2 * 2**20
"""Characters of source."""
MAX_NESTING = 128
"""Levels that a program may be deep, so that Python's own stack, of 1000 calls, is never the limit. Blocks and
parentheses count 2, indices and functions 3, what stands right of an operator 1."""
MAX_TERMS = 256
"""Operators in one expression."""
MAX_NAME = 256
"""Characters of a name."""
MAX_BITS = 4096
"""Bits of a literal, a bit string, or a type."""
MAX_DIGITS = 1300
"""Characters of a number: more than MAX_BITS need in decimal."""
MAX_WORK = 1_750_000
"""What reading one program may take, in units of about a microsecond: see `Work`."""


class Work:
    """One count for all that reading a program takes: tokens, nesting, statements, operators, what a step touches of
    qubits, of bits and of conditions. `at`: the statement that is at it."""

    def __init__(self, most: int) -> None:
        self.most, self.done, self.at = most, 0, 0

    def add(self, amount: int) -> None:
        """Raises QasmError where it gets too much."""
        self.done += amount
        if self.done > self.most:
            raise QasmError(
                f"reading the program takes more than {self.most} steps", self.at, "Send a smaller one.", "too_large"
            )


_TOKEN = re.compile(
    r"""\s*+(?:
    (?P<word>[^\W\d]\w*+)
    |(?P<comment>//[^\n]*+|/\*.*?\*/)
    |(?P<open>/\*)
    |(?P<number>0[xX][0-9a-fA-F_]++|0[bB][01_]++|0[oO][0-7_]++
        |(?:[0-9][0-9_]*+\.?[0-9_]*+|\.[0-9][0-9_]*+)(?:[eE][+-]?[0-9]++)?)
    |(?P<symbol>->|\*\*=|<<=|>>=|[=!<>]=|&&|\|\||<<|>>|\*\*|\+\+|[-+*/%^|&]=|[-+*/%^|&~!<>=()\[\]{};:,@\#.])
    |(?P<string>"[^"\n]*+"|'[^'\n]*+')
    |(?P<physical>\$[0-9]++)
    |(?P<end>\Z)
    |(?P<wrong>.)
    )""",
    re.VERBOSE | re.DOTALL,
)
"""Each alternative takes what it can and gives nothing back: linear in the source."""
_NO_TOKENS = {"comment", "open", "wrong"}
_REMARK = re.compile(r"^[ \t]*(?:#?pragma\b|@[^\W\d])[^\n]*", re.MULTILINE)
"""Pragmas and annotations, which an implementation may ignore: blanked out, so that places stay."""

_LEVELS = ("||", "&&", "|", "^", "&", "== !=", "< > <= >=", "<< >>", "+ - ++", "* / %")
"""Operators of two sides, the loosest first."""
_BINARY = {op: level for level, ops in enumerate(_LEVELS) for op in ops.split()}
_OPERATORS_2 = {"+", "-", "*", "/", "=="}
"""Besides the power, which is ^ there."""
_ASSIGN = {"=", "+=", "-=", "*=", "/=", "%=", "**=", "^=", "|=", "&=", "<<=", ">>="}
_SCALARS = {"bit", "int", "uint", "float", "angle", "bool"}
_UNSUPPORTED = {
    "input": "an input of the program",
    "extern": "an extern function",
    "defcal": "a pulse calibration",
    "cal": "a pulse calibration",
    "defcalgrammar": "a pulse calibration",
    "delay": "a delay",
    "box": "a timing box",
    "stretch": "a timing type",
    "duration": "a timing type",
    "array": "an array",
    "complex": "a complex number",
    "switch": "a switch",
    "opaque": "an opaque gate",
    "readonly": "an array",
    "mutable": "an array",
}
_WORDS_2 = {"OPENQASM", "include", "qreg", "creg", "gate", "opaque", "if", "measure", "reset", "barrier"}
_WORDS_3 = (
    _SCALARS
    | (_UNSUPPORTED.keys() - {"opaque"})
    | {"OPENQASM", "include", "qreg", "creg", "qubit", "gate", "def", "if", "else", "for", "while", "in", "let"}
    | {"measure", "reset", "barrier", "const", "output", "return", "break", "continue", "end", "true", "false"}
    | {"ctrl", "negctrl", "inv", "pow", "gphase", "durationof", "sizeof"}
)
_SUPPORTED = "See docs/formats.md for the part of OpenQASM that is read."

_AFTER_NUMBER = {")", "]", ",", ";", ":"}
"""What ends an expression."""


def parse(source: str, work: Work | None = None) -> Program:
    """The statements of a program. Raises QasmError."""
    if len(source) > MAX_SOURCE:
        raise QasmError(
            f"{len(source)} characters of source, the limit is {MAX_SOURCE}",
            0,
            "Send a smaller circuit.",
            "too_large",
        )
    return _Parser(source, work or Work(MAX_WORK)).program()


class _Parser:
    def __init__(self, source: str, work: Work) -> None:
        self.kinds: list[str] = []
        self.texts: list[str] = []
        self.places: list[int] = []
        self.here, self.depth, self.terms, self.work = 0, 0, 0, work
        self.version: Literal[2, 3] = 3
        self.words = _WORDS_3
        self.read(source)

    # tokens

    def read(self, source: str) -> None:
        """The source to tokens, comments left out."""
        work = self.work
        text = _REMARK.sub(lambda match: " " * len(match[0]), source)
        kinds, texts, places = self.kinds, self.texts, self.places
        for match in islice(_TOKEN.finditer(text), work.most):  # the last one may be over it
            work.done += 1
            kind, group = match.lastgroup or "", match.lastindex or 0
            if kind in _NO_TOKENS:
                if kind == "comment":
                    continue
                what = f"unexpected character {match[group]!r}" if kind == "wrong" else "a comment that does not end"
                raise QasmError(what, match.start(group), "Check the text here; comments are // or /* */.")
            kinds.append(kind)
            texts.append(match[group])
            places.append(match.start(group))
            if kind == "end":
                break
        else:
            work.at = places[-1] if places else 0
        work.add(1)
        texts[-1], places[-1] = "the end of the source", max(0, len(source.rstrip()) - 1)

    @property
    def kind(self) -> str:
        return self.kinds[self.here]

    @property
    def text(self) -> str:
        return self.texts[self.here]

    @property
    def at(self) -> int:
        return self.places[self.here]

    def next(self) -> str:
        text = self.texts[self.here]
        self.here += 1
        return text

    def sees(self, symbol: str) -> bool:
        return self.texts[self.here] == symbol

    def took(self, symbol: str) -> bool:
        if self.texts[self.here] == symbol:
            self.here += 1
            return True
        return False

    def need(self, symbol: str) -> None:
        if not self.took(symbol):
            raise self.unexpected(f"'{symbol}'")

    def unexpected(self, expected: str) -> QasmError:
        got = self.text if self.kind == "end" else quoted(self.text)
        return QasmError(f"expected {expected}, got {got}", self.at, "Mend the syntax here.")

    def identifier(self) -> str:
        if self.kind == "physical":
            raise self.unsupported("a physical qubit", self.text)
        text = self.texts[self.here]
        if self.kinds[self.here] != "word" or text in self.words:
            raise self.unexpected("a name")
        if len(text) > MAX_NAME:
            raise QasmError(
                f"a name of {len(text)} characters, the limit is {MAX_NAME}", self.at, "Shorten it.", "too_large"
            )
        self.here += 1
        return text

    def unsupported(self, what: str, text: str) -> QasmError:
        return QasmError(
            f"{what} ({quoted(text)}) is not supported", self.at, f"Write the circuit without it. {_SUPPORTED}"
        )

    def nest(self, levels: int) -> None:
        self.depth += levels
        if self.depth > MAX_NESTING:
            raise QasmError("nested too deep", self.at, "Write it flatter.", "too_large")

    # statements

    def program(self) -> Program:
        if self.took("OPENQASM"):
            at, number = self.at, self.next()
            if number.partition(".")[0] not in ("2", "3"):
                raise QasmError(f"OpenQASM version {number[:40]} is not known", at, "Versions 2 and 3 are read.")
            self.need(";")
            if number.startswith("2"):
                self.version, self.words = 2, _WORDS_2
        statements = []
        while self.kind != "end":
            statements.append(self.statement())
        return Program(self.version, tuple(statements))

    def statement(self) -> Statement:
        kind, text, at = self.kind, self.text, self.at
        if kind == "word" and text in self.words:
            if text in _UNSUPPORTED:
                raise self.unsupported(_UNSUPPORTED[text], text)
            if text in _SCALARS:
                return self.declaration(at)
            handler = getattr(self, f"_{text}", None)
            if handler is not None:
                self.here += 1
                statement: Statement = handler(at)
                return statement
            if text in ("ctrl", "negctrl", "inv", "pow", "gphase"):
                return self.application(at)
        elif kind == "word":
            return self.simple(at)
        elif self.version == 3 and self.took("{"):
            return Block(at, self.rest_of_block())
        elif kind == "physical":
            raise self.unsupported("a physical qubit", text)
        if (self.version == 3 and kind in ("word", "number", "string")) or self.sees("("):
            expression = self.expression()
            self.need(";")
            return Evaluate(at, expression)
        raise self.unexpected("a statement")

    def simple(self, at: int) -> Statement:
        """A gate, an assignment or a call: all begin with a name."""
        start = self.here
        name = self.identifier()
        arguments: tuple[Expr, ...] = ()
        if called := self.took("("):
            arguments = self.listed(")")
        if self.kind in ("word", "physical"):
            operands = self.operands()
            self.need(";")
            return Apply(at, name, arguments, operands, self.depth)
        if self.version == 2:
            raise self.unexpected("qubits")
        if called:
            self.here = start
            expression = self.expression()
            self.need(";")
            return Evaluate(at, expression)
        self.here = start
        target = self.postfix()
        if self.kind == "symbol" and self.text in _ASSIGN:
            op = self.next()
            value = self.value()
            self.need(";")
            return Assign(at, target, op, value)
        raise self.unexpected("'=' or qubits")

    def application(self, at: int) -> Statement:
        modifiers = []
        while self.text in ("ctrl", "negctrl", "inv", "pow") and self.kind == "word":
            place, kind = self.at, self.next()
            value = None
            if self.took("("):
                value = self.expression()
                self.need(")")
            self.need("@")
            modifiers.append(Modifier(place, kind, value))
        name = self.next() if self.sees("gphase") else self.identifier()
        arguments = self.listed(")") if self.took("(") else ()
        operands = () if self.sees(";") else self.operands()
        self.need(";")
        return Apply(at, name, arguments, operands, self.depth, tuple(modifiers))

    def operands(self) -> tuple[Expr, ...]:
        found = [self.operand()]
        while self.took(","):
            found.append(self.operand())
        return tuple(found)

    def operand(self) -> Expr:
        if self.kind != "word" or self.text in self.words:
            self.identifier()
        return self.postfix()

    def declaration(self, at: int, *, const: bool = False, output: bool = False) -> Declare:
        declared = self.type()
        name = self.identifier()
        value = self.value() if self.took("=") else None
        self.need(";")
        return Declare(at, declared, name, value, const, output)

    def type(self) -> Type:
        at = self.at
        if self.text in _UNSUPPORTED and self.text in self.words:
            raise self.unsupported(_UNSUPPORTED[self.text], self.text)
        if self.text not in _SCALARS | {"qubit", "qreg", "creg"}:
            raise self.unexpected("a type")
        kind = self.next()
        size = None
        if kind in _SCALARS | {"qubit"} and self.took("["):
            size = self.expression()
            self.need("]")
        return Type(at, kind, size)

    def value(self) -> Expr:
        """The right side of an assignment: an expression or a measurement."""
        at = self.at
        return Measure(at, self.operand()) if self.took("measure") else self.expression()

    def block(self) -> tuple[Statement, ...]:
        """A statement, or several in braces."""
        if self.version == 3 and self.took("{"):
            return self.rest_of_block()
        self.nest(2)
        statement = self.statement()
        self.depth -= 2
        return (statement,)

    def rest_of_block(self) -> tuple[Statement, ...]:
        self.nest(2)
        statements = []
        while not self.took("}"):
            if self.kind == "end":
                raise self.unexpected("'}'")
            statements.append(self.statement())
        self.depth -= 2
        return tuple(statements)

    def names(self, end: str) -> tuple[str, ...]:
        found: list[str] = []
        while not self.sees(end):
            if found:
                self.need(",")
            found.append(self.identifier())
        self.need(end)
        return tuple(found)

    # one method for each word that begins a statement

    def _include(self, at: int) -> Include:
        if self.kind != "string":
            raise self.unexpected("a file name")
        file = self.next()[1:-1]
        self.need(";")
        return Include(at, file)

    def _register(self, at: int, kind: str) -> Declare:
        name = self.identifier()
        size = None
        place = self.at
        if self.took("["):
            size = self.expression()
            self.need("]")
        self.need(";")
        return Declare(at, Type(place, kind, size), name)

    def _qreg(self, at: int) -> Declare:
        return self._register(at, "qubit")

    def _creg(self, at: int) -> Declare:
        return self._register(at, "bit")

    def _qubit(self, at: int) -> Declare:
        self.here -= 1
        return self.declaration(at)

    def _const(self, at: int) -> Declare:
        return self.declaration(at, const=True)

    def _output(self, at: int) -> Declare:
        return self.declaration(at, output=True)

    def _gate(self, at: int) -> GateDef:
        name = self.identifier()
        parameters = self.names(")") if self.took("(") else ()
        qubits = self.names("{")
        return GateDef(at, name, parameters, qubits, self.rest_of_block())

    def _def(self, at: int) -> Def:
        name = self.identifier()
        self.need("(")
        parameters: list[tuple[Type, str]] = []
        while not self.took(")"):
            if parameters:
                self.need(",")
            declared = self.type()
            called = self.identifier()
            if declared.kind in ("qreg", "creg"):
                size = None
                if self.took("["):
                    size = self.expression()
                    self.need("]")
                declared = Type(declared.at, "qubit" if declared.kind == "qreg" else "bit", size)
            parameters.append((declared, called))
        returns = self.type() if self.took("->") else None
        self.need("{")
        return Def(at, name, tuple(parameters), returns, self.rest_of_block())

    def _measure(self, at: int) -> Statement:
        measured = Measure(at, self.operand())
        if self.took("->"):
            target = self.operand()
            self.need(";")
            return Assign(at, target, "=", measured)
        if self.version == 2:
            raise self.unexpected("'->'")
        self.need(";")
        return Evaluate(at, measured)

    def _reset(self, at: int) -> Reset:
        operand = self.operand()
        self.need(";")
        return Reset(at, operand)

    def _barrier(self, at: int) -> Barrier:
        operands = () if self.sees(";") else self.operands()
        self.need(";")
        return Barrier(at, operands)

    def _if(self, at: int) -> If:
        self.need("(")
        condition = self.expression()
        self.need(")")
        then = self.block()
        otherwise = self.block() if self.version == 3 and self.took("else") else ()
        return If(at, condition, then, otherwise)

    def _for(self, at: int) -> For:
        declared = self.type() if self.text in self.words else Type(self.at, "int", None)
        name = self.identifier()
        self.need("in")
        over: Expr
        place = self.at
        if self.took("["):
            over = self.range(place)
            self.need("]")
        else:
            over = self.expression()
        return For(at, declared, name, over, self.block())

    def _while(self, at: int) -> While:
        self.need("(")
        condition = self.expression()
        self.need(")")
        return While(at, condition, self.block())

    def _let(self, at: int) -> Alias:
        name = self.identifier()
        self.need("=")
        value = self.expression()
        self.need(";")
        return Alias(at, name, value)

    def _return(self, at: int) -> Jump:
        value = None if self.sees(";") else self.value()
        self.need(";")
        return Jump(at, "return", value)

    def _jump(self, at: int) -> Jump:
        kind = self.texts[self.here - 1]
        self.need(";")
        return Jump(at, kind)

    _break = _continue = _end = _jump

    # expressions

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
            if text in _SCALARS:
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
