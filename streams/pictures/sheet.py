"""The sheet that every picture is drawn on: its colours, its head (what was asked, what came of it, who answered), and
texts that others wrote made safe.

Colours are those of Okabe and Ito, which colour-blind people tell apart ("Color Universal Design", 2008), some of them
lighter on dark; what a colour says is said by a shape or a line as well.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from qmosaic.codecs.events.public import Outcome, Problem
from qmosaic.codecs.text import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 9.0, 6.0
"""Inches; 72 points of an SVG each."""
LEFT, RIGHT, BOTTOM, TOP = 0.035, 0.965, 0.085, 0.755
"""The part of the sheet that is the picture's, in shares of it; the head is above, a remark below."""
MOST_IN_A_TITLE, MOST_IN_A_LINE, MOST_IN_A_FACT, MOST_BELOW_A_FACT = 60, 110, 20, 30
"""Characters."""
CELLS = 5
"""Facts in the head."""


@dataclass(frozen=True)
class Ink:
    """Colours by what they are for."""

    page: str
    text: str
    muted: str
    pale: str
    faint: str
    blue: str
    orange: str
    green: str
    red: str
    purple: str

    @property
    def series(self) -> tuple[str, ...]:
        """Those of things that are of one kind."""
        return self.blue, self.orange, self.green, self.red, self.purple


LIGHT = Ink(
    "#ffffff", "#1d232c", "#5a6472", "#aab3be", "#d3d9e0", "#0072b2", "#e69f00", "#009e73", "#d55e00", "#b3669a"
)
DARK = Ink("#12171e", "#e9edf2", "#a5b0bd", "#5c6876", "#3a4450", "#56b4e9", "#e69f00", "#2fc79a", "#ff8a4c", "#dd9cc5")


@dataclass(frozen=True)
class Fact:
    """A word, its value, and what is to be known about it."""

    word: str
    value: str
    more: str = ""
    colour: str | None = None


@dataclass
class Sheet:
    """One picture. A family's module fills it: `axes` in `LEFT` to `RIGHT`, `BOTTOM` to `TOP`, and the texts."""

    figure: Figure
    ink: Ink
    asked: str = ""
    """What the problem is, in a line."""
    remark: str = ""
    """What has to be known to read the picture."""
    facts: dict[int, Fact] = field(default_factory=dict)
    """Instead of those of the head, by their place."""

    def axes(self, left: float = 0.0, bottom: float = 0.0, right: float = 1.0, top: float = 1.0) -> Axes:
        """Axes in shares of the picture's part. Frames and ticks in this ink."""
        width, height = RIGHT - LEFT, TOP - BOTTOM
        axes = self.figure.add_axes(
            (LEFT + left * width, BOTTOM + bottom * height, (right - left) * width, (top - bottom) * height)
        )
        axes.set_facecolor("none")
        for side, spine in axes.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(self.ink.faint)
        axes.tick_params(colors=self.ink.muted, labelsize=8, length=3, color=self.ink.faint)
        return axes

    def bare(self, left: float = 0.0, bottom: float = 0.0, right: float = 1.0, top: float = 1.0) -> Axes:
        """Axes without any frame: for what has no scale."""
        axes = self.axes(left, bottom, right, top)
        axes.set_axis_off()
        return axes

    def head(self, axes: Axes, text: str) -> None:
        """The heading of axes."""
        axes.set_title(text, loc="left", fontsize=9, color=self.ink.text, pad=6)

    def labels(self, axes: Axes, x: str, y: str) -> None:
        """What is on the axes, with the unit."""
        axes.set_xlabel(x, fontsize=8.5, color=self.ink.muted)
        axes.set_ylabel(y, fontsize=8.5, color=self.ink.muted)

    def legend(self, axes: Axes, handles: list[Any], columns: int = 4) -> None:
        """Below the axes."""
        axes.legend(
            handles=handles,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.005),
            ncols=columns,
            frameon=False,
            fontsize=8.5,
            labelcolor=self.ink.text,
            handletextpad=0.6,
            columnspacing=1.6,
        )

    def finish(self, problem: Problem, outcome: Outcome) -> str:
        """The head and the remark; in a sentence what the picture shows."""
        ink, figure = self.ink, self.figure
        title = _title(outcome)
        figure.patch.set_facecolor(ink.page)
        figure.text(LEFT, 0.94, title, fontsize=15, fontweight="bold", color=ink.text)
        asked = label(self.asked or f"a problem of the family {problem.family}", MOST_IN_A_LINE)
        figure.text(LEFT, 0.9, asked, fontsize=9.5, color=ink.muted)
        facts = [self.facts.get(k, fact) for k, fact in enumerate(_facts(self, outcome))]
        for k, fact in enumerate(facts):
            x = LEFT + k * (RIGHT - LEFT) / CELLS
            figure.text(x, 0.855, fact.word, fontsize=8, color=ink.muted)
            said, more = label(fact.value, MOST_IN_A_FACT), label(fact.more, MOST_BELOW_A_FACT)
            # small enough to end before the next
            large, small = 11 * min(1.0, 16 / max(len(said), 1)), 8 * min(1.0, 25 / max(len(more), 1))
            figure.text(x, 0.82, said, fontsize=large, fontweight="bold", color=fact.colour or ink.text)
            figure.text(x, 0.79, more, fontsize=small, color=ink.muted)
        figure.text(LEFT, 0.022, label(self.remark, MOST_IN_A_LINE + 30), fontsize=8, color=ink.muted)
        told = ", ".join(f"{fact.word} {fact.value}".rstrip() for fact in facts)
        return label(f"{title}: {asked}; {told}", 400)


