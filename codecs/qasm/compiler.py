"""OpenQASM to a `Circuit`: registers, gates and subroutines expanded, loops unrolled, constants evaluated.

`compiled` runs the program's classical part. What depends on a measurement is left to the circuit, where it can be:
as conditions on classical bits. All that is bounded (see the constants in these modules), so that no source runs for
ever.

Phases are those of OpenQASM 3 (`U`, `u2` and `u3` differ from Qiskit's by a global phase, which a `ctrl` makes
visible); classical bits are numbered in the order of their declaration.

The modules of this folder, from the text on: `tokens`, `expressions`, `parser` make a tree (`syntax`); `names`,
`arithmetic`, `values` say what is in it; `building`, `gates`, `flow` and this one carry it out, one class on top of the
other, on the same state.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from qmosaic.codecs.models.circuit import GATES, Circuit, Operation
from qmosaic.codecs.qasm import parser, syntax
from qmosaic.codecs.qasm.flow import Flow, Jumped
from qmosaic.codecs.qasm.includes import BUILT_IN, FILES, LIBRARY, LIBRARY_2, LIBRARY_3, library
from qmosaic.codecs.qasm.names import ONE, ZERO, Bits, Qubits, Variable
from qmosaic.codecs.qasm.syntax import QasmError, quoted
from qmosaic.codecs.qasm.work import MAX_WORK, Work

MAX_STEPS = MAX_WORK
"""What reading a program may take (see `Work`), its tokens included."""
NAMED = 16
"""Registers that a note names."""


@dataclass(frozen=True)
class Compiled:
    """The circuit, what a reader of its answer should know, and how much work it took (see `Work`)."""

    circuit: Circuit
    notes: tuple[str, ...]
    work: int


def compiled(source: str, *, max_qubits: int) -> Compiled:
    """The circuit of a program. Raises QasmError."""
    work = Work(MAX_STEPS)
    return _Compiler(parser.parse(source, work), work, max_qubits=max_qubits).run()


class _Compiler(Flow):
    def run(self) -> Compiled:
        built_in = library(BUILT_IN)
        self.gates |= built_in
        if self.program.version == 2:
            self.gates |= {"CX": library(LIBRARY)["CX"]}
        try:
            self.execute(self.program.statements)
        except Jumped as jumped:
            if jumped.jump.kind != "end":
                raise QasmError(f"{jumped.jump.kind} outside of what it leaves", jumped.jump.at, "Remove it.") from None
        return self.result()

    def on_include(self, statement: syntax.Include) -> None:
        if statement.file not in FILES:
            raise QasmError(
                f"the file {quoted(statement.file)} cannot be included",
                statement.at,
                "Paste its content; qelib1.inc and stdgates.inc are known.",
            )
        self.work.add(len(GATES))
        self.gates |= dict.fromkeys(GATES)
        self.gates |= library(LIBRARY) | library(LIBRARY_2 if self.program.version == 2 else LIBRARY_3)

    def on_declare(self, statement: syntax.Declare) -> None:
        at, name, declared = statement.at, statement.name, statement.type
        scope = self.scopes[-1]
        if name in scope:
            raise QasmError(f"{quoted(name)} is declared twice", at, "Choose another name.")
        if declared.kind in ("qubit", "bit"):
            size = 1 if declared.size is None else self.whole(declared.size)
        if declared.kind == "qubit":
            if len(self.scopes) > 1:
                raise QasmError("qubits can only be declared outside of blocks", at, "Declare them at the top.")
            scope[name] = self.new_qubits(at, size)
        elif declared.kind == "bit":
            bits = self.new_bits(at, size)
            if statement.value is not None:
                self.put(bits, self.result_of(statement.value), statement.value.at)
            scope[name] = Bits(bits.bits, statement.output, statement.const)
        else:
            if statement.output:
                raise QasmError(f"an output of type {declared.kind} is not supported", at, "Bits can be outputs.")
            value = 0 if statement.value is None else self.result_of(statement.value)
            width, at = self.width(declared), at if statement.value is None else statement.value.at
            scope[name] = Variable(
                declared.kind, width, self.converted(declared.kind, width, value, at), statement.const
            )

    def on_def(self, statement: syntax.Def) -> None:
        if statement.name in self.defs:
            raise QasmError(f"{quoted(statement.name)} is defined twice", statement.at, "Choose another name.")
        self.defs[statement.name] = statement

    def on_assign(self, statement: syntax.Assign) -> None:
        target, value = statement.target, statement.value
        if isinstance(value, syntax.Measure):
            if statement.op != "=":
                raise QasmError("a measurement can only be assigned with '='", statement.at, "Use '='.")
            self.qubits_of(value.of)  # first, as it stands first
            self.measure(value, self.bits_of(target, write=True), target.at)
            return
        root = target.base if isinstance(target, syntax.Index) else target
        if not isinstance(root, syntax.Name):
            raise QasmError("this cannot be assigned to", target.at, "Assign to a variable or to bits.")
        found = self.look(root, write=True)
        if isinstance(found, Bits):
            new = self.result_of(value)
            if statement.op != "=":
                old = self.value(target)
                new = self.arithmetic(statement.op[:-1], self.plain(old), self.plain(new), statement.at)
            self.put(self.bits_of(target, write=True), new, value.at)
        elif isinstance(found, Variable) and root is target:
            new = self.result_of(value)
            if statement.op != "=":
                new = self.arithmetic(statement.op[:-1], self.plain(found.value), self.plain(new), statement.at)
            found.value = self.converted(found.kind, found.width, new, statement.at)
        else:
            raise QasmError("this cannot be assigned to", target.at, "Assign to a variable or to bits.")

    def on_evaluate(self, statement: syntax.Evaluate) -> None:
        if isinstance(statement.of, syntax.Measure):
            into = self.new_bits(statement.at, len(self.qubits_of(statement.of.of)))
            self.measure(statement.of, into, statement.at)
        else:
            self.result_of(statement.of, needed=False)

    def on_alias(self, statement: syntax.Alias) -> None:
        if statement.name in self.scopes[-1]:
            raise QasmError(f"{quoted(statement.name)} is declared twice", statement.at, "Choose another name.")
        self.scopes[-1][statement.name] = Qubits(self.qubits_of(statement.value))

    def on_reset(self, statement: syntax.Reset) -> None:
        for qubit in self.qubits_of(statement.of):
            self.emit(statement.at, Operation("reset", (qubit,)))

    def on_barrier(self, statement: syntax.Barrier) -> None:
        if self.inside_gate:
            return
        named: dict[int, None] = {} if statement.operands else dict.fromkeys(range(self.qubits))
        for operand in statement.operands:
            qubits = self.qubits_of(operand)
            self.work.add(1 + len(qubits))
            named |= dict.fromkeys(qubits)
        self.emit(statement.at, Operation("barrier", tuple(named)))

    def result(self) -> Compiled:
        registers = {name: found for name, found in self.scopes[0].items() if isinstance(found, Bits)}
        outputs = {name: found for name, found in registers.items() if found.output}
        chosen = outputs or {name: found for name, found in registers.items() if not _given(found)}
        if not self.qubits:
            raise QasmError("there is no qubit", 0, "Declare a register and apply gates to it.", "empty_problem")
        written = {bit for operation in self.operations for bit in operation.bits}
        order: dict[int, int] = {}
        for name, found in chosen.items():
            for each in found.bits:
                if each.now == ONE:
                    message = f"an output bit of {quoted(name)} is a constant 1"
                    raise QasmError(message, 0, "Measure a qubit into it, or leave it out.")
                number = each.home if each.now == ZERO else each.now
                if each.now == ZERO and number in written:  # what was measured into it before does not count
                    number = self.new_bits(0, 1).bits[0].home
                if number in order:
                    raise QasmError(f"{quoted(name)} repeats another output bit", 0, "Leave one of them out.")
                order[number] = len(order)
        widths = [f"{name[:40]}[{len(found.bits)}]" for name, found in islice(chosen.items(), NAMED)]
        if len(chosen) > NAMED:
            widths.append(f"and {len(chosen) - NAMED} more")
        hidden = 0
        for operation in self.operations:
            for bit in (*operation.bits, *(operation.condition[0] if operation.condition else ())):
                if bit not in order:
                    order[bit] = len(order)
                    hidden += 1
        operations = tuple(
            operation
            if not operation.bits and operation.condition is None
            else Operation(
                operation.gate,
                operation.qubits,
                operation.params,
                operation.pauli,
                tuple(order[bit] for bit in operation.bits),
                operation.condition and (tuple(order[bit] for bit in operation.condition[0]), operation.condition[1]),
            )
            for operation in self.operations
        )
        notes = []
        if len(widths) > 1:
            notes.append(f"classical bits from 0 up, on the right: {', '.join(widths)}")
        if hidden:
            notes.append(f"the {hidden} leftmost bits are measurements that no output holds")
        return Compiled(Circuit(self.qubits, len(order), operations), tuple(notes), self.work.done)


def _given(register: Bits) -> bool:
    """Whether a register is a constant of the program, by its word or in effect, and no result."""
    return register.const or (
        any(bit.now == ONE for bit in register.bits) and all(bit.now < 0 for bit in register.bits)
    )
