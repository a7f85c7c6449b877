"""OpenQASM to a `Circuit`: registers, gates and subroutines expanded, loops unrolled, constants evaluated.

`compiled` runs the program's classical part. What depends on a measurement is left to the circuit, where it can be:
as conditions on classical bits. All that is bounded (see the constants below), so that no source runs for ever.

Phases are those of OpenQASM 3 (`U`, `u2` and `u3` differ from Qiskit's by a global phase, which a `ctrl` makes
visible); classical bits are numbered in the order of their declaration.

One file: a pass over the tree, a method for a kind of statement, all on the same state.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import Any

from qmosaic.codecs.errors import RejectCode
from qmosaic.codecs.models.circuit import GATES, Circuit, Operation, condition
from qmosaic.codecs.qasm import parser, syntax
from qmosaic.codecs.qasm.modifiers import TooManyError, controlled, inverse, power
from qmosaic.codecs.qasm.parser import MAX_WORK, Work
from qmosaic.codecs.qasm.syntax import Expr, QasmError, Statement, quoted
from qmosaic.codecs.qasm.values import (
    CALL,
    MAX_ANGLE,
    ONE,
    ZERO,
    Bit,
    Bits,
    Condition,
    Measured,
    Qubits,
    UndefinedError,
    Values,
    Variable,
    shown,
)

MAX_OPERATIONS = 100_000
"""Operations of the circuit."""
MAX_STEPS = MAX_WORK
"""What reading a program may take (see `Work`), its tokens included."""
MAX_CALLS = 32
"""Gates and subroutines inside each other."""
MAX_DEPTH = 160
"""How deep, in levels as the parser counts them, the calls may stand that are inside each other."""
MAX_CASES = 256
"""Conditions that one `if` on measured bits may need."""
MAX_BITS_ASKED = 128
"""Bits that one condition may depend on."""
NAMED = 16
"""Registers that a note names."""

# Units of work: of a statement, of an operation in the circuit, of one that a modifier makes, of a matrix that has to
# be taken apart for it.
STATEMENT, OPERATION, MODIFIED, MATRIX = 3, 4, 15, 150


@dataclass(frozen=True)
class Compiled:
    """The circuit, what a reader of its answer should know, and how much work it took (see `Work`)."""

    circuit: Circuit
    notes: tuple[str, ...]
    work: int


@dataclass(frozen=True)
class _Gate:
    """A gate that is defined by others: by the program, or by the standard library (`standard`), from `GATES`."""

    definition: syntax.GateDef
    standard: bool


class _Jumped(Exception):  # noqa: N818
    def __init__(self, jump: syntax.Jump, value: Any = None) -> None:
        self.jump, self.value = jump, value


_LIBRARY = """
gate u1(a) q { p(a) q; }
gate phase(a) q { p(a) q; }
gate cu1(a) c, q { cp(a) c, q; }
gate cphase(a) c, q { cp(a) c, q; }
gate CX c, q { cx c, q; }
gate cu3(a, b, d) c, q { cu(a, b, d, 0) c, q; }
gate rccx a, b, c { h c; t c; cx b, c; tdg c; cx a, c; t c; cx b, c; tdg c; h c; }
gate rc3x a, b, c, d { h d; t d; cx c, d; tdg d; h d; cx a, d; t d; cx b, d; tdg d; cx a, d; t d; cx b, d; tdg d;
  h d; t d; cx c, d; tdg d; h d; }
