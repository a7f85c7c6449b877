"""What people see in a terminal: tables of outcomes, a trace as a tree. Fits 80 columns; wide where there is room."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from qmosaic.codecs.events import Outcome, Rejection

WIDE = 150


def label_of(event: Outcome | Rejection) -> str:
    """What a person calls the problem: the file it came from, or its id."""
    name = event.labels.get("name") or event.labels.get("file")
    return str(name) if name else event.problem_id


def show_outcomes(out: Console, results: Sequence[Outcome | Rejection]) -> None:
    """Problem, family, status, objective, baseline, improvement, target, backend, qubits, depth, time, trace."""
    if out.width >= WIDE:
        out.print(_wide(results))
        return
    out.print(_narrow(results))
    out.print("\ntrace ids", style="bold")
    for one in results:
        out.print(f"{one.trace_id}  {label_of(one)}")


def _wide(results: Sequence[Outcome | Rejection]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("problem", "family", "status", "objective", "baseline", "improvement", "target", "backend"):
        table.add_column(name, justify="right" if name in ("objective", "baseline", "improvement") else "left")
    for name in ("qubits", "depth", "time"):
        table.add_column(name, justify="right")
    table.add_column("trace id", no_wrap=True)
    for one in results:
        if isinstance(one, Rejection):
            table.add_row(label_of(one), "", _status(one), one.message, *[""] * 7, one.trace_id)
            continue
        circuit = one.circuit
        table.add_row(
            label_of(one),
            one.family,
            _status(one),
            _value(one.objective),
            _value(one.baseline.objective) if one.baseline else "",
            _value(one.improvement),
            one.target or "",
            _backend(one),
            str(circuit.qubits) if circuit else "",
            str(circuit.depth) if circuit else "",
            f"{one.timings.total:.2f} s",
            one.trace_id,
        )
    return table


def _narrow(results: Sequence[Outcome | Rejection]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("problem", max_width=15, overflow="fold")
    table.add_column("status", min_width=19, overflow="fold")
    table.add_column("objective", justify="right", min_width=9, max_width=15)
    table.add_column("ran on", max_width=20, overflow="fold")
    table.add_column("time", justify="right", min_width=7, no_wrap=True)
    for one in results:
        if isinstance(one, Rejection):
            table.add_row(label_of(one), _status(one), "", f"{one.place}: {one.message}", "")
            continue
        gain = "" if one.improvement is None or one.baseline is None else f"{one.improvement:+.5g}"
        base = f" over {_value(one.baseline.objective)}" if gain and one.baseline else ""
        ran = Text.assemble((one.target or "nothing", "bold"), "\n", _backend(one))
        if one.circuit:
            ran.append(f"\n{one.circuit.qubits} qubits, depth {one.circuit.depth}")
        table.add_row(
            Text.assemble(label_of(one), "\n", (one.family, "dim")),
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
        return Text(f"rejected\n{one.code}", style="red")
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
    tree = Tree(f"[bold]trace {trace_id}[/bold]  (start and duration in ms)")

    def add(branch: Tree, span: dict[str, Any]) -> None:
        start = (span["start_time"] / 1e9 - origin) * 1000
        length = (span["end_time"] / 1e9 - span["start_time"] / 1e9) * 1000
        service = (span["service"] or "").removeprefix("qmosaic-")
        label = Text.assemble(
            (span["name"], "cyan"), f"  {service}", (f"  @{start:.1f} +{length:.1f}", "dim"), _detail(span)
        )
        label.no_wrap, label.overflow = True, "ellipsis"
        node = branch.add(label)
        for child in sorted(children[span["context"]["span_id"]], key=lambda s: int(s["start_time"])):
            add(node, child)

    for root in sorted(children[None], key=lambda s: int(s["start_time"])):
        add(tree, root)
    return tree


def _detail(span: dict[str, Any]) -> str:
    told = ("qmosaic.route.reason", "qmosaic.backend.name", "qmosaic.outcome.status", "qmosaic.outcome.reason")
    values = [str(span["attributes"][key]) for key in told if key in span["attributes"]]
    return f"  {', '.join(values)}" if values else ""


def console(stderr: bool = False) -> Console:
    """A console that never guesses more than the terminal says."""
    return Console(stderr=stderr, highlight=False)
