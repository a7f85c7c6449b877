"""Orders: carried out once, refused with a place and a remedy, and remembered by a fold."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmosaic.codecs.events import wire
from qmosaic.codecs.events.control import Command, ControlState, Resolve, RollBack, SetBackend, SetBudget, SetPolicy
from qmosaic.codecs.events.ledger import AccountId, Amounts, Budget
from qmosaic.processors.control.books import Books, Ledger
from qmosaic.processors.control.ordered import MOST_POLICIES, Ordered, Orders
from qmosaic.processors.control.orders import (
    MOST_COMMANDS,
    STALE_SECONDS,
    Changes,
    Refused,
    answer_to,
    carried_out,
    remembered,
)
from tests.processors.control.test_books import ask, job, ledger_with

NOW = 1_800_000_000.0
POLICY = 'attempts = 2\n[[rules]]\nname = "all"\ntarget = "classical"\n'


def command(order: Any, name: str = "c1", at: float = NOW, **who: str) -> Command:
    return Command(id=name, who=who.get("who", "ada"), why=who.get("why", "a test"), at=at, order=order)


def done(order: Any, ordered: Ordered = Orders.start, ledger: Ledger = Books.start, **more: Any) -> Any:
    return carried_out(command(order, **more), ordered, ledger, NOW, {"exact"}.__contains__, ["exact"])


def after(ordered: Ordered, found: Any, given: Command) -> Ordered:
    assert isinstance(found, Changes)
    for state in (*found.states.values(), remembered(ordered, given)):
        ordered = Orders().step(ordered, state)
    return ordered


def test_a_command_is_carried_out_once() -> None:
    given = command(SetPolicy(POLICY))
    ordered = after(Orders.start, done(given.order), given)
    assert done(given.order, ordered) is None
    assert isinstance(done(given.order, ordered, name="c2"), Changes)


@pytest.mark.parametrize("age", [-STALE_SECONDS - 1, STALE_SECONDS + 1])
def test_one_that_is_old_or_of_the_future_is_refused(age: float) -> None:
    found = done(SetPolicy(POLICY), at=NOW - age)
    assert isinstance(found, Refused)
    assert found.place == "at"


@pytest.mark.parametrize(
    ("order", "more", "place"),
    [
        (SetPolicy(POLICY), {"who": " "}, "who"),
        (SetPolicy(POLICY), {"why": "x" * 501}, "why"),
        (SetPolicy(POLICY), {"name": ""}, "id"),
        (SetPolicy(POLICY, base=3), {}, "base"),
        (SetPolicy("attempts = 11"), {}, "policy:1"),
        (RollBack(1), {}, "number"),
        (SetBackend("exakt", "draining"), {}, "backend"),
        (SetBackend("exact", "maintenance", NOW - 5, NOW - 1), {}, "until"),
        (SetBudget(Budget("tenant:", "day", 1)), {}, "scope"),
        (SetBudget(Budget("backend:exakt", "day", 1)), {}, "scope"),
        (SetBudget(Budget("all", "day")), {}, "scope"),
        (Resolve("qm-nobody"), {}, "reservation"),
    ],
)
def test_what_is_wrong_says_where_and_what_to_do(order: Any, more: dict[str, Any], place: str) -> None:
    found = done(order, **more)
    assert isinstance(found, Refused)
    assert found.place == place
    assert found.message
    assert found.remedy
    answer = answer_to(command(order, **more), found, NOW, 7)
    assert (answer.status, answer.detail["place"]) == ("refused", place)


def test_a_budget_below_what_is_used_is_refused_and_what_is_used_is_enough() -> None:
    ledger = ask(ledger_with(*done(SetBudget(Budget("all", "total", 500))).entries), job(1)).ledger
    low = done(SetBudget(Budget("all", "total", 99)), ledger=ledger)
    assert isinstance(low, Refused)
    assert "$0.0001" in low.remedy
    enough = done(SetBudget(Budget("all", "total", 100)), ledger=ledger)
    assert isinstance(enough, Changes)
    (entry,) = enough.entries
    assert Books().step(ledger, entry).account(AccountId("all total", "", "micros")) == (100, 0, 100, 0)


def test_a_resolution_is_an_entry_of_who_found_it_out() -> None:
    ledger = ask(ledger_with(), job(1)).ledger
    (name,) = ledger.reservations
    found = done(Resolve(name, Amounts(7, 0, 0)), ledger=ledger)
    (entry,) = found.entries
    assert (entry.event, entry.who, entry.amounts.micros) == ("revised", "ada", 7)


def test_policies_are_numbered_rolled_back_and_bounded() -> None:
    ordered = Orders.start
    for number in range(1, MOST_POLICIES + 3):
        given = command(SetPolicy(POLICY.replace("all", f"all {number}"), base=number - 1), name=f"c{number}")
        ordered = after(ordered, done(given.order, ordered, name=given.id), given)
    assert ordered.policy is not None
    assert ordered.policy.number == MOST_POLICIES + 2
    assert len(ordered.policies) == MOST_POLICIES
    assert len(ordered.commands) == MOST_COMMANDS
    back = done(RollBack(5), ordered, name="back")
    (state,) = back.states.values()
    assert (state.policy.number, state.policy.text) == (MOST_POLICIES + 3, ordered.policies[5].text)


def test_maintenance_is_over_by_itself() -> None:
    given = command(SetBackend("exact", "maintenance", NOW, NOW + 10))
    ordered = after(Orders.start, done(given.order), given)
    assert ordered.closed(NOW + 5) == {"exact": "maintenance"}
    assert ordered.closed(NOW - 1) == ordered.closed(NOW + 10) == {}


@given(st.binary(max_size=200))
def test_anything_is_a_command_or_none(data: bytes) -> None:
    for text in (data, b'{"id":"a","who":"b","why":"c","at":1,"order":' + data + b"}"):
        try:
            given = wire.decode(text, Command)
        except (msgspec.ValidationError, ValueError):
            continue
        assert not isinstance(done(given.order), ControlState)
