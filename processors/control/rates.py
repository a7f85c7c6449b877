"""Rates: how often a vendor may be sent a job, and when the next one may go.

A rate holds in every window, wherever it begins: of the last `sends` jobs the first left at least `seconds` before the
next. When jobs were sent, or are to be, is a fold over the ledger (`Ledger.sent`): a grant takes the first moment that
is free, in the order of the grants, and says so in its entry. Whoever reads the ledger knows the same moments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec

MOST_SENDS = 1000


class Rate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """So many jobs at most in any so many seconds."""

    sends: Annotated[int, msgspec.Meta(ge=1, le=MOST_SENDS)]
    seconds: Annotated[float, msgspec.Meta(gt=0.0, le=86_400.0)] = 60.0


def next_at(sent: Sequence[float], rate: Rate, at: float, sends: int = 1) -> float | None:
    """From `at` on the first moment for so many jobs at once; None: they are more than the rate has. All times are
    seconds since the epoch. `sent`: when the last ones went or will go, the latest last."""
    if sends > rate.sends:
        return None
    before = rate.sends - sends + 1  # so many jobs ago the window has to begin
    soonest = max(at, sent[-1]) if sent else at
    return max(soonest, sent[-before] + rate.seconds) if len(sent) >= before else soonest


def after(sent: Sequence[float], at: float, sends: int, most: int) -> tuple[float, ...]:
    """With so many jobs at a moment; the last `most` are kept, as no rate asks for more."""
    return (*sent, *(at,) * min(sends, most))[-most:]
