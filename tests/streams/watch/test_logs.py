"""Logs: bounded, and text."""

from __future__ import annotations

import io
import json
import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from qmosaic.codecs.text import shown
from qmosaic.streams.kafka.context import trace_of
from qmosaic.streams.kafka.records import Received
from qmosaic.streams.watch.logs import (
    MESSAGE_CHARACTERS,
    Formatter,
    about,
    concerning,
    formatter,
    last_lines,
    open_log,
    trim,
)


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


def logged(kind: Literal["console", "json"], say: Callable[[logging.Logger], object]) -> str:
    """What a logger with this format writes."""
    stream, logger = io.StringIO(), logging.Logger("qmosaic.test")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter(kind, "encode-0"))
    logger.addHandler(handler)
    say(logger)
    return stream.getvalue()


HOSTILE = Received("problems", 1, 2, 0.0, b'{"id": "a\\u001b[2J"}', {}, 0.0)
INTERNAL = Received("jobs.gpu", 1, 2, 0.0, b'{"ref": {"problem_id": "p-7", "tenant": 3}, "kernel": []}', {}, 0.0)


@pytest.mark.parametrize("record", [HOSTILE, INTERNAL], ids=["problem", "job"])
def test_what_is_about_a_problem_says_so(record: Received) -> None:
    ids = about(record)
    assert ids["problem_id"] == ("a\x1b[2J" if record is HOSTILE else "p-7")
    line = json.loads(logged("json", lambda log: log.error("cannot", extra=ids)))
    assert (line["problem_id"], line["trace_id"]) == (ids["problem_id"], f"{trace_of(record).trace_id:032x}")
    text = logged("console", lambda log: log.error("cannot", extra=ids))
    assert text.endswith(f" cannot trace={ids['trace_id']} problem={shown(ids['problem_id'])}\n")
    assert "\x1b" not in text


def test_what_concerns_one_record_needs_no_telling() -> None:
    def say(log: logging.Logger) -> None:
        with concerning([INTERNAL]):
            log.warning("within")
        with concerning([INTERNAL, HOSTILE]):
            log.warning("of two")
        log.warning("outside")

    lines = [json.loads(line) for line in logged("json", say).splitlines()]
    assert [line.get("problem_id") for line in lines] == ["p-7", None, None]


def test_json_is_one_line_whatever_is_said() -> None:
    def say(log: logging.Logger) -> None:
        try:
            raise ValueError("x\n\u2028\x1b")
        except ValueError:
            log.exception("a\nb \ud800 %s", "y" * 10 * MESSAGE_CHARACTERS)

    text = logged("json", say)
    assert len(text.splitlines()) == 1
    line = json.loads(text)
    assert line["level"] == "ERROR"
    assert line["message"].startswith("a\nb ")
    assert len(line["message"]) < MESSAGE_CHARACTERS + 100
    assert line["error"].endswith("ValueError: x\n\u2028\x1b")
