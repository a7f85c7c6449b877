"""Results that were had before: by what makes two jobs equal but for chance, in memory, bounded in bytes.

A problem says whether it takes one (`replay`), takes nothing else (`only`), or wants a run of its own (`fresh`, where
it says nothing). What is replayed is judged by verify like any other answer, costs nothing, and is no new evidence.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import sha256

import msgspec

from qmosaic.codecs.events.hops import Answer, JobEvent, PaidResult

OVERHEAD = 256
"""Bytes of an entry besides its answer."""


def key_of(job: JobEvent) -> str:
    """Of the kernel, the backend (whose name says its precision and its wrappers), the angles and the shots."""
    of = (job.kernel_digest, job.route.backend, job.gammas, job.betas, job.ref.shots)
    return sha256(msgspec.json.encode(of)).hexdigest()[:40]


class Results:
    """Answers by key; the one that was not asked for longest goes first. `most`: bytes, 0 for none at all."""

    def __init__(self, most: int) -> None:
        self._most, self.bytes = most, 0
        self._kept: OrderedDict[str, tuple[Answer, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: str) -> Answer | None:
        """The answer, or None."""
        found = self._kept.get(key)
        if found is None:
            return None
        self._kept.move_to_end(key)
        return found[0]

    def put(self, key: str, answer: Answer, size: int) -> None:
        """Keep an answer of so many bytes."""
        size += OVERHEAD
        if key in self._kept:
            self.bytes -= self._kept.pop(key)[1]
        if size > self._most:
            return
        self._kept[key] = answer, size
        self.bytes += size
        while self.bytes > self._most:
            self.bytes -= self._kept.popitem(last=False)[1][1]


class PaidResults:
    """The fold over `results`: what was paid for, and may be had again. It grows in place, within its bound."""

    def __init__(self, most: int) -> None:
        self._most = most

    @property
    def start(self) -> Results:
        return Results(self._most)

    def step(self, state: Results, event: PaidResult, at: float) -> Results:
        """With one more."""
        state.put(event.key, event.answer, event.size)
        return state
