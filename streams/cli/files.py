"""Files as the command line reads and writes them: regular ones, bounded, within their folder."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import BinaryIO

from qmosaic.codecs.errors import FormatError, SettingsError
from qmosaic.codecs.formats.base import MAX_BYTES
from qmosaic.codecs.formats.packed import too_large, unpacked
from qmosaic.codecs.text import shown

MOST_IN_A_NAME = 100
"""Characters of a file's name that is made of a label, before its suffix."""


def read_bounded(path: Path, limit: int = MAX_BYTES) -> bytes:
    """The bytes of a regular file, `-` for standard input; of one in gzip's form (RFC 1952), what is in it.

    Reads `limit` + 1 bytes at most, and waits for nobody to open the other end of a pipe.

    Raises FormatError for what is larger or no regular file, OSError for what cannot be read.
    """
    if str(path) == "-":
        return unpacked(_bounded(sys.stdin.buffer, "stdin", limit), "stdin", limit)
    # without O_NONBLOCK a pipe would be waited for before anybody can see that it is one
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise FormatError(
            f"expected a regular file, got {_kind(status.st_mode)}",
            place=shown(str(path), 200),
            remedy="Name a file; pipe other things into `-`.",
        )
    with open(descriptor, "rb") as file:
        if status.st_size > limit:
            raise too_large(shown(str(path), 200), limit)
        return unpacked(_bounded(file, shown(str(path), 200), limit), shown(str(path), 200), limit)


def _bounded(file: BinaryIO, name: str, limit: int) -> bytes:
    data = file.read(limit + 1) or b""  # None: there is nothing yet
    if len(data) > limit:
        raise too_large(name, limit)
    return data


def _kind(mode: int) -> str:
    kinds = {
        "a folder": stat.S_ISDIR,
        "a pipe": stat.S_ISFIFO,
        "a device": lambda mode: stat.S_ISCHR(mode) or stat.S_ISBLK(mode),
        "a socket": stat.S_ISSOCK,
    }
    return next((kind for kind, test in kinds.items() if test(mode)), "something else")


def file_name(label: str) -> str:
    """A name for a file, made of a label that anybody may have chosen: of one part, visible, and not hidden."""
    kept = "".join(c if c.isprintable() and c not in '/\\:*?"<>|' else "_" for c in label[:MOST_IN_A_NAME])
    kept = kept.encode()[:MOST_IN_A_NAME].decode(errors="ignore").strip(" ")
    return "_" + kept[1:] if kept.startswith(".") or not kept else kept


def write_within(folder: Path, name: str, text: str) -> Path:
    """Write a file of a folder; its path. What is there under the name is replaced, a link is not followed.

    Raises SettingsError where a folder or another special file is in the way, OSError where it cannot be written.
    """
    path = folder / name
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            raise SettingsError(f"{shown(str(path), 200)} is there, and is no regular file", place="--write")
    except FileNotFoundError:
        pass
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with open(os.open(path, flags, 0o666), "w", encoding="utf-8") as file:
        file.write(text)
    return path


def new_file(path: Path, place: str) -> None:
    """Raises SettingsError (at an option, `place`) where a new file could not be written there."""
    folder = path.parent
    if not folder.is_dir():
        raise SettingsError(f"{folder} is no folder", place=place, remedy="Make it, or name another file.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SettingsError(f"cannot write into {folder}", place=place, remedy="Name a file elsewhere.")
    if os.path.lexists(path):
        raise SettingsError(f"{path} is there already", place=place, remedy="Remove it, or name another file.")


def write_new(path: Path, data: bytes) -> None:
    """Write a file that is not there yet. Raises OSError where one is, or it cannot be written."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with open(os.open(path, flags, 0o666), "wb") as file:
        file.write(data)
