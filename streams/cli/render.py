"""What people see in a terminal: tables of outcomes, a trace as a tree. Fits 80 columns; wide where there is room."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from qmosaic.codecs.events.public import Outcome, Rejection
from qmosaic.codecs.text import shown
from qmosaic.streams.observe.answers import answer_of
from qmosaic.streams.observe.words import label_of

WIDE = 150
MOST_ANSWERS = 10
"""Answers that are shown below a table."""
MOST_IN_AN_ANSWER = 1200
"""Characters of one line of them."""
MOST_IN_A_CELL = 300
"""Characters of one text in a table."""
MOST_DEEP = 50
"""Levels of a trace that are shown."""


def _cell(text: str | None) -> Text:
    """What others wrote, as text: never markup, and nothing that a terminal acts on."""
    return Text(shown(text or "", MOST_IN_A_CELL))


def show_outcomes(out: Console, results: Sequence[Outcome | Rejection]) -> None:
    """Problem, family, status, objective, baseline, improvement, target, backend, qubits, depth, time; and the ids of
    those that are called by another name. Where there is room, those of their traces, too."""
    out.print(_wide(results) if out.width >= WIDE else _narrow(results))
    named = [one for one in results if label_of(one) != one.problem_id]
    if named:
        out.print("\nids", style="bold")
    for one in named:
        out.print(Text(f"{shown(one.problem_id, MOST_IN_A_CELL)}  {label_of(one)}", overflow="fold"))


def show_answers(out: Console, results: Sequence[Outcome | Rejection], most: int = MOST_ANSWERS) -> None:
    """What each came to, in its family's terms, and what is to be done about what was refused."""
    told = 0
    for one in results:
        if isinstance(one, Rejection):
            head = Text.assemble("\n", (label_of(one), "bold"), f"  {shown(one.code, MOST_IN_A_CELL)}")
            lines = [f"{one.place}: {one.message}", *([one.remedy] if one.remedy else [])]
        elif told < most and (lines := answer_of(one)):
            told += 1
            objective = f"  {_value(one.objective)}" if one.objective is not None else ""
            head = Text.assemble("\n", (label_of(one), "bold"), f"{objective}{_unit(one)}")
        else:
            continue
        out.print(head)
        for line in lines:
            out.print(Padding(Text(shown(line, MOST_IN_AN_ANSWER)), (0, 0, 0, 2), expand=False))
    answers = sum(isinstance(one, Outcome) and one.solution is not None for one in results)
    if answers:
        more = f"{answers - told} more answers: " if answers > told else "All of an answer: "
        out.print(Text(f"\n{more}--json, or --write FOLDER where the format has files of solutions", style="dim"))


class OutcomeLines:
    """A table that grows, a line an outcome as it comes."""

    def __init__(self, out: Console) -> None:
        self._out, self._headed = out, False
        self._name = max(10, min(40, out.width - 70))  # the other columns have their widths

    def add(self, one: Outcome | Rejection) -> None:
        """One more."""
        if not self._headed:
            self._headed = True
            self._line("bold", "time", "problem", "status", "reason", "objective", "on", "seconds")
        now = time.strftime("%H:%M:%S")
        if isinstance(one, Rejection):
            self._line("red", now, label_of(one), "rejected", one.code, "", "", "")
            return
        style = "" if one.status == "accepted" else "yellow"
        figures = _value(one.objective), one.target or "", f"{one.timings.total:.2f}"
        self._line(style, now, label_of(one), one.status, one.reason, *figures)

    def _line(self, style: str, now: str, name: str, status: str, reason: str, *figures: str) -> None:
        objective, target, seconds = figures
        name = name if len(name) <= self._name else f"{name[: self._name - 1]}…"
        text = f"{now:8} {name:{self._name}} {status:8} {shown(reason, 16):16} {objective:>10} {target:>9} {seconds:>7}"
        self._out.print(Text(text, style=style, no_wrap=True, overflow="ellipsis"))


def _unit(one: Outcome) -> str:
    return f" ({one.sense}imum asked for)" if one.objective is not None else ""


