"""Detection, golden files and every way a file can be wrong."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson
import pytest

from qmosaic.codecs.errors import FormatError
from qmosaic.codecs.formats.base import MAX_VARIABLES, FileProblem
from qmosaic.codecs.formats.registry import FORMATS, detect, read

RUDY = b"3 2\n1 2 5\n2 3 -1\n"
BQP = b" 2 \n 2 2 \n 1 1 3 \n 1 2 -4 \n 3 1 \n 2 3 7 "
QBSOLV = b"c a comment\np qubo 0 4 2 1\n0 0 1.0\n3 3 -2.0\nc couplers\n0 3 4.0\n"
COO = b"# vartype=SPIN\n0 0 1.500000\n0 2 -1.000000\n"
QPLIB = b"""tiny
QBB
maximize
3 # number of variables
2 # number of quadratic terms in objective
2 1 4.0
3 3 -1.0
0.0 # default value for linear coefficients in objective
1 # number of non-default linear coefficients in objective
3 -2.0
1.5 # objective constant
1.79769313486232E+308 # value for infinity
0.0 # default variable primal value in starting point
1 # number of non-default variable primal values in starting point
2 1.0
0.0 # default variable bound dual value in starting point
0 # number of non-default variable bound dual values in starting point
1 # number of non-default variable names
2 the second one
0 # number of non-default constraint names
"""
NO_NAMES = b"0 # number of non-default constraint names\n"
EVENT: dict[str, Any] = {"family": "maxcut", "problem": {"nodes": 2, "edges": [[0, 1, 1]]}}
BQM: dict[str, Any] = {
    "type": "BinaryQuadraticModel",
    "version": {"bqm_schema": "3.0.0"},
    "use_bytes": False,
    "num_variables": 2,
    "num_interactions": 1,
    "variable_labels": ["a", "b"],
    "variable_type": "SPIN",
    "offset": 1.5,
    "linear_biases": [1.0, -1.0],
    "quadratic_biases": [2.0],
    "quadratic_head": [0],
    "quadratic_tail": [1],
}
GRAPH: dict[str, Any] = {
    "directed": False,
    "multigraph": False,
    "graph": {},
    "nodes": [{"id": "a"}, {"id": [1, 2]}, {"id": 3}],
    "links": [{"source": "a", "target": [1, 2], "weight": 2}, {"source": 3, "target": "a"}],
}
TERMS: dict[str, Any] = {"()": "-1.5", "(0, 2)": "0.5", "(1,)": 2, "(2, 1)": 1}


def one(data: bytes, name: str = "folder/x.txt", format_name: str | None = None) -> FileProblem:
    (problem,) = read(data, name, format_name)
    return problem


def refused(data: bytes, name: str = "x.txt", format_name: str | None = None) -> FormatError:
    with pytest.raises(FormatError) as caught:
        read(data, name, format_name)
    assert caught.value.code == "invalid_file"
    assert caught.value.message
    assert caught.value.remedy
    return caught.value


# --- golden files -------------------------------------------------------------------------------------------------


def test_rudy() -> None:
    payload = {"nodes": 3, "edges": [[0, 1, 5], [1, 2, -1]]}
    assert one(RUDY) == FileProblem("maxcut", payload, "max", "x", 0)


def test_rudy_without_weights_and_with_some() -> None:
    assert one(b"3 2\n1 2\n2 3\n").problem["edges"] == [[0, 1, 1], [1, 2, 1]]
    assert one(b"3 3\n1 2\n2 3 0.5\n1 3\n").problem["edges"] == [[0, 1, 1.0], [1, 2, 0.5], [0, 2, 1.0]]


def test_bqp_doubles_what_is_off_the_diagonal() -> None:
    first, second = read(BQP, "bqp2.txt")
    assert first == FileProblem(
        "qubo", {"variables": 2, "terms": [[0, 0, 3], [0, 1, -8]], "offset": 0}, "max", "bqp2-1", 0
    )
    assert second == FileProblem("qubo", {"variables": 3, "terms": [[1, 2, 14]], "offset": 0}, "max", "bqp2-2", 1)


def test_bqp_of_one_problem_without_its_first_line_reads_as_rudy_unless_told() -> None:
    data = b"2 1\n1 2 3\n"
    assert one(data).family == "maxcut"
    assert one(data, format_name="bqp").problem["terms"] == [[0, 1, 6]]


def test_qbsolv() -> None:
    payload = {"variables": 4, "terms": [[0, 0, 1], [3, 3, -2], [0, 3, 4]], "offset": 0}
    assert one(QBSOLV) == FileProblem("qubo", payload, "min", "x", 0)
    assert one(QBSOLV.replace(b"qubo 0", b"qubo unconstrained")).problem == payload


def test_coo() -> None:
    payload = {"variables": 3, "h": [1.5, 0.0, 0.0], "J": [[0, 2, -1]], "offset": 0}
    assert one(COO) == FileProblem("ising", payload, "min", "x", 0)
    terms = [[0, 0, 1.5], [0, 2, -1.0]]
    binary = one(COO.replace(b"SPIN", b"BINARY"))
    assert binary == FileProblem("qubo", {"variables": 3, "terms": terms, "offset": 0}, "min", "x", 0)


def test_qplib_takes_half_of_each_entry() -> None:
    payload = {"variables": 3, "terms": [[1, 0, 2.0], [2, 2, -0.5], [2, 2, -2.0]], "offset": 1.5}
    assert one(QPLIB) == FileProblem("qubo", payload, "max", "tiny", 0)


def test_qplib_with_a_default_and_without_quadratic_terms() -> None:
    head, tail = QPLIB.split(b"2 # number of quadratic")[0], QPLIB.split(b"3 3 -1.0\n")[1]
    data = (
        (head + tail).replace(b"QBB", b"lbn").replace(b"maximize", b"minimize").replace(b"0.0 # default value", b"7 #")
    )
    problem = one(data)
    assert problem.sense == "min"
    assert problem.problem["terms"] == [[0, 0, 7], [1, 1, 7], [2, 2, -2]]


def test_json_event() -> None:
    event = {**EVENT, "id": "p1", "sense": "max", "labels": {"a": 1}, "unknown": 2}
    assert one(orjson.dumps(event)) == FileProblem("maxcut", EVENT["problem"], "max", "p1", 0, event)


def test_json_bqm() -> None:
    payload = {"variables": 2, "h": [1, -1], "J": [[0, 1, 2]], "offset": 1.5}
    assert one(orjson.dumps(BQM)) == FileProblem("ising", payload, "min", "x", 0)
    terms = [[0, 0, 1], [1, 1, -1], [0, 1, 2]]
    binary = one(orjson.dumps({**BQM, "variable_type": "BINARY"}))
    assert binary == FileProblem("qubo", {"variables": 2, "terms": terms, "offset": 1.5}, "min", "x", 0)


@pytest.mark.parametrize("links", ["links", "edges"])
def test_json_graph(links: str) -> None:
    graph = {k: v for k, v in GRAPH.items() if k != "links"} | {links: GRAPH["links"]}
    payload = {"nodes": 3, "edges": [[0, 1, 2], [2, 0, 1]]}
    assert one(orjson.dumps(graph)) == FileProblem("maxcut", payload, "max", "x", 0)


def test_json_terms() -> None:
    payload = {"variables": 3, "h": [0, 2, 0], "J": [[0, 2, 0.5], [2, 1, 1.0]], "offset": -1.5}
    assert one(orjson.dumps(TERMS)) == FileProblem("ising", payload, "min", "x", 0)


@pytest.mark.parametrize("pretty", [True, False])
def test_json_list_and_lines(pretty: bool) -> None:
    documents = [EVENT, {**EVENT, "id": "p2"}, BQM]
    listed = json.dumps(documents, indent=2 if pretty else None).encode()
    lines = b"\n\n".join(map(orjson.dumps, documents))
    for data in (listed, lines):
        problems = read(data, "x.jsonl")
        assert [p.name for p in problems] == ["x-1", "p2", "x-3"]
        assert [p.index for p in problems] == [0, 1, 2]
        assert [p.family for p in problems] == ["maxcut", "maxcut", "ising"]


# --- detection ----------------------------------------------------------------------------------------------------

SAMPLES: list[tuple[str, bytes]] = [
    ("rudy", RUDY),
    ("bqp", BQP),
    ("qbsolv", QBSOLV),
    ("coo", COO),
    ("coo", b"0 0 1\n0 1 -2\n"),
    ("coo", b"# from somewhere\n# vartype=BINARY\n0 0 1\n"),
    ("qplib", QPLIB),
    ("qplib", b"! a comment\n\n" + QPLIB),
    ("json", orjson.dumps(EVENT)),
    ("json", orjson.dumps([EVENT])),
    ("json", orjson.dumps(TERMS)),
]


@pytest.mark.parametrize(("expected", "data"), SAMPLES)
@pytest.mark.parametrize("suffix", ["", ".txt", ".dat"])
def test_content_decides_where_the_suffix_says_nothing(expected: str, data: bytes, suffix: str) -> None:
    assert detect(data, f"x{suffix}") == expected
    assert detect(b"\n \r\n" + data, f"x{suffix}") == expected


@pytest.mark.parametrize(("expected", "data"), SAMPLES)
@pytest.mark.parametrize("suffix", [".xyz", ".csv", ".tsp"])
def test_a_suffix_that_says_another_format_than_the_content_is_asked_about(
    expected: str, data: bytes, suffix: str
) -> None:
    error = refused(data, f"x{suffix}")
    assert f"got one that fits {expected}, and a suffix that says" in error.message
    assert expected in error.remedy


def test_the_suffix_decides_where_content_leaves_it_open() -> None:
    both = b"10 5\nQBB\nminimize\n"
    assert detect(both, "x.qplib") == "qplib"
    assert detect(both, "x.RUD") == "rudy"
    assert "rudy and qplib" in refused(both).message
    assert "rudy and qplib" in refused(both, "x.qubo").message
    assert detect(b"nonsense", "x.qubo") == "qbsolv"


def test_unknown_files_and_formats_list_the_choices() -> None:
    for error in (refused(b"nonsense"), refused(RUDY, format_name="tsp")):
        assert all(name in error.remedy for name in FORMATS)


# --- tolerated ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("expected", "data"), [*SAMPLES[:4], *SAMPLES[5:]])
def test_byte_order_mark_line_ends_and_blank_lines(expected: str, data: bytes) -> None:
    plain = read(data, "x", expected)
    assert read(b"\xef\xbb\xbf" + data, "x") == plain
    for end in (b"\r\n", b"\r", b"\n\n", b" \t\n"):
        assert read(data.replace(b"\n", end) + end, "x") == plain


def test_whole_weights_are_ints_and_a_double_that_is_too_large_stays_one() -> None:
    weights = [e[2] for e in one(b"3 2\n1 2 100.0\n2 3 -1e3\n").problem["edges"]]
    assert weights == [100, -1000]
    assert all(type(w) is int for w in weights)
    assert type(one(b"2 1\n1 2 1e300\n").problem["edges"][0][2]) is float


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a/b/g05_100.0", "g05_100.0"), ("g1.rud", "g1"), ("g1", "g1"), ("x.y.txt", "x.y")],
)
def test_names(name: str, expected: str) -> None:
    assert one(RUDY, name).name == expected


# --- malformed ----------------------------------------------------------------------------------------------------

# (format, file, line of the error, what the message must tell)
MALFORMED: list[tuple[str, bytes, int, str]] = [
    ("rudy", b"3 2\n1 2 5\n", 2, "expected 2 lines 'i j w'.*got 1"),
    ("rudy", b"3 2\n", 1, "expected 2 lines.*got 0"),
    ("rudy", b"3 1\n\n1 2 5\n\n2 3 -1\n", 5, "end of the file after the stated 1 edges, got '2 3 -1'"),
    ("rudy", b"3 1\n1 2 5\ngarbage here\n", 3, "got 'garbage here'"),
    ("rudy", b"3 2\n1 2 5\n0 3 1\n", 3, "index from 1 to 3, got 0"),
    ("rudy", b"3 2\n1 2 5\n2 4 1\n", 3, "index from 1 to 3, got 4"),
    ("rudy", b"3 2\n1 2 5\n2 -3 1\n", 3, "index from 1 to 3, got -3"),
    ("rudy", b"3 2\n1 2 5\n2 99999999999999999999 1\n", 3, "an integer, got '9999"),
    ("rudy", b"3 2\n1 2 5\n2 3.0 1\n", 3, "an integer, got '3.0'"),
    ("rudy", b"3 2\n1 2 5\n2 x 1\n", 3, "an integer, got 'x'"),
    ("rudy", b"3 2\n1 2\n2 3 x\n", 3, "a finite number, got 'x'"),
    ("rudy", b"3 2\n1 2 5\n2 3 NaN\n", 3, "a finite number, got 'NaN'"),
    ("rudy", b"3 2\n1 2 5\n2 3 -inf\n", 3, "a finite number, got '-inf'"),
    ("rudy", b"3 2\n1 2 5\n2 3 1e999\n", 3, "a finite number, got '1e999'"),
    ("rudy", b"3 2\n1 2 5\n2 3 1_0\n", 3, "a finite number, got '1_0'"),
    ("rudy", b"3 2\n1 2 5\n2 3 \xc2\xb2\n", 3, "a finite number, got '²'"),
    ("rudy", b"3 2\n1 2 5\n2 3 1 1\n", 3, "'i j w', got '2 3 1 1'"),
    ("rudy", b"3 2\n1 2 5\n2\n", 3, "'i j w', got '2'"),
    ("rudy", b"3 1\n2 2 5\n", 2, "two different nodes, got '2 2 5'"),
    ("rudy", b"0 0\n", 1, f"1 to {MAX_VARIABLES} variables, got 0"),
    ("rudy", b"99999999 0\n", 1, "variables, got 99999999"),
    ("rudy", b"3 -1\n", 1, "got '3 -1'"),
    ("rudy", b"a b c\n", 1, "'n m'.*got 'a b c'"),
    ("rudy", b"3 999999999999999999\n1 2 1\n", 2, "got 1"),
    ("bqp", b"2\n2 1\n1 2 3\n", 3, "'n m'.*got the end of the file"),
    ("bqp", b"0\n", 1, "at least one problem"),
    ("bqp", b"x\n", 1, "'P'.*got 'x'"),
    ("bqp", b"1\n2 2\n1 2 3\n", 3, "expected 2 lines 'i j q'.*got 1"),
    ("bqp", b"2\n2 2\n1 2 3\n2 1\n1 2 3\n", 4, "'i j q', got '2 1'"),
    ("bqp", b"2\n3 1\n1 2 3\n2 3 4\n", 4, "'n m'.*got '2 3 4'"),
    ("bqp", b"1\n2 1\n1 2 3\n2 1\n", 4, "end of the file after 1 problem, got '2 1'"),
    ("bqp", b"1\n2 1\n0 2 3\n", 3, "index from 1 to 2, got 0"),
    ("bqp", b"1\n3 3\n1 2 3\n1 1 1\n2 1 3\n", 5, "every pair once.*line 3"),
    ("bqp", b"1\n3 4\n1 2 1\n2 3 1\n1 2 1\n2 3 1\n", 5, "every pair once.*line 3.*got '1 2 1'"),
    ("bqp", b"1\n3 4\n1 2 1\n2 3 1\n2 3 1\n1 2 1\n", 5, "every pair once.*line 4.*got '2 3 1'"),
    ("qbsolv", b"c only\n", 1, "'p qubo .*got the end of the file"),
    ("qbsolv", b"c x\np cnf 3 4\n", 2, "'p qubo .*got 'p cnf 3 4'"),
    ("qbsolv", b"0 0 1\n", 1, "'p qubo"),
    ("qbsolv", b"p qubo 0 2 1\n0 0 1\n", 1, "'maxNodes nNodes nCouplers'"),
    ("qbsolv", b"p qubo 7 2 1 0\n0 0 1\n", 1, "'p qubo"),
    ("qbsolv", b"p qubo 0 2 1 1\n0 0 1\n", 2, "expected 2 lines 'i j v'"),
    ("qbsolv", b"c\np qubo 0 2 1 1\n0 0 1\nc\n1 1 1\n", 2, "1 nodes and 1 couplers, got 2 and 0"),
    ("qbsolv", b"p qubo 0 2 1 0\n0 0 1\n0 1 1\n", 3, "got '0 1 1'"),
    ("qbsolv", b"p qubo 0 2 0 1\n0 2 1\n", 2, "index from 0 to 1, got 2"),
    ("qbsolv", b"p qubo 0 2 0 2\n0 1 1\n1 0 1\n", 3, "every pair once.*line 2"),
    ("coo", b"0 0 1\n", 1, "vartype"),
    ("coo", b"# vartype=SPIN\n", 1, "'i j bias', got the end of the file"),
    ("coo", b"# vartype=DISCRETE\n0 0 1\n", 1, "SPIN or BINARY, got 'DISCRETE'"),
    ("coo", b"# vartype=SPIN\n0 0 1\n# vartype: BINARY\n", 3, "one vartype"),
    ("coo", b"# vartype=SPIN\n0 0 1\n0 1\n", 3, "'i j bias', got '0 1'"),
    ("coo", b"# vartype=SPIN\n0 -1 1\n", 2, "got -1"),
    ("coo", b"# vartype=SPIN\n0 1000000 1\n", 2, "got 1000000"),
    ("coo", b"# vartype=SPIN\n0 1 nan\n", 2, "a finite number, got 'nan'"),
    ("qplib", QPLIB.replace(b"QBB", b"QCL"), 2, "binary problem without constraints.*got 'QCL'"),
    ("qplib", QPLIB.replace(b"QBB", b""), 3, "binary problem.*got 'maximize'"),
    ("qplib", QPLIB.replace(b"maximize", b"max"), 3, "minimize or maximize, got 'max'"),
    ("qplib", QPLIB.replace(b"2 1 4.0", b"0 1 4.0"), 6, "index from 1 to 3, got 0"),
    ("qplib", QPLIB.replace(b"2 # number of q", b"3 # number of q"), 8, "'i j q', got '0.0'"),
    ("qplib", QPLIB.replace(b"2 # number of q", b"1 # number of q"), 7, "default linear coefficient.*got '3 3 -1.0'"),
    ("qplib", QPLIB.replace(b"1.5 #", b"inf #"), 11, "a finite number, got 'inf'"),
    (
        "qplib",
        QPLIB.replace(NO_NAMES, b""),
        19,
        "'number-of-names'.*got the end",
    ),
    (
        "qplib",
        QPLIB.replace(NO_NAMES, b"1 # names"),
        20,
        "names.*got the end",
    ),
    ("qplib", QPLIB + b"more\n", 21, "end of the file after the names, got 'more'"),
    ("json", b"{", 1, "expected JSON"),
    ("json", b"\xef\xbb\xbf[1,\n2,\n,]", 3, "expected JSON"),
    ("json", orjson.dumps(EVENT) + b"\n\n{oops\n", 3, "expected JSON"),
    ("json", orjson.dumps(EVENT) + b"\n3\n", 2, "a JSON object, got int"),
    ("json", b"[]", 1, "at least one problem"),
    ("json", b"7", 1, "a JSON object, got int"),
    ("json", b"{}", 1, "known kind of problem"),
    ("json", b'{"a": 1, "b": 2}', 1, r"keys \[a, b\]"),
    ("json", b'{"(0, 1)": NaN}', 1, "expected JSON"),
]


@pytest.mark.parametrize(("format_name", "data", "line", "message"), MALFORMED)
def test_malformed(format_name: str, data: bytes, line: int, message: str) -> None:
    error = refused(data, "dir/file.x", format_name)
    assert re.search(message, error.message), error.message
    assert error.place == f"dir/file.x:{line}"


def without(document: dict[str, Any], key: str) -> dict[str, Any]:
    return {k: v for k, v in document.items() if k != key}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (without(EVENT, "problem"), "missing required field `problem`"),
        (without(EVENT, "family"), "missing required field `family`"),
        ({**EVENT, "problem": 3}, r"Expected `object`, got `int` - at `\$.problem`"),
        ({**EVENT, "sense": "up"}, r"at `\$.sense`"),
        ({**BQM, "version": {"bqm_schema": "1.0.0"}}, "bqm_schema 3, got 1.0.0"),
        ({**BQM, "num_variables": 3}, "expected 3 linear_biases, got 2"),
        ({**BQM, "num_interactions": 2}, "expected 2 quadratic_biases, got 1"),
        ({**BQM, "quadratic_tail": []}, "expected 1 quadratic_tail, got 0"),
        ({**BQM, "quadratic_tail": [2]}, "got 0 and 2 in interaction 0"),
        ({**BQM, "quadratic_tail": [0]}, "got 0 and 0 in interaction 0"),
        ({**BQM, "quadratic_tail": [-1]}, r"\$.quadratic_tail"),
        ({**BQM, "linear_biases": "AAAA"}, r"\$.linear_biases"),
        ({**BQM, "variable_type": "DISCRETE"}, "DISCRETE"),
        (without(BQM, "offset"), "missing required field `offset`"),
        ({**GRAPH, "directed": True}, "undirected"),
        ({**GRAPH, "nodes": []}, r"\$.nodes"),
        ({**GRAPH, "nodes": 3}, r"got `int` - at `\$.nodes`"),
        ({**GRAPH, "nodes": [{"id": 1}, {"id": 1}]}, "different ids"),
        ({**GRAPH, "nodes": [{"id": {}}]}, "got an object"),
        ({**GRAPH, "links": [{"source": "a", "target": "z"}]}, "another in link 0"),
        ({**GRAPH, "links": [{"source": "a", "target": "a"}]}, "loop in link 0"),
        ({**GRAPH, "links": [{"source": "a", "target": 3, "weight": "1"}]}, r"\$.links\[0\].weight"),
        ({"(0, 1, 2)": 1}, r"got '\(0, 1, 2\)'"),
        ({"(0, 0)": 1}, r"got '\(0, 0\)'"),
        ({"(0, -1)": 1}, r"got '\(0, -1\)'"),
        ({"(9999999,)": 1}, r"got '\(9999999,\)'"),
        ({"(0, 1)": "one"}, r"finite number for '\(0, 1\)', got 'one'"),
        ({"(0, 1)": "nan"}, "finite number"),
        ({"(0, 1)": None}, "finite number"),
        ({"(0, 1)": True}, "finite number"),
        ({"()": 1}, "at least one variable"),
    ],
)
def test_malformed_documents(document: dict[str, Any], message: str) -> None:
    alone = refused(orjson.dumps(document), "x.json")
    assert re.search(message, alone.message), alone.message
    assert alone.place == "x.json:1"
    third = refused(b"\n" + orjson.dumps(EVENT) + b"\n" + orjson.dumps(document), "x.json")
    assert third.message == alone.message
    assert third.place == "x.json:3"
    listed = refused(orjson.dumps([EVENT, document]), "x.json")
    assert listed.message == f"problem 2 of the list: {alone.message}"


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("data", "line", "message"),
    [
        (b"", 1, "empty"),
        (b"\xef\xbb\xbf \r\n", 1, "empty"),
        (b"3 1\n1 2\xff 1\n", 2, "0xff"),
        (b"\x1f\x8b\x08\x00", 1, "0x8b"),
        (b"3 1\n\n1 \x00 2", 3, "0x00"),
        ("3 1\n1 2 1\n".encode("utf-16"), 1, "0xff"),
    ],
)
def test_what_is_no_text(name: str, data: bytes, line: int, message: str) -> None:
    for error in (refused(data, "f", name), refused(data, "f")):
        assert message in error.message
        assert error.place == f"f:{line}"


def test_the_limit_is_in_bytes() -> None:
    assert read(RUDY, "f", limit=len(RUDY))
    with pytest.raises(FormatError, match=f"at most {len(RUDY) - 1} bytes, got {len(RUDY)}"):
        read(RUDY, "f", limit=len(RUDY) - 1)
