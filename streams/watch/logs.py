"""Logs: text without surprises, lines or JSON, in files with a bound.

What is said about a problem has its trace and its id: `log.warning("…", extra=about(record))`, or `with
concerning([record])` around what speaks.

A worker writes to its file itself, through the descriptors 1 and 2: so the last words of a library in C++ are there,
and nobody has to be alive to take them. What keeps the file small is therefore not the writer: the supervisor looks
after its size.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec

from qmosaic.codecs.events.wire import claimed_id
from qmosaic.codecs.text import shown, shown_json
from qmosaic.streams.kafka.context import trace_of
from qmosaic.streams.kafka.records import Received

MESSAGE_CHARACTERS = 16_384
"""The most of one message with its traceback; the middle of a longer one is left out: a record may have megabytes."""

ID_CHARACTERS, ERROR_CHARACTERS = 256, 500
LAST_BYTES = 4096


class Formatter(logging.Formatter):
    """Control and bidi characters escaped, but for tabs; length bounded. Lines after a record's first are indented, so
    that none in a message passes for a record. What is about a problem ends with `trace=… problem=…`."""

    def format(self, record: logging.LogRecord) -> str:
        """One record."""
        text = bounded(super().format(record))
        return "\n    ".join("\t".join(map(shown, line.split("\t"))) for line in text.split("\n"))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Its line."""
        about = "".join(f" {key.partition('_')[0]}={value}" for key, value in said_about(record).items())
        return super().formatMessage(record) + about


class JsonFormatter(logging.Formatter):
    """A JSON object a line: time (RFC 3339), level, instance, logger, message, and trace_id, problem_id and error where
    there are any."""

    def __init__(self, instance: str) -> None:
        super().__init__()
        self._instance = instance

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "instance": self._instance,
            "logger": record.name,
            "message": bounded(record.getMessage()),
            **said_about(record),
        }
        if record.exc_info:
            line["error"] = bounded(self.formatException(record.exc_info))
        return shown_json(json.dumps(line, ensure_ascii=False))


def formatter(kind: Literal["console", "json"], instance: str) -> logging.Formatter:
    """As `log_format` says."""
    if kind == "json":
        return JsonFormatter(instance)
    return Formatter(f"%(asctime)s %(levelname)s {instance} %(name)s: %(message)s")


class _Said(msgspec.Struct):
    problem_id: str


class _Event(msgspec.Struct):
    """Of an internal event, what says whose it is."""

    ref: _Said


def about(record: Received) -> dict[str, str]:
    """For `extra`: the trace and the id of the problem that a record is of, as far as it says so."""
    value = record.value if isinstance(record.value, bytes) else None
    try:
        problem_id = msgspec.json.decode(value or b"", type=_Event).ref.problem_id
    except (msgspec.MsgspecError, ValueError, RecursionError):
        problem_id = claimed_id(value) or record.default_id
    return {"trace_id": f"{trace_of(record).trace_id:032x}", "problem_id": problem_id}


_subject: ContextVar[Received | None] = ContextVar("subject", default=None)


@contextmanager
def concerning(batch: Sequence[Received]) -> Iterator[None]:
    """What is said within, by whomever, is about the one record of the batch; of several nobody knows which."""
    token = _subject.set(batch[0] if len(batch) == 1 else None)
    try:
        yield
    finally:
        _subject.reset(token)


def said_about(record: logging.LogRecord) -> dict[str, str]:
    """Of a log record, the ids that came by `extra`, or of what is `concerning`."""
    found = {key: value for key in ("trace_id", "problem_id") if (value := getattr(record, key, None)) is not None}
    if not found and (subject := _subject.get()) is not None:
        found = about(subject)
    return {key: str(value)[:ID_CHARACTERS] for key, value in found.items()}


def sentence(error: BaseException) -> str:
    """What is said of an error in a line; its traceback is for a log level of INFO and below."""
    return f"{type(error).__name__}: {error}"[:ERROR_CHARACTERS]


def bounded(text: str) -> str:
    """Without the middle of what is too long."""
    if len(text) <= MESSAGE_CHARACTERS:
        return text
    half = MESSAGE_CHARACTERS // 2
    return f"{text[:half]} … {len(text) - 2 * half} characters … {text[-half:]}"


def open_log(path: Path) -> BinaryIO:
    """For appending, its owner's alone."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "wb", buffering=0)


def trim(path: Path, most: int) -> None:
    """Move a log over `most` bytes aside, to `<name>.1`, of which the last `most` bytes are kept, and begin it anew.

    It is emptied in place, as its writers, which append, have it open; what one writes in the moment between is lost.
    """
    with suppress(OSError):  # not there yet; a full disk: the next time
        if path.stat().st_size <= most:
            return
        with path.open("r+b") as log:
            log.seek(log.seek(0, os.SEEK_END) - most)
            last = log.read(most)
            log.truncate(0)
            with open_log(path.with_name(f"{path.name}.1")) as old:
                old.truncate(0)
                old.write(last)


def last_lines(path: Path) -> list[str]:
    """The last lines of a log, some 4 kB of it at most, also where it was just moved aside. None there: none."""
    tail = b""
    for part in (path.with_name(f"{path.name}.1"), path):
        with suppress(OSError), part.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - LAST_BYTES))
            tail += log.read()
    return tail[-LAST_BYTES:].decode(errors="replace").strip().splitlines()
