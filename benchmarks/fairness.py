"""How evenly work is shared: Jain's index over what each gets of its fair part.

Jain, Chiu, Hawe, "A Quantitative Measure of Fairness and Discrimination for Resource Allocation in Shared Computer
Systems", DEC-TR-301 (1984): of the ratios x of what each has to what would be fair, (Σx)² / (n Σx²), which is 1 where
all are equal and 1/n where one has everything. What is fair is the max-min allocation: nobody is due more than it asks
for, and what it leaves is due to the others in equal parts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def jain(ratios: Sequence[float]) -> float:
    """The index, 1/n to 1. At least one ratio is above 0."""
    x = np.asarray(ratios, float)
    return float(x.sum() ** 2 / (len(x) * (x * x).sum()))


def fair_parts(total: float, wanted: Sequence[float]) -> list[float]:
    """The max-min-fair parts of a total for those who want so much (infinity: all there is), in their order."""
    parts = [0.0] * len(wanted)
    left, waiting = total, len(wanted)
    for k in sorted(range(len(wanted)), key=wanted.__getitem__):
        parts[k] = min(wanted[k], left / waiting)
        left, waiting = left - parts[k], waiting - 1
    return parts


def index(served: Sequence[float], wanted: Sequence[float]) -> float:
    """Jain's index over what each was served of its fair part of all that was served."""
    parts = fair_parts(sum(served), wanted)
    return jain([got / part for got, part in zip(served, parts, strict=True)])
