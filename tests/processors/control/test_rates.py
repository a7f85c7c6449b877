"""Rates: in no window are there more jobs than a vendor takes, and nobody waits longer than that needs."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmosaic.codecs.events.hops import Failure, JobEvent, Proposal, Route
from qmosaic.codecs.events.ledger import Amounts, LedgerEntry
from qmosaic.codecs.events.public import Expected
from qmosaic.processors.control.alive import Alive
from qmosaic.processors.control.books import Books, Ledger
from qmosaic.processors.control.facts import Facts
from qmosaic.processors.control.grants import asked
from qmosaic.processors.control.policy import Policy, Rule, decide
from qmosaic.processors.control.rates import Rate, after, next_at
from tests.processors.test_route import ALIVE, reduced

VENDOR = "ionq/qpu.forte-1"
rates = st.builds(Rate, st.integers(1, 6), st.floats(0.5, 100))
jobs = st.lists(st.tuples(st.floats(0, 20), st.integers(1, 6)), max_size=40)


def fits(sent: list[float], rate: Rate, at: float, sends: int) -> bool:
    """Whether so many more at a moment are within the rate, in every window that they are in; all others are before."""
    moments = [*sent, *[at] * sends]
    return all(last >= first + rate.seconds for first, last in zip(moments, moments[rate.sends :], strict=False))


@given(rates, jobs)
def test_in_no_window_are_there_too_many_and_nobody_waits_for_nothing(
    rate: Rate, todo: list[tuple[float, int]]
) -> None:
    now, sent, kept = 0.0, list[float](), tuple[float, ...]()
    for later, sends in todo:
        now += later
        moment = next_at(kept, rate, now, sends)
        assert (moment is None) == (sends > rate.sends)
        if moment is None:
            continue
        assert fits(sent, rate, moment, sends)
        soonest = max(now, sent[-1]) if sent else now  # in the order of the grants
        assert moment >= soonest
        if moment > soonest:  # not a moment later than it has to be
            assert not fits(sent, rate, (moment + soonest) / 2, sends)
        sent += [moment] * sends
        kept = after(kept, moment, sends, rate.sends)
        assert list(kept) == sent[-rate.sends :]


@given(st.lists(st.tuples(rates, jobs), max_size=4))
def test_who_changes_a_rate_lets_nobody_go_before_those_who_wait(
    them: list[tuple[Rate, list[tuple[float, int]]]],
) -> None:
    now, kept = 0.0, tuple[float, ...]()
    for rate, todo in them:
        for later, sends in todo:
            now += later
            moment = next_at(kept, rate, now, sends)
            if moment is not None:
                assert moment >= max((now, *kept[-1:]))
                kept = after(kept, moment, sends, rate.sends)


def job(number: int, at: float, deadline_at: float, sends: int = 1) -> JobEvent:
    given = reduced(4)
    ref = msgspec.structs.replace(
        given.ref, problem_id=f"p{number}", offset=number, received_at=at, deadline_at=deadline_at
    )
    return JobEvent(
        ref=ref,
        job_id="",
        attempt=1,
        route=Route(target="quantum", backend=VENDOR, reason="rule", rule=""),
        candidates=[Route(target="classical", backend="exact", reason="rule", rule="")] if number % 2 else [],
        quote=Amounts(10, None, None),
        sends=sends,
        kernel=given.kernel,
        kernel_digest="",
        work_seconds=0.1,
        gammas=[],
        betas=[],
    )


@given(rates, st.lists(st.tuples(st.floats(0, 20), st.integers(1, 7), st.floats(0.1, 300)), max_size=25), st.data())
def test_grants_are_within_the_rate_before_their_deadlines_and_the_same_for_whoever_reads(
    rate: Rate, todo: list[tuple[float, int, float]], data: st.DataObject
) -> None:
    """Another one leads, at any moment, who knows what the ledger says; and requests come again."""
    ledger, entries, now = Ledger(), list[LedgerEntry](), 1e6
    moments: list[float] = []
    for number, (later, sends, left) in enumerate(todo):
        now += later
        event = job(number, now, now + left, sends)
        booked = asked(ledger, event, "", now, 0.25, rate, VENDOR)
        again = asked(booked.ledger, event, "", now + 1, 0.25, rate, VENDOR)
        assert (again.entries, again.goes_on, again.ledger) == ((), None, booked.ledger)
        ledger = booked.ledger
        entries += booked.entries
        (entry,) = booked.entries
        if entry.event == "reserved":
            assert entry.slot is not None
            assert isinstance(booked.goes_on, JobEvent)
            assert booked.goes_on.not_before in (0.0, entry.slot.at)
            assert max(now, entry.slot.at) < event.ref.deadline_at
            moments += [entry.slot.at] * sends
        else:
            assert booked.goes_on is not None
            assert booked.goes_on.tried[-1].ended in ("rate_limited", "deadline")
        if data.draw(st.booleans()):  # another one leads
            books, ledger = Books(), Books.start
            for one in entries:
                ledger = books.step(books.step(ledger, one), one)
        assert list(ledger.sent.get(VENDOR, ())) == moments[-rate.sends :]
    assert all(last >= first + rate.seconds for first, last in zip(moments, moments[rate.sends :], strict=False))


def test_what_has_no_turn_before_its_deadline_goes_to_the_next_candidate() -> None:
    rate, ledger = Rate(2, 60.0), Ledger()
    said = []
    for number in range(1, 6):
        booked = asked(ledger, job(number, 0.0, 70.0), "", 0.0, 0.25, rate, VENDOR)
        ledger = booked.ledger
        said.append(booked.goes_on)
    first, second, third, fourth, fifth = said
    assert [isinstance(one, JobEvent) and one.not_before for one in (first, second, third, fourth)] == [0, 0, 60, 60]
    assert isinstance(fifth, JobEvent)
    assert (fifth.route.backend, fifth.tried[0].ended, fifth.sends, fifth.not_before) == (
        "exact",
        "rate_limited",
        1,
        0.0,
    )
    words = f"{VENDOR} takes 2 jobs in 60 s: the next may go in 120.0 s, and 70.0 s are left"
    assert fifth.tried[0].message == words
    many = asked(Ledger(), job(2, 0.0, 70.0, sends=3), "", 0.0, 0.25, rate, VENDOR).goes_on
    assert isinstance(many, Proposal)
    assert many.failure == Failure(
        "control", "rate_limited", f"{VENDOR} takes 2 jobs in 60 s, and this one is 3 at once"
    )


def test_what_would_begin_in_time_and_end_too_late_does_not_wait() -> None:
    rate = Rate(1, 60.0)
    ledger = asked(Ledger(), job(0, 0.0, 500.0), "", 0.0, 0.25, rate, VENDOR).ledger
    slow = job(1, 0.0, 70.0)
    route = msgspec.structs.replace(slow.route, expected=Expected(seconds=20.0))
    slow = msgspec.structs.replace(slow, route=route)
    found = asked(ledger, slow, "", 0.0, 0.25, rate, VENDOR)
    assert [entry.event for entry in found.entries] == ["refused"]
    found = asked(ledger, job(1, 0.0, 70.0), "", 0.0, 0.25, rate, VENDOR)
    assert [entry.event for entry in found.entries] == ["reserved"]


@pytest.mark.parametrize(("left", "reason"), [(59.0, "rate_limited"), (61.0, "taken")])
def test_route_knows_of_it(left: float, reason: str) -> None:
    policy = Policy((Rule("devices", "quantum", backend=VENDOR, then=("exact",)),), paid=(VENDOR,), attempts=2)
    alive: Alive = {**ALIVE, "quantum": {VENDOR: {"spins": 30}}}
    kernel = reduced(8)
    facts = Facts(kernel.ref.deadline_at - left, alive, not_before={VENDOR: kernel.ref.deadline_at - left + 60.0})
    found = decide(kernel, facts, policy)
    assert {one.backend: one.reason for one in found.considered}[VENDOR] == reason
    assert [one.backend for one in found.candidates] == ([VENDOR, "exact"] if reason == "taken" else ["exact"])
