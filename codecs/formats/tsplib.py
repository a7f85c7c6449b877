"""TSPLIB and CVRPLIB: travelling salesman (TSP, ATSP) and capacitated vehicle routing (CVRP) problems.

    NAME : gr17                       keywords, in any order
    TYPE : TSP
    DIMENSION : 17
    EDGE_WEIGHT_TYPE : EXPLICIT       or EUC_2D, CEIL_2D, GEO, ATT with a NODE_COORD_SECTION
    EDGE_WEIGHT_FORMAT : LOWER_DIAG_ROW
    EDGE_WEIGHT_SECTION
     0 633 0 257 390 0 …
    EOF

Tours are written as `.tour`, routes as CVRPLIB's `.sol`.
Sources: G. Reinelt, "TSPLIB 95" (1995); Uchoa et al., European J. Oper. Res. 257 (2017) 845, and its CVRPLIB.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from jaxtyping import Float64, Int64

from qmosaic.codecs.formats.base import FileProblem, Format, number, numbers, stem, whole
from qmosaic.codecs.formats.rows import Rows

METRICS: Final = {"EUC_2D": "euc_2d", "CEIL_2D": "ceil_2d", "GEO": "geo", "ATT": "att"}
LAYOUTS: Final = (
    "FULL_MATRIX",
    *(
        f"{half}{diagonal}{order}"
        for half in ("UPPER", "LOWER")
        for diagonal in ("_", "_DIAG_")
        for order in ("ROW", "COL")
    ),
)
TYPES: Final = ("TSP", "ATSP", "CVRP")
MOST_IN_MATRIX = 2000
"""The largest DIMENSION of a problem with explicit weights: it becomes a whole matrix."""

MOST_COMMENT = 10_000
"""Characters of all comments that are looked at."""

_KEYWORDS = {
    "NAME", "TYPE", "COMMENT", "DIMENSION", "CAPACITY", "VEHICLES", "TRUCKS", "EDGE_WEIGHT_TYPE", "EDGE_WEIGHT_FORMAT",
    "EDGE_DATA_FORMAT", "NODE_COORD_TYPE", "DISPLAY_DATA_TYPE",
}  # fmt: skip
_SECTIONS = {
    "NODE_COORD_SECTION",
    "EDGE_WEIGHT_SECTION",
    "DEMAND_SECTION",
    "DEPOT_SECTION",
    "DISPLAY_DATA_SECTION",
}
_KEYWORD = re.compile(rb"[A-Za-z][A-Za-z0-9_]*_[A-Za-z0-9_]*|[A-Za-z]+")
_NUMBERLIKE = re.compile(rb"(?i:nan|inf|infinity)")
_TRUCKS = re.compile(r"(?i)\b(?:no\.?|number) of (?:trucks|vehicles)\s*+[:=]?\s*+(\d{1,6})\b")
_FLEET = re.compile(r"(?!X-).*-k(\d{1,6})$")  # the X set states the least that could do, and its best use more


@dataclass(frozen=True)
class _File:
    """Keywords as (row, value), sections as (row, first row of the data, row behind it)."""

    rows: Rows
    keywords: dict[str, tuple[int, str]]
    sections: dict[str, tuple[int, int, int]]

    def text(self, key: str, remedy: str) -> tuple[int, str]:
        """Row and first word of a keyword that must be there."""
        if key not in self.keywords:
            raise self.rows.error(len(self.rows), f"expected a line '{key} : …', there is none", remedy)
        row, value = self.keywords[key]
        return row, (value.split() or [""])[0].upper()

    def count(self, key: str) -> int:
        """A keyword's value as a positive integer."""
        row, _ = self.text(key, f"Add {key}.")
        value = self.keywords[key][1]
        count = whole(value)
        if count is None or count < 1:
            raise self.rows.error(
                row, f"expected a positive integer as {key}, got '{value[:60]}'", "Correct this number."
            )
        return count

    def section(self, name: str, why: str) -> tuple[int, int, int]:
        """Its rows; `why` says what needs it."""
        if name not in self.sections:
            raise self.rows.error(len(self.rows), f"expected a {name}, there is none", f"{why} Add it.")
        return self.sections[name]


