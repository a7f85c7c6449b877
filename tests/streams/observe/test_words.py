"""Figures as people read them."""

from __future__ import annotations

import pytest

from qmosaic.processors.overview.overview import Balance
from qmosaic.streams.observe.words import cost, duration, gained, left, number, rate, share_left


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, ""), (float("nan"), ""), (float("inf"), ""), (0.0, "0.00 ms"), (0.00035, "0.35 ms"), (0.0041, "4.1 ms"),
        (0.041, "41 ms"), (0.9994, "999 ms"), (0.9996, "1.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (119.0, "119 s"),
        (120.0, "2.0 min"), (7169.0, "119 min"), (7200.0, "2.0 h"), (360_000_000.0, "100,000 h"), (-3.0, "-3.0 s"),
    ],
)  # fmt: skip
def test_durations(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words


def test_the_others() -> None:
    rates = {0.0: "0", 1 / 60: "0.02", 0.996: "1.0", 12.34: "12.3", 99.96: "100", 1204.4: "1,204"}
    assert {each: rate(each) for each in rates} == rates
    assert [number(each) for each in (None, 3, -1.23456789)] == ["", "3", "-1.234568"]
    assert [gained(each) for each in (None, 0, 1, -0.5)] == ["", "0", "+1", "-0.5"]
    costs = {None: "", 0.0: "$0.00", 0.25: "$0.25", 0.000012: "$1.2e-05", 1234.5: "$1,234.50"}
    assert {each: cost(each) for each in costs} == costs
    balance = Balance("all day", "2026-11-29", "micros", 10_000_000, 2_500_000, 0, 7_500_000)
    assert (left(balance), share_left(balance)) == ("$2.50 of $10.00", 0.25)
    assert share_left(balance._replace(free=-5)) == share_left(balance._replace(cap=0)) == 0.0
