"""Files that were made to hurt: whatever the bytes, a reader gives problems or a FormatError, and soon."""

from __future__ import annotations

import subprocess
import sys

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmosaic.codecs.errors import FormatError
from qmosaic.codecs.formats.registry import FORMATS, read
from tests.codecs.formats.test_formats import BQM, BQP, COO, EVENT, GRAPH, QBSOLV, QPLIB, RUDY, TERMS
from tests.codecs.formats.test_molecule import FCIDUMP, PAULI, XYZ
from tests.codecs.formats.test_portfolio import MOMENTS, PORT, PRICES
from tests.codecs.formats.test_reports import CVRP, MATRIX, QM9, WHOLE

SAMPLES: dict[str, list[bytes]] = {
    "rudy": [RUDY],
    "bqp": [BQP],
    "qbsolv": [QBSOLV],
    "coo": [COO],
    "qplib": [QPLIB],
    "fcidump": [FCIDUMP.encode()],
    "xyz": [XYZ.encode(), QM9.encode()],
    "tsplib": [CVRP.format(**WHOLE).encode(), f"{MATRIX}5\nEOF\n".encode()],
    "port": [PORT],
    "csv": [PRICES, MOMENTS, b"Date;A;B\n31.12.2024;1.000,5;2\n30.12.2024;1.010;3,5\n"],
    "qasm": [b"OPENQASM 3;\nqubit q;\n"],
    "json": [orjson.dumps(document) for document in (EVENT, BQM, GRAPH, TERMS, PAULI)],
}
PIECES = st.one_of(
    st.binary(max_size=8),
    st.sampled_from(
        [b"\n", b"\r", b"\t", b" ", b"\0", b"\xef\xbb\xbf", b"\xff\xfe", b"\xc2\xa0", b"\xe2\x80\xae", b"nan", b"-inf",
         b"1e400", b"1e-400", b"9" * 400, b"9" * 5000, b"1000000000", b"-1", b"1_0", b"0x1", b"1.0", b"1D5", b"1*^3",
         b"9007199254740993", b"18446744073709551617", b"/", b"&END", b"'", b'"', b"!", b"#", b",", b";", b"=",
         b"[" * 1100,
         b'{"a":' * 300, b"1000000*1", b"EOF", b"null", b"true", b"\xd9\xa3", b"\xc2\xb2", b"2024-02-30"]
    ),
)  # fmt: skip


def test_every_format_has_a_sample_that_is_read() -> None:
    assert SAMPLES.keys() == FORMATS.keys()
    for name, samples in SAMPLES.items():
        for sample in samples:
            assert read(sample, "x", name)
            assert read(sample, f"x{FORMATS[name].suffixes[0]}")


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, bytes]:
    """A sample with some pieces cut out, doubled or put in."""
    name = draw(st.sampled_from(sorted(SAMPLES)))
    data = draw(st.sampled_from(SAMPLES[name]))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        stop = draw(st.integers(start, min(len(data), start + 12)))
        piece = draw(st.one_of(PIECES, st.just(data[start:stop] * 2)))
        data = data[:start] + piece + data[stop:]
    return name, data


def read_or_refused(data: bytes, name: str, form: str | None) -> None:
    try:
        problems = read(data, name, form)
    except FormatError as refused:
        error: FormatError | None = refused
    else:
        error = None
    if error is not None:
        assert error.place.startswith(name)
        assert error.remedy
        assert len(error.message) <= 1000
        return
    assert problems
    for problem in problems:
        orjson.dumps(problem.problem)
        orjson.dumps(problem.event)


@settings(deadline=None, max_examples=400)
@given(mutated(), st.booleans())
def test_mutated_samples_are_read_or_refused(sample: tuple[str, bytes], detected: bool) -> None:
    form, data = sample
    read_or_refused(data, "x", None if detected else form)


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=200), st.sampled_from([None, *FORMATS]))
def test_arbitrary_bytes_are_read_or_refused(data: bytes, form: str | None) -> None:
    read_or_refused(data, "x", form)


