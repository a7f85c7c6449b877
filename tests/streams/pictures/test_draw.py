"""Every family's picture, of what was really solved; what others wrote in it is text; its size and time are bounded."""

from __future__ import annotations

import io
import re
import threading
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import msgspec
import numpy as np
import pytest
from PIL import Image

from qmosaic.backends.conformance.fake import Fake
from qmosaic.codecs.events.public import Outcome, Problem
from qmosaic.codecs.models.circuit import Circuit, Operation
from qmosaic.streams.pictures.circuit import angle, columns
from qmosaic.streams.pictures.draw import PICTURES, draw
from qmosaic.streams.pictures.svg import LINK, SVG
from tests.processors.families.molecules import H2
from tests.streams.pictures.solving import solved

QASM = """OPENQASM 3; include "stdgates.inc"; qubit[3] q; bit[3] c;
h q[0]; cx q[0], q[1]; cp(pi/2) q[1], q[2]; ccx q[0], q[1], q[2]; swap q[0], q[2]; reset q[1]; barrier q;
c[0] = measure q[0]; if (c[0] == 1) rz(0.3) q[2]; c[1] = measure q[1]; c[2] = measure q[2];"""
OBSERVED = 'OPENQASM 3; include "stdgates.inc"; qubit[2] q; ry(0.7) q[0]; rzz(0.2) q[0], q[1]; crx(1.0) q[0], q[1];'
MARKET = {
    "returns": [0.010, 0.004, 0.007, 0.008],
    "deviations": [0.06, 0.03, 0.05, 0.04],
    "correlations": [[1.0 if a == b else 0.2 for b in range(4)] for a in range(4)],
    "cardinality": 2,
}
SQUARE = [[0, 0], [0, 10], [10, 10], [10, 0], [5, 5]]
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "maxcut": ("maxcut", {"edges": [[0, 1], [1, 2, -2], [2, 0], [3, 4]]}, {}),
    "qubo": ("qubo", {"terms": [["a", "a", -1], ["a", "b", 2], ["b", "c", -3], ["c", "c", 1]]}, {}),
    "ising": ("ising", {"J": [[0, 1, 1], [1, 2, 1], [2, 0, 1]], "h": [0.5, 0, -0.5]}, {}),
    "labs": ("labs", {"n": 9}, {}),
    "portfolio": ("portfolio", MARKET, {}),
    "tour": ("route", {"coordinates": SQUARE}, {}),
    "one-way": ("route", {"matrix": [[0, 2, 9], [4, 0, 3], [1, 7, 0]], "directed": True}, {}),
    "vehicles": ("route", {"coordinates": SQUARE, "demands": [0, 1, 1, 1, 1], "capacity": 2}, {}),
    "globe": ("route", {"coordinates": [[52.31, 13.24], [48.51, 2.21], [41.54, 12.29]], "metric": "geo"}, {}),
    "molecule": ("molecule", H2, {}),
    "counts": ("circuit", {"qasm": QASM}, {"shots": 200}),
    "values": (
        "circuit",
        {"qasm": OBSERVED, "observables": [{"name": "z", "terms": {"ZI": 1.0, "XY": 0.5}}]},
        {"shots": 200},
    ),
}
SECONDS = 60.0
"""Far beyond what any picture takes: a bound that only a runaway reaches."""


@pytest.fixture(scope="module")
def outcomes() -> dict[str, tuple[Problem, Outcome]]:
    return {name: solved(family, payload, **fields) for name, (family, payload, fields) in CASES.items()}


def texts(svg: bytes) -> list[str]:
    """What stands in a picture, after checks that hold for all of them."""
    root = ElementTree.fromstring(svg)  # noqa: S314 - bounded, and made here
    assert root.tag == f"{{{SVG}}}svg"
    known = {element.get("id") for element in root.iter()}
    for element in root.iter():
        assert element.tag.startswith(f"{{{SVG}}}")
        assert element.tag.removeprefix(f"{{{SVG}}}") in {
            "svg", "title", "g", "defs", "clipPath", "pattern", "path", "rect", "use", "text", "image"
        }  # fmt: skip
        for name, value in element.attrib.items():
            assert not name.lower().startswith("on")
            assert name != "style"
            if name in (f"{{{LINK}}}href", "href"):
                assert value.startswith("data:image/png;base64,") or value.removeprefix("#") in known
            for reference in re.findall(r"url\(([^)]*)\)", value):
                assert reference.removeprefix("#") in known
    return [element.text or "" for element in root.iter(f"{{{SVG}}}text")]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dark", [False, True])
