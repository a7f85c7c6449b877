"""Circuits: the diagram of a small one, beside how often each result came or what the observables came to."""

from __future__ import annotations

from fractions import Fraction
from math import pi
from typing import Any

from qmosaic.codecs.events.public import Outcome, Problem
from qmosaic.codecs.models.circuit import Circuit, Operation
from qmosaic.codecs.qasm import compiler
from qmosaic.codecs.qasm.syntax import QasmError
from qmosaic.streams.pictures.sheet import Fact, Sheet, count, label

QUBITS, COLUMNS, SOURCE = 10, 28, 20_000
"""Up to which a circuit is drawn; characters of its source."""
BESIDE = 12
"""Columns up to which the results stand beside it, not below."""
RESULTS, BELOW, MOST_IN_A_NAME = 16, 8, 14
"""Results or values that are shown at most, those below a diagram, and characters of a name."""
_CONTROLLED = {"cx": "x", "cy": "Y", "cz": "z", "ch": "H", "cs": "S", "csdg": "S†", "csx": "√X", "cp": "P", "crx": "RX",
               "cry": "RY", "crz": "RZ", "cu": "U", "ccx": "x", "ccz": "z", "cswap": "swap"}  # fmt: skip
_SHOWN = {"sdg": "S†", "tdg": "T†", "sx": "√X", "sxdg": "√X†", "id": "I", "reset": "|0⟩"}


def picture(sheet: Sheet, problem: Problem, outcome: Outcome) -> None:
    """Draw it. Raises LookupError, TypeError, ValueError where the solution does not fit."""
    circuit = _small(problem)
    placed = columns(circuit) if circuit is not None else []
    wide = max((column for column, _ in placed), default=-1) + 1
    if wide > COLUMNS:
        circuit = None
    ran = outcome.circuit
    size = f" of {count(ran.qubits, 'qubit')} and depth {ran.depth:,}, as it ran" if ran is not None else ""
    sheet.asked = f"quantum circuit{size}"
    beside = wide <= BESIDE
    if circuit is not None:
        _diagram(sheet, circuit, placed, wide, (0.0, 0.04, 0.46, 0.96) if beside else (0.0, 0.56, 1.0, 1.0))
    else:
        sheet.remark = f"The diagram is left out: more than {QUBITS} qubits or {COLUMNS} columns"
    place = (0.58, 0.08, 1.0, 0.93) if circuit is not None and beside else (0.13, 0.08, 1.0, 0.42 if circuit else 0.93)
    if "expectations" in outcome.solution:
        _expectations(sheet, outcome, place)
    else:
        _counts(sheet, outcome, place)
    _facts(sheet, outcome)


def _small(problem: Problem) -> Circuit | None:
    """The circuit, where it is one that can be drawn."""
    source = problem.problem["qasm"]
    if len(source) > SOURCE:
        return None
    try:
        return compiler.compiled(source, max_qubits=QUBITS).circuit
    except QasmError:  # it has more qubits: it was valid before
        return None


def columns(circuit: Circuit) -> list[tuple[int, Operation]]:
    """Each operation with its column: as far left as it can be, nothing under a line that joins qubits, what depends on
    a classical bit right of where that is measured. Measurements and resets are one by one."""
    level, read = [0] * circuit.qubits, [0] * circuit.bits
    placed: list[tuple[int, Operation]] = []
    for operation in circuit.operations:
        if operation.gate == "gphase":
            continue
        for one in _apart(operation):
            span = range(min(one.qubits, default=0), max(one.qubits, default=-1) + 1)
            bits = (*one.bits, *(one.condition[0] if one.condition is not None else ()))
            column = max([0, *(level[q] for q in span), *(read[bit] for bit in bits)])
            if one.gate != "barrier":
                placed.append((column, one))
                column += 1
            for q in span:
                level[q] = column
            for bit in bits:
                read[bit] = column
            if column > COLUMNS:
                return placed  # too wide already
    return placed


def _apart(operation: Operation) -> list[Operation]:
    """What is done to several qubits at once, one by one."""
    if operation.gate == "measure":
        pairs = zip(operation.qubits, operation.bits, strict=True)
        return [Operation("measure", (q,), bits=(bit,), condition=operation.condition) for q, bit in pairs]
    if operation.gate == "reset":
        return [Operation("reset", (q,), condition=operation.condition) for q in operation.qubits]
    return [operation]