def read(text: bytes, name: str) -> list[FileProblem]:
    """One route problem; its `nodes` are the file's numbers, in the order of the file."""
    rows = Rows(text, name)
    file = _parts(rows)
    row, kind = file.text("TYPE", f"Say which problem it is: {', '.join(TYPES)}.")
    if kind not in TYPES:
        raise rows.error(row, f"expected a TYPE of {', '.join(TYPES)}, got '{kind[:60]}'", "Others are not read.")
    n = rows.size(file.text("DIMENSION", "Add the number of nodes.")[0], file.count("DIMENSION"))
    row, metric = file.text("EDGE_WEIGHT_TYPE", f"Add one of EXPLICIT, {', '.join(METRICS)}.")
    problem: dict[str, Any]
    if metric == "EXPLICIT":
        nodes, problem = _explicit(file, n, kind)
    elif metric in METRICS:
        nodes, table = _by_node(file, "NODE_COORD_SECTION", n, 3, "The distances follow from coordinates.")
        problem = {"coordinates": table.tolist(), "metric": METRICS[metric]}
    else:
        raise rows.error(
            row,
            f"expected an EDGE_WEIGHT_TYPE of EXPLICIT, {', '.join(METRICS)}, got '{metric[:60]}'",
            "Compute the distances and write them as EXPLICIT weights.",
        )
    if kind == "ATSP":
        problem["directed"] = True
    problem = {"nodes": nodes.tolist(), **problem}
    if kind == "CVRP":
        problem |= _fleet(file, nodes, name)
    else:
        for key in ("DEMAND_SECTION", "DEPOT_SECTION"):
            if key in file.sections:
                raise rows.error(file.sections[key][0], f"expected no {key} in a {kind}", "Should its TYPE be CVRP?")
    return [FileProblem("route", problem, "min", stem(name), 0)]


def _parts(rows: Rows) -> _File:
    keywords: dict[str, tuple[int, str]] = {}
    sections: dict[str, tuple[int, int, int]] = {}
    opened: tuple[str, int] | None = None
    end = len(rows)
    for row in range(len(rows)):
        first = rows.row(row)[0]
        match = _KEYWORD.match(first)
        if not match or _NUMBERLIKE.fullmatch(first):
            if opened is None:
                raise rows.unexpected(row, "a line 'KEYWORD : value' or a section", "Check where this line belongs.")
            continue
        if opened is not None:
            sections[opened[0]] = (opened[1], opened[1] + 1, row)
            opened = None
        key = match.group().decode().upper()
        if key == "EOF":
            rows.end(row + 1, "EOF")
            end = row
            break
        if key in _SECTIONS:
            if key in sections:
                raise rows.error(row, f"expected {key} once, it is there twice", "Remove one of them.")
            opened = (key, row)
        elif key in _KEYWORDS:
            value = b" ".join(rows.row(row)).decode()[len(key) :].strip(" :")
            if key == "COMMENT" and key in keywords:
                value = f"{keywords[key][1]} {value}"[:MOST_COMMENT]
            elif key in keywords:
                raise rows.error(row, f"expected {key} once, it is there twice", "Remove one of them.")
            keywords[key] = (row, value)
        else:
            raise rows.error(
                row,
                f"expected a known keyword, got '{key[:60]}'",
                "It may change the problem, and is not read. Known: " + ", ".join(sorted(_KEYWORDS | _SECTIONS)) + ".",
            )
    if opened is not None:
        sections[opened[0]] = (opened[1], opened[1] + 1, end)
    return _File(rows, keywords, sections)


def _by_node(
    file: _File, section: str, n: int, width: int, why: str
) -> tuple[Int64[np.ndarray, " n"], Float64[np.ndarray, "n columns"]]:
    """A section with one line a node: the node numbers and the other columns."""
    rows = file.rows
    header, start, stop = file.section(section, why)
    bad = np.flatnonzero(rows.widths[start:stop] != width)
    if len(bad):
        shape = "node x y" if width == 3 else "node demand"
        raise rows.unexpected(start + int(bad[0]), f"'{shape}'", "Check this line.")
    if stop - start != n:
        raise rows.error(
            start + n if stop - start > n else header,
            f"expected {n} lines in {section} (the DIMENSION), got {stop - start}",
            "Correct the DIMENSION, or the section.",
        )
    nodes = rows.column(start, stop, 0, int)
    order = np.argsort(nodes, kind="stable")
    again = np.flatnonzero(nodes[order][1:] == nodes[order][:-1])
    if len(again):
        row = start + int(order[again + 1].min())
        raise rows.unexpected(row, "every node once", "Give each node its own number.")
    return nodes, np.stack([rows.column(start, stop, c, float) for c in range(1, width)], axis=1)


