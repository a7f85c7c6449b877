"""Logs: text without surprises, in files with a bound.

A worker writes to its file itself, through the descriptors 1 and 2: so the last words of a library in C++ are there,
and nobody has to be alive to take them. What keeps the file small is therefore not the writer: the supervisor looks
after its size.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from qmosaic.codecs.text import shown

MESSAGE_CHARACTERS = 16_384
"""The most of one message with its traceback; the middle of a longer one is left out: a record may have megabytes."""

LAST_BYTES = 4096


class Formatter(logging.Formatter):
    """Control and bidi characters escaped, but for tabs; length bounded. Lines after a record's first are indented, so
    that none in a message passes for a record."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if len(text) > MESSAGE_CHARACTERS:
            half = MESSAGE_CHARACTERS // 2
            text = f"{text[:half]} … {len(text) - 2 * half} characters … {text[-half:]}"
        return "\n    ".join("\t".join(map(shown, line.split("\t"))) for line in text.split("\n"))


def open_log(path: Path) -> BinaryIO:
    """For appending, its owner's alone."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "wb", buffering=0)


def trim(path: Path, most: int) -> None:
    """Move a log over `most` bytes aside, to `<name>.1`, of which the last `most` bytes are kept, and begin it anew.

    It is emptied in place, as its writers, which append, have it open; what one writes in the moment between is lost.
    """
    with suppress(OSError), path.open("r+b") as log:  # not there yet; a full disk: the next time
        size = log.seek(0, os.SEEK_END)
        if size > most:
            log.seek(size - most)
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
