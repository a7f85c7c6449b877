"""Figures as people read them: on a terminal and on the page the same."""

from __future__ import annotations

import math

from qmosaic.codecs.events.ledger import Unit
from qmosaic.codecs.events.public import Outcome, Rejection
from qmosaic.codecs.text import shown
from qmosaic.processors.control.books import amount_text
from qmosaic.processors.overview.overview import Balance

UNITS = ((0.9995, 1000.0, "ms"), (119.5, 1.0, "s"), (7170.0, 1 / 60, "min"), (math.inf, 1 / 3600, "h"))

MOST_IN_A_NAME = 300


def duration(seconds: float | None) -> str:
    """`0.35 ms`, `41 ms`, `1.3 s`, `12 min`, `3.5 h`; nothing where there is none."""
    if seconds is None or not math.isfinite(seconds):
        return ""
    for most, scale, unit in UNITS:
        if abs(seconds) < most:
            value = seconds * scale
            digits = 0 if abs(value) >= 9.95 else 1 if abs(value) >= 0.995 else 2
            return f"{value:,.{digits}f} {unit}"
    raise AssertionError("the last bound is infinite")


def rate(each_second: float) -> str:
    """`0`, `0.03`, `12.5`, `1,204`: so many a second."""
    digits = 0 if each_second >= 99.95 or each_second == 0 else 1 if each_second >= 0.995 else 2
    return f"{each_second:,.{digits}f}"


def number(value: float | None) -> str:
    """An objective: seven digits; nothing where there is none."""
    return "" if value is None else f"{value:.7g}"


def gained(gain: float | None) -> str:
    """What a backend gained over the baseline, with its sign."""
    return "" if gain is None else "0" if gain == 0 else f"{gain:+.5g}"


def percent(share: float) -> str:
    """`+2.1 %`: a gain, with its sign; small ones with the digits that tell."""
    value = 100 * share
    digits = 1 if abs(value) >= 0.95 else 2 if abs(value) >= 0.095 else 3
    return f"{value:+.{digits}f} %" if value and abs(value) >= 0.0005 else "0 %"


def cost(usd: float | None) -> str:
    """US dollars; nothing where none are known."""
    return "" if usd is None else f"${usd:,.2f}" if usd >= 1 or usd == 0 else f"${usd:.4g}"


def left(balance: Balance) -> str:
    """`$499.88 of $500.00`: what of a budget is left."""
    unit: Unit = balance.unit
    return f"{amount_text(unit, balance.free)} of {amount_text(unit, balance.cap)}"


def share_left(balance: Balance) -> float:
    """The same from 0 to 1."""
    return min(1.0, max(0.0, balance.free / balance.cap)) if balance.cap else 0.0


def label_of(event: Outcome | Rejection) -> str:
    """What a person calls the problem, on one line: the file it came from, or its id."""
    name = event.labels.get("name") or event.labels.get("file")
    return shown(name if isinstance(name, str) else event.problem_id, MOST_IN_A_NAME)