def _diagram(
    sheet: Sheet, circuit: Circuit, placed: list[tuple[int, Operation]], wide: int, place: tuple[float, ...]
) -> None:
    ink = sheet.ink
    axes = sheet.bare(*place)
    n = circuit.qubits
    axes.set_xlim(-0.9, wide - 0.4)
    axes.set_ylim(n - 0.4, -0.7)
    axes.set_aspect("equal", adjustable="box", anchor="NW")
    width = axes.get_position().width * sheet.figure.get_figwidth() / (wide + 0.5)
    height = axes.get_position().height * sheet.figure.get_figheight() / (n + 0.3)
    pen = Pen(axes, sheet, min(10.0, 72 * 0.3 * min(width, height)))
    for q in range(n):
        axes.plot([-0.5, wide - 0.4], [q, q], color=ink.muted, linewidth=0.9, zorder=1)
        axes.text(-0.6, q, f"q{q}", ha="right", va="center", fontsize=pen.size, color=ink.text)
    for column, operation in placed:
        pen.draw(column, operation)


class Pen:
    """Draws operations in cells of one by one."""

    def __init__(self, axes: Any, sheet: Sheet, size: float) -> None:
        self.axes, self.ink, self.size = axes, sheet.ink, size

    def draw(self, x: int, operation: Operation) -> None:
        """One of them in column `x`."""
        gate, on = operation.gate, operation.qubits
        if len(on) > 1:
            self.axes.plot([x, x], [min(on), max(on)], color=self.ink.text, linewidth=1.1, zorder=2)
        if operation.condition is not None:
            bits, wanted = operation.condition
            told = label(f"if c{list(bits) if len(bits) > 1 else bits[0]}={wanted}", 14)
            self.axes.text(
                x,
                min(on) - 0.4,
                told,
                ha="center",
                va="bottom",
                fontsize=0.6 * self.size,
                color=self.ink.muted,
                zorder=5,
            )
        under = ", ".join(map(angle, operation.params))
        if gate == "measure":
            self._box(x, on[0], "M", f"c{operation.bits[0]}", self.ink.orange)
        elif gate in _CONTROLLED:
            many = 1 if gate not in ("ccx", "ccz") else 2
            for q in on[:many]:
                self.axes.plot(x, q, "o", color=self.ink.text, markersize=0.62 * self.size, zorder=3)
            for q in on[many:]:
                self._target(x, q, _CONTROLLED[gate], under)
        elif gate == "swap":
            for q in on:
                self._target(x, q, "swap", "")
        else:
            names = operation.pauli if gate == "rotation" else gate[1:] if gate in ("rxx", "ryy", "rzz") else None
            for k, q in enumerate(on):
                self._box(x, q, names[k].upper() if names else _SHOWN.get(gate, gate.upper()), under, self.ink.blue)

    def _target(self, x: int, q: int, name: str, under: str) -> None:
        ink = self.ink
        if name == "x":
            self.axes.plot(x, q, "o", color=ink.page, markeredgecolor=ink.text, markersize=1.5 * self.size, zorder=3)
            self.axes.plot(x, q, "+", color=ink.text, markersize=1.5 * self.size, zorder=4)
        elif name == "z":
            self.axes.plot(x, q, "o", color=ink.text, markersize=0.62 * self.size, zorder=3)
        elif name == "swap":
            self.axes.plot(x, q, "x", color=ink.text, markersize=self.size, zorder=3)
        else:
            self._box(x, q, name, under, ink.blue)

    def _box(self, x: int, q: int, name: str, under: str, colour: str) -> None:
        """A gate by its name, its angles or its bit below that."""
        from matplotlib.patches import Rectangle

        side, ink = 0.36, self.ink
        self.axes.add_patch(
            Rectangle(
                (x - side, q - side), 2 * side, 2 * side, facecolor=ink.page, edgecolor=colour, linewidth=1.4, zorder=3
            )
        )
        size = self.size if len(name) < 3 else 0.75 * self.size
        place = {"ha": "center", "va": "center", "zorder": 4}
        self.axes.text(x, q - (0.1 if under else 0), name, fontsize=size, color=ink.text, **place)
        if under:
            small = self.size * min(0.62, 3.4 / len(under))
            self.axes.text(x, q + 0.22, label(under, 18), fontsize=small, color=ink.muted, **place)


