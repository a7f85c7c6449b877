"""Whose turn it is: classes, fair shares, deadlines; nobody starves."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmosaic.processors.control.order import LEAST_COST, PASSED_OVER, Turns
from qmosaic.processors.control.policy import OfTenant, Policy


def drained(turns: Turns[Any]) -> list[Any]:
    return [turns.get() for _ in range(len(turns))]


def test_of_one_tenant_the_earliest_deadline_goes_first_and_equal_ones_as_they_came() -> None:
    turns: Turns[str] = Turns()
    for name, deadline_at in (("a", 3.0), ("b", 1.0), ("c", 2.0), ("d", 1.0)):
        turns.put(name, 1, "t", deadline_at)
    assert drained(turns) == ["b", "d", "c", "a"]
    with pytest.raises(IndexError):
        turns.get()


def test_a_high_one_behind_a_thousand_low_ones_is_next() -> None:
    turns: Turns[str] = Turns()
    for k in range(1000):
        turns.put("low", 2, f"t{k % 7}", 10.0)
    for _ in range(30):
        turns.get()
    turns.put("high", 0, "t0", 1e9)
    assert turns.highest == 0
    assert "high" in [turns.get() for _ in range(2)]
    assert turns.highest == 2


@pytest.mark.parametrize("rank", [1, 2])
def test_a_lower_class_has_its_turn_now_and_then(rank: int) -> None:
    turns: Turns[int] = Turns()
    for k in range(400):
        turns.put(0, 0, "busy", float(k))
    for k in range(10):
        turns.put(rank, rank, "patient", float(k))
    places = [k for k, one in enumerate(drained(turns)) if one == rank]
    gaps = [b - a for a, b in zip([-1, *places], places, strict=False)]
    assert max(gaps) <= PASSED_OVER[rank]


def test_who_sends_nine_tenths_waits_for_itself() -> None:
    turns: Turns[str] = Turns()
    for k in range(9000):
        turns.put("busy", 1, "busy", float(k))
    for k in range(1000):
        turns.put(f"t{k % 99}", 1, f"t{k % 99}", 1e6)
    first = Counter(turns.get() for _ in range(1000))
    assert set(first.values()) <= {9, 10, 11}  # of a hundred tenants
    served = list(first.values())
    assert sum(served) ** 2 / (len(served) * sum(n * n for n in served)) >= 0.95  # Jain's index


def test_weights_and_sizes() -> None:
    turns: Turns[str] = Turns(Policy(tenants={"gold": OfTenant(weight=3.0)}).weight_of)
    for _ in range(400):
        turns.put("gold", 1, "gold/team", 1.0, size=2.0)
        turns.put("plain", 1, "plain", 1.0, size=2.0)
        turns.put("small", 1, "small", 1.0, size=0.5)
    first = Counter(turns.get() for _ in range(320))
    assert first["gold"] == pytest.approx(3 * first["plain"], rel=0.1)
    assert first["small"] == pytest.approx(4 * first["plain"], rel=0.1)


def test_who_was_away_has_saved_nothing_up() -> None:
    turns: Turns[str] = Turns()
    for _ in range(100):
        turns.put("steady", 1, "steady", 1.0)
    for _ in range(60):
        turns.get()
    for _ in range(100):
        turns.put("late", 1, "late", 1.0)
    assert Counter(turns.get() for _ in range(40))["late"] == pytest.approx(20, abs=1)


def test_who_comes_back_before_its_turn_is_over_has_gained_nothing() -> None:
    turns: Turns[str] = Turns()
    for _ in range(300):
        turns.put("steady", 1, "steady", 1.0)
    got: Counter[str] = Counter()
    for _ in range(200):
        if "hasty" not in turns._classes[1].tenants:  # one at a time, and another as soon as it is gone
            turns.put("hasty", 1, "hasty", 0.0)
        got[turns.get()] += 1
    assert got["hasty"] == pytest.approx(100, abs=2)


events = st.lists(
    st.one_of(
        st.none(),
        st.tuples(st.integers(0, 2), st.sampled_from("abcd"), st.floats(0, 100), st.floats(0, 10)),
    ),
    max_size=200,
)


@given(events)
def test_everything_that_is_put_is_got_once_each_tenants_by_deadline(todo: list[Any]) -> None:
    turns: Turns[tuple[int, Any]] = Turns()
    there: set[int] = set()
    for number, one in enumerate(todo):
        if one is None:
            if there:
                got, _ = turns.get()
                there.remove(got)
            continue
        rank, tenant, deadline_at, size = one
        turns.put((number, one), rank, tenant, deadline_at, size)
        there.add(number)
        assert len(turns) == len(there)
    by_tenant = defaultdict(list)
    for number, (rank, tenant, deadline_at, _) in drained(turns):
        there.remove(number)
        by_tenant[rank, tenant].append(deadline_at)
    assert not there
    assert all(found == sorted(found) for found in by_tenant.values())


@given(events)
def test_who_is_next_is_told_before(todo: list[Any]) -> None:
    turns: Turns[tuple[int, str]] = Turns({"a": 3.0, "b": 1.0, "c": 1.0, "d": 1.0}.__getitem__)
    for one in todo:
        if one is not None:
            turns.put((one[0], one[1]), *one)
        elif len(turns):
            told = turns.next
            assert turns.get() == told
    while len(turns):
        told = turns.next
        assert turns.get() == told


# -- weights that change -----------------------------------------------------------------------------------------------


def test_a_path_has_the_weight_of_what_it_lies_in() -> None:
    tenants = {"acme": OfTenant(weight=4.0), "acme/chem": OfTenant(weight=0.5), "acme/ops": OfTenant(attempts=2)}
    weigh = Policy(tenants=tenants).weight_of
    assert [weigh(name) for name in ("acme", "acme/ada", "acme/chem/ada", "acme/ops")] == [4.0, 4.0, 0.5, 4.0]
    assert [weigh(name) for name in ("", "other", "other/acme", "acmes")] == [1.0] * 4


weights = st.dictionaries(st.sampled_from("abcd"), st.floats(1e-3, 1e3), min_size=4)


@given(weights, weights, st.integers(0, 100))
def test_shares_are_by_the_weights_in_force_whatever_they_were(
    old: dict[str, float], new: dict[str, float], turns_before: int
) -> None:
    """From a change on nobody who waits has more than its share beyond a turn of its own and of each other's: two
    flows' services, by weight, differ by at most what their largest turns are (Goyal, Vin, Cheng 1996, theorem 1)."""
    turns: Turns[str] = Turns(old.__getitem__)
    for _ in range(400):
        for tenant in "abcd":
            turns.put(tenant, 1, tenant, 1.0, size=1.0)
    before = Counter(turns.get() for _ in range(turns_before))
    turns.follow(new.__getitem__)
    got: Counter[str] = Counter()
    while max((before + got).values(), default=0) < 400:  # all of them wait
        got[turns.get()] += 1
        for one in "abcd":
            for other in "abcd":
                apart = got[one] / new[one] - got[other] / new[other]
                # what the old weights left ahead is one turn at most, counted by the new ones
                assert apart <= 2 / new[one] + 2 / new[other] + 1e-6 * abs(apart)


