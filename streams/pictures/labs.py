"""Low autocorrelation sequences: the signs, and their autocorrelations, whose squares add up to the energy."""

from __future__ import annotations

import numpy as np

from qmosaic.codecs.events.public import Outcome, Problem
from qmosaic.streams.pictures import summary
from qmosaic.streams.pictures.sheet import Sheet, count

LARGEST = 2000


def picture(sheet: Sheet, problem: Problem, outcome: Outcome) -> None:
    """Draw it. Raises LookupError, TypeError, ValueError where the solution does not fit."""
    from matplotlib.ticker import MaxNLocator

    given = outcome.solution["sequence"]
    sheet.asked = f"low autocorrelation binary sequence of {count(len(given), 'sign')}"
    if len(given) > LARGEST:
        summary.large(sheet, count(len(given), "sign"), count(LARGEST, "sign"))
        return
    signs = np.array(given, dtype=np.int64)
    if signs.ndim != 1 or not np.isin(signs, (1, -1)).all() or len(signs) < 2:
        raise ValueError("expected signs")
    n, ink = len(signs), sheet.ink
    up = signs > 0
    axes = sheet.axes(0.06, 0.64, 1.0, 0.94)
    sheet.head(axes, f"The sequence: {up.sum()} of +1, {(~up).sum()} of −1")
    axes.bar(np.flatnonzero(up), 1, color=ink.blue, width=0.86)
    axes.bar(np.flatnonzero(~up), -1, color=ink.orange, width=0.86)
    axes.axhline(0, color=ink.faint, linewidth=0.8)
    axes.set_yticks([-1, 1], ["−1", "+1"])
    axes.set_xlim(-0.7, n - 0.3)
    sheet.labels(axes, "place", "sign")
    lags = np.arange(1, n)
    sums = np.array([int((signs[k:] * signs[:-k]).sum()) for k in lags])
    energy = int((sums**2).sum())
    below = sheet.axes(0.06, 0.07, 1.0, 0.46)
    factor = f"merit factor N²/2E = {n * n / (2 * energy):.4g}" if energy else "no autocorrelation at all"
    sheet.head(below, f"Autocorrelations: energy E = sum of squares = {energy:,}, {factor}")
    if n <= 150:
        below.vlines(lags, 0, sums, color=ink.muted, linewidth=1.2)
    below.plot(lags, sums, "o", color=ink.text, markersize=4 if n <= 150 else 1.5)
    below.axhline(0, color=ink.faint, linewidth=0.8)
    below.set_xlim(0.3, n - 0.3 + n / 100)
    most = max(2, int(np.abs(sums).max()))
    below.set_ylim(-1.15 * most, 1.15 * most)
    below.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    below.xaxis.set_major_locator(MaxNLocator(9, integer=True))
    sheet.labels(below, "lag k", "C(k)")
    sheet.remark = "C(k) is the sum of the products of signs that are k places apart; the less of them, the better"