def test_a_picture_of_every_family(name: str, dark: bool, outcomes: dict[str, tuple[Problem, Outcome]]) -> None:
    problem, outcome = outcomes[name]
    svg = draw(problem, outcome, dark=dark)
    assert svg == draw(problem, outcome, dark=dark)
    assert svg.startswith(b"<svg ")
    said = texts(svg)
    assert said.count(problem.family) == 1  # its label
    assert "Not drawn" not in said
    assert outcome.status in said
    assert outcome.backend in said
    png = draw(problem, outcome, dark=dark, format="png")
    assert png == draw(problem, outcome, dark=dark, format="png")
    image = Image.open(io.BytesIO(png))
    assert image.size == (1296, 864)
    assert set(image.info) <= {"dpi"}


def test_dark_is_not_light(outcomes: dict[str, tuple[Problem, Outcome]]) -> None:
    assert draw(*outcomes["labs"]) != draw(*outcomes["labs"], dark=True)


def test_a_fallback_says_whose_answer_it_is_and_what_was_proposed() -> None:
    petersen = [[k, (k + 1) % 5] for k in range(5)] + [[k, k + 5] for k in range(5)]
    edges = [*petersen, *([5 + k, 5 + (k + 2) % 5] for k in range(5))]
    on_one_side = Fake(lambda job: np.zeros((job.shots, job.polynomial.n), np.uint8))
    problem, outcome = solved("maxcut", {"edges": edges}, "fake", lambda _: on_one_side)
    assert (outcome.status, outcome.objective) == ("fallback", 12)
    assert outcome.proposed is not None
    assert outcome.baseline is not None
    said = texts(draw(problem, outcome))
    assert outcome.baseline.solver in said
    assert f"fake said {outcome.proposed.objective}" in said


def test_no_solution_and_other_families_have_a_sheet_that_says_so(outcomes: dict[str, tuple[Problem, Outcome]]) -> None:
    problem, outcome = outcomes["maxcut"]
    nothing = msgspec.structs.replace(outcome, solution=None, objective=None, baseline=None, status="fallback")
    assert "No solution" in texts(draw(problem, nothing))
    other = msgspec.structs.replace(problem, family="knapsack")
    assert "There is no picture of this family's solutions." in texts(draw(other, outcome))


HOSTILE = [
    "<script>alert(1)</script>",
    "]]> <!-- & \" ' -->",
    "$\\frac{1}{0}$",
    "$\\undefined",
    "\\input{/etc/passwd}",
    "\u202eelif.exe",
    "\x1b[31mred\x00\r\n\t",
    "\ud800",
    "中文 😀 \u0301\u0301\u0301",
    "{x:1000000000d}%s%n",
    "x" * 10_000,
]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_names_are_text(name: str, outcomes: dict[str, tuple[Problem, Outcome]]) -> None:
    """As a title, as a variable's, an asset's, a place's, an observable's name, as a backend's and a solver's."""
    named = {
        "maxcut": {"edges": [[name, "b"], ["b", "c"], ["c", name]]},
        "portfolio": {**MARKET, "assets": [name, "b", "c", "d"]},
        "route": {"coordinates": SQUARE, "nodes": [name, "b", "c", "d", "e"]},
        "circuit": {"qasm": OBSERVED, "observables": [{"name": name, "terms": {"ZI": 1.0}}]},
    }
    solutions: dict[str, Any] = {
        "maxcut": {name: 0, "b": 1, "c": 0},
        "portfolio": {"assets": [name, "b"], "weights": [0.5, 0.5]},
        "route": {"tour": [name, "b", "c", "d", "e"]},
        "circuit": {"expectations": [{"name": name, "value": 0.5, "error": 0.1}]},
    }
    by_family = {"maxcut": "maxcut", "portfolio": "portfolio", "route": "tour", "circuit": "values"}
    for family, payload in named.items():
        problem, outcome = outcomes[by_family[family]]
        problem = msgspec.structs.replace(problem, problem=payload)
        outcome = msgspec.structs.replace(
            outcome,
            labels={"name": name},
            solution=solutions[family],
            backend=name,
            baseline=msgspec.structs.replace(outcome.baseline, solver=name) if outcome.baseline else None,
        )
        svg = draw(problem, outcome)
        said = texts(svg)
        assert "Not drawn" not in said
        assert len(svg) < 60_000
        assert max(map(len, said)) < 200
        assert all(text.isprintable() for text in said)
        assert family != "maxcut" or draw(problem, outcome, format="png")


