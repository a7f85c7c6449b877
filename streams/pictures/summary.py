"""Where there is nothing to draw: a sheet that says why, under the same head as all."""

from __future__ import annotations

from qmosaic.codecs.events.public import Outcome, Problem
from qmosaic.streams.pictures.sheet import Sheet, label


def said(sheet: Sheet, *lines: str) -> None:
    """Lines in the middle of the sheet, the first of them large."""
    axes = sheet.bare()
    for k, line in enumerate(lines):
        axes.text(
            0.5,
            0.56 - 0.075 * k,
            label(line, 100),
            ha="center",
            fontsize=10 if k else 13,
            color=sheet.ink.muted if k else sheet.ink.text,
        )


def picture(sheet: Sheet, problem: Problem, outcome: Outcome) -> None:
    """A family of another package."""
    sheet.asked = f"a problem of the family {label(problem.family, 40)}"
    said(sheet, "Solved", "There is no picture of this family's solutions.")


def nothing(sheet: Sheet, problem: Problem, outcome: Outcome) -> None:
    """An outcome without a solution."""
    said(sheet, "No solution", f"It ended as {outcome.status}: {outcome.reason.replace('_', ' ')}.")


def unfit(sheet: Sheet, problem: Problem, outcome: Outcome) -> None:
    """A solution that cannot be drawn."""
    said(sheet, "Not drawn", "The solution does not fit the problem, or its numbers are beyond what can be drawn.")


def large(sheet: Sheet, what: str, limit: str) -> None:
    """A problem beyond a limit of its picture."""
    said(sheet, f"{what[:1].upper()}{what[1:]}: too large to draw", f"Pictures are made of {limit} at most.")
