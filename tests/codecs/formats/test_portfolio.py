"""The portfolio formats: what is written is what is read, they are told from the others, and errors name the line."""

from __future__ import annotations

import csv
import io
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmosaic.codecs.errors import FormatError
from qmosaic.codecs.formats.base import FileProblem
from qmosaic.codecs.formats.registry import detect, read

PORT = b" 2\n .001309 .043208\n .004177 .040258\n 1 1 1.000000\n 1 2 .562289\n 2 2 1.000000\n"
PRICES = b"date,A,B\n2024-01-02,10.5,99\n2024-01-03,10.6,98\n2024-01-04,10.4,98.5\n"
MOMENTS = b"asset,return,A,B\nB,0.01,0.006,0.04\nA,0.02,0.09,0.006\n"


def one(data: bytes, name: str = "folder/x.txt", format_name: str | None = None) -> FileProblem:
    (problem,) = read(data, name, format_name)
    return problem


def test_port() -> None:
    payload = {
        "returns": [0.001309, 0.004177],
        "deviations": [0.043208, 0.040258],
        "correlations": [[1, 0.562289], [0.562289, 1]],
    }
    assert one(PORT) == FileProblem("portfolio", payload, "min", "x", 0)


def test_csv_of_prices_with_and_without_dates() -> None:
    payload = {"assets": ["A", "B"], "prices": [[10.5, 99], [10.6, 98], [10.4, 98.5]]}
    assert one(PRICES) == FileProblem("portfolio", payload, "min", "x", 0)
    bare = b'A,"B"\n10.5,99\n10.6,98\n10.4,98.5\n'
    assert one(bare, "x.csv").problem == payload


def test_csv_of_moments_in_any_order_of_lines() -> None:
    payload = {"assets": ["A", "B"], "returns": [0.02, 0.01], "covariance": [[0.09, 0.006], [0.006, 0.04]]}
    assert one(MOMENTS) == FileProblem("portfolio", payload, "min", "x", 0)


@pytest.mark.parametrize(("expected", "data"), [("port", PORT), ("csv", PRICES), ("csv", MOMENTS)])
@pytest.mark.parametrize("suffix", ["txt", "dat", ""])
def test_content_decides_where_the_suffix_says_nothing(expected: str, data: bytes, suffix: str) -> None:
    assert detect(data, f"x.{suffix}") == expected


@pytest.mark.parametrize(
    ("expected", "data"),
    [
        ("bqp", b"1\n2 2\n1 1 3\n1 2 -4.5\n"),
        ("rudy", b"2 1\n1 2 0.5\n"),
        ("coo", b"# vartype=SPIN\n0 0 1.5\n"),
        ("qbsolv", b"c a comment, with a comma\np qubo 0 2 1 0\n0 0 1.0\n"),
        ("json", b'{"family": "portfolio", "problem": {"returns": [1,\n2]}}'),
    ],
)
def test_the_other_formats_stay_themselves(expected: str, data: bytes) -> None:
    assert detect(data, "x.txt") == expected


NUMBERS = st.floats(-1e6, 1e6, allow_nan=False)


@given(st.integers(1, 6), st.data())
def test_port_round_trip(n: int, data: st.DataObject) -> None:
    moments = [(data.draw(NUMBERS), data.draw(NUMBERS)) for _ in range(n)]
    pairs = data.draw(st.permutations([(i, j) for i in range(n) for j in range(i, n)]))
    values = {pair: data.draw(NUMBERS) for pair in pairs}
    text = f"{n}\n" + "".join(f"{mean!r} {deviation!r}\n" for mean, deviation in moments)
    text += "".join(f"{i + 1} {j + 1} {values[i, j]!r}\n" for i, j in pairs)
    problem = one(text.encode()).problem
    assert list(zip(problem["returns"], problem["deviations"], strict=True)) == moments
    correlations = np.array(problem["correlations"])
    assert (correlations == correlations.T).all()
    assert all(correlations[pair] == value for pair, value in values.items())


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=5)


