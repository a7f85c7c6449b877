"""Routes on their map. Where distances alone are given, on one made of them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import numpy as np

from qmosaic.codecs.events.public import Outcome, Problem
from qmosaic.codecs.problems import Route
from qmosaic.streams.pictures import layout, summary
from qmosaic.streams.pictures.sheet import Sheet, count, label, percent

MAPPED, LISTED = 20_000, 2000
"""Nodes that are drawn at most: with coordinates, and with distances alone."""
MARKED, NAMED, MOST_IN_A_NAME = 600, 40, 16
"""Nodes up to which they are dots, up to which they have names, and characters of one."""
METRICS = {
    "euclidean": "Euclidean",
    "euc_2d": "Euclidean, rounded",
    "ceil_2d": "Euclidean, rounded up",
    "att": "pseudo-Euclidean, rounded up",
}
IN_LEGEND = 6
STYLES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.2, 1.2, 1.2)))


def picture(sheet: Sheet, problem: Problem, outcome: Outcome) -> None:
    """Draw it. Raises LookupError, TypeError, ValueError where the solution does not fit."""
    given = msgspec.convert(problem.problem, Route)
    listed = given.coordinates if given.coordinates is not None else given.matrix or ()
    n = len(listed)
    kind = "shortest tour through" if given.demands is None else "shortest routes of vehicles to"
    sheet.asked = f"{kind} {count(n, 'node')}"
    most = LISTED if given.coordinates is None else MAPPED
    if n > most:
        summary.large(sheet, count(n, "node"), count(most, "node"))
        return
    names = list(given.nodes) if given.nodes is not None else list(range(n))
    place = {name: k for k, name in enumerate(names)}
    start = place[given.depot] if given.depot is not None else 0
    trips = _trips(outcome.solution, place, start)
    axes = sheet.axes(0.05, 0.1)
    places = _map(sheet, axes, given, n)
    _lines(sheet, axes, given, outcome, places, trips)
    _nodes(sheet, axes, given, places, names, start, _away(places, trips))
    axes.margins(0.07)


def _trips(solution: Any, place: dict[Any, int], start: int) -> list[list[int]]:
    """Closed ways, by the nodes' places in the data."""
    if "tour" in solution:
        tour = [place[name] for name in solution["tour"]]
        return [[*tour, *tour[:1]]]
    return [[start, *(place[name] for name in route), start] for route in solution["routes"]]


def _map(sheet: Sheet, axes: Any, given: Route, n: int) -> layout.Places:
    """Where the nodes are; frames the axes accordingly."""
    if given.coordinates is None:
        distances = np.array(given.matrix, dtype=np.float64)
        distances = (distances + distances.T) / 2
        np.fill_diagonal(distances, 0.0)
        places = layout.scaled(distances) if n > 1 else np.zeros((n, 2))
        axes.set_aspect("equal", adjustable="datalim")
        both = "the mean of both directions, " if given.directed else ""
        off = percent(layout.stress(distances, places))
        sheet.remark = f"No coordinates: placed by their distances ({both}classical scaling), which are off by {off}"
        sheet.labels(axes, "distance", "distance")
        return places
    places = np.array(given.coordinates, dtype=np.float64).reshape(n, 2)
    if given.metric == "geo":
        degrees = np.trunc(places) + (places - np.trunc(places)) * 5 / 3  # DDD.MM
        places = degrees[:, ::-1]
        axes.set_aspect(1 / max(0.2, float(np.cos(np.radians(places[:, 1].mean())))), adjustable="datalim")
        sheet.labels(axes, "longitude (degrees)", "latitude (degrees)")
        sheet.remark = "Straight lines stand for ways on the globe; distances are kilometres"
    else:
        axes.set_aspect("equal", adjustable="datalim")
        sheet.labels(axes, "x", "y")
        sheet.remark = f"Distances: {METRICS[given.metric]}"
    return places


def _lines(
    sheet: Sheet, axes: Any, given: Route, outcome: Outcome, places: layout.Places, trips: list[list[int]]
) -> None:
    from matplotlib.lines import Line2D

    ink, handles = sheet.ink, []
    loads = outcome.details.get("loads") or []
    for k, trip in enumerate(trips):
        colour, style = ink.series[k % len(ink.series)], STYLES[k // len(ink.series) % len(STYLES)]
        way = places[trip]
        axes.plot(*way.T, color=colour, linestyle=style, linewidth=1.7 if len(places) <= 300 else 0.8, zorder=2)
        if len(places) <= NAMED and (given.directed or given.demands is not None):
            for a, b in pairwise(way):
                axes.annotate(
                    "",
                    a + 0.58 * (b - a),
                    a + 0.5 * (b - a),
                    arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 1.2},
                )
        if given.demands is not None and k < IN_LEGEND:
            load = f", carries {float(loads[k]):g} of {given.capacity:g}" if k < len(loads) else ""
            told = f"route {k + 1}: {count(len(trip) - 2, 'stop')}{load}"
            handles.append(Line2D([], [], color=colour, linestyle=style, label=told))
    if len(trips) > IN_LEGEND:
        handles.append(Line2D([], [], linewidth=0, label=f"and {len(trips) - IN_LEGEND} more"))
    if handles:
        axes.legend(
            handles=handles, loc="upper left", bbox_to_anchor=(0.0, 1.0), frameon=True, fontsize=8,
            labelcolor=ink.text, facecolor=ink.page, edgecolor=ink.faint,
        )  # fmt: skip


def _away(places: layout.Places, trips: list[list[int]]) -> layout.Places:
    """For each node the direction in which no way leads from it, as far as there is one; of length 1."""
    ways = np.zeros_like(places)
    for trip in trips:
        for a, b in pairwise(trip):
            step = places[b] - places[a]
            step = step / (np.hypot(*step) or 1.0)
            ways[a] -= step
            ways[b] += step
    size = np.hypot(*ways.T)[:, None]
    return np.asarray(np.where(size > 1e-3, ways / np.maximum(size, 1e-9), [0.0, 1.0]))


def _nodes(
    sheet: Sheet,
    axes: Any,
    given: Route,
    places: layout.Places,
    names: list[Any],
    start: int,
    away: layout.Places,
) -> None:
    ink = sheet.ink
    if len(places) <= MARKED:
        size = 26 if len(places) <= 120 else 8
        axes.scatter(*places.T, s=size, c=ink.text, edgecolors=ink.page, linewidths=0.8, zorder=3)
    if given.depot is not None or given.demands is not None:
        axes.scatter(*places[[start]].T, s=150, c=ink.red, marker="*", edgecolors=ink.page, linewidths=0.8, zorder=4)
        sheet.remark += "; the star is the depot"
    if len(places) <= NAMED:
        for name, spot, (x, y) in zip(names, places, away, strict=True):
            axes.annotate(
                label(name, MOST_IN_A_NAME), spot, (6 * x, 6 * y), textcoords="offset points", fontsize=7.5,
                ha="left" if x > 0.4 else "right" if x < -0.4 else "center",
                va="bottom" if y > 0.4 else "top" if y < -0.4 else "center", color=ink.text, zorder=5,
            )  # fmt: skip
