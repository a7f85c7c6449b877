"""The house as its plan says: files that one can read, and one place for each thing that is added."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from qmosaic.backends.registry import BUILT_IN
from qmosaic.processors.families.registry import FAMILIES
from tests.conftest import SUITES
from tests.servers import ROOT

FOLDERS = ("streams", "processors", "backends", "codecs")
CODE = {path.relative_to(ROOT): path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))}
MOST_LINES = 400


def imports(path: Path) -> set[str]:
    """The modules of ours that a file imports, and the names it imports from them."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


USES = {name: imports(path) for name, path in CODE.items()}


def test_a_long_file_says_why() -> None:
    for name, path in CODE.items():
        text = path.read_text(encoding="utf-8")
        if len(text.splitlines()) > MOST_LINES:
            assert "One file: " in (ast.get_docstring(ast.parse(text)) or ""), name


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_a_folder_and_a_line(family: str) -> None:
    folder = type(FAMILIES[family]).__module__.rpartition(".")[0]
    inside = Path(folder.removeprefix("qmosaic.").replace(".", "/"))
    users = {name for name, used in USES.items() if any(f"{each}.".startswith(f"{folder}.") for each in used)}
    assert {name for name in users if inside not in name.parents} == {Path("processors/families/registry.py")}


@pytest.mark.parametrize("backend", BUILT_IN)
def test_a_backend_is_a_file_and_a_line(backend: str) -> None:
    module, _, kind = BUILT_IN[backend].place.partition(":")
    its = Path("backends", *module.split(".")).with_suffix(".py")
    assert its in CODE
    room = its.parent if its.parent != Path("backends") else its
    users = {name for name, used in USES.items() if f"qmosaic.backends.{module}.{kind}" in used}
    assert all(room in name.parents for name in users)


def test_an_input_of_the_rules_touches_four_files() -> None:
    """Its fold, its field, its use, and its tail where it is of another topic: as who is alive does. What shows
    decisions to people reads the same folds."""
    alive = "qmosaic.processors.control.alive"
    users = {str(name) for name, used in USES.items() if alive in used}
    assert users == {"processors/control/facts.py"}
    tails = {str(name) for name, used in USES.items() if "qmosaic.processors.control.facts.STATUS" in used}
    assert tails == {"streams/hops/route.py", "streams/cli/facts.py", "processors/overview/overview.py"}


def test_what_needs_a_server_is_where_the_makefile_looks() -> None:
    lines = (ROOT / "Makefile").read_text().splitlines()
    served = [ROOT / place for line in lines if line.startswith("SERVED :=") for place in line.split()[2:]]
    assert all(place.exists() for place in served)
    marked = re.compile(rf"pytest\.mark\.({'|'.join([*SUITES, 'broker', 'soak'])})\b")
    for file in (ROOT / "tests").rglob("test_*.py"):
        if not any(place in (file, *file.parents) for place in served):
            assert not marked.search(file.read_text(encoding="utf-8")), file
