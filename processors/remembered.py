"""What is remembered of the settled problems of one partition, for as long as the repeat window. No I/O, no clock.

As few bytes as will do: hashes instead of ids and digests (only whether they are equal is ever asked), and values
packed together.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from struct import Struct

from qmosaic.processors.decisions import REJECTED, Settled

_LOGGED = Struct("<16sqdqB")  # its key, offset, at, position, and the topic's number
_CLAIM = Struct("<16sq")  # the hash of its digest, and its offset


def hashed(*parts: str) -> bytes:
    """16 bytes that are equal where the parts are."""
    return blake2b("\0".join(parts).encode(), digest_size=16).digest()


class _Positions:
    """The positions of remembered events in one topic: added in order, removed nearly so, the first one at hand."""

    def __init__(self) -> None:
        self._all, self._head, self._gone = array("q"), 0, set[int]()

    def add(self, position: int) -> None:
        self._all.append(position)

    def remove(self, position: int) -> None:
        self._gone.add(position)
        while self._head < len(self._all) and self._all[self._head] in self._gone:
            self._gone.discard(self._all[self._head])
            self._head += 1
        if self._head > 1024 and 2 * self._head > len(self._all):
            del self._all[: self._head]
            self._head = 0

    def first(self, otherwise: int) -> int:
        return self._all[self._head] if self._head < len(self._all) else otherwise


class Remembered:
    """The ids in use, the terminal events behind them, and where a rebuild must begin to read those.

    `settled`: what the terminal topics say from `logs` on, by topic, in the order of `at`: the clocks of different
    verifiers differ, and that need not follow the position.
    """

    def __init__(self, settled: Sequence[Settled], logs: Mapping[str, int]) -> None:
        self._log: deque[bytes] = deque()  # terminal events in the order they were written, as `_LOGGED`
        self._topics: list[str] = []
        self._positions: dict[str, _Positions] = {}
        self._ends = dict(logs)
        self._ids: dict[bytes, bytes] = {}  # hash of an id → `_CLAIM`
        self._rejections: dict[bytes, int] = {}  # hash of (id, digest) → offset
        self._repeated: dict[int, int] = {}  # offset of a problem → of its last repeat
        for entry in sorted(settled, key=lambda one: one.position):
            self._positions.setdefault(entry.topic, _Positions()).add(entry.position)
        for entry in settled:
            self._add(entry)

    def add(self, entry: Settled) -> None:
        """A terminal event is in its topic, behind all that were before it."""
        self._positions.setdefault(entry.topic, _Positions()).add(entry.position)
        self._add(entry)

    def _add(self, entry: Settled) -> None:
        if entry.topic not in self._topics:
            self._topics.append(entry.topic)
        self.reaches(entry.topic, entry.position)
        if entry.topic == REJECTED:
            key = hashed(entry.problem_id, entry.digest)
            self._rejections[key] = entry.offset
        else:
            key = hashed(entry.problem_id)
            self._ids[key] = _CLAIM.pack(hashed(entry.digest), entry.offset)
        number = self._topics.index(entry.topic)
        self._log.append(_LOGGED.pack(key, entry.offset, entry.at, entry.position, number))

    def reaches(self, topic: str, position: int) -> None:
        """An event stands at this position of a topic."""
        self._ends[topic] = max(self._ends.get(topic, 0), position + 1)

    def claim(self, problem_id: str, digest: str, offset: int) -> tuple[int, bool] | None:
        """None: the id is that of the problem at this offset from now on. Else the offset of the problem that has it
        already, and whether that has the same digest."""
        key, content = hashed(problem_id), hashed(digest)
        known = self._ids.get(key)
        if known is None:
            self._ids[key] = _CLAIM.pack(content, offset)
            return None
        known_content, first = _CLAIM.unpack(known)
        return first, known_content == content

    def reject(self, problem_id: str, digest: str, offset: int) -> int:
        """The offset of the first record that was refused with this id and digest."""
        return self._rejections.setdefault(hashed(problem_id, digest), offset)

    def repeat(self, first: int, offset: int) -> None:
        """The record at an offset is the last repeat so far of the first."""
        self._repeated[first] = offset

    def forget(self, before: float, most: int, floor: int) -> None:
        """Let go of what is older than `before`, and beyond the newest `most`, but for what records from the offset
        `floor` on may have to do with: those are read again."""
        while self._log:
            key, offset, at, position, number = _LOGGED.unpack(self._log[0])
            if max(offset, self._repeated.get(offset, -1)) >= floor:
                return
            if at >= before and len(self._log) <= most:
                return
            self._log.popleft()
            self._positions[self._topics[number]].remove(position)
            self._repeated.pop(offset, None)
            if self._topics[number] == REJECTED:
                if self._rejections.get(key) == offset:
                    del self._rejections[key]
            elif (claim := self._ids.get(key)) is not None and _CLAIM.unpack(claim)[1] == offset:
                del self._ids[key]

    def starts(self) -> dict[str, int]:
        """By topic, the first position that a rebuild must read; a topic never seen is left out."""
        return {
            topic: self._positions[topic].first(end) if topic in self._positions else end
            for topic, end in self._ends.items()
        }
