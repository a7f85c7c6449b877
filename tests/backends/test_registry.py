"""Names to backends, and nothing imported before its time."""

import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from qmosaic.backends import registry
from qmosaic.backends.base import Backend
from qmosaic.backends.conformance.fake import Fake
from qmosaic.backends.solvers.lanczos import Lanczos
from qmosaic.codecs.errors import BackendError

NEEDED = {"aqt": "/default/simulator", "cirq.device": "/willow_pink", "google": "/willow_pink", "ionq": "/simulator"}
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


def test_an_argument_that_is_not_taken_is_refused() -> None:
    with pytest.raises(BackendError, match=r"'lanczos/3'.*Leave the slash"):
        registry.create("lanczos/3")


def test_wrappers_are_names_around_names(monkeypatch: pytest.MonkeyPatch) -> None:
    class Around(Fake):
        def __init__(self, inner: Backend) -> None:
            super().__init__()
            self.inner, self.name = inner, f"around({inner.name})"

    monkeypatch.setitem(registry.WRAPPERS, "around", registry.Entry("classical", "nowhere", ""))
    monkeypatch.setattr(registry, "_load", lambda place: Around if place == "nowhere" else Lanczos)
    made = registry.create("around(around(lanczos))")
    assert made.name == "around(around(lanczos))"
    assert registry.target_of(made.name) == "classical"


def test_targets() -> None:
    quantum = ["aqt", "cirq.density", "cirq.device", "cirq.statevector", "google", "ionq", "qsim"]
    assert registry.by_target("quantum") == quantum
    assert registry.by_target("gpu") == ["jax.statevector"]
    classical = ["annealing", "bifurcation", "cirq.clifford", "exact", "fake", "lanczos", "stim", "tabu"]
    assert registry.by_target("classical") == classical


def test_the_packages_that_are_installed_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    registry.names()
    monkeypatch.setattr(registry, "entry_points", lambda **_: pytest.fail("read again"))
    assert registry.is_known("zne(cirq.density/depolarizing=0.01)")
    assert not registry.is_known("acme")


def test_other_packages_add_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = EntryPoints(
        [
            EntryPoint("acme", "qmosaic.backends.conformance.fake:Fake", registry.GROUP),
            EntryPoint("broken", "no_such_module:Backend", registry.GROUP),
        ]
    )
    monkeypatch.setattr(registry, "_installed", lambda: installed)
    assert "acme" in registry.names()
    assert isinstance(registry.create("acme"), Fake)
    with pytest.raises(BackendError, match="no_such_module"):
        registry.create("broken")