@pytest.mark.parametrize(
    ("form", "data"),
    [
        ("xyz", b"\xc2\xa0\n\n"),  # blank for text, not for bytes
        ("json", b'{"nodes":[{"id":' + b"[" * 990 + b"]" * 990 + b'}],"links":[]}'),
        ("json", b'{"(0, 1)":' + b"[" * 990 + b"]" * 990 + b"}"),
        ("json", b'{"bqm_schema":1,"type":"BinaryQuadraticModel","version":{"bqm_schema":"' + b"3" * 100_000 + b'"}}'),
        ("tsplib", MATRIX.replace(":2", ":1000000000").encode() + b"1\n"),
        ("tsplib", MATRIX.replace(":2", ":2000").encode() + b"1\n"),
        ("fcidump", b"&FCI NORB=1000000000,NELEC=2/\n"),
        ("fcidump", b"&FCI NORB=2,NELEC=2,ORBSYM=1000000*1/\n"),
        ("rudy", b"1000000 1000000\n"),
        ("rudy", b"1000000 999999999999999999\n1 2 1\n"),
        ("bqp", b"999999999999999999\n1 1\n1 1 1\n"),
        ("port", b"4096\n.1 .2\n"),
        ("qbsolv", b"p qubo 0 1000000 999999999999999999 1\n"),
        ("qplib", QPLIB.replace(b"3 # number of v", b"1000000 # number of v")),
        ("xyz", b"999999\n\nH 0 0 0\n"),
    ],
)
def test_single_files_that_hurt(form: str, data: bytes) -> None:
    read_or_refused(data, "x", form)


# What is quadratic in one of these takes hours: the limit is there for the run to end.
PATHOLOGICAL = """
import sys
from qmosaic.codecs.errors import QmosaicError
from qmosaic.codecs.formats import coo, fcidump, qbsolv, qplib, tsplib, csv_portfolio
from qmosaic.codecs.formats.registry import FORMATS, read
N = 400_000
RUNS = [b" ", b"\\t", b"\\n", b"\\n ", b"1", b"1 ", b".", b"e", b"1e", b"a", b",", b"a,", b";", b"#", b"#\\n", b"!\\n",
        b"/*",
        b"//\\n", b"c ", b"'", b'"', b"=", b"A=", b"A ", b"(", b"&FCI ", b"\\xc2\\xa0", b"-", b"#vartype", b"#vartype="]
HEADS = [b"", b"1", b"1\\n", b"1\\n ", b"#", b"a", b"a,b\\n", b"a,b\\n1", b"&FCI ", b"&FCI A=", b"&FCI A", b"NAME"]
for form in FORMATS.values():
    for head in HEADS:
        for run in RUNS:
            form.opening.match(head + run * (N // len(run)) + b"\\0")
for pattern in (coo._COMMENT, coo._VARTYPE, qbsolv._COMMENT, qplib._COMMENT):
    for run in RUNS:
        sum(1 for _ in pattern.finditer(run * (N // len(run))))
for run in RUNS:
    text = (run * (N // len(run)))
    tsplib._TRUCKS.search("number of trucks" + text.decode())
    tsplib._FLEET.match(text.decode() + "-k")
    try:
        read(b"&FCI NORB=1,NELEC=1," + text, "x", "fcidump")
    except QmosaicError:
        pass
    for style in csv_portfolio._STYLES:
        style.value(text.decode() + "x")
for data, form in ((b"#vartype=SPIN\\n" * (N // 10), "coo"), (b"COMMENT: x\\n" * (N // 10), "tsplib")):
    try:
        read(data, "x", form)
    except QmosaicError:
        pass
print("done")
"""


def test_nothing_backtracks() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PATHOLOGICAL], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stdout == "done\n", done.stderr


def test_what_no_line_alone_is_wrong_about_names_the_file() -> None:
    with pytest.raises(FormatError) as caught:
        read(b"#vartype=SPIN\n" + b"0 0 9000000000000000000\n" * 3, "sums.coo", "coo")
    assert (caught.value.place, "64 bits" in caught.value.message) == ("sums.coo", True)
