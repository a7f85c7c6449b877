"""Folders: private ones, and ones for a while."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from qmosaic.codecs.errors import SettingsError
from qmosaic.streams.life.folders import make_data_folder, make_private, scratch


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("make", [make_private, make_data_folder])
def test_a_new_folder_is_private_whatever_the_umask(make: object, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        make(tmp_path / "new" / "data")  # type: ignore[operator]
    finally:
        os.umask(before)
    assert mode(tmp_path / "new" / "data") == 0o700


def test_one_that_was_open_to_all_is_closed_with_its_files(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "broker", tmp_path / "elsewhere"
    folder.mkdir(mode=0o755)
    for path in (folder / "kafka.json", elsewhere):
        path.touch()
        path.chmod(0o644)
    (folder / "link").symlink_to(elsewhere)
    make_private(folder)
    assert (mode(folder), mode(folder / "kafka.json"), mode(elsewhere)) == (0o700, 0o600, 0o644)


def test_a_data_folder_with_nothing_but_ours_is_closed_and_one_with_other_work_stays(tmp_path: Path) -> None:
    for name in ("ours/broker", "ours/logs", "work/logs", "work/src"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("ours", "work"):
        (tmp_path / name).chmod(0o755)
        make_data_folder(tmp_path / name)
    assert (mode(tmp_path / "ours"), mode(tmp_path / "work")) == (0o700, 0o755)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders away")
@pytest.mark.parametrize("inside", [(), ("logs",), ("src",)])
def test_another_users_folder_is_refused(inside: tuple[str, ...], tmp_path: Path) -> None:
    for name in inside:
        (tmp_path / name).mkdir()
    os.chown(tmp_path, 12_345, -1)
    with pytest.raises(SettingsError, match="belongs to another user"):
        make_data_folder(tmp_path)


def test_what_cannot_be_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "data"):
        with pytest.raises(SettingsError, match="cannot use"):
            make_data_folder(path)


HOLDER = """
import sys
from qmosaic.streams.life.folders import scratch
with scratch() as folder:
    (folder / "inner").mkdir()
    (folder / "inner" / "file").touch()
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_a_folder_for_a_while_goes_with_its_owner_or_when_the_next_one_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    foreign = tmp_path / "qm-foreign"  # of another program: there is no lock in it
    foreign.mkdir()
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    killed, alive = (subprocess.Popen([sys.executable, "-c", HOLDER], **pipes) for _ in range(2))  # type: ignore[call-overload]
    try:
        folders = [Path(process.stdout.readline().strip()) for process in (killed, alive)]
        assert [mode(folder) for folder in folders] == [0o700, 0o700]
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert [folder.exists() for folder in folders] == [True, True]
        with scratch() as mine:
            assert [folder.exists() for folder in (*folders, foreign, mine)] == [False, True, True, True]
        assert sorted(tmp_path.iterdir()) == sorted([folders[1], foreign])
        alive.communicate("", timeout=30)
        assert list(tmp_path.iterdir()) == [foreign]
    finally:
        for process in (killed, alive):
            process.kill()
            process.communicate()