def _explicit(file: _File, n: int, kind: str) -> tuple[Int64[np.ndarray, " n"], dict[str, Any]]:
    rows = file.rows
    row, layout = file.text("EDGE_WEIGHT_FORMAT", f"EXPLICIT weights need one of {', '.join(LAYOUTS)}.")
    if layout not in LAYOUTS:
        raise rows.error(
            row, f"expected an EDGE_WEIGHT_FORMAT of {', '.join(LAYOUTS)}, got '{layout[:60]}'", "Correct the layout."
        )
    if n > MOST_IN_MATRIX:
        raise rows.error(
            file.keywords["DIMENSION"][0],
            f"expected a DIMENSION of at most {MOST_IN_MATRIX} with EXPLICIT weights, got {n}",
            "Solve a part of it.",
        )
    header, start, stop = file.section("EDGE_WEIGHT_SECTION", "The distances are EXPLICIT.")
    values, at = rows.stream(start, stop)
    count = n * n if layout == "FULL_MATRIX" else n * (n + 1 if "DIAG" in layout else n - 1) // 2
    if len(values) != count:
        raise rows.error(
            int(at[count]) if len(values) > count else header,
            f"expected {count} weights ({layout}, DIMENSION {n}), got {len(values)}",
            "Correct the layout, the DIMENSION or the weights.",
        )
    i, j = _cells(layout, n)
    bad = np.flatnonzero((values < 0) & (i != j))
    if len(bad):
        raise rows.error(
            int(at[bad[0]]), f"expected no negative weight, got {number(values[bad[0]])}", "Correct this weight."
        )
    matrix = np.zeros((n, n))
    matrix[i, j] = values
    if layout != "FULL_MATRIX":
        matrix[j, i] = values
    np.fill_diagonal(matrix, 0)  # no tour goes from a node to itself; files put 0, 9999 or 10^8 there
    if kind != "ATSP" and (uneven := np.argwhere(np.tril(matrix != matrix.T))).size:
        a, b = (int(index) for index in uneven[0])
        raise rows.error(
            int(at[a * n + b]),
            f"expected a symmetric matrix (TYPE {kind}), got {number(matrix[a, b])} from node {a + 1} to {b + 1} "
            f"and {number(matrix[b, a])} back",
            "Correct the weights, or make the TYPE ATSP.",
        )
    nodes = np.arange(1, n + 1)
    if "NODE_COORD_SECTION" in file.sections:  # for display only, but they name the nodes
        nodes, _ = _by_node(file, "NODE_COORD_SECTION", n, 3, "")
    flat = numbers(matrix.ravel())
    return nodes, {"matrix": [flat[k : k + n] for k in range(0, n * n, n)]}


def _cells(layout: str, n: int) -> tuple[Any, Any]:
    """Row and column of each weight, in the order in which the layout lists them."""
    if layout == "FULL_MATRIX":
        i, j = np.divmod(np.arange(n * n), n)
        return i, j
    upper, k = layout.startswith("UPPER"), 0 if "DIAG" in layout else 1
    # A triangle by columns is the other one by rows, transposed.
    i, j = np.triu_indices(n, k) if upper == layout.endswith("ROW") else np.tril_indices(n, -k)
    return (i, j) if layout.endswith("ROW") else (j, i)


