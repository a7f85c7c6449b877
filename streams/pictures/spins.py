"""Max-cut, QUBO and Ising: variables and what joins them, as a graph; of large ones the matrix, sorted by the answer.

What joins two variables is told apart by what it does under the answer: an edge is cut or not, a term counts or does
not, a coupling is satisfied or frustrated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import numpy as np
from jaxtyping import Bool, Float64, Int64

from qmosaic.codecs.events.public import Outcome, Problem
from qmosaic.codecs.problems import Ising, MaxCut, Qubo
from qmosaic.streams.pictures import layout, summary
from qmosaic.streams.pictures.sheet import Ink, Sheet, count, label, value

NODES, EDGES = 120, 700
"""Up to which a graph is drawn as one."""
LARGEST = 20_000
"""Variables of a matrix."""
CELLS = 240
"""Cells of a matrix along a side."""
NAMED, MOST_IN_A_NAME = 40, 10
"""Nodes up to which they have their names, and characters of one."""


@dataclass(frozen=True, eq=False)
class Terms:
    """`value = offset + sum own_i v_i + sum values_k v_rows v_cols`, pairs as they were written."""

    n: int
    names: tuple[str, ...] | None
    rows: Int64[np.ndarray, " m"]
    cols: Int64[np.ndarray, " m"]
    values: Float64[np.ndarray, " m"]
    own: Float64[np.ndarray, " n"]
    """Of the first `LARGEST` variables alone, where there are more."""

    def of(self, solution: Any) -> Float64[np.ndarray, " n"]:
        """A solution's values in the order of the variables. Raises LookupError, TypeError or ValueError."""
        ordered = [solution[name] for name in self.names] if self.names is not None else solution
        found = np.array(ordered, dtype=np.float64)
        if found.shape != self.own.shape:
            raise ValueError(f"{found.shape} values of {len(self.own)} variables")
        return found


class Words(NamedTuple):
    """What a family calls them: the problem, variables and pairs; the two values; what pairs do, the first what is
    wanted."""

    problem: str
    variable: str
    pair: str
    sides: tuple[str, str]
    does: tuple[str, ...]


WORDS = {
    "maxcut": Words("max-cut", "node", "edge", ("one side", "other side"), ("cut", "not cut")),
    "qubo": Words(
        "QUBO",
        "variable",
        "coupling",
        ("chosen (1)", "not chosen (0)"),
        ("both chosen, gains", "both chosen, costs", "not both chosen"),
    ),
    "ising": Words("Ising model", "spin", "coupling", ("up (+1)", "down (−1)"), ("satisfied", "frustrated")),
}


def picture(sheet: Sheet, problem: Problem, outcome: Outcome) -> None:
    """Draw it. Raises LookupError, TypeError, ValueError where the solution does not fit."""
    words = WORDS[problem.family]
    terms = read(problem)
    n, m = terms.n, len(terms.rows)
    sheet.asked = f"{words.problem} of {count(n, words.variable)} and {count(m, words.pair)}"
    if n > LARGEST:
        summary.large(sheet, count(n, words.variable), count(LARGEST, words.variable))
        return
    found = terms.of(outcome.solution)
    first = found == (0.0 if problem.family == "maxcut" else 1.0)
    does = _does(problem.family, terms, found, outcome.sense)
    if n <= NODES and m <= EDGES:
        _graph(sheet, words, terms, first, does)
    else:
        _matrix(sheet, words, terms, first, does)


def read(problem: Problem) -> Terms:
    """The pairs of a payload. Raises what a payload that is none makes it raise."""
    given: MaxCut | Qubo | Ising
    own: Any = None
    if problem.family == "maxcut":
        given = msgspec.convert(problem.problem, MaxCut)
        pairs, called = given.edges, given.nodes
    elif problem.family == "qubo":
        given = msgspec.convert(problem.problem, Qubo)
        pairs, called = given.terms, given.variables
    else:
        given = msgspec.convert(problem.problem, Ising)
        pairs, called, own = given.J, given.variables, given.h
    names = _names(pairs, called, own)
    ends = _ends(pairs, names)
    values = np.array([pair[2] if len(pair) > 2 else 1.0 for pair in pairs], dtype=np.float64)
    if names is not None:
        n = len(names)
    else:
        n = called if isinstance(called, int) else max(int(ends.max(initial=-1)) + 1, len(own or ()))
    if ends.min(initial=0) < 0 or ends.max(initial=-1) >= n:
        raise ValueError("a pair of variables that are not there")
    if isinstance(own, dict):
        own = [own.get(name, 0.0) for name in names or ()]
    linear = np.zeros(min(n, LARGEST)) if own is None else np.array(own, dtype=np.float64)
    rows, cols = ends.T
    loops = rows == cols  # in a QUBO, linear terms
    if loops.any() and n <= LARGEST:
        np.add.at(linear, rows[loops], values[loops])
    return Terms(n, names, rows[~loops], cols[~loops], values[~loops], linear)


