"""What a search remembers from round to round: when each variable was last in a kernel, and good samples.

It travels in events, so that whoever has the next round goes on from there. Its size is bounded by the problem's, and
what does not fit the problem is as if nothing were remembered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float64, Int32, Int64, UInt8

from qmosaic.codecs.models.bundle import Bundle, array, bundle

MOST_SAMPLES = 64
MOST_COUNT = 1_000_000


@dataclass(frozen=True, eq=False)
class Memory:
    """`tried`: by variable, the round whose kernel it was in last, 0 for none; `samples`: of all variables, the good
    ones; `counts`: how far the search is, in its own words."""

    tried: UInt8[np.ndarray, " n"]
    samples: Bool[np.ndarray, "r n"]
    counts: Mapping[str, int] = field(default_factory=dict)

    def stale(self) -> Float64[np.ndarray, " n"]:
        """From 0, not tried yet, up to 1, tried in the last round."""
        return self.tried / max(1, int(self.tried.max(initial=0)))

    def packed(self, chosen: Int32[np.ndarray, " q"] | Int64[np.ndarray, " q"], number: int) -> Bundle:
        """To the wire, after round `number` whose kernel has the variables `chosen`."""
        tried = np.array(self.tried)
        tried[chosen] = min(number, 255)
        samples = np.packbits(self.samples[:MOST_SAMPLES], axis=1)
        return bundle({"tried": tried, "samples": samples}, **self.counts)


def remembered(memory: Bundle | None, n: int) -> Memory:
    """What is remembered of a problem of n variables; nothing, where nothing of it fits."""
    nothing = Memory(np.zeros(n, np.uint8), np.zeros((0, n), bool))
    if memory is None:
        return nothing
    try:
        tried, packed = array(memory, "tried"), array(memory, "samples")
    except (LookupError, ValueError):
        return nothing
    fits = tried.shape == (n,) and packed.ndim == 2 and packed.shape[1] == -(-n // 8)
    if not fits or tried.dtype != np.uint8 or packed.dtype != np.uint8 or len(packed) > MOST_SAMPLES:
        return nothing
    counts = {name: value for name, value in memory.values.items() if type(value) is int and 0 <= value <= MOST_COUNT}
    return Memory(tried, np.unpackbits(packed, axis=1, count=n).astype(bool), counts)
