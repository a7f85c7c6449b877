"""Counts of the last minute, by second of the records' own time, and what they say of rates and percentiles.

Seconds that waited and worked are counted in bins, each a tenth wider than the one before: a percentile read from them
is at most a tenth too large. Counts of the same records are the same in whatever order they come.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from immutables import Map

SECONDS = 60
"""What a rate and a percentile are of."""
MOST_SLICES = 90
"""Seconds that are kept, the latest ones: some more than are asked for, as clocks differ."""
MOST_KEYS = 2000
"""Of one second. What comes beyond is not counted."""
LEAST_SECONDS, MOST_SECONDS, WIDER = 1e-4, 1e4, 1.1
"""The bounds of the bins, and by how much each is wider."""

Key = tuple[str | int, ...]


class Window(NamedTuple):
    """Counts by key, by second since the epoch."""

    slices: Map[int, Map[Key, int]] = Map()

    def counted(self, at: float, keys: Iterable[Key]) -> Window:
        """With each of these keys once more, at a moment in seconds since the epoch."""
        second = math.floor(at)
        known = self.slices.get(second)
        if known is None and len(self.slices) >= MOST_SLICES:
            oldest = min(self.slices)
            if second < oldest:
                return self
            return Window(self.slices.delete(oldest)).counted(at, keys)
        counts = (known if known is not None else Map[Key, int]()).mutate()
        for key in keys:
            count = counts.get(key, 0)
            if count or len(counts) < MOST_KEYS:
                counts[key] = count + 1
        return Window(self.slices.set(second, counts.finish()))

    def total(self, at: float) -> Counter[Key]:
        """Of the `SECONDS` up to a moment."""
        now, found = math.floor(at), Counter[Key]()
        for second, counts in self.slices.items():
            if now - SECONDS < second <= now:
                found.update(counts)
        return found


def bin_of(seconds: float) -> int:
    """The bin of a duration."""
    if not seconds > LEAST_SECONDS:  # nor of what is no number
        return 0
    return math.ceil(math.log(min(seconds, MOST_SECONDS) / LEAST_SECONDS) / math.log(WIDER))


def percentile(bins: Mapping[int, int], share: float) -> float | None:
    """Seconds that so large a share of what was counted does not exceed; None where nothing was."""
    left = share * sum(bins.values())
    for number in sorted(bins):
        left -= bins[number]
        if left <= 1e-9:
            return float(LEAST_SECONDS * WIDER**number)
    return None