def _title(outcome: Outcome) -> str:
    name = outcome.labels.get("name") or outcome.labels.get("file")
    return label(name if isinstance(name, str) else outcome.problem_id, MOST_IN_A_TITLE)


def _facts(sheet: Sheet, outcome: Outcome) -> tuple[Fact, Fact, Fact, Fact, Fact]:
    """The answer, the baseline, the difference, who answered, and how it ended."""
    ink, base, proposed = sheet.ink, outcome.baseline, outcome.proposed
    accepted = outcome.status == "accepted"
    error = f"± {outcome.error:.2g}, " if outcome.error else ""
    answer = Fact("answer", value(outcome.objective), f"{error}{outcome.sense}imum asked for")
    if base is None:
        baseline = Fact("classical baseline", "none")
    else:
        baseline = Fact("classical baseline", value(base.objective), f"{base.solver}, {base.seconds:.2g} s")
    gain = outcome.improvement
    better = Fact("better by", value(gain), "than the baseline" if gain is not None else "nothing to compare")
    ran = f"{outcome.target} target" if outcome.target else ""
    if accepted:
        more = f"{ran}, {count(outcome.circuit.qubits, 'qubit')}" if outcome.circuit else ran
        who = Fact("answered by", outcome.backend or "reduce", more)
    else:
        told = "no other answer"
        if proposed is not None and outcome.backend:
            said = value(proposed.objective) if proposed.feasible else "what breaks a rule"
            told = f"{outcome.backend} said {said}"
        who = Fact("answered by", base.solver if base else "nobody", told)
    end = Fact("verified end", outcome.status, outcome.reason.replace("_", " "), ink.green if accepted else ink.red)
    return answer, baseline, better, who, end


def value(number: float | None) -> str:
    """An objective."""
    return "—" if number is None else f"{number:.7g}".replace("-", "−")


def percent(share: float) -> str:
    """A share of one."""
    return f"{100 * share:.3g} %"


def count(number: int, word: str) -> str:
    """`1 node`, `1,000 nodes`."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def label(text: object, most: int) -> str:
    """What others wrote, in `most` characters at most, without any that are invisible or turn the direction."""
    return shown(shown(str(text), most), most)
