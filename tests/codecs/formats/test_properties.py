"""For every format: what is written is what is read, and no bytes whatever raise anything but FormatError."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import dimod
import networkx as nx
import numpy as np
import orjson
from dimod.serialization import coo
from hypothesis import given
from hypothesis import strategies as st

from qmosaic.codecs.errors import FormatError
from qmosaic.codecs.formats.registry import FORMATS, read

Entries = list[tuple[int, int, Any]]
WEIGHTS = st.one_of(
    st.integers(-(10**6), 10**6), st.floats(-1e9, 1e9, allow_nan=False), st.sampled_from([0, -0.0, 1e-300, 1e300])
)
# What `%f`, dimod's own way to write a bias, holds exactly.
QUARTERS = st.integers(-4000, 4000).map(lambda k: k / 4)


@st.composite
def entries(draw: st.DrawFn, *, loops: bool, weights: st.SearchStrategy[Any] = WEIGHTS) -> tuple[int, Entries]:
    """A number of variables, and different pairs i <= j of them with weights."""
    n = draw(st.integers(1, 12))
    pairs = [(i, j) for i in range(n) for j in range(i if loops else i + 1, n)]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    return n, [(i, j, draw(weights)) for i, j in chosen]


def lines(rows: Entries, base: int, end: str = "\n") -> str:
    return "".join(f"{i + base} {j + base} {w!r}{end}" for i, j, w in rows)


def listed(rows: Entries) -> list[list[Any]]:
    return [list(row) for row in rows]


@given(entries(loops=False), st.sampled_from(["\n", "\r\n", " \n\n"]))
def test_rudy(graph: tuple[int, Entries], end: str) -> None:
    n, edges = graph
    (problem,) = read(f"{n} {len(edges)}{end}{lines(edges, 1, end)}".encode(), "x", "rudy")
    assert problem.problem == {"nodes": n, "edges": listed(edges)}


@given(st.lists(entries(loops=True, weights=st.integers(-(10**6), 10**6)), min_size=1, max_size=4))
def test_bqp_gives_the_value_of_its_symmetric_matrix(matrices: list[tuple[int, Entries]]) -> None:
    text = f"{len(matrices)}\n" + "".join(f"{n} {len(q)}\n{lines(q, 1)}" for n, q in matrices)
    problems = read(text.encode(), "x")
    assert len(problems) == len(matrices)
    for (n, q), problem in zip(matrices, problems, strict=True):
        Q = np.zeros((n, n), dtype=np.int64)
        for i, j, w in q:
            Q[i, j] = Q[j, i] = w
        x = np.random.default_rng(n).integers(0, 2, n)
        assert problem.problem["variables"] == n
        value = sum(w * x[i] * x[j] for i, j, w in problem.problem["terms"])
        assert value == x @ Q @ x
        assert all(type(w) is int for _, _, w in problem.problem["terms"])


@given(entries(loops=True))
def test_qbsolv(matrix: tuple[int, Entries]) -> None:
    n, terms = matrix
    nodes = sum(i == j for i, j, _ in terms)
    text = f"c x\np qubo 0 {n} {nodes} {len(terms) - nodes}\nc\n{lines(terms, 0)}"
    (problem,) = read(text.encode(), "x")
    assert problem.problem == {"variables": n, "terms": listed(terms), "offset": 0}


@given(entries(loops=True), WEIGHTS, WEIGHTS, st.sampled_from(["minimize", "maximize"]))
def test_qplib_gives_the_value_of_its_definition(
    matrix: tuple[int, Entries], default: Any, constant: Any, sense: str
) -> None:
    n, q = matrix
    b = [(i, w) for i, j, w in q if i == j]
    text = (
        f"x\nQBN\n{sense}\n{n}\n{len(q)} # terms\n{lines(q, 1)}{default!r}\n{len(b)}\n"
        + "".join(f"{i + 1} {w!r}\n" for i, w in b)
        + f"{constant!r}\n1e300\n0\n0\n0\n0\n0\n0\n"
    )
    (problem,) = read(text.encode(), "x")
    assert problem.sense == sense[:3]
    assert problem.problem["offset"] == constant
    linear = np.full(n, float(default))
    for i, w in b:
        linear[i] = w
    expected = [[i, j, w / 2] for i, j, w in q] + [[i, i, w] for i, w in enumerate(linear) if w]
    assert problem.problem["terms"] == expected


def model(n: int, terms: Entries, vartype: str) -> Any:
    bqm = dimod.BinaryQuadraticModel(vartype)
    for i in range(n):
        bqm.add_linear(i, 0)
    for i, j, w in terms:
        if i == j:
            bqm.add_linear(i, w)
        else:
            bqm.add_quadratic(i, j, w)
    return bqm


def energy(payload: dict[str, Any], states: np.ndarray) -> Any:
    """Of a qubo or ising payload, over 0/1 or +1/-1 states."""
    terms = payload["terms"] if "terms" in payload else payload["J"]
    linear = states @ np.array(payload["h"]) if "h" in payload else 0
    return payload["offset"] + linear + sum(w * states[:, i] * states[:, j] for i, j, w in terms)


@given(entries(loops=True, weights=QUARTERS), st.sampled_from(["SPIN", "BINARY"]), QUARTERS)
def test_dimod_agrees_on_its_formats(matrix: tuple[int, Entries], vartype: str, offset: float) -> None:
    n, terms = matrix
    terms = [*((i, i, 1.0) for i in range(n)), *terms]  # so that COO, which leaves zeros out, names every variable
    bqm = model(n, [(i, j, w if i != j else w + 2000) for i, j, w in terms], vartype)
    bits = np.random.default_rng(n).integers(0, 2, (5, n))
    states = 1 - 2 * bits if vartype == "SPIN" else bits
    expected = bqm.energies((states, range(n)))

    (problem,) = read(coo.dumps(bqm, vartype_header=True).encode(), "x")
    assert problem.family == ("ising" if vartype == "SPIN" else "qubo")
    np.testing.assert_array_equal(energy(problem.problem, states), expected)

    bqm.offset = offset
    (problem,) = read(json.dumps(bqm.to_serializable()).encode(), "x")
    assert problem.sense == "min"
    np.testing.assert_array_equal(energy(problem.problem, states), expected + offset)


@given(entries(loops=False), st.sampled_from(["links", "edges"]), st.booleans())
def test_networkx(graph: tuple[int, Entries], key: str, multi: bool) -> None:
    n, edges = graph
    labels = [f"node {i}" if i % 2 else (i, "t") for i in range(n)]
    g: nx.Graph[Any] = nx.MultiGraph() if multi else nx.Graph()
    g.add_nodes_from(labels)
    g.add_edges_from((labels[i], labels[j], {"weight": w}) for i, j, w in edges)
    (problem,) = read(json.dumps(nx.node_link_data(g, edges=key)).encode(), "x")
    assert problem.problem["nodes"] == n
    assert sorted(map(tuple, problem.problem["edges"])) == sorted(edges)


@given(entries(loops=True), WEIGHTS, st.booleans())
def test_ising_terms(matrix: tuple[int, Entries], constant: Any, as_text: bool) -> None:
    n, terms = matrix
    document = {f"({i}, {j})" if i != j else f"({i},)": w for i, j, w in [(n, n, 1), *terms]} | {"()": constant}
    data = orjson.dumps({k: str(w) if as_text else w for k, w in document.items()})
    (problem,) = read(data, "x")
    h = [0.0] * (n + 1)
    h[n] = 1
    for i, j, w in terms:
        h[i] = w if i == j else h[i]
    couplings = [[i, j, w] for i, j, w in terms if i != j]
    assert problem.problem == {"variables": n + 1, "h": h, "J": couplings, "offset": constant}


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=4), st.booleans())
def test_events_come_back_whole(numbers: list[int], as_lines: bool) -> None:
    events = [{"family": "f", "problem": {"k": k}, "labels": {"k": k}, "extra": [k]} for k in numbers]
    data = b"\n".join(map(orjson.dumps, events)) if as_lines else orjson.dumps(events)
    assert [p.event for p in read(data, "x")] == events


TOKENS = st.sampled_from(
    [b"0", b"1", b"2", b"3", b"-1", b"1.5", b"nan", b"1e999", b"x", b"c", b"p", b"qubo", b"#", b"QBB", b"minimize",
     b"# vartype=SPIN", b"{", b"}", b'"(0, 1)"', b":", b",", b"[", b"]", b"\n", b"\n", b"\n", b"\r\n", b"\xff", b"\0"]
)  # fmt: skip


@given(
    st.one_of(st.binary(max_size=60), st.lists(TOKENS, max_size=30).map(b" ".join)),
    st.sampled_from([None, *FORMATS]),
)
def test_anything_else_is_a_format_error(data: bytes, name: str | None) -> None:
    with suppress(FormatError):
        assert read(data, "x", name)
