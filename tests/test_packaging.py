"""The four folders at the root reach the wheel and the source archive through the links in src/qmosaic."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.servers import ROOT

FOLDERS = ("streams", "processors", "codecs", "backends")
PARTS = (*FOLDERS, "src", "pyproject.toml", "README.md", "LICENSE")
IGNORE = shutil.ignore_patterns("__pycache__", "*.egg-info")
BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"
MODULES = {
    f"qmosaic/{path.relative_to(ROOT).as_posix()}" for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")
} | {"qmosaic/__init__.py", "qmosaic/py.typed"}


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a clean copy of what a checkout holds."""
    copy = tmp_path_factory.mktemp("checkout")
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, copy / part, symlinks=True, ignore=IGNORE)
        else:
            shutil.copy(source, copy / part)
    return _build("build_sdist", copy, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the source archive, so that both are proved complete."""
    unpacked = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter="data")
    (root,) = unpacked.iterdir()
    return _build("build_wheel", root, tmp_path_factory.mktemp("wheel"))


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_links_are_links(folder: str) -> None:
    link = ROOT / "src" / "qmosaic" / folder
    assert link.is_symlink(), "git add the folders at the root, never the paths through src/"
    assert link.readlink() == Path("..", "..", folder)


def test_every_module_is_in_the_wheel_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert {name for name in held if name.endswith((".py", "py.typed"))} == MODULES
    assert {name.split("/")[0] for name in held} == {"qmosaic"}


def test_the_wheel_brings_the_command_and_the_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (entry_points,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert "qmosaic = qmosaic.streams.cli.main:main" in archive.read(entry_points).decode()
        (licence,) = (name for name in archive.namelist() if name.endswith("LICENSE"))
        assert "Apache License" in archive.read(licence).decode()


def _build(what: str, source: Path, into: Path) -> Path:
    """By the build backend itself: no network, no isolation."""
    done = subprocess.run(
        [sys.executable, "-c", BUILD, what, str(into)],
        cwd=source,
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return into / done.stdout.splitlines()[-1]
