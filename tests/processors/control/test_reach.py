"""How backends are by the words of those who run them: one worker's network is nobody else's trouble, and a breaker
counts nothing of it."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmosaic.codecs.events.control import BackendStatus
from qmosaic.codecs.events.reasons import Condition
from qmosaic.processors.control.alive import Alive
from qmosaic.processors.control.facts import STATUS, Facts, facts_of
from qmosaic.processors.control.ordered import Orders
from qmosaic.processors.control.policy import Policy, Rule, decide
from qmosaic.processors.control.reach import MILD_FIRST, conditions, cut_off
from tests.processors.test_route import ALIVE, reduced

IONQ, AQT = "ionq/qpu.forte-1", "aqt/default/ibex"
NAMES = (IONQ, "ionq/simulator", f"zne({IONQ})", AQT)
words = st.none() | st.sampled_from(MILD_FIRST)


def status(worker: str, said: dict[str, Condition | None]) -> BackendStatus:
    return BackendStatus(
        worker=worker,
        target="quantum",
        backends={name: {"spins": 20} for name in said},
        at=0.0,
        conditions={name: condition for name, condition in said.items() if condition is not None},
    )


signs = st.lists(
    st.tuples(st.sampled_from("abc"), st.dictionaries(st.sampled_from(NAMES), words, min_size=1), st.integers(0, 40)),
    max_size=12,
)


def told(events: list[Any]) -> Any:
    state = STATUS.start
    for worker, said, at in sorted(events, key=lambda one: one[2]):
        state = STATUS.step(state, status(worker, said), float(at))
    return state


@given(signs, st.integers(0, 60))
def test_the_mildest_word_counts_of_who_was_heard_of_last(events: list[Any], at: int) -> None:
    heard, breakers = told(events)
    found = conditions(heard, float(at), 15.0)
    last = {worker: (said, when) for worker, said, when in sorted(events, key=lambda one: one[2])}
    fresh = [said for said, when in last.values() if when >= at - 15]
    for name in NAMES:
        ranks: list[int] = [(None, *MILD_FIRST).index(said[name]) for said in fresh if name in said]
        assert found.get(name) == (None, *MILD_FIRST)[min(ranks, default=0)]
    assert breakers.breakers == {}


@given(signs, st.randoms())
def test_workers_may_be_heard_in_any_order(events: list[Any], chance: random.Random) -> None:
    """Each worker's own records are in order, as they are in the one partition."""
    last = {worker: (worker, said, when) for worker, said, when in sorted(events, key=lambda one: one[2])}
    shuffled = list(last.values())
    chance.shuffle(shuffled)
    one, other = STATUS.start, STATUS.start
    for worker, said, when in last.values():
        one = STATUS.step(one, status(worker, said), float(when))
    for worker, said, when in shuffled:
        other = STATUS.step(STATUS.step(other, status(worker, said), float(when)), status(worker, said), float(when))
    assert conditions(one[0], 40.0, 15.0) == conditions(other[0], 40.0, 15.0)
    assert cut_off(one[0], 40.0, 15.0) == cut_off(other[0], 40.0, 15.0)


def test_who_reaches_none_of_several_vendors_has_no_network() -> None:
    away: Any = dict.fromkeys(NAMES, "unreachable")
    cases: dict[str, Any] = {
        "all": away,
        "one vendor": {name: "unreachable" for name in NAMES if name != AQT},
        "another is there": {**away, AQT: None},
        "another is offline": {**away, AQT: "offline"},
    }
    heard = told([(worker, said, 1) for worker, said in cases.items()])[0]
    assert cut_off(heard, 1.0, 15.0) == ["all"]
    assert cut_off(heard, 60.0, 15.0) == []


@pytest.mark.parametrize(
    ("condition", "reason", "chain"),
    [
        (None, "taken", [IONQ, AQT, "exact"]),
        ("retuning", "taken", [IONQ, AQT, "exact"]),
        ("offline", "offline", [AQT, "exact", "tabu"]),
        ("unreachable", "unreachable", [AQT, "exact", "tabu"]),
    ],
)
def test_what_is_retuned_waits_and_what_is_away_goes_elsewhere(condition: Any, reason: str, chain: list[str]) -> None:
    policy = Policy((Rule("devices", "quantum", backend=IONQ, then=(AQT, "classical")),), paid=(IONQ, AQT), attempts=3)
    alive: Alive = {**ALIVE, "quantum": {IONQ: {"spins": 30}, AQT: {"spins": 30}}}
    facts = Facts(0.0, alive, conditions={} if condition is None else {IONQ: condition})
    found = decide(reduced(8), facts, policy)
    assert {one.backend: one.reason for one in found.considered}[IONQ] == reason
    assert [one.backend for one in found.candidates] == chain


def test_facts_are_of_those_who_are_alive() -> None:
    state = told([("a", {IONQ: "unreachable"}, 1), ("b", {IONQ: None}, 1)])
    assert facts_of(state, Orders().start, 1.0, 1.0, 15.0).conditions == {}
    state = told([("a", {IONQ: "unreachable"}, 30), ("b", {IONQ: None}, 1)])  # b was not heard of for long
    assert facts_of(state, Orders().start, 30.0, 30.0, 15.0).conditions == {IONQ: "unreachable"}
