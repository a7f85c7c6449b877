"""The public instances, where they are at hand: sizes from the manifest, objectives from the solution files."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from qmosaic.codecs.formats.base import FileProblem
from qmosaic.codecs.formats.registry import read
from tests.instances import INSTANCES

MANIFEST = INSTANCES / "manifest.json"
ENTRIES = orjson.loads(MANIFEST.read_bytes())["entries"] if MANIFEST.exists() else []
HERE = {e["file"]: e for e in ENTRIES if e["file"].startswith(("maxcut/", "qubo/"))}

pytestmark = pytest.mark.skipif(not HERE, reason="the public instances are not here")


def problems(file: str) -> list[FileProblem]:
    return read((INSTANCES / file).read_bytes(), file)


def size(problem: FileProblem) -> tuple[int, int, int]:
    """Variables, terms on the diagonal, terms off it."""
    n, terms = {"maxcut": ("nodes", "edges"), "qubo": ("variables", "terms"), "ising": ("variables", "J")}[
        problem.family
    ]
    linear = sum(i == j for i, j, _ in problem.problem[terms])
    return problem.problem[n], linear, len(problem.problem[terms]) - linear


@pytest.mark.parametrize("file", HERE)
def test_sizes_are_the_manifest_s(file: str) -> None:
    entry: dict[str, Any] = HERE[file]
    found = problems(file)
    stated = entry["m"] if isinstance(entry["m"], list) else [entry["m"]]
    assert len(found) == len(stated)
    for problem, m in zip(found, stated, strict=True):
        n, linear, quadratic = size(problem)
        assert n == entry["n"]
        if isinstance(m, int):
            assert linear + quadratic == m
        else:  # by kind, under names of their own: linear or diagonal, quadratic or off_diagonal
            assert (linear, quadratic) == (
                m.get("linear", m.get("diagonal")),
                m.get("quadratic", m.get("off_diagonal")),
            )


@pytest.mark.parametrize("file", [f for f in HERE if "orlib" in f])
def test_problems_of_a_file_have_the_library_s_names(file: str) -> None:
    assert [(p.name, p.sense) for p in problems(file)] == [(p["name"], "max") for p in HERE[file]["problems"]]


@pytest.mark.parametrize("file", [f for f in HERE if "qplib" in f])
def test_the_solution_has_its_objective(file: str) -> None:
    entry = HERE[file]
    (problem,) = problems(file)
    assert (problem.sense, problem.name) == (entry["sense"], entry["name"])
    solution = dict(line.split() for line in (INSTANCES / entry["solution_file"]).read_text().splitlines())
    objective = float(solution.pop("objvar"))
    ones = {int(name[1:]) - 2 for name, value in solution.items() if float(value) == 1}  # named b2 to b(n+1)
    value = sum(w for i, j, w in problem.problem["terms"] if i in ones and j in ones)
    assert problem.problem["offset"] + value == objective == entry["best_known"]


@pytest.mark.parametrize("file", [f for f in HERE if "regular3" in f])
def test_the_ising_form_of_a_cut_has_its_lowest_energy(file: str) -> None:
    payload = problems(file)[0].problem
    # Every edge is J/2 and the constant -m/2, so that the energy is minus the cut: m cut edges give -m.
    edges = len(payload["J"])
    assert {J for _, _, J in payload["J"]} == {0.5}
    assert payload["offset"] == -edges / 2
    assert set(payload["h"]) == {0}
