"""The pictures of a report: gains with their intervals, and how problems ended. Pure and deterministic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qmosaic.processors.report.findings import Findings, Row, Verdict
from qmosaic.streams.pictures.draw import drawing, svg_of
from qmosaic.streams.pictures.sheet import DARK, LIGHT, Ink, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, EACH, AROUND = 5.2, 0.3, 0.85
"""Inches: of a picture, of a line of it, and above and below the lines together."""
LETTER, MOST_LETTERS = 0.079, 26
"""Inches that a letter of a name takes at most, and letters of one."""
MOST_LINES = 30
MARKS: dict[Verdict, str] = {"paid": "o", "did_not_pay": "X", "unclear": "s", "not_compared": "d"}


def gains(found: Findings, *, dark: bool) -> bytes:
    """A line of each row: its gain in percent, and what holds it nine times in ten; filled where it paid."""
    rows = [row for row in found.rows if row.gain is not None][:MOST_LINES]
    names = [name_of(row) for row in rows]
    with drawing(dark):
        ink = DARK if dark else LIGHT
        figure, axes = _lines(names, ink)
        axes.axvline(0.0, color=ink.muted, linewidth=1.0, linestyle=(0, (3, 2)))
        for k, row in enumerate(rows):
            assert row.gain is not None
            colour = {"paid": ink.green, "did_not_pay": ink.red}.get(row.verdict, ink.orange)
            low, mean, high = (100 * each for each in (row.gain.low, row.gain.mean, row.gain.high))
            axes.plot([low, high], [k, k], color=colour, linewidth=2.2, solid_capstyle="round")
            face = colour if row.verdict in ("paid", "did_not_pay") else ink.page
            axes.plot([mean], [k], MARKS[row.verdict], color=colour, markerfacecolor=face, markersize=7)
        axes.set_xlabel("gain over the baseline, percent", fontsize=9.5, color=ink.muted)
        said = f"Gains over the baseline of {len(rows)} rows, with what holds each mean nine times in ten"
        return svg_of(figure, said)


def endings(found: Findings, *, dark: bool) -> bytes:
    """A bar of each way to end."""
    from matplotlib.ticker import MaxNLocator

    counts: dict[tuple[str, str], int] = {}
    for one in found.ends:
        counts[one.status, one.reason] = counts.get((one.status, one.reason), 0) + one.count
    shown = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:MOST_LINES]
    names = [label(f"{status}: {reason.replace('_', ' ')}", MOST_LETTERS) for (status, reason), _ in shown]
    with drawing(dark):
        ink = DARK if dark else LIGHT
        figure, axes = _lines(names, ink)
        colours = {"accepted": ink.green, "fallback": ink.orange}
        for k, ((status, _), count) in enumerate(shown):
            axes.barh(k, count, height=0.55, color=colours.get(status, ink.red))
            axes.annotate(f" {count:,}", (count, k), va="center_baseline", fontsize=9.5, color=ink.text)
        axes.margins(x=0.12)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set_xlim(left=0)
        axes.set_xlabel("problems", fontsize=9.5, color=ink.muted)
        return svg_of(figure, "How problems ended, and why")


def name_of(row: Row) -> str:
    """What a row is called in a picture."""
    return label(" · ".join(row.by.values()), MOST_LETTERS)


def _lines(names: Sequence[str], ink: Ink) -> tuple[Figure, Axes]:
    """A figure with a line for each name, from the top to the bottom."""
    from matplotlib.figure import Figure

    height = EACH * max(len(names), 1) + AROUND
    left = LETTER * max((len(name) for name in names), default=1) + 0.15
    figure = Figure(figsize=(WIDTH, height))
    figure.patch.set_facecolor(ink.page)
    axes = figure.add_axes((left / WIDTH, 0.55 / height, 1 - (left + 0.25) / WIDTH, 1 - AROUND / height + 0.1 / height))
    axes.set_facecolor("none")
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(ink.faint)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(colors=ink.muted, labelsize=9.5, length=0)
    axes.tick_params(axis="y", labelcolor=ink.text)
    axes.grid(visible=True, axis="x", color=ink.faint, linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes
