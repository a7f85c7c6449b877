"""Molecules: the energies that are known as levels, and how far each is from the exact one."""

from __future__ import annotations

from typing import Any

from qmosaic.codecs.events.public import Outcome, Problem
from qmosaic.streams.pictures.sheet import Fact, Sheet, count, value

CHEMICAL_ACCURACY = 1.6
"""Millihartree: 1 kcal/mol."""
FLOOR = 1e-6
"""Millihartree; less is rounding."""


def picture(sheet: Sheet, problem: Problem, outcome: Outcome) -> None:
    """Draw it. Raises LookupError, TypeError, ValueError where the solution does not fit."""
    solution, details = outcome.solution, outcome.details
    qubits, rotations = int(solution["qubits"]), len(solution["rotations"])
    electrons = details.get("electrons")
    with_electrons = f", {count(sum(map(int, electrons)), 'electron')}" if isinstance(electrons, list) else ""
    sheet.asked = f"ground state energy on {count(qubits, 'qubit')}{with_electrons}"
    levels = _levels(sheet, outcome)
    exact = details.get("exact")
    exact = float(exact) if exact is not None else None
    _energies(sheet, levels, exact, 0.52 if exact is not None else 1.0)
    if exact is not None:
        _distances(sheet, levels[:-1], exact)
    state = f"{count(rotations, 'rotation')} on the reference {solution['reference']!s:.32}"
    by = f"; exact: {details['exact_is']}" if "exact_is" in details else ""
    sheet.remark = f"The state that has this energy: {state}{by}"
    answer = f"± {outcome.error:.2g} hartree" if outcome.error else "hartree, minimum"
    sheet.facts[0] = Fact("energy", value(outcome.objective), answer)
    if outcome.improvement is not None:
        sheet.facts[2] = Fact("better by", f"{1000 * outcome.improvement:.5g}", "millihartree")


Level = tuple[str, float, float, str]
"""What it is, hartree, its standard error, and its colour."""


def _levels(sheet: Sheet, outcome: Outcome) -> list[Level]:
    """The reference, what was proposed where that is another, the answer, and last the exact energy, if known."""
    ink, details = sheet.ink, outcome.details
    found: list[Level] = [
        ("Hartree–Fock" if "electrons" in details else "basis state", float(details["hartree_fock"]), 0.0, ink.muted)
    ]
    base, proposed = outcome.baseline, outcome.proposed
    if base is not None and base.objective is not None and abs(base.objective - found[0][1]) > 1e-9:
        found.append(("baseline", float(base.objective), 0.0, ink.orange))
    if outcome.status != "accepted" and proposed is not None and proposed.objective is not None:
        found.append(("proposed", float(proposed.objective), proposed.error, ink.red))
    if outcome.objective is not None:
        found.append(("answer", float(outcome.objective), outcome.error, ink.blue))
    if "exact" in details:
        found.append(("exact", float(details["exact"]), 0.0, ink.green))
    return found


def _energies(sheet: Sheet, levels: list[Level], exact: float | None, right: float) -> None:
    ink = sheet.ink
    axes = sheet.axes(0.09, 0.06, right, 0.93)
    sheet.head(axes, "Energies")
    if exact is not None:
        axes.axhline(exact, color=ink.green, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    for k, (_, energy, error, colour) in enumerate(levels):
        axes.plot([k - 0.36, k + 0.36], [energy, energy], color=colour, linewidth=3, solid_capstyle="butt", zorder=3)
        if error:
            axes.errorbar(k, energy, error, color=colour, capsize=5, linewidth=1.4, zorder=2)
        axes.annotate(
            f"{energy:.6f}".replace("-", "−"), (k, energy + error), (0, 7), textcoords="offset points", ha="center",
            fontsize=8, color=ink.text, zorder=5, bbox=_on_page(sheet),
        )  # fmt: skip
    axes.set_xlim(-0.6, len(levels) - 0.4)
    axes.set_xticks(range(len(levels)), [name for name, *_ in levels], color=ink.text, fontsize=8.5)
    axes.tick_params(axis="x", length=0)
    axes.margins(y=0.16)
    sheet.labels(axes, "", "energy (hartree)")


def _distances(sheet: Sheet, levels: list[Level], exact: float) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    ink = sheet.ink
    axes = sheet.axes(0.64, 0.06, 1.0, 0.93)
    sheet.head(axes, "Distance from the exact energy")
    away = [max(1000 * abs(energy - exact), FLOOR) for _, energy, *_ in levels]
    low = min([*away, CHEMICAL_ACCURACY]) / 5
    axes.set_yscale("log")
    axes.set_ylim(low, max([*away, CHEMICAL_ACCURACY]) * 6)
    for k, ((_, energy, *_, colour), far) in enumerate(zip(levels, away, strict=True)):
        axes.bar(k, far - low, 0.6, bottom=low, color=colour)
        sign = "" if far <= FLOOR else "below: " if energy < exact else ""
        told = "≤ 1e−6" if far <= FLOOR else f"{sign}{far:.3g}"
        axes.annotate(told, (k, far), (0, 4), textcoords="offset points", ha="center", fontsize=8, color=ink.text)
    axes.axhline(CHEMICAL_ACCURACY, color=ink.muted, linewidth=1, linestyle=(0, (4, 3)))
    axes.annotate(
        "chemical accuracy, 1.6", (1.0, CHEMICAL_ACCURACY), (0, 4), xycoords=("axes fraction", "data"),
        textcoords="offset points", ha="right", fontsize=7.5, color=ink.text, zorder=5,
        bbox=_on_page(sheet),
    )  # fmt: skip
    axes.yaxis.set_major_locator(LogLocator(10, numticks=8))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(_plain))
    axes.set_xlim(-0.6, len(levels) - 0.4)
    axes.set_xticks(range(len(levels)), [name for name, *_ in levels], color=ink.text, fontsize=8.5)
    axes.tick_params(axis="x", length=0)
    sheet.labels(axes, "", "millihartree, logarithmic")


def _on_page(sheet: Sheet) -> dict[str, Any]:
    """What lies below a text, so that a line through it does not strike it out."""
    return {"facecolor": sheet.ink.page, "edgecolor": "none", "pad": 1.0, "alpha": 0.8}


def _plain(number: Any, _: Any) -> str:
    """A power of ten without mathematics in it, which texts are never read as."""
    return f"{number:g}".replace("e-0", "e−").replace("e-", "e−")
