"""OpenQASM 2 and 3 as text: tokens, a tree of statements, and where in the text something is wrong.

A recursive-descent parser of the circuit part of the language (no pulses, timing, arrays, switch): about fifteen
times as fast as the reference parser, which both encode and verify would have to run on every event; the tests hold
the two together. Grammars: Cross et al., arXiv:1707.03429 (2), and <https://openqasm.com/versions/3.0> (3).
"""

from __future__ import annotations

from qmosaic.codecs.qasm.expressions import Expressions
from qmosaic.codecs.qasm.syntax import (
    Alias,
    Apply,
    Assign,
    Barrier,
    Block,
    Declare,
    Def,
    Evaluate,
    Expr,
    For,
    GateDef,
    If,
    Include,
    Jump,
    Measure,
    Modifier,
    Program,
    QasmError,
    Reset,
    Statement,
    Type,
    While,
)
from qmosaic.codecs.qasm.tokens import SCALARS, UNSUPPORTED, WORDS_2
from qmosaic.codecs.qasm.work import MAX_WORK, Work

MAX_SOURCE = 2 * 2**20
"""Characters of source."""

_ASSIGN = {"=", "+=", "-=", "*=", "/=", "%=", "**=", "^=", "|=", "&=", "<<=", ">>="}


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


class _Parser(Expressions):
    def program(self) -> Program:
        if self.took("OPENQASM"):
            at, number = self.at, self.next()
            if number.partition(".")[0] not in ("2", "3"):
                raise QasmError(f"OpenQASM version {number[:40]} is not known", at, "Versions 2 and 3 are read.")
            self.need(";")
            if number.startswith("2"):
                self.version, self.words = 2, WORDS_2
        statements = []
        while self.kind != "end":
            statements.append(self.statement())
        return Program(self.version, tuple(statements))

    def statement(self) -> Statement:
        kind, text, at = self.kind, self.text, self.at
        if kind == "word" and text in self.words:
            if text in UNSUPPORTED:
                raise self.unsupported(UNSUPPORTED[text], text)
            if text in SCALARS:
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

    def declaration(self, at: int, *, const: bool = False, output: bool = False) -> Declare:
        declared = self.type()
        name = self.identifier()
        value = self.value() if self.took("=") else None
        self.need(";")
        return Declare(at, declared, name, value, const, output)

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
