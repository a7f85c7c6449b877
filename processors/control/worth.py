"""What pays: by the evidence, which of a rule's candidates has a kernel, and what is given away to find out.

A run is worth its gain, less the seconds and dollars that it takes, by the policy's weights. A candidate pays where it
is worth more than a classical backend with enough certainty, and is not worth it where it is worth less with as much.
In between nobody knows, and a share of the kernels finds out: of these the candidate that may be worth most, at the
upper end of its interval, has each (UCB; Auer, Cesa-Bianchi, Fischer 2002). Which kernels explore is a hash of the
problem: a replay decides alike, and no state is kept. Thompson sampling within the same share left half of it to what
is known already, and was tried and given up: some seeds of `benchmarks/evidence.py` had not learned by problem 500.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from math import inf, sqrt
from typing import Annotated, NamedTuple

import msgspec

from qmosaic.codecs.events.evidence import Cell, Learned
from qmosaic.codecs.events.hops import Reduced, Weighed
from qmosaic.codecs.events.public import Expected
from qmosaic.codecs.events.reasons import Target
from qmosaic.processors.control.evidence import Z, gain_of, key_of, mean_of, slower

PAYS = 1.0
"""Standard errors by which a candidate must be worth more than the classical one to pay: five times in six it does."""
LEAST = 1.0
"""Runs that there must have been: what was never measured does not pay, however bad the others are."""
Weight = Annotated[float, msgspec.Meta(ge=0.0, le=1e9)]


class Worth(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a percent of gain is worth, and what a second and a dollar cost: in dollars, or in any unit of one's own."""

    percent: Weight = 1.0
    second: Weight = 0.01
    dollar: Weight = 1.0

    def of(self, gain: float, seconds: float, usd: float) -> float:
        """The worth of a run. `gain`: relative, 0.01 is a percent."""
        return 100.0 * self.percent * gain - self.second * seconds - self.dollar * usd


class Known(NamedTuple):
    """What a run is worth: the mean, its standard error, and what stands behind it."""

    mean: float
    error: float
    weighed: Weighed


class Choice(NamedTuple):
    """Which candidate has the kernel; whether it explores; those that pay, the best first; those that certainly do
    not."""

    chosen: str
    explores: bool
    pays: tuple[str, ...]
    not_worth_it: frozenset[str]


def choose(known: Mapping[str, Known], base: str | None, draw: float, share: float) -> Choice:
    """The choice among candidates. `base`: the classical one that has what does not pay; None: there is none, and what
    is best has it. `draw`: of this problem, from 0 to 1; below `share` it may explore."""
    against = known[base] if base is not None else NOTHING
    others = [name for name in known if name != base]
    beyond = {name: _difference(known[name], against) for name in others}
    pays = [name for name in others if known[name].weighed.n >= LEAST and beyond[name][0] > PAYS * beyond[name][1]]
    pays.sort(key=lambda name: -known[name].mean)
    never = frozenset(name for name in others if beyond[name][0] < -Z * beyond[name][1])
    best = pays[0] if pays else base
    hoped = max(known, key=lambda name: known[name].weighed.upper)
    if draw < share and hoped != best:
        return Choice(hoped, True, tuple(pays), never)
    if best is None:  # nothing is known to pay, and there is nothing else
        best = max(known, key=lambda name: known[name].mean)
        return Choice(best, True, tuple(pays), never)
    return Choice(best, False, tuple(pays), never)


def _difference(one: Known, other: Known) -> tuple[float, float]:
    return one.mean - other.mean, sqrt(one.error * one.error + other.error * other.error)


def weigh(reduced: Reduced, target: Target, backend: str, learned: Learned, worth: Worth, at: float) -> Known:
    """What the evidence says of a backend at such kernels. `at`: seconds since the epoch."""
    ref = reduced.ref
    cell = learned.cells.get(key_of(ref.family, reduced.kind, reduced.variables, backend), Cell(at))
    gain = gain_of(cell, at)
    seconds = mean_of(cell.seconds, max(0.0, seconds_of(reduced, target, backend, learned, at)))
    usd = mean_of(cell.usd, 0.0)
    mean = worth.of(gain.mean, seconds.mean, usd.mean)
    parts = 100.0 * worth.percent * gain.error, worth.second * seconds.error, worth.dollar * usd.error
    error = sqrt(sum(part * part for part in parts))
    low, high = gain.interval
    weighed = Weighed(
        n=gain.n,
        gain=gain.mean,
        low=low,
        high=high,
        seconds=seconds.mean,
        cost_usd=usd.mean,
        value=mean,
        upper=mean + Z * error,
    )
    return Known(mean, error, weighed)


NOTHING = Known(0.0, 0.0, Weighed(n=0, gain=0, low=0, high=0, seconds=0, cost_usd=0, value=0, upper=0))
"""Where there is no classical backend: the incumbent goes out, which gains and takes nothing."""


def seconds_of(reduced: Reduced, target: Target, backend: str, learned: Learned, at: float) -> float:
    """How long a run is estimated to take: as in a simulator, corrected by what runs there took. Solvers stop by
    themselves when their time is over: minus infinity, which is never too late."""
    return -inf if target == "classical" else reduced.work_seconds * slower(learned, backend, reduced.variables, at)


def expected(reduced: Reduced, target: Target, backend: str, learned: Learned, at: float) -> Expected | None:
    """What is known of an attempt before it: by the evidence where there is some, else by the estimate."""
    cell = learned.cells.get(key_of(reduced.ref.family, reduced.kind, reduced.variables, backend), Cell(at))
    estimate = seconds_of(reduced, target, backend, learned, at)
    seconds, gain, usd = mean_of(cell.seconds, estimate).mean, gain_of(cell, at), mean_of(cell.usd, 0.0).mean
    known = Expected(
        seconds=seconds if seconds > -inf else None,
        cost_usd=usd or None,
        gain=gain.mean if gain.n > 0.0 else None,
    )
    return known if known != Expected() else None


def chance(*of: object) -> float:
    """A number between 0 and 1 that follows from these: the same wherever it is drawn."""
    drawn = int.from_bytes(sha256(repr(of).encode()).digest()[:6])
    return (drawn + 0.5) / 2**48
