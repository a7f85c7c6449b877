"""Names to backends, and nothing imported before its time."""

import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from qmosaic.backends import registry
from qmosaic.backends.fake import Fake
from qmosaic.codecs.errors import BackendError

NEEDED = {"aqt": "/default/simulator", "google": "/willow_pink", "ionq": "/simulator"}
"""The arguments of those that do not go without."""


@pytest.mark.parametrize("name", sorted(registry.BUILT_IN))
def test_built_in_backends_are_what_the_registry_says(name: str) -> None:
    whole = name + NEEDED.get(name, "")
    backend = registry.create(whole)
    assert backend.name == whole
    assert backend.capabilities.target == registry.BUILT_IN[name].target


@pytest.mark.parametrize(
    ("names", "unwanted"),
    [
        ((), {"jax", "cirq", "dwave", "dimod"}),
        (("exact", "annealing", "tabu", "fake"), {"jax", "cirq"}),
        (("cirq.statevector",), {"jax"}),
        (("jax.statevector",), {"cirq"}),
    ],
)
def test_a_backend_imports_nothing_of_the_others(names: tuple[str, ...], unwanted: set[str]) -> None:
    code = (
        "import sys; from qmosaic.backends import registry; registry.by_target('gpu');"
        f"[registry.create(name) for name in {names}]; print(*{unwanted} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_an_unknown_name_lists_the_choices() -> None:
    with pytest.raises(BackendError, match=r"'nope'.*annealing, .*cirq\.statevector, exact"):
        registry.create("nope")


def test_targets() -> None:
    assert registry.by_target("quantum") == ["aqt", "cirq.statevector", "google", "ionq"]
    assert registry.by_target("gpu") == ["jax.statevector"]
    assert registry.by_target("classical") == ["annealing", "cirq.clifford", "exact", "fake", "lanczos", "tabu"]


def test_other_packages_add_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = EntryPoints(
        [
            EntryPoint("acme", "qmosaic.backends.fake:Fake", registry.GROUP),
            EntryPoint("broken", "no_such_module:Backend", registry.GROUP),
        ]
    )
    monkeypatch.setattr(registry, "entry_points", lambda **wanted: installed.select(**wanted))
    assert "acme" in registry.names()
    assert isinstance(registry.create("acme"), Fake)
    with pytest.raises(BackendError, match="no_such_module"):
        registry.create("broken")