def _wide(results: Sequence[Outcome | Rejection]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("problem", "family", "status", "objective", "baseline", "improvement", "target", "backend"):
        table.add_column(name, justify="right" if name in ("objective", "baseline", "improvement") else "left")
    for name in ("qubits", "depth", "time"):
        table.add_column(name, justify="right")
    table.add_column("trace id", no_wrap=True)
    for one in results:
        if isinstance(one, Rejection):
            place = _cell(f"{one.place}: {one.message}")
            table.add_row(Text(label_of(one)), "", _status(one), place, *[""] * 7, Text(shown(one.trace_id, 32)))
            continue
        circuit = one.circuit
        table.add_row(
            Text(label_of(one)),
            _cell(one.family),
            _status(one),
            _value(one.objective),
            _value(one.baseline.objective) if one.baseline else "",
            _value(one.improvement),
            one.target or "",
            _cell(_backend(one)),
            str(circuit.qubits) if circuit else "",
            str(circuit.depth) if circuit else "",
            f"{one.timings.total:.2f} s",
            Text(shown(one.trace_id, 32)),
        )
    return table


def _narrow(results: Sequence[Outcome | Rejection]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("problem", max_width=14, overflow="fold")
    table.add_column("status", min_width=19, overflow="fold")
    table.add_column("objective", justify="right", min_width=9, max_width=13, overflow="fold")
    table.add_column("ran on", max_width=17, overflow="fold")
    table.add_column("time", justify="right", min_width=7, no_wrap=True)
    for one in results:
        if isinstance(one, Rejection):
            table.add_row(Text(label_of(one)), _status(one), "", _cell(f"{one.place}: {one.message}"), "")
            continue
        gain = "" if one.improvement is None or one.baseline is None else f"{one.improvement:+.5g}"
        base = f" over {_value(one.baseline.objective)}" if gain and one.baseline else ""
        ran = Text.assemble((one.target or "nothing", "bold"), "\n", _cell(_backend(one)))
        if one.circuit:
            ran.append(f"\n{one.circuit.qubits} qubits, depth {one.circuit.depth}")
        table.add_row(
            Text.assemble(label_of(one), "\n", (shown(one.family, MOST_IN_A_CELL), "dim")),
            _status(one),
            Text.assemble(_value(one.objective), "\n", (f"{gain}{base}", "dim")),
            ran,
            f"{one.timings.total:.2f} s",
        )
    return table


def _backend(one: Outcome) -> str:
    """Its name, and what its run cost, as far as that is known."""
    cost = one.usage.cost_usd if one.usage else None
    return f"{one.backend or ''}, ${cost:,.2f}" if cost is not None else one.backend or ""


def _value(objective: float | None) -> str:
    return "" if objective is None else f"{objective:.7g}"


def _status(one: Outcome | Rejection) -> Text:
    if isinstance(one, Rejection):
        return Text(f"rejected\n{shown(one.code, MOST_IN_A_CELL)}", style="red")
    return Text.assemble((one.status, "green" if one.status == "accepted" else "yellow"), "\n", (one.reason, "dim"))


def read_spans(directory: Path) -> list[dict[str, Any]]:
    """Every span in the files of a spans directory."""
    spans = []
    for path in sorted(directory.glob("*.jsonl")):
        with path.open(encoding="utf-8") as lines:
            spans += [json.loads(line) for line in lines if line.endswith("\n")]
    return spans


def trace_tree(spans: Sequence[dict[str, Any]], trace_id: str) -> Tree:
    """One trace as a tree of hops: when each began, how long it took, in milliseconds from the root's start."""
    mine = [span for span in spans if span["context"]["trace_id"] == f"0x{trace_id}"]
    known = {span["context"]["span_id"] for span in mine}
    children: dict[str | None, list[dict[str, Any]]] = defaultdict(list)
    for span in mine:
        parent = span["parent_id"] if span["parent_id"] in known else None
        children[parent].append(span)
    origin = min((span["start_time"] / 1e9 for span in mine), default=0.0)
    tree = Tree(Text.assemble((f"trace {shown(trace_id, 32)}", "bold"), "  (start and duration in ms)"))

    def add(branch: Tree, span: dict[str, Any], depth: int) -> None:
        start = (span["start_time"] / 1e9 - origin) * 1000
        length = (span["end_time"] / 1e9 - span["start_time"] / 1e9) * 1000
        service = shown(span["service"] or "", MOST_IN_A_CELL).removeprefix("qmosaic-")
        name = shown(span["name"], MOST_IN_A_CELL)
        style = "red" if span.get("status") == "ERROR" else "cyan"
        label = Text.assemble((name, style), f"  {service}", (f"  @{start:.1f} +{length:.1f}", "dim"), _detail(span))
        label.no_wrap, label.overflow = True, "ellipsis"
        node = branch.add(label)
        below = children[span["context"]["span_id"]] if depth < MOST_DEEP else []
        for child in sorted(below, key=lambda s: int(s["start_time"])):
            add(node, child, depth + 1)

    for root in sorted(children[None], key=lambda s: int(s["start_time"])):
        add(tree, root, 1)
    return tree


def _detail(span: dict[str, Any]) -> str:
    told = ("qmosaic.route.reason", "qmosaic.backend.name", "qmosaic.outcome.reason", "qmosaic.attempt.ended")
    values = [shown(str(span["attributes"][key]), MOST_IN_A_CELL) for key in told if key in span["attributes"]]
    return f"  {', '.join(values)}" if values else ""


def console(stderr: bool = False) -> Console:
    """A console that never guesses more than the terminal says."""
    return Console(stderr=stderr, highlight=False)
