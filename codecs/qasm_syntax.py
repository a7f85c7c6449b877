"""OpenQASM 2 and 3 as text: tokens, a tree of statements, and where in the text something is wrong.

A recursive-descent parser of the circuit part of the language (no pulses, timing, arrays, switch): about fifteen
times as fast as the reference parser, which both encode and verify would have to run on every event; the tests hold
the two together. Grammars: Cross et al., arXiv:1707.03429 (2), and <https://openqasm.com/versions/3.0> (3).
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from qmosaic.codecs.errors import RejectCode

MAX_SOURCE = 2 * 2**20
"""Characters of source."""
MAX_NESTING = 48
"""Of blocks and of parentheses."""
MAX_TERMS = 256
"""Operators in one expression."""


class QasmError(ValueError):
    """What is wrong, `at` which character of the source, and what to do about it."""

    def __init__(self, message: str, at: int, remedy: str, code: RejectCode = "invalid_problem") -> None:
        super().__init__(message)
        self.message, self.at, self.remedy, self.code = message, at, remedy, code


def line_and_column(source: str, at: int) -> tuple[int, int]:
    """Both from 1, of a character's place."""
    return source.count("\n", 0, at) + 1, at - source.rfind("\n", 0, at)


class Node(msgspec.Struct, frozen=True):
    """Something in the source; `at` is its first character."""

    at: int


class Constant(Node, frozen=True):
    """A number, a truth value, or a bit string ("0101", bit 0 on the right)."""

    value: int | float | bool | str


class Name(Node, frozen=True):
    name: str


class Unary(Node, frozen=True):
    op: str
    of: Expr


class Binary(Node, frozen=True):
    op: str
    left: Expr
    right: Expr


class Call(Node, frozen=True):
    name: str
    arguments: tuple[Expr, ...]


class Cast(Node, frozen=True):
    type: Type
    of: Expr


class Index(Node, frozen=True):
    base: Expr
    index: Expr


class Range(Node, frozen=True):
    """[start:step:stop], the stop included."""

    start: Expr | None
    step: Expr | None
    stop: Expr | None


class SetOf(Node, frozen=True):
    items: tuple[Expr, ...]


class Measure(Node, frozen=True):
    of: Expr


Expr = Constant | Name | Unary | Binary | Call | Cast | Index | Range | SetOf | Measure


class Type(Node, frozen=True):
    """`size`: of a register, or the width of a number."""

    kind: str
    size: Expr | None


class Declare(Node, frozen=True):
    type: Type
    name: str
    value: Expr | None = None
    const: bool = False
    output: bool = False


class GateDef(Node, frozen=True):
    name: str
    parameters: tuple[str, ...]
    qubits: tuple[str, ...]
    body: tuple[Statement, ...]


class Def(Node, frozen=True):
    name: str
    parameters: tuple[tuple[Type, str], ...]
    returns: Type | None
    body: tuple[Statement, ...]


class Modifier(Node, frozen=True):
    kind: str
    value: Expr | None


class Apply(Node, frozen=True):
    """A gate on qubits."""

    name: str
    arguments: tuple[Expr, ...]
    operands: tuple[Expr, ...]
    modifiers: tuple[Modifier, ...] = ()


class Assign(Node, frozen=True):
    target: Expr
    op: str
    value: Expr


class Evaluate(Node, frozen=True):
    of: Expr


class Alias(Node, frozen=True):
    name: str
    value: Expr


class Reset(Node, frozen=True):
    of: Expr


class Barrier(Node, frozen=True):
    operands: tuple[Expr, ...]


class Block(Node, frozen=True):
    body: tuple[Statement, ...]


class If(Node, frozen=True):
    condition: Expr
    then: tuple[Statement, ...]
    otherwise: tuple[Statement, ...]


class For(Node, frozen=True):
    type: Type
    name: str
    over: Expr
    body: tuple[Statement, ...]


class While(Node, frozen=True):
    condition: Expr
    body: tuple[Statement, ...]


