"""How evenly work is shared: the parts that are due, and the index over them."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.fairness import fair_parts, index, jain


def test_the_index_says_how_many_have_something() -> None:
    assert jain([5.0] * 10) == pytest.approx(1.0)
    assert jain([1.0] * 4 + [0.0] * 6) == pytest.approx(0.4)


def test_nobody_is_due_more_than_it_asks_for_and_what_it_leaves_is_due_to_the_others() -> None:
    assert fair_parts(100.0, [inf, 10.0, inf, 30.0]) == [30.0, 10.0, 30.0, 30.0]
    assert fair_parts(30.0, [inf, 40.0, 20.0]) == [10.0, 10.0, 10.0]


@given(st.floats(1, 1e6), st.lists(st.floats(0.1, 1e4), min_size=1, max_size=20))
def test_all_there_is_is_due_to_somebody_and_who_gets_less_than_it_asks_for_has_no_less_than_others(
    total: float, wanted: list[float]
) -> None:
    wanted = [inf, *wanted]
    parts = fair_parts(total, wanted)
    assert sum(parts) == pytest.approx(total)
    short = [part for part, asked in zip(parts, wanted, strict=True) if part < asked]
    assert min(short) == pytest.approx(max(parts))


def test_who_takes_what_others_ask_for_is_seen_and_who_takes_what_they_leave_is_not() -> None:
    wanted = [inf, *[10.0] * 99]
    assert index([500.0, *[10.0] * 99], wanted) == pytest.approx(1.0)
    assert index([500.0, *[5.0] * 99], wanted) < 0.1