def angle(radians: float) -> str:
    """`π/2` where it is a simple part of π, else `0.52`."""
    part = Fraction(radians / pi).limit_denominator(16)
    if part and abs(part * pi - radians) < 1e-6 and abs(part) <= 16:
        top = "π" if abs(part.numerator) == 1 else f"{abs(part.numerator)}π"
        return f"{'−' if part < 0 else ''}{top}{f'/{part.denominator}' if part.denominator > 1 else ''}"
    return f"{radians:.3g}".replace("-", "−")


def _most(place: tuple[float, ...]) -> int:
    """Rows that fit."""
    return RESULTS if place[3] - place[1] > 0.5 else BELOW


def _counts(sheet: Sheet, outcome: Outcome, place: tuple[float, ...]) -> None:
    ink = sheet.ink
    counts = sorted(outcome.solution["counts"].items(), key=lambda pair: -pair[1])
    total = sum(times for _, times in counts)
    most = _most(place)
    top = counts[:most]
    names = [label(bits, MOST_IN_A_NAME) for bits, _ in top]
    shares = [100 * times / total for _, times in top]
    axes = sheet.axes(*place)
    rest = f"; the {len(counts) - len(top):,} others: {100 - sum(shares):.1f} %" if len(counts) > len(top) else ""
    sheet.head(axes, f"{count(total, 'shot')}, {count(len(counts), 'different result')}{rest}")
    axes.barh(range(len(names)), shares, 0.7, color=ink.blue)
    rows = max(len(names), 6)  # two bars need not fill the sheet
    tall = (place[3] - place[1]) * 300 / rows
    for k, share in enumerate(shares):
        axes.annotate(f"{share:.1f}", (share, k), (3, 0), textcoords="offset points", va="center",
                      fontsize=min(7.5, 0.7 * tall), color=ink.muted)  # fmt: skip
    axes.set_yticks(range(len(names)), names, fontsize=min(8.5, 0.75 * tall))
    axes.set_ylim(rows - 0.4, -0.6)
    axes.margins(x=0.1)
    sheet.labels(axes, "share of the shots (%); bit 0 is on the right", "")


def _expectations(sheet: Sheet, outcome: Outcome, place: tuple[float, ...]) -> None:
    ink = sheet.ink
    entries = outcome.solution["expectations"]
    expected = outcome.details.get("expected") or []
    shown = entries[: _most(place)]
    axes = sheet.axes(*place)
    more = f", the first {len(shown)}" if len(entries) > len(shown) else ""
    sheet.head(axes, f"{count(len(entries), 'expectation value')}{more}")
    at = range(len(shown))
    values, errors = [float(one["value"]) for one in shown], [float(one["error"]) for one in shown]
    if len(expected) >= len(shown):
        axes.plot([float(one) for one in expected[: len(shown)]], at, "D", markerfacecolor="none", color=ink.green,
                  markersize=10, linewidth=0, label="independent run")  # fmt: skip
    axes.errorbar(values, at, xerr=errors, fmt="o", color=ink.blue, capsize=3, markersize=5, label="answer")
    axes.axvline(0, color=ink.faint, linewidth=0.8)
    axes.set_yticks(at, [label(one["name"], MOST_IN_A_NAME) for one in shown])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.margins(x=0.15)
    axes.legend(loc="best", frameon=True, fontsize=8, labelcolor=ink.text, facecolor=ink.page, edgecolor=ink.faint)
    sheet.labels(axes, "expectation value", "")


def _facts(sheet: Sheet, outcome: Outcome) -> None:
    """A circuit's answer is right or wrong, not better or worse."""
    details, solution = outcome.details, outcome.solution
    if "counts" in solution:
        sheet.facts[0] = Fact("answer", f"{sum(solution['counts'].values()):,}", "shots")
    else:
        sheet.facts[0] = Fact("answer", f"{len(solution['expectations']):,}", "expectation values")
    reference = details.get("reference")
    sheet.facts[1] = Fact("compared with", str(reference or "nothing"), "an independent run" if reference else "")
    fidelity, least = details.get("fidelity"), details.get("threshold")
    if isinstance(fidelity, int | float) and isinstance(least, int | float):
        sheet.facts[2] = Fact("fidelity", f"{fidelity:.4f}", f"at least {least:.4f} asked for")
    else:
        sheet.facts[2] = Fact("fidelity", "—", "exact to five errors" if reference and "counts" not in solution else "")