class Jump(Node, frozen=True):
    """break, continue, end, or return with its value."""

    kind: str
    value: Expr | None = None


class Include(Node, frozen=True):
    file: str


Statement = (
    Declare
    | GateDef
    | Def
    | Apply
    | Assign
    | Evaluate
    | Alias
    | Reset
    | Barrier
    | Block
    | If
    | For
    | While
    | Jump
    | Include
)


class Program(msgspec.Struct, frozen=True):
    version: Literal[2, 3]
    statements: tuple[Statement, ...]


_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*|/\*.*?\*/)
    |(?P<word>[^\W\d]\w*)
    |(?P<number>0[xX][\da-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+|(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d+)?)
    |(?P<string>"[^"\n]*"|'[^'\n]*')
    |(?P<physical>\$\d+)
    |(?P<symbol>->|\*\*=|<<=|>>=|[=!<>]=|&&|\|\||<<|>>|\*\*|\+\+|[-+*/%^|&]=|[-+*/%^|&~!<>=()\[\]{};:,@\#.])
    """,
    re.VERBOSE | re.DOTALL,
)
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

_Token = tuple[str, str, int]


def parse(source: str) -> Program:
    """The statements of a program. Raises QasmError."""
    if len(source) > MAX_SOURCE:
        raise QasmError(
            f"{len(source)} characters of source, the limit is {MAX_SOURCE}",
            0,
            "Send a smaller circuit.",
            "too_large",
        )
    return _Parser(_tokens(source)).program()


def _tokens(source: str) -> list[_Token]:
    text = _REMARK.sub(lambda match: " " * len(match[0]), source)
    tokens: list[_Token] = []
    at, end, match_at = 0, len(text), _TOKEN.match
    while at < end:
        match = match_at(text, at)
        if match is None:
            raise QasmError(f"unexpected character {text[at]!r}", at, "Check the text here; comments are // or /* */.")
        kind = str(match.lastgroup)
        if kind != "space":
            tokens.append((kind, match[0], at))
        at = match.end()
    tokens.append(("end", "the end of the source", max(0, len(source.rstrip()) - 1)))
    return tokens


class _Parser:
    def __init__(self, tokens: list[_Token]) -> None:
        self.tokens, self.here, self.depth, self.terms = tokens, 0, 0, 0
        self.version: Literal[2, 3] = 3
        self.words = _WORDS_3

    # tokens

    @property
    def kind(self) -> str:
        return self.tokens[self.here][0]

    @property
    def text(self) -> str:
        return self.tokens[self.here][1]

    @property
    def at(self) -> int:
        return self.tokens[self.here][2]

    def next(self) -> str:
        text = self.tokens[self.here][1]
        self.here += 1
        return text

    def sees(self, symbol: str) -> bool:
        kind, text, _ = self.tokens[self.here]
        return text == symbol and kind in ("symbol", "word")

    def took(self, symbol: str) -> bool:
        if self.sees(symbol):
            self.here += 1
            return True
        return False

    def need(self, symbol: str) -> None:
        if not self.took(symbol):
            raise self.unexpected(f"'{symbol}'")

    def unexpected(self, expected: str) -> QasmError:
        kind, text, at = self.tokens[self.here]
        got = text if kind == "end" else f"'{text[:40]}'"
        return QasmError(f"expected {expected}, got {got}", at, "Mend the syntax here.")

    def identifier(self) -> str:
        if self.kind == "physical":
            raise self.unsupported("a physical qubit", self.text)
        if self.kind != "word" or self.text in self.words:
            raise self.unexpected("a name")
        return self.next()

    def unsupported(self, what: str, text: str) -> QasmError:
        return QasmError(f"{what} ('{text}') is not supported", self.at, f"Write the circuit without it. {_SUPPORTED}")

    def nest(self) -> None:
        self.depth += 1
        if self.depth > MAX_NESTING:
            raise QasmError(f"nested more than {MAX_NESTING} deep", self.at, "Write it flatter.", "too_large")

    # statements

    def program(self) -> Program:
        if self.took("OPENQASM"):
            at, number = self.at, self.next()
            if number.partition(".")[0] not in ("2", "3"):
                raise QasmError(f"OpenQASM version {number} is not known", at, "Versions 2 and 3 are read.")
            self.need(";")
            if number.startswith("2"):
                self.version, self.words = 2, _WORDS_2
        statements = []
        while self.kind != "end":
            statements.append(self.statement())
        return Program(self.version, tuple(statements))

    def statement(self) -> Statement:
        kind, text, at = self.tokens[self.here]
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
            return Apply(at, name, arguments, operands)
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
        return Apply(at, name, arguments, operands, tuple(modifiers))

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
        self.nest()
        statement = self.statement()
        self.depth -= 1
        return (statement,)

    def rest_of_block(self) -> tuple[Statement, ...]:
        self.nest()
        statements = []
        while not self.took("}"):
            if self.kind == "end":
                raise self.unexpected("'}'")
            statements.append(self.statement())
        self.depth -= 1
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
        kind = self.tokens[self.here - 1][1]
        self.need(";")
        return Jump(at, kind)

    _break = _continue = _end = _jump

    # expressions

    def expression(self) -> Expr:
        self.nest()
        before, self.terms = self.terms, 0
        found = self.binary(0)
        self.terms = before
        self.depth -= 1
        return found

    def binary(self, level: int) -> Expr:
        left = self.unary()
        while self.kind == "symbol":
            op = self.text
            own = _BINARY.get(op, -1)
            if own < level or (self.version == 2 and op not in _OPERATORS_2):
                break
            at = self.at
            self.here += 1
            self.terms += 1
            if self.terms > MAX_TERMS:
                raise QasmError(f"more than {MAX_TERMS} operators", at, "Split the expression.", "too_large")
            left = Binary(at, op, left, self.binary(own + 1))
        return left

    def unary(self) -> Expr:
        if self.kind == "symbol" and self.text in ("-", "+", "!", "~"):
            at, op = self.at, self.next()
            self.nest()
            found = Unary(at, op, self.unary())
            self.depth -= 1
            return found
        base = self.postfix()
        power = "^" if self.version == 2 else "**"
        if self.sees(power):
            at = self.at
            self.here += 1
            self.nest()
            found_power = Binary(at, "**", base, self.unary())  # from the right
            self.depth -= 1
            return found_power
        return base

    def postfix(self) -> Expr:
        base = self.primary()
        while self.sees("["):
            self.here += 1
            place = self.at
            index: Expr = SetOf(place, self.set()) if self.took("{") else self.range(place)
            if self.sees(","):
                raise self.unsupported("an index of several dimensions", ",")
            self.need("]")
            base = Index(base.at, base, index)
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
        kind, text, at = self.tokens[self.here]
        if kind == "number":
            self.here += 1
            if self.kind == "word" and self.tokens[self.here][2] == at + len(text):
                self.here -= 1
                raise self.unsupported("a number with a unit", text + self.tokens[self.here + 1][1])
            return Constant(at, _number(text))
        if kind == "string" and self.version == 3:
            digits = self.next()[1:-1].replace("_", "")
            if not digits or digits.strip("01"):
                raise QasmError("expected a bit string of 0 and 1", at, 'Write it as "0101".')
            return Constant(at, digits)
        if kind == "word":
            return self.word(text, at)
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
        if self.version == 3:
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
                inner = self.expression()
                self.need(")")
                return Cast(at, cast, inner)
            if text in ("pow", "sizeof"):  # these are functions, too
                self.here += 1
                self.need("(")
                return Call(at, text, self.listed(")"))
        name = self.identifier()
        if self.took("("):
            return Call(at, name, self.listed(")"))
        return Name(at, name)


def _number(text: str) -> int | float:
    plain = text.replace("_", "")
    if plain[:2].lower() in ("0x", "0b", "0o"):
        return int(plain, 0)
    # as many digits as anyone needs: longer ones would cost quadratic time
    return int(plain) if plain.isdigit() and len(plain) < 100 else float(plain)
