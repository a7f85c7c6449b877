"""Bytes of records that wait: in memory up to a bound, beyond it in a file that nobody else can open."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import IO


class Store:
    """Keeps values; `most` bytes in memory, the others in a file without a name in `folder`."""

    def __init__(self, most: int, folder: Path) -> None:
        self._most, self._folder = most, folder
        self.in_memory = 0
        self._file: IO[bytes] | None = None
        self._in_file = 0  # how many values

    def put(self, value: bytes) -> Kept:
        """Keep a value for as long as what is returned is referred to."""
        if self.in_memory + len(value) <= self._most:
            self.in_memory += len(value)
            return Kept(self, len(value), value, 0)
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - closed with its last value
        at = self._file.seek(0, 2)
        self._file.write(value)
        self._in_file += 1
        return Kept(self, len(value), None, at)

    def read(self, at: int, length: int) -> bytes:
        """A value out of the file."""
        assert self._file is not None
        self._file.seek(at)
        return self._file.read(length)

    def let_go(self, length: int, in_memory: bool) -> None:
        """A value is referred to no more."""
        if in_memory:
            self.in_memory -= length
            return
        self._in_file -= 1
        if self._in_file == 0 and self._file is not None:
            self._file.close()  # it goes with that
            self._file = None


class Kept:
    """A value in the store."""

    __slots__ = ("_at", "_length", "_store", "_value")

    def __init__(self, store: Store, length: int, value: bytes | None, at: int) -> None:
        self._store, self._length, self._value, self._at = store, length, value, at

    def value(self) -> bytes:
        """The bytes."""
        return self._store.read(self._at, self._length) if self._value is None else self._value

    def __del__(self) -> None:
        self._store.let_go(self._length, self._value is not None)