def test_labels_that_look_like_mathematics_stand_as_they_are(outcomes: dict[str, tuple[Problem, Outcome]]) -> None:
    problem, outcome = outcomes["maxcut"]
    said = texts(draw(problem, msgspec.structs.replace(outcome, labels={"name": "$x^2$ & <b>"})))
    assert "$x^2$ & <b>" in said


def test_a_users_own_parameters_have_no_say(outcomes: dict[str, tuple[Problem, Outcome]]) -> None:
    before = draw(*outcomes["labs"])
    with mpl.rc_context({"text.usetex": True, "svg.fonttype": "path", "lines.linewidth": 9}):
        assert draw(*outcomes["labs"]) == before
        assert mpl.rcParams["text.usetex"]


def test_threads_draw_the_same(outcomes: dict[str, tuple[Problem, Outcome]]) -> None:
    expected = {(name, dark): draw(*outcomes[name], dark=dark) for name in ("labs", "qubo") for dark in (False, True)}
    found: dict[tuple[str, bool], bytes] = {}

    def one(name: str, dark: bool) -> None:
        found[name, dark] = draw(*outcomes[name], dark=dark)

    threads = [threading.Thread(target=one, args=key) for key in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert found == expected


def large(family: str, n: int) -> tuple[dict[str, Any], Any]:
    """A payload of n of its things, and some solution."""
    if family == "maxcut":
        return {"nodes": n, "edges": [[k, (k * 7 + 1) % n] for k in range(n) if (k * 7 + 1) % n != k]}, [
            k % 2 for k in range(n)
        ]
    if family == "qubo":
        return {"variables": n, "terms": [[k, (k * 3) % n, (-1) ** k] for k in range(n)]}, [k % 2 for k in range(n)]
    if family == "ising":
        return {"variables": n, "J": [[k, (k + 1) % n, 1] for k in range(n)]}, [(-1) ** k for k in range(n)]
    if family == "route":
        return {"coordinates": [[k * 7919 % 1000, k * 104729 % 997] for k in range(n)]}, {"tour": list(range(n))}
    if family == "labs":
        return {"n": n}, {"sequence": [(-1) ** (k // 3) for k in range(n)], "run_lengths": []}
    if family == "circuit":
        qasm = f'OPENQASM 3; include "stdgates.inc"; qubit[{n}] q; bit[{n}] c; h q; c = measure q;'
        return {"qasm": qasm}, {"counts": {f"{k:0{n}b}": 1 for k in range(500)}}
    return {"returns": [0.01] * n, "covariance": []}, {"assets": list(range(n)), "weights": [1 / n] * n}


@pytest.mark.parametrize("n", [121, 10_000, 50_000])
@pytest.mark.parametrize("family", ["maxcut", "qubo", "ising", "route", "labs", "circuit", "portfolio"])
def test_large_ones_are_bounded(family: str, n: int, outcomes: dict[str, tuple[Problem, Outcome]]) -> None:
    payload, solution = large(family, n)
    name = {"route": "tour", "circuit": "counts"}.get(family, family)
    problem, outcome = outcomes[name]
    svg = draw(msgspec.structs.replace(problem, problem=payload), msgspec.structs.replace(outcome, solution=solution))
    said = texts(svg)
    assert len(svg) < 1_000_000
    if n == 50_000 and family != "circuit":
        assert any(text.startswith("50,000 ") and text.endswith("too large to draw") for text in said)
    if n == 10_000 and family in ("maxcut", "qubo", "ising"):
        assert any("Too many to draw as a graph" in text for text in said)
    if n == 121 and family in ("maxcut", "qubo", "ising", "labs", "circuit", "route"):
        assert "Not drawn" not in said


SMALLEST: list[tuple[str, dict[str, Any], Any]] = [
    ("maxcut", {"nodes": 1, "edges": []}, [0]),
    ("maxcut", {"nodes": 3, "edges": []}, [0, 1, 0]),
    ("maxcut", {"nodes": ["a", "b"], "edges": [["a", "b"], ["b", "a", 0]]}, {"a": 1, "b": 1}),
    ("maxcut", {"edges": [[a, b] for a in range(12) for b in range(a)]}, [k % 2 for k in range(12)]),
    ("maxcut", {"edges": [[0, k] for k in range(1, 20)]}, [1, *[0] * 19]),
    ("qubo", {"terms": [], "variables": 2}, [0, 0]),
    ("qubo", {"terms": [[0, 0, 1]]}, [1]),
    ("ising", {"h": [0.5]}, [1]),
    ("ising", {"h": {"a": 1, "b": 2}, "J": [["c", "a", 1]]}, {"a": 1, "b": -1, "c": 1}),
    ("route", {"coordinates": [[3, 4]]}, {"tour": [0]}),
    ("route", {"coordinates": [[3, 4], [3, 4]]}, {"tour": [0, 1]}),
    ("route", {"matrix": [[0]]}, {"tour": [0]}),
    ("route", {"matrix": [[0, 0], [0, 0]]}, {"tour": [0, 1]}),
    ("route", {"coordinates": [[0, 0]], "demands": [0], "capacity": 1}, {"routes": []}),
    ("portfolio", {"returns": [0.1], "covariance": [[0.0]]}, {"assets": [0], "weights": [1.0]}),
    ("portfolio", {"prices": [[1.0], [2.0], [1.5]]}, {"assets": [0], "weights": [1.0]}),
    ("labs", {"n": 3}, {"sequence": [1, 1, -1], "run_lengths": [2, 1]}),
    ("circuit", {"qasm": "OPENQASM 3; bit c; qubit q; c = measure q;"}, {"counts": {"0": 1}}),
]


@pytest.mark.parametrize(("family", "payload", "solution"), SMALLEST, ids=range(len(SMALLEST)))
def test_the_smallest_and_the_plainest(
    family: str, payload: dict[str, Any], solution: Any, outcomes: dict[str, tuple[Problem, Outcome]]
) -> None:
    problem, outcome = outcomes[{"route": "tour", "circuit": "counts"}.get(family, family)]
    problem = msgspec.structs.replace(problem, problem=payload)
    assert "Not drawn" not in texts(draw(problem, msgspec.structs.replace(outcome, solution=solution)))


UNFIT: list[Any] = [
    0, "", [], {}, [None], {"tour": [0]}, {"routes": [[9]]}, {"counts": {}}, {"counts": {"0": 0}}, {"sequence": [2, 3]},
    {"sequence": []}, {"assets": [0], "weights": []}, {"assets": [0, 1], "weights": [1e308, 1e308]},
    {"expectations": [{"name": 1, "value": None, "error": 0}]}, {"expectations": []}, {"qubits": "x", "rotations": 3},
    [10**30] * 5, {"counts": {"0": 10**400}},
]  # fmt: skip


@pytest.mark.parametrize("solution", UNFIT, ids=range(len(UNFIT)))
def test_a_solution_that_does_not_fit_raises_nothing(
    solution: Any, outcomes: dict[str, tuple[Problem, Outcome]]
) -> None:
    for name in list(outcomes)[UNFIT.index(solution) % 3 :: 3]:  # every family meets a third of them
        problem, outcome = outcomes[name]
        texts(draw(problem, msgspec.structs.replace(outcome, solution=solution)))


def test_numbers_at_the_end_of_what_there_is(outcomes: dict[str, tuple[Problem, Outcome]]) -> None:
    problem, outcome = outcomes["maxcut"]
    for weight in (1e308, -1e308, 5e-324, 0):
        large_one = msgspec.structs.replace(problem, problem={"edges": [[0, 1, weight], [1, 2, -weight], [3, 4]]})
        texts(draw(large_one, msgspec.structs.replace(outcome, objective=weight)))
    problem, outcome = outcomes["tour"]
    for scale in (1e308, 1e-300, 0):
        payload = {"coordinates": [[x * scale, y * scale] for x, y in SQUARE]}
        texts(draw(msgspec.structs.replace(problem, problem=payload), outcome))


def test_what_is_classically_controlled_stands_right_of_its_measurement() -> None:
    measure = Operation("measure", (0,), bits=(0,))
    controlled = Operation("x", (1,), condition=((0,), 1))
    again = Operation("measure", (0,), bits=(0,))
    placed = columns(Circuit(2, 1, (measure, controlled, again)))
    assert [(column, each.gate) for column, each in placed] == [(0, "measure"), (1, "x"), (2, "measure")]


def test_nothing_stands_under_a_line() -> None:
    placed = columns(Circuit(3, 0, (Operation("cx", (0, 2)), Operation("h", (1,)), Operation("x", (0,)))))
    assert [column for column, _ in placed] == [0, 1, 1]


@pytest.mark.parametrize(
    ("radians", "told"),
    [(3.141592653589793, "π"), (-1.5707963267948966, "−π/2"), (2.356194490192345, "3π/4"), (0.3, "0.3"), (0.0, "0")],
)
def test_angles_are_parts_of_pi_where_they_are(radians: float, told: str) -> None:
    assert angle(radians) == told


def test_every_family_of_ours_has_a_picture() -> None:
    from qmosaic.codecs.problems import FAMILIES

    assert PICTURES.keys() == FAMILIES.keys()
