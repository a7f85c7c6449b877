"""Logs: bounded, and text."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

import pytest

from qmosaic.streams.watch.logs import MESSAGE_CHARACTERS, Formatter, last_lines, open_log, trim


def formatted(message: str, *args: object, error: BaseException | None = None) -> str:
    trace = (type(error), error, error.__traceback__) if error else None
    return Formatter("%(levelname)s %(message)s").format(
        logging.LogRecord("qmosaic", logging.WARNING, "", 0, message, args, trace)
    )


@pytest.mark.parametrize("hostile", ["\x1b[2J", "\x1b]52;c;aGk=\x07", "\u202eabc", "\x9b31m", "\r", "\x00", "\ud800"])
def test_what_a_terminal_would_act_on_is_shown(hostile: str) -> None:
    text = formatted("cannot read %s", f"a{hostile}b")
    assert text.startswith("WARNING cannot read a\\")
    assert text.endswith("b")
    assert text.isprintable()


def test_plain_text_and_tabs_stay_and_no_line_passes_for_a_record() -> None:
    assert formatted("Ümlaut 量子\tand %d", 3) == "WARNING Ümlaut 量子\tand 3"
    assert formatted("%s", "x\nWARNING forged") == "WARNING x\n    WARNING forged"


def test_an_error_has_its_traceback() -> None:
    try:
        raise ValueError("bad \x1b")
    except ValueError as error:
        lines = formatted("ends", error=error).splitlines()
    assert lines[0] == "WARNING ends"
    assert lines[-1] == "    ValueError: bad \\x1b"


def test_of_a_long_message_the_ends_are_kept() -> None:
    text = formatted("begin%send", "x" * 10_000_000)
    assert len(text) < MESSAGE_CHARACTERS + 100
    assert text.startswith("WARNING beginxxx")
    assert text.endswith("xxxend")


def test_a_log_is_bounded_while_its_writer_goes_on(tmp_path: Path) -> None:
    path, old = tmp_path / "encode-0.log", tmp_path / "encode-0.log.1"
    with open_log(path) as writer:
        for number in range(1000):
            os.write(writer.fileno(), b"%09d\n" % number)
            trim(path, 500)
            assert path.stat().st_size <= 500
            assert not old.exists() or old.stat().st_size <= 500
    lines = (old.read_bytes() + path.read_bytes()).splitlines()
    assert [int(line) for line in lines] == list(range(1000 - len(lines), 1000))  # the last ones, without a gap
    assert stat.S_IMODE(old.stat().st_mode) == stat.S_IMODE(path.stat().st_mode) == 0o600
    assert last_lines(path)[-1] == "000000999"


def test_of_a_burst_the_last_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "encode-0.log"
    path.write_bytes(b"x" * 1_000_000 + b"\nlast words")
    trim(path, 100)
    assert path.stat().st_size == 0
    assert (tmp_path / "encode-0.log.1").stat().st_size == 100
    assert last_lines(path)[-1] == "last words"


def test_no_log_is_no_error(tmp_path: Path) -> None:
    trim(tmp_path / "none.log", 10)
    assert last_lines(tmp_path / "none.log") == []
