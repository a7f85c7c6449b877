"""What is imported with what: the core and the verifier start without the heavy libraries."""

from __future__ import annotations

import subprocess
import sys

import pytest


def loaded_by(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after the statement."""
    code = f"{statement}\nimport sys\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("qmosaic", {"aiokafka", "faust", "mode", "jax", "cirq", "dwave", "networkx", "opentelemetry", "typer"}),
        ("qmosaic.codecs.schemas", {"aiokafka", "faust", "jax", "cirq"}),
        ("qmosaic.processors.join", {"aiokafka", "faust", "mode", "jax", "cirq", "opentelemetry"}),
        ("qmosaic.processors.verify", {"aiokafka", "faust", "mode", "jax", "cirq", "opentelemetry"}),
        ("qmosaic.processors.execute", {"aiokafka", "faust", "mode", "jax", "cirq", "opentelemetry"}),
        ("qmosaic.streams.hops.verify", {"faust", "jax", "cirq", "dwave"}),
    ],
)
def test_a_module_does_without(module: str, absent: set[str]) -> None:
    assert not loaded_by(f"import {module}") & absent


def test_the_exported_names_are_exactly_all() -> None:
    code = (
        "import qmosaic\n"
        "from types import ModuleType as M\n"
        "names = {n for n, v in vars(qmosaic).items() if n[0] != '_' and not isinstance(v, M)} - {'TYPE_CHECKING'}\n"
        "lazy = {n for n in qmosaic.__all__ if n not in vars(qmosaic)}\n"
        "assert all(getattr(qmosaic, n) is not None for n in qmosaic.__all__)\n"
        "assert len(qmosaic.__all__) == len(set(qmosaic.__all__))\n"
        "assert lazy == {'Client', 'SyncClient'}, lazy\n"
        "assert names | lazy == set(qmosaic.__all__), names ^ set(qmosaic.__all__)\n"
        "try:\n    qmosaic.nothing\n"
        "except AttributeError as error:\n    assert 'nothing' in str(error)\n"
        "else:\n    raise AssertionError\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
