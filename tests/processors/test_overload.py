"""Overload: who is given up, and when, by rates alone."""

from __future__ import annotations

from typing import Literal

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from qmosaic.processors.decisions import Arrived, Open
from qmosaic.processors.overload import CAUTION, FEW, AnswerRate, SettleRate, hopeless
from tests.processors.test_join import ref_of


def waiting(
    count: int, deadline: float, first: int = 0, priority: Literal["high", "normal", "low"] = "normal"
) -> list[Open]:
    return [
        Open(replace(ref_of(first + k, deadline=deadline), priority=priority), None, "record") for k in range(count)
    ]


def test_few_are_never_too_many() -> None:
    assert hopeless(waiting(FEW, 0.1), 0.0, answers=1.0, settles=1.0) == ([], 0)


def test_without_a_rate_of_answers_only_settling_counts() -> None:
    many = waiting(1000, deadline=10.0)
    assert hopeless(many, 0.0, answers=None, settles=1000.0) == ([], 0)
    out, must = hopeless(many, 9.0, answers=None, settles=1000.0)
    assert must == len(out) == 1000 - FEW - int(CAUTION * 1000)


def test_those_at_the_end_of_the_line_are_given_up_first_and_those_begun_last() -> None:
    many = waiting(1000, deadline=10.0)
    many[-1].incumbents.append(Arrived("i", "record"))
    out, must = hopeless(many, 0.0, answers=20.0, settles=1e6)
    assert must == 0
    assert [one.ref.offset for one in out[:3]] == [998, 997, 996]
    assert len(out) == 1000 - FEW - 20 * 10 * 1.5 - 1


def test_classes_go_in_order_and_a_later_deadline_has_more_time() -> None:
    low, high = waiting(300, 10.0, priority="low"), waiting(300, 10.0, 300, "high")
    out, _ = hopeless([*low, *high], 0.0, answers=20.0, settles=1e6)
    assert {one.ref.priority for one in out} == {"low"}
    soon, far = waiting(300, 1.0), waiting(300, 1000.0, 300)
    out, _ = hopeless([*soon, *far], 0.0, answers=20.0, settles=1e6)
    assert {one.ref.deadline_at for one in out} == {1.0}


@given(
    st.lists(st.tuples(st.integers(0, 400), st.floats(0.0, 60.0)), min_size=1, max_size=4),
    st.none() | st.floats(0.1, 1000.0),
    st.floats(1.0, 5000.0),
)
def test_what_is_left_can_be_settled_in_time(
    groups: list[tuple[int, float]], answers: float | None, settles: float
) -> None:
    many = [one for k, (count, deadline) in enumerate(groups) for one in waiting(count, deadline, 1000 * k)]
    out, must = hopeless(many, 0.0, answers, settles)
    assert len({id(one) for one in out}) == len(out)
    assert len(out) >= min(must, len(many))
    done = out[:must]
    left = sorted(one.ref.deadline_at for one in many)[len(done) :]
    for k, deadline in enumerate(left):
        assert k + 1 <= FEW + 1 + settles * CAUTION * deadline


def test_the_rate_of_answers_is_that_of_the_best_second_and_fades() -> None:
    rate = AnswerRate()
    best = []
    # The first without anybody knowing since when, the last after a pause.
    for count, now in [(5, 100.0), (50, 100.5), (50, 101.0), (10, 102.0), (900, 130.0)]:
        rate.add(count, now)
        best.append(rate.best)
    assert best == [None, None, 100.0, 98.0, 98.0]


def test_the_rate_of_settling_is_measured_by_large_rounds() -> None:
    rate = SettleRate(500.0)
    rate.add(3, 0.001)
    assert rate.rate == 500.0
    for _ in range(50):
        rate.add(200, 0.1)
    assert 1990 < rate.rate < 2001