def _names(pairs: Sequence[Any], called: Any, own: Any) -> tuple[str, ...] | None:
    """The names of variables in an order of their own; None where they are numbers."""
    if called is not None and not isinstance(called, int):
        return tuple(called)
    if called is not None or not (isinstance(own, dict) or (pairs and isinstance(pairs[0][0], str))):
        return None
    return tuple(dict.fromkeys([*(own if isinstance(own, dict) else ()), *(name for p in pairs for name in p[:2])]))


def _ends(pairs: Sequence[Any], names: tuple[str, ...] | None) -> Int64[np.ndarray, "m 2"]:
    if names is not None:
        place = {name: k for k, name in enumerate(names)}
        return np.array([(place[pair[0]], place[pair[1]]) for pair in pairs], dtype=np.int64).reshape(-1, 2)
    return np.array([pair[:2] for pair in pairs], dtype=np.int64).reshape(-1, 2)


def _does(family: str, terms: Terms, found: Float64[np.ndarray, " n"], sense: str) -> Int64[np.ndarray, " m"]:
    """What each pair does, by its place in the family's words."""
    a, b = found[terms.rows], found[terms.cols]
    if family == "maxcut":
        return np.where(a != b, 0, 1)
    gains = terms.values * a * b * (1 if sense == "max" else -1)
    if family == "qubo":
        return np.where(a * b == 0, 2, np.where(gains > 0, 0, 1))
    return np.where(gains > 0, 0, 1)


def _colours(ink: Ink, words: Words) -> tuple[str, ...]:
    """Of what pairs do."""
    if words.problem == "max-cut":
        return ink.muted, ink.pale
    return ink.green, ink.red, ink.pale


def differ(values: Float64[np.ndarray, " k"]) -> bool:
    """Whether some are larger than others."""
    sizes = np.abs(values)
    return bool((sizes != sizes.max(initial=0.0)).any())


STYLES = ("-", (0, (1.2, 1.6)), "-")
"""Of what pairs do, so that it does not take colours."""


def _graph(
    sheet: Sheet, words: Words, terms: Terms, first: Bool[np.ndarray, " n"], does: Int64[np.ndarray, " m"]
) -> None:
    from matplotlib.collections import LineCollection
    from matplotlib.lines import Line2D

    ink, n = sheet.ink, len(first)
    places = layout.graph(n, terms.rows, terms.cols)
    axes = sheet.bare(bottom=0.06)
    largest = np.abs(terms.values).max(initial=0.0) or 1.0
    widths = 0.8 + 2.0 * np.abs(terms.values) / largest if differ(terms.values) else np.full(len(does), 1.3)
    widths = widths * float(np.clip(8 / np.sqrt(len(does) + 1), 0.35, 1))
    handles: list[Any] = []
    colours = _colours(ink, words)
    widths = np.where(does == 1, 1.25 * widths, widths)  # dots look thinner
    for kind in reversed(range(len(words.does))):
        mine = does == kind
        ends = np.stack([places[terms.rows[mine]], places[terms.cols[mine]]], axis=1)
        style: Any = STYLES[kind]
        axes.add_collection(
            LineCollection(
                list(ends), colors=colours[kind], linewidths=widths[mine], linestyles=[style], zorder=kind < 1
            )
        )
        if mine.any():
            told = f"{words.does[kind]}: {mine.sum():,}"
            if words.problem == "max-cut":
                told += f", weight {value(float(terms.values[mine].sum()))}"
            handles.insert(0, Line2D([], [], color=colours[kind], linewidth=1.8, linestyle=style, label=told))
    size = float(np.clip(9000 / n, 45, 330))
    weighed = differ(terms.own)
    sizes = size * (0.6 + np.abs(terms.own) / np.abs(terms.own).max()) if weighed else np.full(n, size)
    for mine, colour, marker, word in (
        (first, ink.blue, "o", words.sides[0]),
        (~first, ink.orange, "s", words.sides[1]),
    ):
        hollow = words.problem == "QUBO" and marker == "s"
        fill, edge = (ink.page, ink.muted) if hollow else (colour, ink.page)
        x, y = places[mine].T
        axes.scatter(x, y, s=sizes[mine], c=fill, marker=marker, edgecolors=edge, linewidths=1.2, zorder=3)
        handles.insert(
            0 if marker == "o" else 1,
            Line2D(
                [],
                [],
                marker=marker,
                color=fill,
                markeredgecolor=edge,
                linewidth=0,
                markersize=8,
                label=f"{word}: {mine.sum():,}",
            ),
        )
    if n <= NAMED:
        _named(axes, sheet, terms, places, sizes, first, words)
    axes.margins(0.06)
    axes.set_aspect(0.7, adjustable="datalim")  # wide as the sheet, but what is round stays round to the eye
    sheet.legend(axes, handles, 5)
    scale = "; a line is as thick as its weight is large" if differ(terms.values) else ""
    own = f"; a {words.variable} is as large as its own term" if weighed else ""
    sheet.remark = f"Near each other: joined by few {words.pair}s{scale}{own}"


