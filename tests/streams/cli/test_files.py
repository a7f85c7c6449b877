"""Files of the command line: regular, bounded, and written nowhere but in their folder."""

from __future__ import annotations

import os
import socket
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmosaic.codecs.errors import FormatError, SettingsError
from qmosaic.streams.cli import files
from qmosaic.streams.cli.files import file_name, read_bounded, write_within
from tests.streams.cli.test_cli import run

SQUARE = b"4 4\n1 2 1\n2 3 1\n3 4 1\n4 1 1\n"


class Counted(BytesIO):
    """An endless file that counts what is taken of it."""

    taken = 0

    def read(self, size: int | None = -1) -> bytes:
        assert size is not None
        assert size >= 0
        self.taken += size
        return b"1" * size


class Standard:
    def __init__(self, buffer: BytesIO) -> None:
        self.buffer = buffer


def test_a_regular_file_is_read_up_to_the_limit(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(SQUARE)
    (tmp_path / "link").symlink_to("x")
    assert read_bounded(tmp_path / "x", len(SQUARE)) == read_bounded(tmp_path / "link") == SQUARE
    with pytest.raises(FormatError, match=f"at most {len(SQUARE) - 1} bytes"):
        read_bounded(tmp_path / "x", len(SQUARE) - 1)


def test_of_a_file_without_end_no_more_than_the_limit_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    endless = Counted()
    monkeypatch.setattr("sys.stdin", Standard(endless))
    with pytest.raises(FormatError, match="at most 1000 bytes, got more"):
        read_bounded(Path("-"), 1000)
    assert endless.taken == 1001


def test_a_file_that_says_it_is_empty_is_bounded_too() -> None:
    assert os.stat("/proc/self/maps").st_size == 0  # and is not
    with pytest.raises(FormatError, match="at most 10 bytes, got more"):
        read_bounded(Path("/proc/self/maps"), 10)


def test_a_sparse_file_is_refused_by_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "x").open("wb") as file:
        file.truncate(20 * 10**9)
    monkeypatch.setattr(files, "_bounded", None)  # not a byte of it is read
    with pytest.raises(FormatError, match="at most"):
        read_bounded(tmp_path / "x")


def test_what_is_no_file_is_refused_before_anybody_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(FormatError, match="got a pipe"):
        read_bounded(tmp_path / "pipe")
    with pytest.raises(FormatError, match="got a folder"):
        read_bounded(tmp_path / "folder")
    for device in ("/dev/zero", "/dev/null", "/dev/urandom"):
        with pytest.raises(FormatError, match="got a device"):
            read_bounded(Path(device))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        with pytest.raises(OSError, match="No such device"):
            read_bounded(tmp_path / "socket")
    with pytest.raises(OSError, match="symbolic links"):
        read_bounded(tmp_path / "loop")


def test_the_command_says_so(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "esc\x1b[31m\n.rud").write_text("\x1b]0;owned\x07")
    for name, words in (
        ("/dev/zero", "got a device"),
        ("pipe", "got a pipe"),
        (".", "got a folder"),
        ("loop", "symbolic links"),
        ("esc\x1b[31m\n.rud", r"esc\x1b[31m\n.rud:1"),
    ):
        done = run("solve", name, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert words in done.stderr
        assert done.stderr.count("\n") == 1
        assert "\x1b" not in done.stderr


@given(st.text(st.characters(codec="utf-8")))
def test_any_label_makes_a_name_of_one_visible_part(label: str) -> None:
    name = file_name(label)
    assert 1 <= len(name.encode()) <= 100
    assert Path(name).name == name
    assert name.isprintable()
    assert not name.startswith(".")


@pytest.mark.parametrize(
    ("label", "expected"),
    [("kroA100", "kroA100"), ("../../etc/passwd", "_._.._etc_passwd"), ("a\x1b[0m", "a_[0m"), ("..", "_."), ("", "_")],
)
def test_names(label: str, expected: str) -> None:
    assert file_name(label) == expected


def test_nothing_is_written_outside_of_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    assert write_within(folder, "a.sol", "one").read_text() == "one"
    assert write_within(folder, "a.sol", "2").read_text() == "2"
    (tmp_path / "secret").write_text("kept")
    (folder / "link.sol").symlink_to(tmp_path / "secret")
    (folder / "new.sol").symlink_to(tmp_path / "absent")
    os.mkfifo(folder / "pipe.sol")
    for name in ("link.sol", "new.sol", "pipe.sol"):
        with pytest.raises(SettingsError, match="no regular file"):
            write_within(folder, name, "gone")
    assert (tmp_path / "secret").read_text() == "kept"
    assert not (tmp_path / "absent").exists()