gate c3x a, b, c, d { ctrl(3) @ x a, b, c, d; }
gate c3sqrtx a, b, c, d { ctrl(3) @ sx a, b, c, d; }
gate c4x a, b, c, d, e { ctrl(4) @ x a, b, c, d, e; }
"""
_LIBRARY_2 = """
gate u2(b, d) q { u(pi/2, b, d) q; }
gate u3(a, b, d) q { u(a, b, d) q; }
gate u0(a) q { id q; }
"""
_LIBRARY_3 = """
gate u2(b, d) q { gphase(-(b + d)/2); u(pi/2, b, d) q; }
gate u3(a, b, d) q { gphase(-(b + d)/2); u(a, b, d) q; }
"""
_FILES = {"qelib1.inc", "stdgates.inc"}
_BUILT_IN = "gate U(a, b, d) q { gphase(a/2); u(a, b, d) q; }"
"""OpenQASM 3's U. Version 2's differs by a phase, which nothing there can see."""


@lru_cache(maxsize=8)
def _library(source: str) -> dict[str, _Gate]:
    statements = parser.parse(source).statements
    return {each.name: _Gate(each, True) for each in statements if isinstance(each, syntax.GateDef)}


def compiled(source: str, *, max_qubits: int) -> Compiled:
    """The circuit of a program. Raises QasmError."""
    work = Work(MAX_STEPS)
    return _Compiler(parser.parse(source, work), work, max_qubits=max_qubits).run()


@dataclass
class _Compiler(Values):
    max_qubits: int = 0
    operations: list[Operation] = field(default_factory=list)
    qubits: int = 0
    cells: int = 0
    depth: int = 0
    inside_gate: bool = False
    inside_library: bool = False
    gates: dict[str, _Gate | None] = field(default_factory=dict)  # None: one of GATES
    copied: set[int] = field(default_factory=set)

    def run(self) -> Compiled:
        built_in = _library(_BUILT_IN)
        self.gates |= built_in
        if self.program.version == 2:
            self.gates |= {"CX": _library(_LIBRARY)["CX"]}
        try:
            self.execute(self.program.statements)
        except _Jumped as jumped:
            if jumped.jump.kind != "end":
                raise QasmError(f"{jumped.jump.kind} outside of what it leaves", jumped.jump.at, "Remove it.") from None
        return self.result()

    # statements

    def execute(self, statements: Sequence[Statement]) -> None:
        for statement in statements:
            self.step(statement.at)
            getattr(self, f"on_{type(statement).__name__.lower()}")(statement)

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

    def on_include(self, statement: syntax.Include) -> None:
        if statement.file not in _FILES:
            raise QasmError(
                f"the file {quoted(statement.file)} cannot be included",
                statement.at,
                "Paste its content; qelib1.inc and stdgates.inc are known.",
            )
        self.work.add(len(GATES))
        self.gates |= dict.fromkeys(GATES)
        self.gates |= _library(_LIBRARY) | _library(_LIBRARY_2 if self.program.version == 2 else _LIBRARY_3)

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

    def on_gatedef(self, statement: syntax.GateDef) -> None:
        name, at = statement.name, statement.at
        known = self.gates.get(name)
        if len(self.scopes) > 1:
            raise QasmError("gates can only be defined outside of blocks", at, "Define it at the top.")
        if known is not None and not known.standard:
            raise QasmError(f"the gate {quoted(name)} is defined twice", at, "Choose another name.")
        formal = statement.parameters + statement.qubits
        if len(set(formal)) < len(formal) or not statement.qubits:
            raise QasmError(f"the gate {quoted(name)} needs qubits, all names different", at, "Mend its first line.")
        gate = _Gate(statement, False)
        # tried once, so that what is wrong in it is wrong where it stands, and not only where it is used
        try:
            with self.apart():
                self.expand(gate, [0.5] * len(statement.parameters), tuple(range(len(statement.qubits))), at, 0)
        except UndefinedError:
            pass
        self.gates[name] = gate

    def on_def(self, statement: syntax.Def) -> None:
        if statement.name in self.defs:
            raise QasmError(f"{quoted(statement.name)} is defined twice", statement.at, "Choose another name.")
        self.defs[statement.name] = statement

    def on_apply(self, statement: syntax.Apply) -> None:
        at, name = statement.at, statement.name
        arguments = [self.angle(argument) for argument in statement.arguments]
        operands = [self.qubits_of(operand) for operand in statement.operands]
        sizes = {len(operand) for operand in operands} - {1}
        if len(sizes) > 1:
            raise QasmError(
                f"registers of {' and '.join(map(str, sorted(sizes)))} qubits in one gate",
                at,
                "Registers have to be of equal size, or single qubits.",
            )
        if 0 in sizes:
            return
        for k in range(max(sizes, default=1)):
            self.work.add(1 + len(operands))
            qubits = tuple(operand[k if len(operand) > 1 else 0] for operand in operands)
            if len(set(qubits)) < len(qubits):
                first: dict[int, int] = {}
                twice = next(k for k, qubit in enumerate(qubits) if first.setdefault(qubit, k) != k)
                place = statement.operands[twice].at
                raise QasmError(f"{quoted(name)} acts on the same qubit twice", place, "Its qubits have to differ.")
            if statement.modifiers:
                for operation in self.modified(statement, arguments, qubits):
                    self.emit(at, operation)
            else:
                self.gate(name, arguments, qubits, at, statement.depth)

    def gate(self, name: str, arguments: Sequence[float], qubits: tuple[int, ...], at: int, depth: int) -> None:
        """Emit a gate, expanded."""
        if name == "gphase" and (self.program.version == 3 or self.inside_library):
            self.fits(name, at, arguments, 1, qubits, 0)
            self.emit(at, Operation("gphase", (), tuple(arguments)))
            return
        native = self.inside_library and name in GATES
        if not native and name not in self.gates:
            raise self.unknown_gate(name, at)
        gate = None if native else self.gates[name]
        if gate is None:
            self.fits(name, at, arguments, GATES[name][1], qubits, GATES[name][0])
            self.emit(at, Operation(name, qubits, tuple(arguments)))
            return
        definition = gate.definition
        self.fits(name, at, arguments, len(definition.parameters), qubits, len(definition.qubits))
        self.expand(gate, arguments, qubits, at, depth)

    def fits(
        self, name: str, at: int, arguments: Sequence[float], parameters: int, on: Sequence[int], qubits: int
    ) -> None:
        for got, wanted, word in ((arguments, parameters, "parameter"), (on, qubits, "qubit")):
            if len(got) != wanted:
                message = f"{quoted(name)} takes {wanted} {word}{'s' * (wanted != 1)}, got {len(got)}"
                raise QasmError(message, at, "See the gate's definition.")

    def unknown_gate(self, name: str, at: int) -> QasmError:
        if name in self.defs:
            return QasmError(f"{quoted(name)} is a subroutine", at, "Call it with its qubits in parentheses.")
        if name in GATES or name in _library(_LIBRARY) or name in _library(_LIBRARY_2):
            file = "qelib1.inc" if self.program.version == 2 else "stdgates.inc"
            return QasmError(f"the gate {quoted(name)} is not defined", at, f'Begin with: include "{file}";')
        return QasmError(f"the gate {quoted(name)} is not defined", at, "Define it before its use, or mend its name.")

    def expand(self, gate: _Gate, arguments: Sequence[float], qubits: tuple[int, ...], at: int, depth: int) -> None:
        definition = gate.definition
        self.work.add(CALL + len(qubits) + len(arguments))
        scope: dict[str, Any] = {name: Qubits((qubit,)) for name, qubit in zip(definition.qubits, qubits, strict=True)}
        scope |= {
            name: Variable("float", None, value, True)
            for name, value in zip(definition.parameters, arguments, strict=True)
        }
        with self.called(scope, at, depth, gate):
            for statement in definition.body:
                self.step(statement.at)
                if isinstance(statement, syntax.Apply):
                    self.on_apply(statement)
                elif isinstance(statement, syntax.For) and self.program.version == 3:
                    self.on_for(statement)
                elif not isinstance(statement, syntax.Barrier):
                    raise QasmError("a gate can only consist of gates", statement.at, "Use a def for anything else.")

    @contextmanager
    def called(self, scope: dict[str, Any], at: int, depth: int, gate: _Gate | None = None) -> Iterator[None]:
        """Inside a gate or subroutine, which sees its own names and global constants. `depth`: of the call."""
        self.calls += 1
        self.depth += depth
        if self.calls > MAX_CALLS or self.depth > MAX_DEPTH:
            raise QasmError("too many calls inside each other", at, "Write it flatter.", "too_large")
        outer, self.scopes = self.scopes, [self.scopes[0], scope]
        inside = self.inside_gate, self.inside_library
        self.inside_gate, self.inside_library = gate is not None or inside[0], gate is not None and gate.standard
        try:
            yield
        finally:
            self.scopes, (self.inside_gate, self.inside_library) = outer, inside
            self.calls -= 1
            self.depth -= depth

    @contextmanager
    def apart(self) -> Iterator[list[Operation]]:
        """Operations are collected, not emitted."""
        kept, conditions = self.operations, self.conditions
        self.operations, self.conditions = [], ()
        try:
            yield self.operations
        finally:
            self.operations, self.conditions = kept, conditions

    def modified(
        self, statement: syntax.Apply, arguments: Sequence[float], qubits: tuple[int, ...]
    ) -> Sequence[Operation]:
        counts = [
            (1 if each.value is None else self.whole(each.value)) if each.kind in ("ctrl", "negctrl") else 0
            for each in statement.modifiers
        ]
        for each, count in zip(statement.modifiers, counts, strict=True):
            if each.kind in ("ctrl", "negctrl") and count < 1:
                raise QasmError(f"{shown(count)} controls", each.at, "At least one.")
        controls = sum(counts)
        if controls > len(qubits):
            raise QasmError(
                f"{shown(controls)} controls, but {len(qubits)} qubits", statement.at, "Name the controls first."
            )
        with self.apart() as operations:
            self.gate(statement.name, arguments, qubits[controls:], statement.at, statement.depth)
        found: list[Operation] = list(operations)
        own = controls
        for each, count in reversed(list(zip(statement.modifiers, counts, strict=True))):
            self.work.at = each.at
            exponent = 1.0
            if each.kind == "pow":
                if each.value is None:
                    raise QasmError("pow needs an exponent", each.at, "Write it in parentheses.")
                exponent = self.real(each.value)
            several = sum(len(one.qubits) + count > 2 for one in found if one.params) if count else 0
            self.work.add(MODIFIED + MATRIX * (several + (not exponent.is_integer())))
            most = min(MAX_OPERATIONS, (self.work.most - self.work.done) // MODIFIED)
            try:
                if each.kind == "inv":
                    found = inverse(found)
                elif each.kind == "pow":
                    found = power(found, exponent, most)
                else:
                    own -= count
                    found = controlled(found, qubits[own : own + count], each.kind == "negctrl", most)
            except ValueError as error:
                code: RejectCode = "too_large" if isinstance(error, TooManyError) else "invalid_problem"
                raise QasmError(str(error), each.at, "Write the gate without this modifier.", code) from None
            self.work.add(MODIFIED * len(found) + sum(len(operation.qubits) for operation in found))
            if any(not abs(angle) < MAX_ANGLE for operation in found for angle in operation.params):
                raise QasmError("an angle gets too large", each.at, "Use a smaller angle or power.")
        return found

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
            except _Jumped as jumped:
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
            except _Jumped as jumped:
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
                except _Jumped as jumped:
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
        raise _Jumped(statement, None if statement.value is None else self.result_of(statement.value))

    # values

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
                except _Jumped as jumped:
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

    # the result

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
