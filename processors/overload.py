"""Overload: which open problems certainly get no answer in time, so that their fallback is written while there is time.

Two rates are measured: how many problems a second are answered, and how many a second can be settled at all. In the
order in which they are worked on (class, deadline, arrival), the k-th problem is answered after k / answers seconds. If
its deadline is well before that, waiting for it helps nobody, and writing all the fallbacks at the last moment is late.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from qmosaic.processors.decisions import Open

RANKS = {"high": 0, "normal": 1, "low": 2}
SLACK = 1.5
"""A problem is given up only if even an answering rate this many times the measured one would be too slow."""
FEW = 100
"""So many problems are never too many, whatever the rates say."""
CAUTION = 0.5
"""The share of the measured settling rate that is counted on."""
FIRST_RATE = 500.0
"""Problems settled a second, before it is measured."""
DECAY = 0.98
"""What is left of the best second's count a second later."""


@dataclass(eq=False)
class AnswerRate:
    """Problems answered a second: of the best second, fading slowly. None until a second with answers is over."""

    best: float | None = None
    _since: float = 0.0
    _count: int = 0

    def add(self, count: int, now: float) -> None:
        """So many were answered up to `now` (seconds, any clock)."""
        self._count += count
        past = now - self._since
        if past < 1.0:
            return
        if past < 3.0 and self._count:  # after a longer pause nobody knows when they came
            self.best = max((self.best or 0.0) * DECAY, self._count / past)
        self._since, self._count = now, 0


@dataclass(eq=False)
class SettleRate:
    """Problems settled a second, by rounds that settled many."""

    rate: float = field(default=FIRST_RATE)

    def add(self, count: int, seconds: float) -> None:
        """A round settled so many."""
        if count >= FEW // 2:
            self.rate += 0.3 * (count / max(seconds, 1e-6) - self.rate)


def hopeless(open_: Sequence[Open], now: float, answers: float | None, settles: float) -> tuple[list[Open], int]:
    """The open problems to settle although their time is not over, the last in order first; and how many of them must
    be settled now, as there would not be enough time later.

    `now`: seconds since the epoch, with the margin that settling takes; `answers`, `settles`: problems a second.
    """
    if len(open_) <= FEW:
        return [], 0
    order = sorted(open_, key=lambda one: (RANKS.get(one.ref.priority, 1), one.ref.deadline_at, one.ref.offset))
    kept: list[Open] = []
    out: list[Open] = []
    for one in order:
        left = one.ref.deadline_at - now
        if answers is not None and not one.incumbents and len(kept) >= FEW + SLACK * answers * left:
            out.append(one)
        else:
            kept.append(one)
    # All must be settled by their deadlines, even if nothing is answered any more.
    deadlines = sorted(one.ref.deadline_at for one in order)
    rate = settles * CAUTION
    surplus = max(k + 1 - FEW - int(rate * (deadline_at - now)) for k, deadline_at in enumerate(deadlines))
    out.reverse()
    if surplus > len(out):
        behind = [one for one in reversed(kept) if not one.incumbents] or kept[::-1]
        out += behind[: surplus - len(out)]
    return out, max(0, surplus)