def _fleet(file: _File, nodes: Int64[np.ndarray, " n"], name: str) -> dict[str, Any]:
    """Demands, capacity, depot and the most vehicles of a CVRP."""
    rows, n = file.rows, len(nodes)
    file.text("CAPACITY", "A CVRP needs one.")
    capacity = file.count("CAPACITY")
    demanding, column = _by_node(file, "DEMAND_SECTION", n, 2, "A CVRP needs one.")
    header, start, stop = file.sections["DEMAND_SECTION"]
    place = {node: k for k, node in enumerate(nodes.tolist())}
    if unknown := [k for k, node in enumerate(demanding.tolist()) if node not in place]:
        raise rows.unexpected(start + unknown[0], "the number of a node", "Its numbers are those of the nodes.")
    for k, demand in enumerate(column[:, 0].tolist()):
        if demand < 0:
            raise rows.unexpected(start + k, "a demand that is not negative", "Correct it.")
        if demand > capacity:
            raise rows.error(
                start + k,
                f"expected a demand of at most the capacity {capacity}, got {number(demand)} (node {demanding[k]})",
                "No vehicle can serve it: split the demand, or correct CAPACITY.",
            )
    demands = np.zeros(n)
    demands[[place[node] for node in demanding.tolist()]] = column[:, 0]
    header, start, stop = file.section("DEPOT_SECTION", "A CVRP needs one.")
    depots, at = rows.stream(start, stop)
    if len(depots) not in (1, 2) or depots[0] not in place or depots[1:].tolist() not in ([], [-1]):
        raise rows.error(
            int(at[0]) if len(at) else header,
            f"expected the number of one node, then -1, got '{' '.join(str(number(d)) for d in depots[:9])}'",
            "Correct the depot; several depots are not read.",
        )
    depot = int(depots[0])
    if demands[place[depot]] != 0:
        raise rows.error(
            file.sections["DEMAND_SECTION"][0], f"expected demand 0 at the depot {depot}", "Set its demand to 0."
        )
    vehicles = _vehicles(file, name)
    fleet: dict[str, Any] = {"demands": numbers(demands), "capacity": capacity, "depot": depot}
    return fleet if vehicles is None else {**fleet, "vehicles": vehicles}


def _vehicles(file: _File, name: str) -> int | None:
    """The most vehicles: by keyword, in words in the COMMENT, or as `-kN` in the name."""
    for key in ("VEHICLES", "TRUCKS"):
        if key in file.keywords:
            return file.count(key)
    stated = file.keywords.get("NAME", (0, stem(name)))[1]
    found = _TRUCKS.search(file.keywords.get("COMMENT", (0, ""))[1]) or _FLEET.match(stated)
    return max(1, int(found.group(1))) if found else None


def write(problem: Mapping[str, Any], solution: Mapping[str, Any], objective: float, name: str) -> tuple[str, str]:
    """A solution as (suffix, text): `tour` as TSPLIB's `.tour`, `routes` as CVRPLIB's `.sol`.

    `problem` is the payload that was solved. A `.tour` has the file's node numbers (positions from 1 where the
    nodes have other names). A `.sol` counts the customers from 1 in the order of the file, the depot left out.
    Raises LookupError where the solution is not one of this problem.
    """
    nodes = list(problem.get("nodes") or range(len(problem.get("coordinates") or problem["matrix"])))
    if "tour" in solution:
        numbered = "nodes" in problem and all(isinstance(node, int) and node > 0 for node in nodes)
        called = {node: node if numbered else k for k, node in enumerate(nodes, 1)}
        head = (f"NAME : {name}.tour", f"COMMENT : length {objective}", "TYPE : TOUR", f"DIMENSION : {len(nodes)}")
        visits = (str(called[node]) for node in solution["tour"])
        return ".tour", "\n".join((*head, "TOUR_SECTION", *visits, "-1", "EOF", ""))
    depot = problem.get("depot", nodes[0])
    customer = {node: str(k) for k, node in enumerate((node for node in nodes if node != depot), 1)}
    routes = (f"Route #{k}: {' '.join(customer[c] for c in route)}" for k, route in enumerate(solution["routes"], 1))
    return ".sol", "\n".join((*routes, f"Cost {objective}", ""))


FORMAT = Format(
    name="tsplib",
    title="TSPLIB and CVRPLIB",
    families=("route",),
    suffixes=(".tsp", ".atsp", ".vrp"),
    opening=re.compile(rb"(?i)\s*+(NAME|TYPE|COMMENT|DIMENSION|CAPACITY|EDGE_WEIGHT_TYPE)[ \t]*+:"),
    read=read,
    write=write,
)
