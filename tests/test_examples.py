"""The example backend is a package of its own: installed as one, found by its name, and it passes the public suite."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qmosaic.backends import registry
from qmosaic.backends.base import Backend
from qmosaic.backends.conformance.samples import BackendConformance
from qmosaic.backends.registry import by_target, create

PACKAGE = Path(__file__).parents[1] / "examples" / "descent_backend"
NAME = "example.descent"


@pytest.fixture(autouse=True, scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The package, where Python finds it as long as these tests run."""
    source, target = (tmp_path_factory.mktemp(name) for name in ("source", "installed"))
    shutil.copytree(PACKAGE, source, dirs_exist_ok=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", "--no-index", "--target", str(target), str(source)], check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(target)
        registry._installed.cache_clear()  # who asked before did not find it
        yield
    registry._installed.cache_clear()


class TestDescent(BackendConformance):
    def make(self) -> Backend:
        return create(NAME)


def test_its_target_is_known() -> None:
    assert NAME in by_target("classical")


def test_it_is_short() -> None:
    assert sum(len(path.read_text().splitlines()) for path in PACKAGE.iterdir() if path.is_file()) < 60
