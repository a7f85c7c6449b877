"""The projection: the same for every order among partitions, bounded, and right about the last minute."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from qmosaic.codecs.events import wire
from qmosaic.codecs.events.control import BackendStatus, ControlState, PolicySet
from qmosaic.codecs.events.ledger import Budget, LedgerEntry
from qmosaic.codecs.events.public import Timing, Timings
from qmosaic.processors.overview import audits, ends, window
from qmosaic.processors.overview.audits import Told, joined, settled_between
from qmosaic.processors.overview.ends import Charge, Ended, Names, Objective
from qmosaic.processors.overview.overview import (
    Event,
    Overview,
    Overviews,
    balances,
    ended_by,
    hop_figures,
    total_p95,
)
from qmosaic.processors.overview.window import Window, bin_of, percentile

NOW = 1_800_000_000.0
seconds = st.floats(0, 2e4)
hops = st.dictionaries(
    st.sampled_from(["encode", "reduce", "route", "execute", "verify", "x" * 500]), st.builds(Timing, seconds, seconds)
)
ended = st.builds(
    Ended,
    problem_id=st.text(max_size=8),
    status=st.sampled_from(["accepted", "fallback", "rejected"]),
    reason=st.sampled_from(["equal", "improved", "deadline"]),
    labels=st.builds(Names, name=st.none() | st.text(max_size=3) | st.integers()),
    target=st.none() | st.sampled_from(["quantum", "classical"]),
    backend=st.none() | st.sampled_from(["exact", "cirq.statevector"]),
    route_reason=st.none() | st.sampled_from(["rule", "requested"]),
    tried=st.lists(st.builds(Charge, st.none() | st.floats(0, 9)), max_size=2),
    timings=st.none() | st.builds(Timings, hops, seconds),
)
told = st.builds(
    Told,
    event=st.sampled_from(["settled", "rejected", "duplicate", "breaker", "refused", "put_aside"]),
    problem_id=st.text(max_size=8),
    partition=st.integers(0, 3),
    offset=st.integers(0, 60),
    slack=st.none() | st.floats(-5, 5),
)
moments = st.integers(0, 300).map(lambda number: NOW + number / 2)
logs = st.lists(st.tuples(ended | told, moments), max_size=60)


def folded(events: list[tuple[Any, float]], state: Overview = Overviews.start) -> Overview:
    for event, at in events:
        state = Overviews().step(state, event, at)
    return state


@given(logs, st.integers(0, 60))
def test_it_does_not_matter_where_a_log_is_divided(log: list[tuple[Event, float]], where: int) -> None:
    first = folded(log[:where])
    kept = repr(first)
    assert folded(log[where:], first) == folded(log)
    assert repr(first) == kept  # and a state stays as it was


@given(logs, st.randoms())
def test_the_order_among_partitions_does_not_matter(log: list[tuple[Event, float]], random: Any) -> None:
    one = folded(log)
    random.shuffle(log)
    other = folded(log)
    assert other.ends.window == one.ends.window
    assert other.audits.window == one.audits.window
    assert other.audits.settled == one.audits.settled
    for mine, theirs in ((one.ends.rows, other.ends.rows), (one.audits.notes, other.audits.notes)):
        assert [(row.at, row.problem_id) for row in mine] == [(row.at, row.problem_id) for row in theirs]


@given(st.lists(st.integers(0, 40), max_size=80), st.integers(0, 40), st.integers(0, 40))
def test_stretches_are_a_set_of_offsets(offsets: list[int], first: int, end: int) -> None:
    known: audits.Stretches = ()
    for offset in offsets:
        known = joined(known, offset)
    assert {k for begin, last in known for k in range(begin, last)} == set(offsets)
    assert all(one[1] < other[0] for one, other in pairwise(known))  # none touch
    assert settled_between(known, first, end) == len(set(offsets) & set(range(first, end)))


def test_everything_that_is_kept_is_bounded() -> None:
    state = Overviews.start
    long = "x" * 10_000
    for number in range(1500):
        timings = Timings({f"{long}{number}-{hop}": Timing(1.0, 2.0) for hop in range(40)}, 1.0)
        event = Ended(
            problem_id=f"{number}{long}",
            status="accepted",
            tenant=long,
            family=long,
            backend=f"{number}{long}",
            route_reason=long,
            timings=timings,
        )
        state = folded([(event, NOW + number % 3), (event, NOW + number)], state)
        note = Told(event="breaker", problem_id=long, reason=long, partition=number, offset=2 * number)
        state = folded([(note, NOW + number), (Told(event="settled", offset=2 * number), NOW)], state)
    assert len(state.ends.rows) == ends.MOST_ROWS
    assert max(len(str(text)) for row in state.ends.rows for text in row) <= 300
    assert len(state.ends.window.slices) == window.MOST_SLICES
    assert max(map(len, state.ends.window.slices.values())) <= window.MOST_KEYS
    assert len(state.audits.notes) == audits.MOST_NOTES
    assert max(len(str(text)) for note in state.audits.notes for text in note) <= 500


def test_too_many_gaps_are_closed_from_the_oldest_on() -> None:
    known: audits.Stretches = ()
    for number in range(audits.MOST_GAPS + 5):
        known = joined(known, 2 * number)
    assert len(known) == audits.MOST_GAPS
    assert known[0] == (0, 11)


@given(st.lists(st.floats(1e-4, 1e4), min_size=1, max_size=200), st.floats(0.01, 1.0))
def test_a_percentile_is_at_most_a_tenth_too_large(values: list[float], share: float) -> None:
    bins: dict[int, int] = {}
    for value in values:
        bins[bin_of(value)] = bins.get(bin_of(value), 0) + 1
    exact = sorted(values)[max(0, -int(-share * len(values) // 1) - 1)]
    found = percentile(bins, share)
    assert found is not None
    assert exact * (1 - 1e-9) <= found <= exact * 1.1 * (1 + 1e-9)


def test_what_is_no_duration_is_counted_as_none() -> None:
    assert bin_of(float("nan")) == bin_of(-1.0) == bin_of(0.0) == 0
    assert bin_of(float("inf")) == bin_of(1e9)
    assert percentile({}, 0.95) is None


def test_a_minute_slides() -> None:
    known = Window().counted(NOW, [("a",)]).counted(NOW + 30, [("a",), ("b",)])
    assert known.total(NOW + 30) == {("a",): 2, ("b",): 1}
    assert known.total(NOW + 60) == {("a",): 1, ("b",): 1}
    assert known.total(NOW + 90) == {}
    assert known.total(NOW) == {("a",): 1}  # what is yet to come is not there


def test_a_record_of_the_far_future_does_not_hide_the_present() -> None:
    known = Window().counted(1e15, [("z",)]).counted(NOW, [("a",)])
    assert known.total(NOW) == {("a",): 1}


def test_rates_and_percentiles_are_those_of_the_outcomes() -> None:
    log: list[tuple[Any, float]] = []
    for number in range(100):
        timings = Timings({"encode": Timing(0.01, 0.02), "execute": Timing(0.1, 1.0 + number / 100)}, 2.0)
        event = Ended(problem_id=str(number), status="accepted", reason="equal", target="gpu", timings=timings)
        log.append((event, NOW + number % 10))
    log.append((Ended(problem_id="r", status="rejected", code="invalid_problem"), NOW))
    counts = folded(log).ends.window.total(NOW + 20)
    figures = hop_figures(counts)
    assert set(figures) == {"encode", "execute.gpu"}
    assert figures["encode"].rate == 100 / 60
    assert 1.94 <= (figures["execute.gpu"].work_p95 or 0) <= 1.95 * 1.1
    assert 2.0 <= (total_p95(counts) or 0) <= 2.2
    assert ended_by(counts) == {"accepted": 100, "rejected": 1}


def test_a_row_says_what_the_outcome_said() -> None:
    event = Ended(
        problem_id="p",
        status="accepted",
        reason="improved",
        labels=Names(name="the graph"),
        objective=7,
        baseline=Objective(6),
        improvement=1,
        tried=[Charge(None), Charge(0.25), Charge(0.5)],
        usage=Charge(0.5),
        policy="3",
    )
    (row,) = folded([(event, NOW)]).ends.rows
    assert (row.name, row.objective, row.baseline, row.gain, row.cost, row.policy) == ("the graph", 7, 6, 1, 0.75, "3")
    (row,) = folded([(msgspec.structs.replace(event, tried=[], labels=Names(name=3)), NOW)]).ends.rows
    assert (row.name, row.cost) == ("p", 0.5)


def test_the_control_topics_are_known() -> None:
    budget = Budget(scope="all", window="total", micros=5_000_000)
    policy = PolicySet(number=2, version="v", text="", who="w", why="y", at=NOW)
    state = folded(
        [
            (BackendStatus(worker="w", target="gpu", backends={"b": {}}, at=NOW), NOW),
            (ControlState(policy=policy), NOW),
            (LedgerEntry(event="budget", at=NOW, budget=budget), NOW),
        ]
    )
    assert state.status[0]["w"].at == NOW
    assert state.ordered.policy == policy
    (left,) = balances(state.ledger, NOW)
    assert (left.budget, left.unit, left.free) == ("all total", "micros", 5_000_000)


def test_the_rest_of_an_event_is_not_looked_at() -> None:
    text = b'{"problem_id":"a","status":"fallback","solution":{"deep":[1,2]},"timings":{"hops":{},"total":1.5},"x":[]}'
    assert wire.decode(text, Ended).timings == Timings({}, 1.5)
