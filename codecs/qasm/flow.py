"""Which statements of an OpenQASM program are carried out, and how often: blocks, branches, loops and subroutines.

A branch on a measured bit is left to the circuit, as conditions on its operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qmosaic.codecs.qasm import syntax
from qmosaic.codecs.qasm.gates import Gates
from qmosaic.codecs.qasm.names import Bits, Condition, Measured, Qubits, Variable
from qmosaic.codecs.qasm.syntax import Expr, QasmError, Statement, quoted
from qmosaic.codecs.qasm.values import CALL

MAX_CASES = 256
"""Conditions that one `if` on measured bits may need."""
MAX_BITS_ASKED = 128
"""Bits that one condition may depend on."""


class Jumped(Exception):  # noqa: N818
    def __init__(self, jump: syntax.Jump, value: Any = None) -> None:
        self.jump, self.value = jump, value


class Flow(Gates):
    """A statement is carried out by the method that is called as its kind is."""

    def execute(self, statements: Sequence[Statement]) -> None:
        for statement in statements:
            self.step(statement.at)
            getattr(self, f"on_{type(statement).__name__.lower()}")(statement)

    def on_block(self, statement: syntax.Block) -> None:
        self.block(statement.body)

    def block(self, body: Sequence[Statement], scope: dict[str, Any] | None = None) -> None:
        self.scopes.append(scope or {})
        try:
            self.execute(body)
        finally:
            self.scopes.pop()

    def on_if(self, statement: syntax.If) -> None:
        cases = self.cases(statement.condition)
        if len(cases) == 1:
            self.block(statement.then if cases[0][1] else statement.otherwise)
            return
        if self.inside_gate:
            raise QasmError("a gate can only consist of gates", statement.at, "Use a def for anything else.")
        start, outer, guarded = len(self.operations), self.conditions, self.guarded
        self.guarded = max(guarded, len(self.scopes))
        for wanted, holds in cases:
            self.conditions = (*outer, wanted)
            body = statement.then if holds else statement.otherwise
            try:
                if body:
                    self.block(body)
            except Jumped as jumped:
                kind = jumped.jump.kind
                message = f"'{kind}' where a measured bit decides is not supported"
                raise QasmError(message, jumped.jump.at, "Use if and else on gates.") from None
        self.conditions, self.guarded = outer, guarded
        asked = {bit for wanted, _ in cases for bit in wanted}
        self.work.add(len(self.operations) - start)
        if any(not asked.isdisjoint(operation.bits) for operation in self.operations[start:-1]):
            raise QasmError(
                "a branch measures into the bits that it depends on", statement.at, "Measure into other bits."
            )

    def cases(self, condition: Expr) -> list[tuple[Condition, bool]]:
        """Values of measured bits that decide a condition, none twice, with what it is then."""
        found: list[tuple[Condition, bool]] = []
        undecided: list[Condition] = [{}]
        try:
            while undecided:
                known = self.asked = undecided.pop()
                self.work.add(1 + len(known))
                try:
                    found.append((known, self.truth(self.value(condition))))
                except Measured as measured:
                    if len(known) == MAX_BITS_ASKED:
                        message = "the condition depends on too many bits"
                        raise QasmError(message, condition.at, "Use fewer.", "too_large") from None
                    undecided += [{**known, measured.bit: 1}, {**known, measured.bit: 0}]
                if len(found) + len(undecided) > MAX_CASES:
                    raise QasmError("the condition has too many cases", condition.at, "Make it simpler.", "too_large")
        finally:
            self.asked = None
        return found

    def on_for(self, statement: syntax.For) -> None:
        values: Sequence[Any]
        over = statement.over
        if isinstance(over, syntax.Range):
            values = self.counted(over)
        elif isinstance(over, syntax.SetOf):
            self.work.add(len(over.items))
            values = [self.number(item) for item in over.items]
        else:
            found = self.value(over)
            if isinstance(found, str):
                found = self.known(found)
            if not isinstance(found, Bits):
                raise QasmError("a loop needs a range, a set or bits", over.at, "Write [0:n] or {1, 2}.")
            self.work.add(len(found.bits))
            values = [Bits((bit,)) for bit in found.bits]
        kind = statement.type.kind
        for value in values:
            self.step(statement.at)
            bound: Any = value
            if not isinstance(value, Bits):
                bound = Variable(kind, None, self.converted(kind, None, value, statement.at), False)
            try:
                self.block(statement.body, {statement.name: bound})
            except Jumped as jumped:
                if jumped.jump.kind == "break":
                    break
                if jumped.jump.kind != "continue":
                    raise

    def counted(self, over: syntax.Range) -> range:
        if over.start is None or over.stop is None:
            raise QasmError("a range of a loop needs both ends", over.at, "Write [0:n].")
        start, stop = self.whole(over.start), self.whole(over.stop)
        step = 1 if over.step is None else self.whole(over.step)
        if step == 0:
            raise QasmError("a range with step 0", over.at, "Choose another step.")
        return range(start, stop + (1 if step > 0 else -1), step)

    def on_while(self, statement: syntax.While) -> None:
        try:
            while self.truth(self.value(statement.condition)):
                self.step(statement.at)
                try:
                    self.block(statement.body)
                except Jumped as jumped:
                    if jumped.jump.kind == "break":
                        break
                    if jumped.jump.kind != "continue":
                        raise
        except Measured:
            raise QasmError(
                "a while loop on a measured bit is not supported", statement.at, "Use a for loop with an if inside."
            ) from None

    def on_jump(self, statement: syntax.Jump) -> None:
        if self.conditions:
            message = f"'{statement.kind}' where a measured bit decides is not supported"
            raise QasmError(message, statement.at, "Use if and else on gates.")
        self.work.add(CALL)
        raise Jumped(statement, None if statement.value is None else self.result_of(statement.value))

    def call(self, call: syntax.Call) -> Any:
        definition = self.defs[call.name]
        if len(call.arguments) != len(definition.parameters):
            message = f"{quoted(call.name)} takes {len(definition.parameters)} arguments, got {len(call.arguments)}"
            raise QasmError(message, call.at, "See its definition.")
        scope: dict[str, Any] = {}
        self.work.add(CALL + len(call.arguments))
        for (declared, name), argument in zip(definition.parameters, call.arguments, strict=True):
            size = self.width(declared)
            if declared.kind == "qubit":
                qubits = self.qubits_of(argument)
                if len(qubits) != (size or 1):
                    message = f"{quoted(name)} is of {size or 1} qubits, got {len(qubits)}"
                    raise QasmError(message, argument.at, "The sizes have to be equal.")
                scope[name] = Qubits(qubits)
            elif declared.kind == "bit":
                given = self.value(argument)
                scope[name] = self.new_bits(argument.at, size or 1)
                conditions, self.conditions = self.conditions, ()
                self.put(scope[name], given, argument.at)
                self.conditions = conditions
            else:
                value = self.converted(declared.kind, size, self.value(argument), argument.at)
                scope[name] = Variable(declared.kind, size, value, False)
        guarded, self.guarded = self.guarded, min(self.guarded, 1)
        try:
            with self.called(scope, call.at, call.depth):
                try:
                    self.execute(definition.body)
                except Jumped as jumped:
                    if jumped.jump.kind != "return":
                        raise
                    return self.returned(definition, jumped.value, call.at)
                return None
        finally:
            self.guarded = guarded

    def returned(self, definition: syntax.Def, value: Any, at: int) -> Any:
        declared = definition.returns
        if declared is None or value is None:
            return None
        size = self.width(declared)
        if declared.kind != "bit":
            return self.converted(declared.kind, size, value, at)
        conditions, self.conditions = self.conditions, ()
        bits = self.new_bits(at, size or 1)
        self.put(bits, value, at)
        self.conditions = conditions
        return bits