@given(st.lists(NAMES, min_size=1, max_size=5, unique=True), st.integers(1, 4), st.booleans(), st.data())
def test_csv_round_trip(names: list[str], rows: int, dated: bool, data: st.DataObject) -> None:
    prices = [[data.draw(NUMBERS) for _ in names] for _ in range(rows)]
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(["Date", *names] if dated else ["first", *names])
    for k, row in enumerate(prices):
        writer.writerow([f"2024-01-{k + 1:02}" if dated else 1.5, *row])
    problem = one(buffer.getvalue().encode(), "x.csv", "csv").problem
    if dated:
        assert problem == {"assets": names, "prices": prices}
    elif "first" not in names:
        assert problem == {"assets": ["first", *names], "prices": [[1.5, *row] for row in prices]}


@pytest.mark.parametrize(
    ("format_name", "data", "line", "message"),
    [
        ("port", b"x\n", 1, "expected 'N'"),
        ("port", b"0\n", 1, "expected 1 to 4096 assets, got 0"),
        ("port", b"5000\n", 1, "expected 1 to 4096 assets, got 5000"),
        ("port", b"2\n.1 .2\n", 2, "got the end of the file"),
        ("port", b"2\n.1 .2\n.1 .2 .3\n", 3, "expected 'mean deviation', got '.1 .2 .3'"),
        ("port", b"1\n.1 nan\n1 1 1\n", 2, "expected a finite number, got 'nan'"),
        ("port", PORT[:-16], 5, "expected 3 lines 'i j correlation'"),
        ("port", PORT.replace(b"2 2 1.0", b"1 2 1.0"), 6, "expected every pair once (this one is in line 5)"),
        ("port", PORT.replace(b"2 2 1.0", b"2 3 1.0"), 6, "expected an index from 1 to 2, got 3"),
        ("port", PORT + b"1 1 1\n", 7, "expected the end of the file after the 3 pairs of 2 assets"),
        ("csv", b"A,B\n", 1, "expected a header and lines of numbers"),
        ("csv", b"A,\n1,2\n", 1, "expected the name of an asset in every column"),
        ("csv", b"asset,return\nA,1\n", 1, "expected the name of an asset in every column"),
        ("csv", b"A,A\n1,2\n", 1, "expected different names, got 'A' twice"),
        ("csv", b"A,B\n1,2\n\n3\n", 4, "expected 2 columns as in the header, got 1"),
        ("csv", b"A,B\n1.5,2\n3,\n", 3, "expected a finite number, got ''"),
        ("csv", b"A,B\n1.5,2\n3,NaN\n", 3, "expected a finite number, got 'NaN'"),
        ("csv", b"A,B\n1.5,2\n3,1e999\n", 3, "expected a finite number, got '1e999'"),
        ("csv", b'A,B\n1,2\n3,"4\n', 3, "expected CSV"),
        ("csv", b"date,A\n2024-01-03,1\n2024-01-04,2\n2024-01-02,2\n", 4, "a date after 2024-01-04, got 2024-01-02"),
        ("csv", b"asset,return,A,B\nA,1,1,0\n", 1, "expected a line for every column, got none for 'B'"),
        ("csv", b"asset,return,A\nC,1,1\n", 2, "expected a column of the header, each once, got 'C'"),
        ("csv", b"asset,return,A\nA,1,1\nA,1,1\n", 3, "expected a column of the header, each once, got 'A'"),
    ],
)
def test_malformed(format_name: str, data: bytes, line: int, message: str) -> None:
    with pytest.raises(FormatError) as caught:
        read(data, "x.txt", format_name)
    assert caught.value.place == f"x.txt:{line}"
    assert message in caught.value.message
    assert caught.value.remedy


TOKENS: Any = st.sampled_from(
    ["asset", "return", "date", "A", ",", ",", "1", "2024-01-01", "nan", '"', "\n", "\n", "."]
)


@given(st.lists(TOKENS, max_size=30).map("".join), st.sampled_from(["csv", "port"]))
def test_anything_else_is_a_format_error(text: str, name: str) -> None:
    with suppress(FormatError):
        read(text.encode(), "x", name)
