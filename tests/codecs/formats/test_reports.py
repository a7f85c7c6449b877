"""Files as people really have them: other tools' spellings of numbers, dates and headers. Read rightly, or refused."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from qmosaic.codecs.errors import FormatError
from qmosaic.codecs.formats.registry import detect, read


def payload(text: str | bytes, name: str) -> dict[str, Any]:
    (found,) = read(text.encode() if isinstance(text, str) else text, name)
    return found.problem


def refused(text: str | bytes, name: str) -> FormatError:
    with pytest.raises(FormatError) as caught:
        read(text.encode() if isinstance(text, str) else text, name)
    assert caught.value.remedy
    return caught.value


def table(title: str, times: list[str], mark: str = ",") -> str:
    """Prices of A (10, 11, 12, …) and B with a first column of times."""
    rows = (mark.join([f'"{time}"', str(10 + k), f"5.{k}"]) for k, time in enumerate(times))
    return "\n".join([mark.join([title, "A", "B"]), *rows, ""])


def rising(count: int) -> list[list[float]]:
    return [[10 + k, float(f"5.{k}")] for k in range(count)]


# --- the first column ---------------------------------------------------------------------------------------------

FORWARD = [
    ("trade_date", ["20240102", "20240103", "20240104"]),
    ("date", ["20240102", "20240103", "20240104"]),
    ("TradingDay", ["20240102", "20240103", "20240104"]),  # by what is in it
    ("Date", ["12/27/2024", "12/30/2024", "12/31/2024"]),
    ("Date", ["27.12.2024", "30.12.2024", "2.1.2025"]),
    ("Date", ["27-Dec-24", "30-Dec-24", "02-Jan-25"]),
    ("Date", ["December 27, 2024", "December 30, 2024", "January 2, 2025"]),
    ("When", ["Fri, 27 Dec 2024", "Mon, 30 Dec 2024", "Thu, 2 Jan 2025"]),
    ("Date", ["2024/12/27", "2024/12/30", "2025/01/02"]),
    ("Date", ["Nov 2024", "Dec 2024", "Jan 2025"]),
    ("month", ["2024-11", "2024-12", "2025-01"]),
    ("month", ["11/2024", "12/2024", "01/2025"]),
    ("month", ["202411", "202412", "202501"]),
    ("quarter", ["2024Q3", "2024Q4", "2025Q1"]),
    ("quarter", ["Q3 2024", "Q4 2024", "Q1 2025"]),
    ("week", ["2024-W51", "2024-W52", "2025-W01"]),
    ("week", ["Week 8", "Week 9", "Week 10"]),
    ("time", ["9:59", "10:00", "10:01"]),
    ("time", ["1704153600", "1704240000", "1704326400"]),
    ("A0", ["1704153600000", "1704240000000", "1704326400000"]),
    ("timestamp", ["2024-01-02T10:00:00.1Z", "2024-01-02T10:00:00.2Z", "2024-01-02T10:00:01Z"]),
    ("timestamp", ["1/2/2024 11:59 AM", "1/2/2024 12:00 PM", "1/2/2024 1:00 PM"]),
    ("index", ["5", "6", "7"]),
    ("", ["0", "1", "2"]),
    ("year", ["2022", "2023", "2024"]),
    ("FY", ["2022", "2023", "2024"]),
    ("n", ["0", "1", "2"]),
]


@pytest.mark.parametrize(("title", "times"), FORWARD)
def test_a_column_of_times_is_no_asset(title: str, times: list[str]) -> None:
    assert payload(table(title, times), "x.csv") == {"assets": ["A", "B"], "prices": rising(3)}


@pytest.mark.parametrize(
    ("title", "times"),
    [case for case in FORWARD if case[0] not in ("index", "", "FY", "A0", "n")],
)
def test_newest_first_is_turned_round(title: str, times: list[str]) -> None:
    found = payload(table(title, times[::-1]), "x.csv")
    assert found == {"assets": ["A", "B"], "prices": rising(3)[::-1]}


@pytest.mark.parametrize(
    ("title", "times"),
    [
        ("Date", ["01/02/2024", "02/02/2024", "01/03/2024"]),  # in February, or in January
        ("Date", ["1.2.2024", "2.2.2024", "1.3.2024"]),
        ("Date", ["01-02-03", "02-02-03", "01-03-03"]),
        ("Date", ["010224", "310124", "300124"]),  # rises as a number, falls as a date
        ("Date", ["01022024", "02022024", "01032024"]),
        ("Date", ["foo", "bar", "baz"]),
        ("Date", ["2024-01-02", "", "2024-01-04"]),
        ("Date", ["2024-13-02", "2024-13-03", "2024-13-04"]),
        ("Date", ["2024-01-02", "2024-01-04", "2024-01-03"]),
        ("Date", ["2024-01-02", "2024-01-02", "2024-01-03"]),
        ("Date", ["31/12/2024", "29/12/2024", "30/12/2024"]),
        ("index", ["2", "1", "0"]),  # nobody knows what they count
        ("Price", ["10", "11", "12"]),
        ("Price", ["45293", "45294", "45297"]),  # a spreadsheet's days
    ],
)
def test_an_order_that_cannot_be_told_is_refused(title: str, times: list[str]) -> None:
    assert refused(table(title, times), "x.csv").place.startswith("x.csv:")


def test_both_meanings_of_a_date_may_give_the_same_order() -> None:
    assert payload(table("Date", ["01/02/2024", "02/02/2024", "03/02/2024"]), "x.csv")["prices"] == rising(3)


def test_days_are_no_asset_in_any_column() -> None:
    assert payload(",date,A\n0,20240102,5\n1,20240103,6\n", "x.csv") == {"assets": ["A"], "prices": [[5], [6]]}
    assert "got days in the column 'B'" in refused("A,B\n1.5,20240102\n1.25,20240103\n", "x.csv").message
    assert payload("A,B\n12,5\n11,6\n", "x.csv")["assets"] == ["A", "B"]


# --- separators, decimals, thousands ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "Date;A;B\n2024-01-02;1000.5;20\n2024-01-03;1010;21.1\n",
        "\ufeffDate;A;B\n2024-01-02;1000,5;20\n2024-01-03;1010;21,1\n",
        "Date;A;B\n2024-01-02;1.000,5;20\n2024-01-03;1.010;21,1\n",
        "Date;A;B\n02.01.2024;1 000,5;20\n03.01.2024;1 010;21,1\n04.01.2024;x;1\n".replace("04.01.2024;x;1\n", ""),
        "Date;A;B\n2024-01-02;1\u00a0000,5;20\n2024-01-03;1\u00a0010;21,1\n",
        "Date;A;B\n2024-01-02;1'000.5;20\n2024-01-03;1'010;21.1\n",
        "Date;A;B\n2024-01-02;1\u2019000,5;20\n2024-01-03;1\u2019010;21,1\n",
        "Date\tA\tB\n2024-01-02\t1,000.5\t20\n2024-01-03\t1,010.0\t21.1\n",
        "Date|A|B\n2024-01-02|1000,5|20\n2024-01-03|1010|21,1\n",
        'date,A,B\n2024-01-02,"1,000.50",20\n2024-01-03,"1,010.00",21.1\n',
        'date,A,B\n2024-01-02,"1000,5",20\n2024-01-03,1010,"21,1"\n',
        "sep=;\nDate;A;B\n2024-01-02;1000,5;20\n2024-01-03;1010;21,1\n",
    ],
)
def test_numbers_are_read_in_the_way_of_the_file(text: str) -> None:
    expected = {"assets": ["A", "B"], "prices": [[1000.5, 20], [1010, 21.1]]}
    assert payload(text, "x.csv") == expected
    assert detect(text.encode(), "x.txt") == "csv"
    assert payload(text.replace("\n", "\r\n"), "x.csv") == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Date;A\n2024-01-02;1.234\n2024-01-03;2.345\n", "may be thousands or a fraction"),
        ('Date,A\n2024-01-02,"1,234"\n2024-01-03,"2,345"\n', "may be thousands or a fraction"),
        ("a;b,c\n1;2,3\n2;2,5\n", "one way to separate fields"),
        ("Date;A\n2024-01-02;1,000.5\n2024-01-03;1.000,5\n", "Write all numbers in one way"),
        ("Date,A\n2024-01-02,1,5\n2024-01-03,1,6\n", "has to be quoted"),
        ("Date,A\n2024-01-02,$15\n2024-01-03,16\n", "without units, signs of money"),
        ("Date,A\n2024-01-02,15%\n2024-01-03,16%\n", "without units, signs of money"),
        ("Date,A\n2024-01-02,n/a\n2024-01-03,16\n", "gaps are not guessed"),
        ("A,Date\n1.5,2024-01-02\n1.25,2024-01-03\n", "Dates belong into the first column"),
    ],
)
def test_what_has_two_meanings_is_refused_with_a_remedy_that_fits(text: str, words: str) -> None:
    assert words in str(refused(text, "x.csv"))


# --- integers that a double does not hold -------------------------------------------------------------------------

BIG = 2**53 + 1
MATRIX = "TYPE:TSP\nDIMENSION:2\nEDGE_WEIGHT_TYPE:EXPLICIT\nEDGE_WEIGHT_FORMAT:UPPER_ROW\nEDGE_WEIGHT_SECTION\n"
BQM = {
    "type": "BinaryQuadraticModel",
    "version": {"bqm_schema": "3.0.0"},
    "num_variables": 2,
    "num_interactions": 1,
    "variable_type": "SPIN",
    "offset": -BIG,
    "linear_biases": [1, BIG + 2],
    "quadratic_biases": [BIG],
    "quadratic_head": [0],
    "quadratic_tail": [1],
}


@pytest.mark.parametrize(
    ("text", "name", "field", "expected"),
    [
        (f"2 1\n1 2 {BIG}\n", "x.rud", "edges", [[0, 1, BIG]]),
        (f"3 2\n1 2 -{BIG}\n2 3\n", "x.rud", "edges", [[0, 1, -BIG], [1, 2, 1]]),
        (f"3 2\n1 2 {2**63 - 1}\n2 3 0.5\n", "x.rud", "edges", [[0, 1, 2**63 - 1], [1, 2, 0.5]]),
        (f"1\n2 2\n1 1 {BIG}\n1 2 {BIG}\n", "x.bqp", "terms", [[0, 0, BIG], [0, 1, 2 * BIG]]),
        (f"p qubo 0 2 1 1\n0 0 {BIG}\n0 1 -{BIG}\n", "x.qubo", "terms", [[0, 0, BIG], [0, 1, -BIG]]),
        (f"# vartype=SPIN\n0 0 {BIG}\n0 0 2\n0 1 {BIG}\n", "x.coo", "h", [BIG + 2, 0]),
        (f"# vartype=SPIN\n0 0 {BIG}\n0 1 {BIG}\n", "x.coo", "J", [[0, 1, BIG]]),
        (f"# vartype=BINARY\n0 0 {BIG}\n0 1 1\n", "x.coo", "terms", [[0, 0, BIG], [0, 1, 1]]),
        (orjson.dumps(BQM), "x.json", "h", [1, BIG + 2]),
        (orjson.dumps(BQM), "x.json", "J", [[0, 1, BIG]]),
        (orjson.dumps(BQM), "x.json", "offset", -BIG),
        (
            orjson.dumps({"nodes": [{"id": 0}, {"id": 1}], "links": [{"source": 0, "target": 1, "weight": BIG}]}),
            "x.json",
            "edges",
            [[0, 1, BIG]],
        ),
        (orjson.dumps({"(0, 1)": BIG, "(0,)": str(-BIG), "()": BIG}), "x.json", "J", [[0, 1, BIG]]),
        (orjson.dumps({"(0, 1)": BIG, "(0,)": str(-BIG), "()": BIG}), "x.json", "h", [-BIG, 0]),
        (orjson.dumps({"(0, 1)": str(BIG), "()": BIG}), "x.json", "offset", BIG),
        (orjson.dumps({"family": "maxcut", "problem": {"edges": [[0, 1, BIG]]}}), "x.json", "edges", [[0, 1, BIG]]),
        (
            f"x\nQBN\nminimize\n2\n1\n2 1 {2 * BIG}\n{BIG}\n0\n{-BIG}\n1e300\n0\n0\n0\n0\n0\n0\n",
            "x.qplib",
            "terms",
            [[1, 0, BIG], [0, 0, BIG], [1, 1, BIG]],
        ),
        (f"x\nQBN\nminimize\n2\n0\n0\n0\n{-BIG}\n1e300\n0\n0\n0\n0\n0\n0\n", "x.qplib", "offset", -BIG),
    ],
)
def test_integers_beyond_2_53_stay_what_they_are(text: str | bytes, name: str, field: str, expected: Any) -> None:
    found = payload(text, name)[field]
    assert found == expected
    assert orjson.loads(orjson.dumps(found)) == expected


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (f"2 1\n1 2 {2**64 + 1}\n", "x.rud"),
        (f"p qubo 0 2 0 1\n0 1 -{10**30 + 1}\n", "x.qubo"),
        (f"1\n2 1\n1 2 {2**62 + 1}\n", "x.bqp"),
        (f"# vartype=SPIN\n0 0 {2**63 - 1}\n0 0 {2**63 - 1}\n", "x.coo"),
        (orjson.dumps({"(0, 1)": str(2**64 + 1)}), "x.json"),
        ("2 1\n1 2 " + "9" * 5000 + "\n", "x.rud"),
        ("2 1\n1 2 1e400\n", "x.rud"),
        (f"{MATRIX}{BIG}\n", "x.tsp"),
    ],
)
def test_integers_that_nothing_holds_are_refused(text: str | bytes, name: str) -> None:
    assert len(str(refused(text, name))) < 600


def test_a_float_may_be_as_large_as_a_double() -> None:
    edges = payload(f"4 3\n1 2 1e300\n2 3 1e20\n3 4 {10**20}\n", "x.rud")["edges"]
    assert [w for _, _, w in edges] == [1e300, 1e20, 1e20]
    assert all(type(w) is float for _, _, w in edges)


# --- molecules ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "symbols"),
    [
        ("2\n\n1 0 0 0\n1 0 0 0.735\n", ["H", "H"]),
        ("3\nwater\n8 0 0 0.1\n1.0 0 0.7 -0.5\nH 0 -0.7 -0.5\n", ["O", "H", "H"]),
        ("1\n\n118 0 0 0\n", ["Og"]),
    ],
)
def test_an_atomic_number_stands_for_a_symbol(text: str, symbols: list[str]) -> None:
    assert [atom[0] for atom in payload(text, "x.xyz")["geometry"]] == symbols
    assert detect(text.encode(), "x") == "xyz"


@pytest.mark.parametrize("text", ["1\n\n119 0 0 0\n", "1\n\n0 0 0 0\n", "1\n\n1.5 0 0 0\n", "1\n\n-1 0 0 0\n"])
def test_other_numbers_are_no_element(text: str) -> None:
    assert "expected 'symbol x y z'" in refused(text, "x.xyz").message


QM9 = "2\ngdb 9\t157.7\nN\t0.0\t0.0\t1.5*^-3\t-0.5\nH\t0.0\t-7.5*^-1\t1.0D0\t2.*^-6\n"


@pytest.mark.parametrize(
    "tail",
    [
        "",
        "1341.307\t1341.3284\t1341.365\nN\tN\t\nInChI=1S/H3N/h1H3\tInChI=1S/H3N/h1H3\n",
        "\n13.1 \nN\nInChI=1S/H3N/h1H3\n\n",
        "1.3*^3 2.5\nN N\nInChI=1S/H3N/h1H3",
    ],
)
def test_qm9(tail: str) -> None:
    assert payload(QM9 + tail, "x.xyz")["geometry"] == [["N", 0.0, 0.0, 0.0015], ["H", 0.0, -0.75, 1.0]]


@pytest.mark.parametrize("tail", ["H 0 0 1\n", "2\n\nN 0 0 0\nH 0 0 1\n", "1 2\nN\nno InChI\n", "a\nN\nInChI=1\n"])
def test_other_lines_behind_the_atoms_are_refused(tail: str) -> None:
    error = refused(QM9 + tail, "x.xyz")
    assert (error.place, "keep one frame" in error.remedy) == ("x.xyz:5", True)


@pytest.mark.parametrize(
    "header",
    [
        "&FCI NORB=2,NELEC=2,MS2=0,ORBSYM=1,1,ISYM=1/",
        "&FCI NORB=2,NELEC=2,MS2=0/",
        "&fci norb = 2 , nelec = 2\n ms2 = 0 &end",
        "&FCI NORB=2 NELEC=2 ORBSYM=2*1 ISYM=1 $END",
        "&FCI NORB=2, ! orbitals / and &END\n NELEC=2,\n/",
        "! from a tool\n&FCI\n NORB=2,NELEC=2.0D0,\n TITLE='a / b ''&END''', NOTE=\"x=1\"\n/ ! end",
        "&FCI ORBSYM(1)=1,1 NORB=1*2;NELEC=2,UHF=.FALSE.,/",
    ],
)
def test_headers_are_fortran_namelists(header: str) -> None:
    data = header + "\n0.7 1 1 1 1\n-1.25D+00 1 1 0 0 ! h\n 0.25-101 2 2 0 0\n0.5 0 0 0 0\n"
    assert detect(data.encode(), "x") == "fcidump"
    assert payload(data, "x.fcidump") == {
        "integrals": {
            "orbitals": 2,
            "one": [[0, 0, -1.25], [1, 1, 0.25e-101]],
            "two": [[0, 0, 0, 0, 0.7]],
            "core": 0.5,
        },
        "electrons": 2,
        "multiplicity": 1,
    }


@pytest.mark.parametrize(
    "text",
    [
        "&FCI NORB=2,NELEC=2/ 0.5 0 0 0 0\n",  # would be lost in Fortran, too
        "&FCI NORB=2,NELEC='/\n0.5 0 0 0 0\n",
        "&FCI NORB=2,NELEC=2.5/\n0.5 0 0 0 0\n",
        "&FCI NORB=1000000000,NELEC=2/\n0.5 0 0 0 0\n",
        "&FCI NORB=2,NELEC=2,UHF=.TRUE./\n0.5 0 0 0 0\n",
        "&FCI NORB=2*2,NELEC=1000000*2/\n0.5 0 0 0 0\n",
        "&FCI NORB=2,NELEC=2/\n0.5 1000000000000 1 0 0\n",
    ],
)
def test_other_headers_are_refused(text: str) -> None:
    assert refused(text, "x.fcidump").place


# --- routes -------------------------------------------------------------------------------------------------------

CVRP = """name : small-n3-k2
comment : (a test, No of trucks: 2)
type : CVRP (capacitated)
dimension : {dimension}
edge_weight_type : EUC_2D
CAPACITY : {capacity}
node_coord_section
 {first} 0.0 0.0
 2 1.0e+01 0
 3 0 1.00000e+01