def _named(
    axes: Any,
    sheet: Sheet,
    terms: Terms,
    places: layout.Places,
    sizes: Float64[np.ndarray, " n"],
    first: Bool[np.ndarray, " n"],
    words: Words,
) -> None:
    """Names in the nodes where they are short, else beside them."""
    ink = sheet.ink
    names = [label(name, MOST_IN_A_NAME) for name in terms.names or range(len(places))]
    inside = max(map(len, names)) <= 2 and sizes.min() > 150
    for name, place, size, is_first in zip(names, places, sizes, first, strict=True):
        if inside:
            hollow = words.problem == "QUBO" and not is_first
            colour = ink.text if hollow else "#12171e" if ink.page != "#ffffff" or not is_first else "#ffffff"
            axes.text(*place, name, ha="center", va="center", fontsize=7.5, color=colour, zorder=4)
        else:
            axes.annotate(
                name,
                place,
                (0, 3 + size**0.5 / 2),
                textcoords="offset points",
                ha="center",
                fontsize=7,
                color=ink.text,
                zorder=4,
            )


def _matrix(
    sheet: Sheet, words: Words, terms: Terms, first: Bool[np.ndarray, " n"], does: Int64[np.ndarray, " m"]
) -> None:
    """Which variables are joined, in cells of several: those of one value first, in their order."""
    from matplotlib.colors import to_rgb
    from matplotlib.lines import Line2D

    ink, n = sheet.ink, len(first)
    order = np.argsort(~first, kind="stable")
    rank = np.empty(n, np.int64)
    rank[order] = np.arange(n)
    side = min(CELLS, n)
    a, b = rank[terms.rows] * side // n, rank[terms.cols] * side // n
    axes = sheet.axes(0.06, 0.06, 0.62, 1.0)
    colours = (ink.green, ink.muted) if words.problem == "max-cut" else (ink.green, ink.red, ink.muted)
    image = np.ones((side, side, 3)) * to_rgb(ink.page)
    cells = np.stack(
        [np.histogram2d(np.r_[a[does == k], b[does == k]], np.r_[b[does == k], a[does == k]], side, [[0, side]] * 2)[0]
         for k in range(len(words.does))]
    )  # fmt: skip
    most = cells.sum(0).max() or 1.0
    strength = np.clip(0.3 + 0.7 * cells.sum(0) / most, 0, 1)[..., None] * (cells.sum(0) > 0)[..., None]
    mixed = np.tensordot(cells, np.array([to_rgb(colour) for colour in colours[: len(cells)]]), (0, 0))
    mixed /= np.maximum(cells.sum(0), 1)[..., None]
    image = image * (1 - strength) + mixed * strength
    axes.imshow(image, extent=(0, n, n, 0), interpolation="nearest", aspect="equal")
    border = int(first.sum())
    axes.axhline(border, color=ink.text, linewidth=0.8)
    axes.axvline(border, color=ink.text, linewidth=0.8)
    for spine in axes.spines.values():
        spine.set_visible(True)
    axes.set_xlim(0, n)
    axes.set_ylim(n, 0)
    sheet.labels(axes, f"{words.variable}s, sorted by the answer", f"{words.variable}s, sorted by the answer")
    handles = []
    for k, word in enumerate(words.does):
        mine = does == k
        told = f"{word}: {count(int(mine.sum()), words.pair)}"
        handles.append(Line2D([], [], marker="s", color=colours[k], linewidth=0, markersize=8, label=told))
    sides = ((border, words.sides[0]), (n - border, words.sides[1]))
    handles += [Line2D([], [], linewidth=0, label=f"{word}: {count(k, words.variable)}") for k, word in sides]
    axes.legend(
        handles=handles, loc="center left", bbox_to_anchor=(1.06, 0.5), frameon=False, fontsize=9.5,
        labelcolor=ink.text, labelspacing=0.9,
    )  # fmt: skip
    each = f"cells of {n / side:.3g} × {n / side:.3g}, the stronger the more there are" if n > side else "a cell each"
    sheet.remark = f"Too many to draw as a graph: which {words.variable}s are joined, {each}"
