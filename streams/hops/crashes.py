"""What a worker has in hand, on disk: so the next process knows at which records the last one died.

A worker that dies at a record, by a crash in native code or out of memory, gets that record again. It is then handled
with few others, then alone; when a worker has died `MOST` times with it in hand, it is put aside. A process that ends
by itself holds nothing.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from qmosaic.streams.kafka.records import Received

MOST = 3
TOGETHER = 64  # of what one process died with, so many are tried together; of what two did, each alone
KEPT = 1000  # places that are remembered
Place = tuple[str, int, int]
T = TypeVar("T")
_LENGTH = struct.Struct("<I")


class _Page(msgspec.Struct):
    """The file's content: what is in hand, and how often a process died with what."""

    held: list[Place] = []
    deaths: list[tuple[Place, int]] = []


class Notebook:
    """One worker's. `deaths`: how often a process of this worker, or of another of its stage, died with it in hand."""

    def __init__(self, folder: Path, stage: str, instance: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._held: dict[int, list[Place]] = {}
        self._next = 0
        self._page = _Page()
        path = folder / f"{stage}@{instance}"
        own = _read(path)
        deaths = dict(own.deaths)
        for place in own.held:
            deaths[place] = deaths.get(place, 0) + 1
        self._own = dict(list(deaths.items())[-KEPT:])
        self.deaths = dict(self._own)
        for other in folder.glob(f"{stage}@*"):
            if other != path:
                for place, count in _read(other).deaths:
                    self.deaths[place] = self.deaths.get(place, 0) + count
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._save()

    def is_culprit(self, record: Received) -> bool:
        """Whether it is to be put aside."""
        return self.deaths.get(place_of(record), 0) >= MOST

    @property
    def has_suspects(self) -> bool:
        """Whether a culprit may still be among what is to come."""
        return any(count < MOST for count in self.deaths.values())

    def groups(self, records: Sequence[T], record_of: Callable[[T], Received]) -> list[Sequence[T]]:
        """In which a batch is to be handled: what is no suspect together, suspects in small groups, then alone."""
        if not self.deaths:
            return [records] if records else []
        by_deaths: dict[int, list[T]] = {}
        for one in records:
            by_deaths.setdefault(min(self.deaths.get(place_of(record_of(one)), 0), 2), []).append(one)
        out: list[Sequence[T]] = []
        for deaths, group in sorted(by_deaths.items()):
            size = (len(group), TOGETHER, 1)[deaths]
            out += [group[k : k + size] for k in range(0, len(group), size)]
        return out

    @contextmanager
    def holding(self, records: Iterable[Received]) -> Iterator[None]:
        """These are in hand."""
        places = [place_of(record) for record in records]
        key, self._next = self._next, self._next + 1
        self._held[key] = places
        self._save()
        try:
            yield
        finally:
            del self._held[key]
            self._save()

    def done(self, places: Iterable[Place]) -> None:
        """Nobody needs to look into these any more: they are no suspects. A culprit stays one."""
        if not self.deaths:
            return
        for place in places:
            if self.deaths.get(place, 0) < MOST:
                self.deaths.pop(place, None)
                self._own.pop(place, None)

    def close(self) -> None:
        """This process ends by itself."""
        self._held.clear()
        self._save()

    def __del__(self) -> None:
        with suppress(AttributeError, OSError):  # it was never opened
            os.close(self._file)

    def _save(self) -> None:
        page = _Page([place for places in self._held.values() for place in places], list(self._own.items()))
        data = msgspec.msgpack.encode(page)
        os.pwrite(
            self._file, _LENGTH.pack(len(data)) + data, 0
        )  # not synced: it is for a process' end, not a machine's


def place_of(record: Received) -> Place:
    """Where a record stands."""
    return record.topic, record.partition, record.offset


def _read(path: Path) -> _Page:
    with suppress(OSError, msgspec.MsgspecError, struct.error):
        data = path.read_bytes()
        (length,) = _LENGTH.unpack_from(data)
        return msgspec.msgpack.decode(data[_LENGTH.size : _LENGTH.size + length], type=_Page)
    return _Page()