demand_section
1 0
2 5
3 {demand}
depot_section
 {depot}
 -1
eof
"""
WHOLE = {"dimension": "3", "capacity": "10", "first": "1", "demand": "5", "depot": "1"}


@pytest.mark.parametrize(
    "change",
    [
        {"capacity": "10.0"},
        {"capacity": "1e1"},
        {"capacity": "10."},
        {"dimension": "3.0"},
        {"first": "1.0"},
        {"demand": "5.00"},
        {"depot": "1.0"},
    ],
)
def test_whole_numbers_may_be_written_as_floats(change: dict[str, str]) -> None:
    expected = payload(CVRP.format(**WHOLE), "x.vrp")
    assert (expected["capacity"], expected["vehicles"]) == (10, 2)
    assert payload(CVRP.format(**WHOLE | change), "x.vrp") == expected


@pytest.mark.parametrize(
    "change", [{"capacity": "10.5"}, {"capacity": "1e400"}, {"dimension": "1e9"}, {"first": "1.5"}, {"capacity": "nan"}]
)
def test_others_are_refused(change: dict[str, str]) -> None:
    refused(CVRP.format(**WHOLE | change), "x.vrp")


# --- text ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_other_encodings_are_refused_by_name(encoding: str) -> None:
    text = "\ufeff" if encoding.startswith("utf-16-") else ""
    error = refused((text + "2 1\n1 2 1\n").encode(encoding), "x.rud")
    assert "UTF-16" in error.message
    assert "iconv" in error.remedy
