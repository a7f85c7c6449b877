"""Programs that outlive their process: compiled once, found again, and nobody is stopped by what lies there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from qmosaic.backends import kept, programs
from qmosaic.backends.programs import Program, program


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A store of its own, for this test."""
    before = {name: getattr(programs._Store, name) for name in ("folder", "waits", "usual", "complete", "looked")}
    programs.store(tmp_path)
    yield tmp_path
    for name, value in before.items():
        setattr(programs._Store, name, value)


def made() -> Program:
    """A program that nobody has called yet."""

    @program(static_argnums=2)
    def scaled(rows: Any, pair: Any, power: int) -> Any:
        return jnp.sum(rows**power) * pair[0] + pair[1]

    return scaled


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*/*-*") if path.is_file())


ROWS, PAIR = np.arange(4.0, dtype=np.float32), (np.float32(2), np.float32(1))


def test_what_was_compiled_is_found_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert made()(ROWS, PAIR, 2) == 29
    (path,) = files(folder)
    assert path.stat().st_mode & 0o077 == 0 or path.parent.stat().st_mode & 0o077 == 0
    again = made()
    monkeypatch.setattr(again, "_jit", None)  # what compiles
    assert again(ROWS, PAIR, 2) == 29
    assert again(ROWS + 1, PAIR, 2) == 61


def test_other_shapes_types_and_statics_are_other_programs(folder: Path) -> None:
    scaled = made()
    assert scaled(ROWS, PAIR, 1) == 13
    assert scaled(ROWS[:2], PAIR, 2) == 3
    assert scaled(ROWS.astype(np.int32), PAIR, 2) == 29
    with jax.enable_x64(True):
        assert scaled(ROWS.astype(np.float64), PAIR, 2).dtype == np.float64
    assert len(files(folder)) == 4


def test_what_cannot_be_loaded_is_compiled_again(folder: Path) -> None:
    made()(ROWS, PAIR, 2)
    (path,) = files(folder)
    for damaged in (b"", b"\0" * 100, path.read_bytes()[:-50]):
        path.write_bytes(damaged)
        assert made()(ROWS, PAIR, 2) == 29
        assert len(path.read_bytes()) > 200


def test_who_comes_again_is_told_apart_too(folder: Path) -> None:
    @program
    def summed(rows: Any, more: Any, factor: Any) -> Any:
        return (rows.sum() + (0 if more is None else more["x"].sum())) * factor

    given: list[tuple[Any, Any, Any, float]] = [
        (ROWS, None, 2, 12),
        (ROWS, {"x": ROWS}, 2, 24),
        (ROWS, {"x": ROWS[:2]}, 2, 14),
        (ROWS[:2], None, 2, 2),
        (jnp.asarray(ROWS), None, 2.5, 15),
        (ROWS.astype(np.int32), None, 2, 12),
    ]
    for rows, more, factor, expected in given * 3:
        assert summed(rows, more, factor) == expected
    assert jax.jit(lambda rows: summed(rows, None, 2))(ROWS) == 12


def test_inside_of_another_program_it_is_a_function(folder: Path) -> None:
    scaled = made()
    assert jax.jit(lambda rows: scaled(rows, PAIR, 2))(ROWS) == 29
    assert jax.vmap(lambda rows: scaled(rows, PAIR, 2))(np.stack([ROWS, ROWS])).tolist() == [29, 29]


def test_a_folder_that_is_full_stops_nobody(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "no space left")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert made()(ROWS, PAIR, 2) == 29
    assert files(folder) == []


def test_who_does_not_wait_is_told_what_is_there(folder: Path) -> None:
    programs.store(folder, waits=False)
    scaled = made()
    assert not scaled.ready(ROWS, PAIR, 2)
    assert not programs.may_be_called()
    made()(ROWS, PAIR, 2)  # another process has compiled it
    assert scaled.ready(ROWS, PAIR, 2)
    assert not scaled.ready(ROWS, PAIR, 3)
    assert not kept.is_complete(folder)
    programs.completed()
    assert not kept.is_complete(folder, "other settings")
    programs._Store.looked = 0
    assert kept.is_complete(folder)
    assert scaled.ready(ROWS, PAIR, 3)  # it is unusual: there is no other way


def test_old_versions_are_forgotten_and_others_things_are_not(tmp_path: Path) -> None:
    for k in range(8):
        (tmp_path / f"{k:016x}").mkdir()
    (tmp_path / "file").touch()
    kept.made(tmp_path)
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == kept.KEPT_VERSIONS + 1
    assert (tmp_path / "file").exists()


def test_the_version_is_known_without_jax() -> None:
    code = "import sys; from qmosaic.backends import kept; kept._version(); print('jax' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"
