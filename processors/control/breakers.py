"""Circuit breakers: a fold over what execute workers say of their attempts, by backend.

As Envoy's outlier detection: a backend is ejected after so many failures in a row, or where too many of a window's
attempts fail; for `BASE_SECONDS` times how often that happened lately, which decays while it is healthy. When the time
is over it is half open: one kernel a route worker tries it, and what comes of that closes it or opens it again. Every
attempt counts once: workers tell totals, and the fold takes the differences. A job that a backend refuses says nothing
about the backend.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from qmosaic.codecs.events.control import BackendStatus, Tally

Phase = Literal["closed", "open", "half_open"]

IN_A_ROW = 5
"""Failures of one worker, one after the other, that open it."""
WINDOW_SECONDS, LEAST, SHARE = 30.0, 20, 0.5
"""Or this share of the attempts in a window, of so many at least."""
BASE_SECONDS, MOST_SECONDS = 5.0, 300.0
"""How long it stays open: the base times how often in a row, up to the most."""
HEALTHY_SECONDS = 60.0
"""Closed and answering for so long, one time less counts."""
MOST_BACKENDS, MOST_WORKERS = 200, 1000
"""Kept; beyond, who was not heard of for the longest time is forgotten."""
NOTHING = Tally(0, 0, 0)


class Breaker(NamedTuple):
    """Of one backend. `until`: the end of its ejection, seconds since the epoch, and `times` how often in a row;
    `is_open` until something came of a trial after that. Attempts in the window since `since`; healthy since `healthy`.
    """

    is_open: bool = False
    until: float = 0.0
    times: int = 0
    answered: int = 0
    failed: int = 0
    since: float = 0.0
    healthy: float = 0.0
    heard: float = 0.0

    def phase(self, at: float) -> Phase:
        """At a moment, in seconds since the epoch."""
        if not self.is_open:
            return "closed"
        return "open" if at < self.until else "half_open"


class Known(NamedTuple):
    """The state of the fold: breakers by backend, and the last tallies by worker and backend, with when."""

    breakers: Mapping[str, Breaker] = {}
    tallies: Mapping[str, tuple[float, Mapping[str, Tally]]] = {}


class Breakers:
    """The fold."""

    start = Known()

    def step(self, state: Known, event: BackendStatus, at: float) -> Known:
        """With one more status."""
        _, before = state.tallies.get(event.worker, (0.0, {}))
        breakers = dict(state.breakers)
        for name, tally in event.tallies.items():
            last = before.get(name, NOTHING)
            if tally.answered < last.answered or tally.failed < last.failed:
                last = NOTHING  # the worker began anew
            breaker = breakers.get(name, Breaker(since=at, healthy=at))
            more = tally.answered - last.answered, tally.failed - last.failed
            breakers[name] = _moved(breaker, *more, tally.streak, at)._replace(heard=at)
        tallies = {**state.tallies, event.worker: (at, event.tallies)}
        if len(tallies) > MOST_WORKERS:
            del tallies[min(tallies, key=lambda worker: tallies[worker][0])]
        if len(breakers) > MOST_BACKENDS:
            del breakers[min(breakers, key=lambda name: breakers[name].heard)]
        return Known(breakers, tallies)


def _moved(breaker: Breaker, answered: int, failed: int, streak: int, at: float) -> Breaker:
    """After so many more attempts."""
    if breaker.is_open:
        if at < breaker.until or not answered + failed:
            return breaker  # stragglers of before, or nothing new
        if failed:
            return _opened(breaker, at)
        return breaker._replace(is_open=False, answered=0, failed=0, since=at, healthy=at)
    if at - breaker.since > WINDOW_SECONDS:
        breaker = breaker._replace(answered=0, failed=0, since=at)
    breaker = breaker._replace(answered=breaker.answered + answered, failed=breaker.failed + failed)
    total = breaker.answered + breaker.failed
    if failed and (streak >= IN_A_ROW or (total >= LEAST and breaker.failed >= SHARE * total)):
        return _opened(breaker, at)
    if failed:
        return breaker._replace(healthy=at)
    if answered and breaker.times and at - breaker.healthy >= HEALTHY_SECONDS:
        return breaker._replace(times=breaker.times - 1, healthy=at)
    return breaker


def _opened(breaker: Breaker, at: float) -> Breaker:
    times = breaker.times + 1
    seconds = min(MOST_SECONDS, BASE_SECONDS * times)
    return breaker._replace(is_open=True, until=at + seconds, times=times, answered=0, failed=0, since=at)


def phases(state: Known, at: float) -> dict[str, Phase]:
    """Of all backends whose breaker is not closed."""
    found = {name: breaker.phase(at) for name, breaker in state.breakers.items()}
    return {name: phase for name, phase in found.items() if phase != "closed"}
