"""Circuit breakers: a fold over what execute workers say of their attempts, by backend.

As Envoy's outlier detection: a backend is ejected after so many failures in a row, or where too many of a window's
attempts fail or take far longer than was estimated; for `BASE_SECONDS`, and twice as long each time it happens again,
which decays while it is healthy. When the time is over it is half open: one kernel a route worker tries it, then some
more, and where all of these are answered it is closed; one that fails opens it again. So a backend that fails every
other job stays out, instead of coming and going. Every attempt counts once: workers tell totals, and the fold takes the
differences. A job that a backend refuses says nothing about the backend.
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
"""How long it stays open: the base, twice as long each time in a row, up to the most."""
CLOSING = 5
"""Answers in a row that close it."""
TRIAL_SECONDS = 30.0
"""After which another kernel tries a half open backend, if nothing was heard of the last one."""
HEALTHY_SECONDS = 60.0
"""Closed and answering for so long, one time less counts."""
MOST_BACKENDS, MOST_WORKERS = 200, 1000
"""Kept; beyond, who was not heard of for the longest time is forgotten."""
NOTHING = Tally(0, 0, 0)


class Breaker(NamedTuple):
    """Of one backend. `until`: the end of its ejection, seconds since the epoch, and `times` how often in a row;
    `is_open` until enough trials after that were answered: `passed` of them. Attempts in the window since `since`;
    healthy since `healthy`.
    """

    is_open: bool = False
    until: float = 0.0
    times: int = 0
    answered: int = 0
    failed: int = 0
    since: float = 0.0
    healthy: float = 0.0
    heard: float = 0.0
    passed: int = 0

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
            if tally.answered < last.answered or tally.failed < last.failed or tally.slow < last.slow:
                last = NOTHING  # the worker began anew
            breaker = breakers.get(name, Breaker(since=at, healthy=at))
            slow = tally.slow - last.slow
            more = max(0, tally.answered - last.answered - slow), tally.failed - last.failed + slow
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
        if breaker.passed + answered < CLOSING:
            return breaker._replace(passed=breaker.passed + answered)
        return breaker._replace(is_open=False, answered=0, failed=0, since=at, healthy=at, passed=0)
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
    seconds = min(MOST_SECONDS, BASE_SECONDS * 2 ** min(times - 1, 20))
    return breaker._replace(is_open=True, until=at + seconds, times=times, answered=0, failed=0, since=at, passed=0)


def phases(state: Known, at: float) -> dict[str, Phase]:
    """Of all backends whose breaker is not closed."""
    found = {name: breaker.phase(at) for name, breaker in state.breakers.items()}
    return {name: phase for name, phase in found.items() if phase != "closed"}


class Trials:
    """What one route worker has given half open backends to try them with: one kernel, and when that was answered as
    many as it takes to close them."""

    def __init__(self) -> None:
        self._given: dict[str, tuple[float, int, float]] = {}  # by backend: of which ejection, how many, when last

    def left(self, known: Known, found: Mapping[str, Phase], at: float) -> dict[str, Phase]:
        """The phases, where half open is who may be given another kernel now."""
        out = dict(found)
        for name, phase in found.items():
            breaker = known.breakers.get(name)
            if phase != "half_open" or breaker is None:
                continue
            until, given, last = self._given.get(name, (0.0, 0, 0.0))
            if until != breaker.until or at - last >= TRIAL_SECONDS:
                self._given.pop(name, None)
                continue
            if given >= (CLOSING if breaker.passed else 1):
                out[name] = "open"
        return out

    def gave(self, name: str, known: Known, at: float) -> None:
        """A kernel."""
        breaker = known.breakers.get(name)
        if breaker is not None:
            until, given, _ = self._given.get(name, (breaker.until, 0, 0.0))
            self._given[name] = breaker.until, (given if until == breaker.until else 0) + 1, at


class Tallies:
    """What one worker saw of its backends."""

    def __init__(self) -> None:
        self._seen: dict[str, Tally] = {}

    def count(self, name: str, failed: bool, slow: bool = False) -> None:
        """One attempt more. `slow`: it was answered, and far slower than estimated."""
        before = self._seen.get(name, NOTHING)
        if failed:
            self._seen[name] = Tally(before.answered, before.failed + 1, before.streak + 1, before.slow)
        else:
            self._seen[name] = Tally(before.answered + 1, before.failed, 0, before.slow + slow)

    def told(self) -> dict[str, Tally]:
        """By backend, since the worker began."""
        return dict(self._seen)
