"""`draw`: the picture of a problem's solution. Pure and deterministic: equal arguments, equal bytes.

One sheet at a time is drawn, as matplotlib has one set of parameters for a process; these are set here, whatever a
user's own file of parameters says, so that no text is ever read as TeX.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from qmosaic.codecs.events.public import Outcome, Problem
from qmosaic.streams.pictures import circuit, labs, molecule, portfolio, spins, summary, tour
from qmosaic.streams.pictures.sheet import DARK, HEIGHT, LIGHT, WIDTH, Sheet
from qmosaic.streams.pictures.svg import cleaned

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Format = Literal["svg", "png"]
DPI = 144
"""Pixels an inch of a PNG."""
FONTS = "'DejaVu Sans', Verdana, sans-serif"
PARAMETERS: dict[Any, Any] = {
    "text.parse_math": False,
    "text.usetex": False,
    "svg.fonttype": "none",
    "svg.image_inline": True,
    "font.family": ["DejaVu Sans"],
    "axes.unicode_minus": True,
    "axes.formatter.useoffset": False,
}
UNFIT = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, msgspec.MsgspecError)
"""What comes of a solution that is not as its family writes it."""

PICTURES: dict[str, Callable[[Sheet, Problem, Outcome], None]] = {
    "maxcut": spins.picture,
    "qubo": spins.picture,
    "ising": spins.picture,
    "labs": labs.picture,
    "portfolio": portfolio.picture,
    "route": tour.picture,
    "molecule": molecule.picture,
    "circuit": circuit.picture,
}
_one = Lock()


def draw(problem: Problem, outcome: Outcome, *, dark: bool = False, format: Format = "svg") -> bytes:  # noqa: A002
    """The picture of what came of a problem: an `<svg>` element, or a PNG of 1,296 × 864 pixels.

    Where there is no solution, or none that fits the problem, or it is of a family of another package, a sheet that
    says so. Raises ImportError without matplotlib (the extra `plot`).
    """
    picture = PICTURES.get(problem.family, summary.picture) if outcome.solution is not None else summary.nothing
    with drawing(dark):
        try:
            return _drawn(picture, problem, outcome, dark, format)
        except UNFIT:
            return _drawn(summary.unfit, problem, outcome, dark, format)


@contextmanager
def drawing(dark: bool) -> Iterator[None]:
    """While somebody draws with matplotlib: its parameters, and nobody else. Raises ImportError without it."""
    import matplotlib as mpl

    with _one, mpl.rc_context(), np.errstate(all="ignore"):
        # letters that the font lacks are a box in a PNG; a browser has them
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        mpl.rcdefaults()
        for name, chosen in PARAMETERS.items():
            mpl.rcParams[name] = chosen
        mpl.rcParams["svg.hashsalt"] = "dark" if dark else "light"  # both may stand on one page
        yield


def _drawn(
    picture: Callable[[Sheet, Problem, Outcome], None], problem: Problem, outcome: Outcome, dark: bool, kind: Format
) -> bytes:
    from matplotlib.figure import Figure

    sheet = Sheet(Figure(figsize=(WIDTH, HEIGHT)), DARK if dark else LIGHT)
    picture(sheet, problem, outcome)
    title = sheet.finish(problem, outcome)
    if kind == "svg":
        return svg_of(sheet.figure, title)
    file = io.BytesIO()
    sheet.figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None})
    return file.getvalue()


def svg_of(figure: Figure, title: str) -> bytes:
    """A figure as an `<svg>` element; `title`: what it shows, for who cannot see it."""
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return cleaned(file.getvalue(), title, FONTS)
