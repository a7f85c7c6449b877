"""TSPLIB and CVRPLIB: every layout, whose numbers nodes have, what is written, and every way a file can be wrong."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmosaic.codecs.errors import FormatError
from qmosaic.codecs.formats.base import FileProblem
from qmosaic.codecs.formats.registry import detect, read
from qmosaic.codecs.formats.tsplib import LAYOUTS, MOST_IN_MATRIX, write

TSP = """NAME : square
COMMENT : four corners
TYPE : TSP
DIMENSION : 4
EDGE_WEIGHT_TYPE : EUC_2D
NODE_COORD_SECTION
7 0 0
3 0 1.5e1
5 10 15
4 10 0
EOF
"""
CVRP = """NAME : E-n4-k2
COMMENT : (somebody, Min no of trucks: 3, Optimal value: 40)
TYPE : CVRP
DIMENSION : 4
EDGE_WEIGHT_TYPE : EXPLICIT
EDGE_WEIGHT_FORMAT: LOWER_ROW
CAPACITY : 10
EDGE_WEIGHT_SECTION
 1 2
 3 4 5 6
DEMAND_SECTION
1 0
2 4
4 6
3 5
DEPOT_SECTION
 1
 -1
EOF
"""


def one(text: str, name: str = "folder/x.tsp") -> FileProblem:
    (problem,) = read(text.encode(), name)
    return problem


def refused(text: str) -> FormatError:
    with pytest.raises(FormatError) as caught:
        read(text.encode(), "x.tsp", "tsplib")
    assert caught.value.remedy
    return caught.value


def test_coordinates_come_with_the_files_numbers() -> None:
    problem = one(TSP)
    assert (problem.family, problem.sense, problem.name) == ("route", "min", "x")
    assert problem.problem == {
        "nodes": [7, 3, 5, 4],
        "coordinates": [[0, 0], [0, 15], [10, 15], [10, 0]],
        "metric": "euc_2d",
    }


def test_a_cvrp_comes_with_its_fleet() -> None:
    matrix = [[0, 1, 2, 4], [1, 0, 3, 5], [2, 3, 0, 6], [4, 5, 6, 0]]
    fleet = {"demands": [0, 4, 5, 6], "capacity": 10, "depot": 1, "vehicles": 3}
    assert one(CVRP).problem == {"nodes": [1, 2, 3, 4], "matrix": matrix, **fleet}


@pytest.mark.parametrize(
    ("old", "new", "vehicles"),
    [
        ("CAPACITY", "VEHICLES : 5\nCAPACITY", 5),
        ("CAPACITY", "TRUCKS : 6\nCAPACITY", 6),
        (", Min no of trucks: 3,", ", No of trucks: 4,", 4),
        (", Min no of trucks: 3,", ",", 2),
        ("E-n4-k2\nCOMMENT : (somebody, Min no of trucks: 3, ", "X-n4-k2\nCOMMENT : (", None),  # states the least
        ("E-n4-k2\nCOMMENT : (somebody, Min no of trucks: 3, ", "tai4\nCOMMENT : (", None),
    ],
)
def test_how_many_vehicles(old: str, new: str, vehicles: int | None) -> None:
    assert one(CVRP.replace(old, new)).problem.get("vehicles") == vehicles


@pytest.mark.parametrize("text", [TSP, CVRP, TSP.replace(" :", ":"), "TYPE:TSP\n" + TSP.replace("TYPE : TSP\n", "")])
def test_it_is_detected(text: str) -> None:
    assert detect(text.encode(), "x") == "tsplib"
    assert one(text.replace("\n", "\r\n")) == one(text.replace("EOF\n", ""))


@given(st.sampled_from(LAYOUTS), st.integers(1, 7), st.integers(1, 9), st.booleans(), st.data())
def test_every_layout_is_the_same_matrix(layout: str, n: int, width: int, whole: bool, data: st.DataObject) -> None:
    weights = st.integers(0, 99) if whole else st.integers(0, 400).map(lambda k: k / 4)
    upper = np.array(data.draw(st.lists(weights, min_size=n * n, max_size=n * n)), dtype=float).reshape(n, n)
    matrix = np.triu(upper, 1) + np.triu(upper, 1).T + np.diag(np.diag(upper))
    cells = [
        matrix[i, j]
        for line in range(n)
        for other in range(n)
        for i, j in [(line, other) if layout.endswith(("ROW", "MATRIX")) else (other, line)]
        if layout == "FULL_MATRIX"
        or (i == j and "DIAG" in layout)
        or (i < j and layout.startswith("UPPER"))
        or (i > j and layout.startswith("LOWER"))
    ]
    lines = [" ".join(f"{w:g}" for w in cells[k : k + width]) for k in range(0, len(cells), width)]
    text = f"TYPE: TSP\nDIMENSION: {n}\nEDGE_WEIGHT_TYPE: EXPLICIT\nEDGE_WEIGHT_FORMAT: {layout}\nEDGE_WEIGHT_SECTION\n"
    np.fill_diagonal(matrix, 0)
    assert one(text + "\n".join(lines) + "\nEOF\n").problem["matrix"] == matrix.tolist()


def test_directions_count_in_an_atsp() -> None:
    text = (
        "TYPE: ATSP\nDIMENSION: 2\nEDGE_WEIGHT_TYPE: EXPLICIT\nEDGE_WEIGHT_FORMAT: FULL_MATRIX\nEDGE_WEIGHT_SECTION\n"
    )
    problem = one(text + "9999 1\n2 9999\nEOF")
    assert problem.problem == {"nodes": [1, 2], "matrix": [[0, 1], [2, 0]], "directed": True}
    assert refused(text.replace("ATSP", "TSP") + "0 1\n2 0\nEOF").place == "x.tsp:7"


WRONG: list[tuple[str, str, str, int, str]] = [
    ("no type", TSP, "TYPE : TSP\n", 0, "a line 'TYPE : …'"),
    ("unknown type", TSP.replace(": TSP", ": HCP"), "", 3, "a TYPE of TSP, ATSP, CVRP, got 'HCP'"),
    ("no dimension", TSP, "DIMENSION : 4\n", 0, "a line 'DIMENSION : …'"),
    ("dimension no number", TSP.replace("DIMENSION : 4", "DIMENSION : four"), "", 4, "positive integer as DIMENSION"),
    ("dimension 0", TSP.replace("DIMENSION : 4", "DIMENSION : 0"), "", 4, "positive integer as DIMENSION"),
    ("dimension huge", TSP.replace("DIMENSION : 4", "DIMENSION : 9000000"), "", 4, "1 to 1000000 variables"),
    ("dimension too small", TSP.replace("DIMENSION : 4", "DIMENSION : 3"), "", 10, "3 lines in NODE_COORD_SECTION"),
    ("dimension too large", TSP.replace("DIMENSION : 4", "DIMENSION : 5"), "", 6, "5 lines in NODE_COORD_SECTION"),
    ("metric unknown", TSP.replace("EUC_2D", "EUC_4D"), "", 5, "EDGE_WEIGHT_TYPE of EXPLICIT, EUC_2D"),
    ("no metric", TSP, "EDGE_WEIGHT_TYPE : EUC_2D\n", 0, "a line 'EDGE_WEIGHT_TYPE : …'"),
    ("no section", TSP.partition("NODE_COORD")[0] + "EOF", "", 0, "a NODE_COORD_SECTION, there is none"),
    ("section twice", TSP.replace("EOF", "NODE_COORD_SECTION\nEOF"), "", 11, "once, it is there twice"),
    ("keyword twice", TSP.replace("TYPE : TSP", "TYPE : TSP\nTYPE : TSP"), "", 4, "once, it is there twice"),
    ("keyword unknown", TSP.replace("TYPE : TSP", "TYPE : TSP\nDISTANCE : 9"), "", 4, "keyword, got 'DISTANCE'"),
    ("section unknown", TSP.replace("EOF", "FIXED_EDGES_SECTION\n1 2\n-1\nEOF"), "", 11, "'FIXED_EDGES_SECTION'"),
    ("after the end", TSP + "1 2 3\n", "", 12, "the end of the file after EOF"),
    ("numbers first", "1 2 3\n" + TSP, "", 1, "a line 'KEYWORD : value' or a section"),
    ("coordinate missing", TSP.replace("7 0 0", "7 0"), "", 7, "'node x y', got '7 0'"),
    ("coordinate text", TSP.replace("7 0 0", "7 0 x"), "", 7, "a finite number, got 'x'"),
    ("coordinate nan", TSP.replace("7 0 0", "7 nan 0"), "", 7, "a finite number, got 'nan'"),
    ("coordinate infinite", TSP.replace("7 0 0", "7 1e999 0"), "", 7, "a finite number, got '1e999'"),
    ("node no integer", TSP.replace("7 0 0", "7.5 0 0"), "", 7, "an integer, got '7.5'"),
    ("node twice", TSP.replace("4 10 0", "7 10 0"), "", 10, "every node once"),
    ("demands in a TSP", TSP.replace("EOF", "DEMAND_SECTION\nEOF"), "", 11, "no DEMAND_SECTION in a TSP"),
    ("layout unknown", CVRP.replace("LOWER_ROW", "MIDDLE_ROW"), "", 6, "EDGE_WEIGHT_FORMAT of FULL_MATRIX"),
    ("no layout", CVRP, "EDGE_WEIGHT_FORMAT: LOWER_ROW\n", 0, "a line 'EDGE_WEIGHT_FORMAT : …'"),
    ("weight too few", CVRP.replace("4 5 6", "4 5"), "", 8, "6 weights (LOWER_ROW, DIMENSION 4), got 5"),
    ("weight too many", CVRP.replace("4 5 6", "4 5 6 7"), "", 10, "6 weights (LOWER_ROW, DIMENSION 4), got 7"),
    ("weight negative", CVRP.replace("4 5 6", "4 5 -6"), "", 10, "no negative weight, got -6"),
    ("weight infinite", CVRP.replace("4 5 6", "4 inf 6"), "", 10, "a finite number, got 'inf'"),
    ("no weights", CVRP.replace(" 1 2\n 3 4 5 6\n", ""), "", 8, "6 weights (LOWER_ROW, DIMENSION 4), got 0"),
    ("matrix too large", CVRP.replace("DIMENSION : 4", f"DIMENSION : {MOST_IN_MATRIX + 1}"), "", 4, "at most 2000"),
    ("no capacity", CVRP, "CAPACITY : 10\n", 0, "a line 'CAPACITY : …'"),
    ("capacity negative", CVRP.replace("CAPACITY : 10", "CAPACITY : -10"), "", 7, "positive integer as CAPACITY"),
    ("demand too large", CVRP.replace("4 6\n", "4 11\n"), "", 14, "at most the capacity 10, got 11 (node 4)"),
    ("demand negative", CVRP.replace("4 6\n", "4 -6\n"), "", 14, "a demand that is not negative"),
    ("demand of nobody", CVRP.replace("4 6\n", "9 6\n"), "", 14, "the number of a node"),
    ("demand missing", CVRP.replace("4 6\n", ""), "", 11, "4 lines in DEMAND_SECTION"),
    ("no demands", CVRP.replace("DEMAND_SECTION\n1 0\n2 4\n4 6\n3 5\n", ""), "", 0, "a DEMAND_SECTION"),
    ("no depot", CVRP.replace("DEPOT_SECTION\n 1\n -1\n", ""), "", 0, "a DEPOT_SECTION"),
    ("depots", CVRP.replace(" 1\n -1", " 1\n 2\n -1"), "", 17, "the number of one node, then -1, got '1 2 -1'"),
    ("depot unknown", CVRP.replace(" 1\n -1", " 9\n -1"), "", 17, "the number of one node, then -1, got '9 -1'"),
    ("depot open", CVRP.replace(" 1\n -1", ""), "", 16, "the number of one node, then -1, got ''"),
    ("depot demands", CVRP.replace("1 0\n", "1 1\n"), "", 11, "demand 0 at the depot 1"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "without", "line", "message"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG]
)
def test_what_is_wrong_is_named_with_its_line(text: str, without: str, line: int, message: str) -> None:
    text = text.replace(without, "") if without else text
    error = refused(text)
    assert message in error.message
    assert error.place == f"x.tsp:{line or len(text.strip().splitlines())}"


WORDS = st.sampled_from(
    ["TYPE : TSP\n", "TYPE : CVRP\n", "DIMENSION : 2\n", "EDGE_WEIGHT_TYPE : EXPLICIT\n", "EDGE_WEIGHT_TYPE : GEO\n",
     "EDGE_WEIGHT_FORMAT : UPPER_COL\n", "EDGE_WEIGHT_FORMAT : FULL_MATRIX\n", "EDGE_WEIGHT_SECTION\n",
     "NODE_COORD_SECTION\n", "DEMAND_SECTION\n", "DEPOT_SECTION\n", "CAPACITY : 3\n", "1 0 0\n", "2 1 1\n", "1 0\n",
     "2 3\n", "1\n", "-1\n", "nan\n", "0 1 1 0\n", "EOF\n", ":\n", "_\n", "COMMENT no of trucks: 0\n", "é\n"]
)  # fmt: skip


@given(st.lists(WORDS, max_size=16).map("".join))
def test_anything_else_is_a_format_error(text: str) -> None:
    with suppress(FormatError):
        assert read(text.encode(), "x", "tsplib")


@given(st.sampled_from([TSP, CVRP]), st.data())
def test_a_broken_file_is_a_format_error_or_a_problem(text: str, data: st.DataObject) -> None:
    lines = text.splitlines(keepends=True)
    line = data.draw(st.integers(0, len(lines) - 1))
    tokens = lines[line].split(" ")
    tokens[data.draw(st.integers(0, len(tokens) - 1))] = data.draw(
        st.sampled_from(["", "-1", "0", "1e400", "x", "nan"])
    )
    lines[line] = " ".join(tokens)
    with suppress(FormatError):
        assert read("".join(lines).encode(), "x", "tsplib")


def test_a_tour_is_written_with_the_files_numbers() -> None:
    suffix, text = write(one(TSP).problem, {"tour": [7, 3, 5, 4]}, 50, "square")
    assert (suffix, text.splitlines()) == (
        ".tour",
        [
            "NAME : square.tour",
            "COMMENT : length 50",
            "TYPE : TOUR",
            "DIMENSION : 4",
            "TOUR_SECTION",
            *"7354",
            "-1",
            "EOF",
        ],
    )
    named: dict[str, Any] = {"nodes": ["a", "b"], "coordinates": [[0, 0], [1, 1]]}
    assert write(named, {"tour": ["b", "a"]}, 1.5, "x")[1].splitlines()[-4:-2] == ["2", "1"]
    assert write({"coordinates": [[0, 0]]}, {"tour": [0]}, 0, "x")[1].splitlines()[-3] == "1"


def test_routes_are_written_with_customers_from_one() -> None:
    suffix, text = write(one(CVRP).problem, {"routes": [[2, 4], [3]]}, 21, "x")
    assert (suffix, text) == (".sol", "Route #1: 1 3\nRoute #2: 2\nCost 21\n")
    with pytest.raises(LookupError):
        write(one(CVRP).problem, {"routes": [[1]]}, 0, "x")
