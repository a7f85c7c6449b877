"""The example backend is one: it passes the public suite, and is found where its package names it."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.descent_backend import Descent
from qmosaic.backends.base import Backend
from qmosaic.backends.registry import by_target, create
from qmosaic.backends.testing import BackendConformance


class TestDescent(BackendConformance):
    def make(self) -> Backend:
        return Descent()


def test_an_entry_point_plugs_it_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = tmp_path / "example-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: example\nVersion: 1.0\n")
    line = "[qmosaic.backends]\nexample.descent = examples.descent_backend:Descent\n"
    (metadata / "entry_points.txt").write_text(line)
    monkeypatch.syspath_prepend(tmp_path)
    assert isinstance(create(Descent.name), Descent)
    assert Descent.name in by_target("classical")
