"""An OpenQASM program as a tree, and what is wrong with one."""

from __future__ import annotations

from typing import Literal

import msgspec

from qmosaic.codecs.errors import RejectCode


class QasmError(ValueError):
    """What is wrong, `at` which character of the source, and what to do about it."""

    def __init__(self, message: str, at: int, remedy: str, code: RejectCode = "invalid_problem") -> None:
        super().__init__(message)
        self.message, self.at, self.remedy, self.code = message, at, remedy, code


def quoted(text: str) -> str:
    """Text of the source in a message."""
    return f"'{text}'" if len(text) <= 40 else f"'{text[:40]}…'"


def line_and_column(source: str, at: int) -> tuple[int, int]:
    """Both from 1, of a character's place."""
    return source.count("\n", 0, at) + 1, at - source.rfind("\n", 0, at)


class Node(msgspec.Struct, frozen=True, gc=False):
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
    """`depth`: how deep in blocks and expressions it stands."""

    name: str
    arguments: tuple[Expr, ...]
    depth: int


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
    """A gate on qubits. `depth`: how deep in blocks it stands."""

    name: str
    arguments: tuple[Expr, ...]
    operands: tuple[Expr, ...]
    depth: int
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