@given(events, st.lists(weights, min_size=1, max_size=5), st.data())
def test_a_change_loses_nothing_and_keeps_each_tenants_order(todo: list[Any], them: list[Any], data: Any) -> None:
    turns: Turns[tuple[int, Any]] = Turns()
    there: set[int] = set()
    at = data.draw(st.lists(st.integers(0, 200), max_size=5))
    for number, one in enumerate(todo):
        if number in at:
            turns.follow(data.draw(st.sampled_from(them)).__getitem__)
        if one is not None:
            turns.put((number, one), *one)
            there.add(number)
        elif there:
            there.remove(turns.get()[0])
    assert {number for number, _ in drained(turns)} == there


def test_the_same_weights_again_change_nothing() -> None:
    def order_of(changes: int) -> list[str]:
        turns: Turns[str] = Turns()
        for k in range(60):
            turns.put(f"{k}", 1, f"t{k % 7}", float(k % 5), size=float(k % 3))
        out = []
        for k in range(60):
            if k % 10 == 0:
                for _ in range(changes):
                    turns.follow(lambda _: 1.0)
            out.append(turns.get())
        return out

    assert order_of(0) == order_of(1) == order_of(3)


def test_who_had_next_to_no_weight_need_not_wait_for_that() -> None:
    light = {"light": 1e-6, "heavy": 1.0}
    turns: Turns[str] = Turns(light.__getitem__)
    for _ in range(100):
        for tenant in light:
            turns.put(tenant, 1, tenant, 1.0, size=LEAST_COST)
    first = Counter(turns.get() for _ in range(50))
    assert first["light"] <= 1
    turns.follow(lambda _: 1.0)
    assert Counter(turns.get() for _ in range(40))["light"] == pytest.approx(20, abs=1)
