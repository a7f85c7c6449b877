"""The circuit that an OpenQASM program becomes: its operations, its qubits, and the bits that are measured into."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from qmosaic.codecs.models.circuit import Operation, condition
from qmosaic.codecs.qasm import syntax
from qmosaic.codecs.qasm.arithmetic import shown
from qmosaic.codecs.qasm.names import ONE, ZERO, Bit, Bits, Measured, Qubits
from qmosaic.codecs.qasm.syntax import Expr, QasmError
from qmosaic.codecs.qasm.values import Values

MAX_OPERATIONS = 100_000
"""Operations of the circuit."""
STATEMENT, OPERATION = 3, 4
"""Units of work: of a statement, of an operation in the circuit."""


@dataclass
class Building(Values):
    """`cells`: classical bits so far. `copied`: those whose values other bits hold, too."""

    max_qubits: int = 0
    operations: list[Operation] = field(default_factory=list)
    qubits: int = 0
    cells: int = 0
    inside_gate: bool = False
    copied: set[int] = field(default_factory=set)

    def step(self, at: int) -> None:
        self.work.at = at
        self.work.add(STATEMENT)

    def emit(self, at: int, operation: Operation) -> None:
        if len(self.operations) >= MAX_OPERATIONS:
            remedy = "Send a smaller circuit."
            raise QasmError(f"more than {MAX_OPERATIONS} operations", at, remedy, "too_large")
        self.work.add(OPERATION + len(operation.qubits))
        if self.inside_gate and operation.gate in ("measure", "reset"):
            raise QasmError("a gate can only consist of gates", at, "Use a def for anything else.")
        if self.conditions and operation.gate != "barrier":
            merged: dict[int, int] = {}
            for wanted in self.conditions:
                self.work.add(len(wanted))
                for bit, value in wanted.items():
                    if merged.setdefault(bit, value) != value:
                        return  # never happens
            operation = Operation(
                operation.gate, operation.qubits, operation.params, operation.pauli, operation.bits, condition(merged)
            )
        self.operations.append(operation)

    def new_qubits(self, at: int, size: int) -> Qubits:
        if size < 1:
            raise QasmError(f"a register of {shown(size)} qubits", at, "A register has at least one.")
        if self.qubits + size > self.max_qubits:
            raise QasmError(
                f"{shown(self.qubits + size)} qubits, the limit is {self.max_qubits}",
                at,
                "Send a smaller circuit.",
                "too_large",
            )
        self.work.add(size)
        self.qubits += size
        return Qubits(tuple(range(self.qubits - size, self.qubits)))

    def new_bits(self, at: int, size: int) -> Bits:
        if size < 1:
            raise QasmError(f"a register of {shown(size)} bits", at, "A register has at least one.")
        if size > 4 * self.max_qubits or self.cells + size > MAX_OPERATIONS:
            raise QasmError(f"{shown(size)} bits are too many", at, f"At most {4 * self.max_qubits}.", "too_large")
        self.work.add(size)
        self.cells += size
        return Bits(tuple(map(Bit, range(self.cells - size, self.cells))))

    @contextmanager
    def apart(self) -> Iterator[list[Operation]]:
        """Operations are collected, not emitted."""
        kept, conditions = self.operations, self.conditions
        self.operations, self.conditions = [], ()
        try:
            yield self.operations
        finally:
            self.operations, self.conditions = kept, conditions

    def put(self, target: Bits, value: Any, at: int) -> None:
        """Assign a value to a register of bits. Measured bits are named, not moved."""
        size = len(target.bits)
        self.work.add(size)
        if isinstance(value, str):
            value = self.known(value)
        if isinstance(value, Bits):
            new = [bit.now for bit in value.bits]
        else:
            number = self.plain(value)
            if isinstance(number, float) or (size == 1 and number not in (0, 1)):
                raise QasmError("expected bits", at, 'Write a bit string: "0101".')
            new = [ONE if int(number) >> k & 1 else ZERO for k in range(size)]
        if len(new) != size:
            raise QasmError(f"expected {size} bits, got {len(new)}", at, "The sizes have to be equal.")
        for bit, now in zip(target.bits, new, strict=True):
            if self.conditions and bit.now != now:
                remedy = "Only gates, resets and measurements may be there."
                raise QasmError("bits are assigned where a measured bit decides", at, remedy)
            if now not in (ZERO, ONE, bit.home):
                self.copied.add(now)
            bit.now = now

    def measure(self, measured: syntax.Measure, into: Bits, at: int) -> None:
        """Emit measurements, and note that the bits are no longer known."""
        self.work.add(STATEMENT)
        qubits = self.qubits_of(measured.of)
        if len(qubits) != len(into.bits):
            message = f"{len(qubits)} qubits are measured into {len(into.bits)} bits"
            raise QasmError(message, at, "The sizes have to be equal.")
        for qubit, bit in zip(qubits, into.bits, strict=True):
            if bit.home in self.copied:
                raise QasmError(
                    "a measured bit that was copied is measured again", at, "Measure into a bit of its own."
                )
            if self.conditions and bit.now not in (ZERO, bit.home):
                raise QasmError("a bit with a value is measured where a measured bit decides", at, "Use another bit.")
            self.emit(measured.at, Operation("measure", (qubit,), bits=(bit.home,)))
            bit.now = bit.home

    def result_of(self, expression: Expr, *, needed: bool = True) -> Any:
        """The value of a whole right side: measurements and calls of subroutines are allowed there. None where a
        subroutine has none and it is not needed."""
        try:
            if isinstance(expression, syntax.Measure):
                into = self.new_bits(expression.at, len(self.qubits_of(expression.of)))
                self.measure(expression, into, expression.at)
                return into
            if isinstance(expression, syntax.Call) and expression.name in self.defs and not needed:
                return self.call(expression)
            return self.value(expression)
        except Measured:
            raise QasmError(
                "arithmetic with measured bits is not supported", expression.at, "Use if on the bits, or copy them."
            ) from None
