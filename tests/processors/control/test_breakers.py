"""Breakers: opened by what a backend fails, for longer each time; tried again; and every attempt counts once."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmosaic.codecs.events.control import BackendStatus, Tally
from qmosaic.codecs.events.hops import JobEvent, Proposal
from qmosaic.processors.control import breakers
from qmosaic.processors.control.breakers import (
    BASE_SECONDS,
    CLOSING,
    HEALTHY_SECONDS,
    IN_A_ROW,
    Breakers,
    Known,
    Phase,
    Tallies,
    Trials,
    phases,
)
from qmosaic.processors.control.facts import Facts
from qmosaic.processors.control.policy import Policy, decide
from qmosaic.processors.route import route
from tests.processors.test_route import ALIVE, reduced

NAME = "cirq.statevector"


def status(worker: str = "w", answered: int = 0, failed: int = 0, streak: int = 0, name: str = NAME) -> BackendStatus:
    tallies = {name: Tally(answered, failed, streak)}
    return BackendStatus(worker=worker, target="quantum", backends={}, at=0.0, tallies=tallies)


def folded(events: Iterable[tuple[float, BackendStatus]], state: Known = Breakers.start) -> Known:
    for at, event in events:
        state = Breakers().step(state, event, at)
    return state


OPEN = folded([(100.0, status(failed=IN_A_ROW, streak=IN_A_ROW))])


def test_failures_in_a_row_open_it_and_time_makes_it_half_open() -> None:
    assert phases(folded([(100.0, status(failed=4, streak=4))]), 100.0) == {}
    assert phases(OPEN, 100.0) == {NAME: "open"}
    assert phases(OPEN, 100.0 + BASE_SECONDS) == {NAME: "half_open"}


def test_a_share_of_many_opens_it_without_a_row() -> None:
    assert phases(folded([(0.0, status(answered=11, failed=9, streak=1))]), 0.0) == {}
    assert phases(folded([(0.0, status(answered=10, failed=10, streak=1))]), 0.0) == {NAME: "open"}
    slowly = folded([(40.0 * k, status(answered=4 * k, failed=4 * k, streak=1)) for k in range(10)])
    assert phases(slowly, 400.0) == {}  # not within a window


def test_a_trial_closes_it_or_opens_it_for_longer() -> None:
    after = 100.0 + BASE_SECONDS + 1
    some = folded([(after, status(answered=CLOSING - 1, failed=5))], OPEN)
    assert phases(some, after) == {NAME: "half_open"}
    assert phases(folded([(after, status(answered=CLOSING, failed=5))], some), after) == {}
    worse = folded([(after, status(answered=CLOSING - 1, failed=6, streak=1))], some)
    assert phases(worse, after) == {NAME: "open"}
    again = folded([(after, status(failed=6, streak=6))], OPEN)
    assert again.breakers[NAME].until == after + 2 * BASE_SECONDS
    assert phases(again, after + BASE_SECONDS) == {NAME: "open"}


def test_stragglers_and_repetitions_change_nothing() -> None:
    late = folded([(101.0, status(answered=3, failed=7, streak=7))], OPEN)
    assert late.breakers[NAME].until == OPEN.breakers[NAME].until
    after = 100.0 + BASE_SECONDS + 1
    repeated = folded([(after, status(failed=5, streak=5))] * 3, OPEN)  # nothing new: nothing was tried
    assert phases(repeated, after) == {NAME: "half_open"}


def test_a_worker_that_began_anew_counts_from_nothing() -> None:
    state = folded([(0.0, status(answered=1000, failed=4, streak=4)), (1.0, status(failed=1, streak=1))])
    assert state.breakers[NAME].failed == 5
    assert phases(state, 1.0) == {}


def test_times_decay_while_it_is_healthy() -> None:
    state, at = OPEN, 100.0
    for k in range(3):
        at = state.breakers[NAME].until + 1
        state = folded([(at, status(failed=6 + k, streak=6 + k))], state)
    assert state.breakers[NAME].times == 4
    at = state.breakers[NAME].until + 1
    state = folded([(at + k * HEALTHY_SECONDS, status(answered=CLOSING + k, failed=8)) for k in range(3)], state)
    assert (state.breakers[NAME].times, phases(state, at + 200)) == (2, {})


def test_what_is_far_slower_than_estimated_opens_it_too() -> None:
    slow = BackendStatus(worker="w", target="quantum", backends={}, at=0.0, tallies={NAME: Tally(20, 0, 0, 10)})
    assert phases(folded([(0.0, slow)]), 0.0) == {NAME: "open"}
    less = BackendStatus(worker="w", target="quantum", backends={}, at=0.0, tallies={NAME: Tally(20, 0, 0, 9)})
    assert phases(folded([(0.0, less)]), 0.0) == {}


class Traffic:
    """One worker, one route worker, ten kernels a second for the backend, each told a quarter of a second later."""

    STEP = 0.1

    def __init__(self) -> None:
        self.state, self.trials, self.tallies = Breakers.start, Trials(), Tallies()
        self.changes: list[tuple[float, bool]] = []
        self.jobs = 0
        self.told = False

    def run(self, start: float, seconds: float, fails: Callable[[], bool]) -> None:
        for k in range(int(seconds / self.STEP)):
            at = start + k * self.STEP
            if k % 3 == 0:
                status = BackendStatus(worker="w", target="quantum", backends={}, at=at, tallies=self.tallies.told())
                self.state = Breakers().step(self.state, status, at)
            is_open = self.state.breakers[NAME].is_open if NAME in self.state.breakers else False
            if is_open != (self.changes[-1][1] if self.changes else False):
                self.changes.append((at, is_open))
            phase = self.trials.left(self.state, phases(self.state, at), at).get(NAME, "closed")
            if phase == "open":
                continue
            self.trials.gave(NAME, self.state, at)
            self.jobs += 1
            self.tallies.count(NAME, fails())


@pytest.mark.parametrize("seed", range(40))
def test_one_that_fails_half_of_its_jobs_for_ten_minutes_does_not_come_and_go(seed: int) -> None:
    chance, traffic = random.Random(seed), Traffic()
    traffic.run(0.0, 600.0, lambda: chance.random() < 0.5)
    assert 1 <= len(traffic.changes) <= 4


def test_one_that_fails_all_is_out_after_five_jobs_and_back_soon_after_it_recovers() -> None:
    traffic = Traffic()
    traffic.run(0.0, 12.0, lambda: True)
    assert traffic.changes[0][1]
    assert traffic.changes[0][0] <= (IN_A_ROW + 3) * Traffic.STEP  # five, and those sent before it was told
    until = traffic.state.breakers[NAME].until
    traffic.run(12.0, 60.0, lambda: False)
    (closed_at,) = [at for at, is_open in traffic.changes if not is_open]
    assert closed_at <= until + 3.0
    before = traffic.jobs
    traffic.run(80.0, 10.0, lambda: False)
    assert traffic.jobs - before == 100


def test_a_trial_of_which_nothing_is_heard_is_repeated_after_a_while() -> None:
    trials, at = Trials(), OPEN.breakers[NAME].until + 1
    half: dict[str, Phase] = {NAME: "half_open"}
    assert trials.left(OPEN, half, at) == half
    trials.gave(NAME, OPEN, at)
    assert trials.left(OPEN, half, at + 1) == {NAME: "open"}
    assert trials.left(OPEN, half, at + breakers.TRIAL_SECONDS) == half


tallies = st.builds(lambda a, f, s: Tally(a, f, min(s, f)), st.integers(0, 60), st.integers(0, 60), st.integers(0, 9))
events = st.lists(
    st.tuples(
        st.floats(0, 400),
        st.builds(
            BackendStatus,
            worker=st.sampled_from("ab"),
            target=st.just("gpu"),
            backends=st.just({}),
            at=st.just(0.0),
            tallies=st.dictionaries(st.sampled_from("xy"), tallies, max_size=2),
        ),
    ),
    max_size=25,
)


@given(events, st.floats(0, 1000))
def test_any_order_of_anything_has_a_phase_and_a_bound(said: list[tuple[float, BackendStatus]], at: float) -> None:
    said.sort(key=lambda one: one[0])
    state = folded(said)
    assert folded(said) == state
    for breaker in state.breakers.values():
        assert breaker.until <= 400 + breakers.MOST_SECONDS
        assert breaker.phase(at) in ("closed", "open", "half_open")
    # the same told twice is told once
    twice = [one for one in said for _ in (0, 1)]
    assert {k: b.times for k, b in folded(twice).breakers.items()} == {k: b.times for k, b in state.breakers.items()}


def test_bounded() -> None:
    many: list[Any] = [(float(k), status(worker=str(k), failed=1, streak=1, name=str(k))) for k in range(1500)]
    state = folded(many)
    assert len(state.tallies) == breakers.MOST_WORKERS
    assert len(state.breakers) == breakers.MOST_BACKENDS


# What is decided


def test_an_open_one_is_passed_over_and_it_says_why() -> None:
    found = decide(reduced(4), Facts(0.0, ALIVE, {NAME: "open"}), Policy())
    assert [one.backend for one in found.candidates] == ["exact"]
    assert found.reason == "rule_unavailable"
    assert [one.reason for one in found.considered if one.backend == NAME] == ["breaker_open"]


def test_a_half_open_one_has_one_kernel_of_a_batch() -> None:
    out = route([reduced(4, offset=k) for k in range(4)], Facts(0.0, ALIVE, {NAME: "half_open"}), Policy())
    assert [event.route.backend for event in out if isinstance(event, JobEvent)] == [NAME, "exact", "exact", "exact"]


def test_where_all_are_open_there_is_the_incumbent() -> None:
    shut: dict[str, Phase] = dict.fromkeys(("exact", "tabu", "jax.statevector", NAME), "open")
    (event,) = route([reduced(4)], Facts(0.0, ALIVE, shut), Policy())
    assert isinstance(event, Proposal)
    assert event.failure is not None
    assert event.failure.reason == "no_backend"
