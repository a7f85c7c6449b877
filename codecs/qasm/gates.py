"""OpenQASM's gates: defined, applied to registers, expanded to those that a `Circuit` has, and modified."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from qmosaic.codecs.errors import RejectCode
from qmosaic.codecs.models.circuit import GATES, Operation
from qmosaic.codecs.qasm import syntax
from qmosaic.codecs.qasm.arithmetic import UndefinedError, shown
from qmosaic.codecs.qasm.building import MAX_OPERATIONS, Building
from qmosaic.codecs.qasm.includes import LIBRARY, LIBRARY_2, Gate, library
from qmosaic.codecs.qasm.modifiers import TooManyError, controlled, inverse, power
from qmosaic.codecs.qasm.names import Qubits, Variable
from qmosaic.codecs.qasm.syntax import QasmError, quoted
from qmosaic.codecs.qasm.values import CALL, MAX_ANGLE

MAX_CALLS = 32
"""Gates and subroutines inside each other."""
MAX_DEPTH = 160
"""How deep, in levels as the parser counts them, the calls may stand that are inside each other."""
MODIFIED, MATRIX = 15, 150
"""Units of work: of an operation that a modifier makes, of a matrix that has to be taken apart for it."""


@dataclass
class Gates(Building):
    """`depth`: levels of the calls that are inside each other."""

    depth: int = 0
    inside_library: bool = False
    gates: dict[str, Gate | None] = field(default_factory=dict)  # None: one of GATES

    @abstractmethod
    def on_for(self, statement: syntax.For) -> None:
        """A loop, which gates may have."""

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
        gate = Gate(statement, False)
        # tried once, so that what is wrong in it is wrong where it stands, and not only where it is used
        try:
            with self.apart():
                self.expand(gate, [0.5] * len(statement.parameters), tuple(range(len(statement.qubits))), at, 0)
        except UndefinedError:
            pass
        self.gates[name] = gate

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
        if name in GATES or name in library(LIBRARY) or name in library(LIBRARY_2):
            file = "qelib1.inc" if self.program.version == 2 else "stdgates.inc"
            return QasmError(f"the gate {quoted(name)} is not defined", at, f'Begin with: include "{file}";')
        return QasmError(f"the gate {quoted(name)} is not defined", at, "Define it before its use, or mend its name.")

    def expand(self, gate: Gate, arguments: Sequence[float], qubits: tuple[int, ...], at: int, depth: int) -> None:
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
    def called(self, scope: dict[str, Any], at: int, depth: int, gate: Gate | None = None) -> Iterator[None]:
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
