"""The ledger: conservation for every interleaving, replay and restart; windows, scopes, revisions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qmosaic.codecs.events.hops import JobEvent, Proposal, Ref, Route
from qmosaic.codecs.events.ledger import (
    UNITS,
    AccountId,
    Amounts,
    Budget,
    JobEnded,
    LedgerEntry,
    Window,
    dollars,
    micros_of,
)
from qmosaic.codecs.models.kernel import pack_kernel
from qmosaic.codecs.models.polynomial import SpinPolynomial
from qmosaic.processors.control import books
from qmosaic.processors.control.books import Books, Ledger, scopes, unbalanced, window_of
from qmosaic.processors.control.grants import Booked, asked, ended, reservation_of

NOON = 1_800_000_000.0
BOOKS = Books()
NOBODY_KNOWS = Amounts(None, None, None)
USUAL = Amounts(100, 10, 1000)
BACKENDS = ("ionq/simulator", "aqt/default/simulator")
TENANTS = ("acme", "acme/chem", "acme/chem/ada", "other")


def job(
    number: int,
    tenant: str = "acme",
    backend: str = BACKENDS[0],
    quote: Amounts | None = USUAL,
    max_cost: int | None = None,
    attempt: int = 1,
    seconds: float = 60.0,
    candidates: tuple[str, ...] = (),
    explores: float | None = None,
) -> JobEvent:
    ref = Ref(
        problem_id=f"p{number}",
        partition=0,
        offset=number,
        family="maxcut",
        digest="",
        tenant=tenant,
        priority="normal",
        target="quantum",
        shots=1000,
        seed=1,
        received_at=NOON,
        deadline_at=NOON + seconds,
        max_cost=max_cost,
    )
    return JobEvent(
        ref=ref,
        job_id=f"0-{number}-{attempt}",
        attempt=attempt,
        route=Route(target="quantum", backend=backend, reason="rule", rule="", explores=explores),
        candidates=[Route(target="classical", backend=name, reason="rule", rule="") for name in candidates],
        quote=quote,
        kernel=pack_kernel(SpinPolynomial.of(2, h=[-1, 1])),
        kernel_digest="d",
        work_seconds=0.0,
        gammas=[],
        betas=[],
    )


def budget(scope: str, window: Window = "total", **caps: Any) -> LedgerEntry:
    return LedgerEntry(event="budget", at=NOON, budget=Budget(scope=scope, window=window, **caps))


def ledger_with(*entries: LedgerEntry) -> Ledger:
    state = BOOKS.start
    for entry in entries:
        state = BOOKS.step(state, entry)
    return state


def ask(state: Ledger, event: JobEvent, at: float = NOON) -> Booked:
    return asked(state, event, "", at, 0.25)


def end(event: JobEvent, how: Any = "settled", amounts: Amounts = NOBODY_KNOWS) -> JobEnded:
    return JobEnded(
        reservation=reservation_of("", event), problem_id=event.ref.problem_id, ended=how, amounts=amounts, at=NOON
    )


def account(state: Ledger, budget: str, unit: Any = "micros", window: str = "") -> tuple[int, ...]:
    return tuple(state.account(AccountId(budget, window, unit)))


def test_a_grant_reserves_in_every_account_or_in_none() -> None:
    state = ledger_with(budget("tenant:acme", micros=250), budget("backend:ionq/simulator", micros=150, shots=5000))
    booked = ask(state, job(1))
    assert isinstance(booked.goes_on, JobEvent)
    assert booked.goes_on.reservation == reservation_of("", job(1))
    state = booked.ledger
    assert account(state, "tenant:acme total") == (250, 150, 100, 0)
    assert account(state, "backend:ionq/simulator total") == (150, 50, 100, 0)
    assert account(state, "backend:ionq/simulator total", "shots") == (5000, 4000, 1000, 0)
    refused = ask(state, job(2))
    assert refused.ledger.accounts == state.accounts
    assert [entry.event for entry in refused.entries] == ["refused"]
    assert isinstance(refused.goes_on, Proposal)
    assert refused.goes_on.failure is not None
    assert refused.goes_on.failure.reason == "over_budget"
    said = "backend:ionq/simulator total has $0.00005 of $0.00015 left, and a job on ionq/simulator takes $0.0001"
    assert refused.goes_on.failure.message == said


def test_who_is_refused_goes_to_the_next_candidate_without_quote_or_reservation() -> None:
    booked = ask(ledger_with(budget("all", micros=0)), job(1, candidates=("exact",)))
    assert isinstance(booked.goes_on, JobEvent)
    assert (booked.goes_on.route.backend, booked.goes_on.quote, booked.goes_on.reservation) == ("exact", None, "")
    (first,) = booked.goes_on.tried
    assert (first.backend, first.ended) == ("ionq/simulator", "over_budget")


@pytest.mark.parametrize(
    ("caps", "quote"),
    [({"micros": 10**9}, Amounts(None, 1, 1)), ({"device_ms": 10**9}, Amounts(1, None, 1)), ({"shots": 9}, None)],
)
def test_what_nobody_knows_is_refused_where_it_is_counted(caps: dict[str, Any], quote: Amounts | None) -> None:
    booked = ask(ledger_with(budget("all", **caps)), job(1, quote=quote))
    assert isinstance(booked.goes_on, Proposal)
    assert booked.goes_on.failure is not None
    assert "nobody knows" in booked.goes_on.failure.message
    free = {"micros": "device_ms", "device_ms": "shots", "shots": "micros"}
    other: dict[str, Any] = {free[next(iter(caps))]: 10**9}
    assert isinstance(ask(ledger_with(budget("all", **other)), job(1, quote=Amounts(1, 1, 1))).goes_on, JobEvent)


def test_a_deadline_that_is_over_is_no_grant() -> None:
    booked = ask(ledger_with(), job(1, seconds=10.0), NOON + 9.8)
    assert isinstance(booked.goes_on, Proposal)
    assert booked.goes_on.failure is not None
    assert booked.goes_on.failure.reason == "deadline"


def test_a_problems_own_limit_counts_all_of_its_attempts() -> None:
    state = ask(ledger_with(), job(1, max_cost=150)).ledger
    state = ended(state, end(job(1), amounts=Amounts(90, None, None)), NOON).ledger
    assert account(state, "problem:0-1") == (150, 60, 0, 90)
    second = ask(state, job(1, attempt=2, max_cost=150))
    assert isinstance(second.goes_on, Proposal)
    assert second.goes_on.failure is not None
    assert "the problem has $0.00006 of $0.00015 left" in second.goes_on.failure.message


def test_ends() -> None:
    state = ledger_with(budget("all", micros=1000))
    for number in range(4):
        state = ask(state, job(number)).ledger
    for number, how, real in ((0, "settled", 40), (1, "released", 0), (2, "unknown", 0), (3, "settled", 130)):
        booked = ended(state, end(job(number), how, Amounts(real or None, None, None)), NOON)
        state = booked.ledger
    assert [entry.event for entry in booked.entries] == ["settled", "revised"]
    assert [entry.event for entry in booked.audits] == ["overrun"]
    assert account(state, "all total") == (1000, 1000 - 40 - 100 - 130, 100, 170)
    assert list(state.pending) == [reservation_of("", job(2))]
    revised = LedgerEntry(event="revised", at=NOON, reservation=reservation_of("", job(2)), amounts=Amounts(7, 0, 0))
    state = BOOKS.step(state, revised)
    assert account(state, "all total") == (1000, 1000 - 40 - 7 - 130, 0, 177)
    state = BOOKS.step(state, msgspec.structs.replace(revised, amounts=Amounts(0, 0, 0)))
    assert account(state, "all total") == (1000, 830, 0, 170)
    assert not unbalanced(state)


def test_nothing_known_of_a_job_that_ran_books_all_that_was_reserved() -> None:
    state = ask(ledger_with(budget("all", micros=1000, shots=9999)), job(1)).ledger
    state = ended(state, end(job(1)), NOON).ledger
    assert account(state, "all total") == (1000, 900, 0, 100)
    assert account(state, "all total", "shots") == (9999, 8999, 0, 1000)


def test_windows_roll_and_a_job_is_booked_where_it_was_reserved() -> None:
    state = ledger_with(budget("all", "hour", micros=150))
    state = ask(state, job(1, seconds=9000)).ledger
    assert isinstance(ask(state, job(2, seconds=9000), NOON + 60).goes_on, Proposal)
    later = ask(state, job(3, seconds=9000), NOON + 3600)
    assert isinstance(later.goes_on, JobEvent)
    first, second = window_of("hour", NOON), window_of("hour", NOON + 3600)
    state = ended(later.ledger, end(job(1)), NOON + 3700).ledger
    assert account(state, "all hour", window=first) == (150, 50, 0, 100)
    assert account(state, "all hour", window=second) == (150, 50, 100, 0)
    # a record that is older than the last one opens no window again
    assert isinstance(ask(state, job(4, seconds=9000), NOON).goes_on, Proposal)


def test_windows_are_utc() -> None:
    assert [window_of(w, NOON) for w in ("hour", "day", "month", "total")] == [
        "2027-01-15T08",
        "2027-01-15",
        "2027-01",
        "",
    ]


def test_scopes_are_the_path_of_the_tenant() -> None:
    assert scopes("acme/chem/ada", "b") == [
        "all",
        "tenant:acme",
        "tenant:acme/chem",
        "tenant:acme/chem/ada",
        "backend:b",
    ]


def test_soft_limits_are_told_once() -> None:
    state, said = ledger_with(budget("all", micros=1000)), []
    for number in range(10):
        booked = ask(state, job(number))
        state = booked.ledger
        said += [(number, audit.event, audit.reason) for audit in booked.audits]
    assert said == [(7, "soft_limit", "all total")]


def test_a_budget_that_is_taken_away_counts_no_more_and_begins_anew() -> None:
    state = ask(ledger_with(budget("all", micros=1000), budget("tenant:acme", micros=500)), job(1)).ledger
    state = BOOKS.step(state, budget("all"))
    assert "all total" not in state.budgets
    state = BOOKS.step(state, budget("all", micros=300))
    assert account(state, "all total") == (300, 300, 0, 0)
    state = ended(state, end(job(1)), NOON).ledger
    assert account(state, "all total") == (300, 300, 0, 0)
    assert account(state, "tenant:acme total") == (500, 400, 0, 100)


def test_what_finds_out_has_a_share_of_every_budget_to_the_cent() -> None:
    state = ledger_with(budget("tenant:acme", micros=10_000), budget("backend:ionq/simulator", micros=4_199))
    granted = []
    for number in range(6):
        booked = ask(state, job(number, explores=0.05, candidates=("exact",)))
        assert isinstance(booked.goes_on, JobEvent)
        state = booked.ledger
        granted.append(bool(booked.goes_on.reservation))
        refused = booked.goes_on
    assert granted == [True, True, *[False] * 4]  # 209 of the backend's, 500 of the tenant's
    said = "what finds out what pays, of backend:ionq/simulator total, has $0.000009 of $0.000209 left"
    assert refused.tried[0].message.startswith(said)
    assert account(state, "exploring:backend:ionq/simulator total") == (209, 9, 200, 0)
    assert account(state, "exploring:tenant:acme total") == (500, 300, 200, 0)
    assert account(state, "tenant:acme total") == (10_000, 9_800, 200, 0)
    state = ended(state, end(job(0), amounts=Amounts(40, None, None)), NOON).ledger
    assert account(state, "exploring:tenant:acme total") == (500, 360, 100, 40)
    pays = ask(state, job(7))  # what pays has nothing to do with it
    assert isinstance(pays.goes_on, JobEvent)
    assert account(pays.ledger, "exploring:tenant:acme total") == (500, 360, 100, 40)
    assert not unbalanced(pays.ledger)


def test_an_allowance_follows_its_budget_and_its_share() -> None:
    state = ask(ledger_with(budget("all", micros=2_000)), job(1, explores=0.05)).ledger
    assert account(state, "exploring:all total") == (100, 0, 100, 0)
    state = BOOKS.step(state, budget("all", micros=4_000))
    state = ask(state, job(2, explores=0.05)).ledger
    assert account(state, "exploring:all total") == (200, 0, 200, 0)
    less = ask(state, job(3, explores=0.0))
    assert isinstance(less.goes_on, Proposal)
    assert account(less.ledger, "exploring:all total") == (200, 0, 200, 0)  # nothing was granted, nothing is changed
    state = BOOKS.step(state, budget("all"))
    assert not state.accounts
    far = NOON + books.KEPT_SECONDS + 9_000
    state = ask(ledger_with(budget("all", micros=2_000)), job(1, explores=0.05)).ledger
    state = ended(state, end(job(1)), NOON).ledger
    state = BOOKS.step(state, LedgerEntry(event="budget", at=far, budget=Budget("tenant:x", "total", 1)))
    assert account(state, "exploring:all total") == (100, 0, 0, 100)  # it is of this window


def test_what_is_resolved_is_forgotten_after_its_time_and_accounts_of_old_windows_with_it() -> None:
    state = ledger_with(budget("all", "hour", micros=1000))
    for number in range(3):
        state = ask(state, job(number)).ledger
    state = ended(ended(state, end(job(0)), NOON).ledger, end(job(1), "released"), NOON).ledger
    far = NOON + books.KEPT_SECONDS + 4000
    state = BOOKS.step(state, LedgerEntry(event="budget", at=far, budget=Budget("all", "hour", 1000)))
    assert list(state.reservations) == [reservation_of("", job(2))]  # nobody knows how it ended
    assert {which.window for which in state.accounts} == {window_of("hour", NOON), window_of("hour", far)}
    assert not unbalanced(state)


# -- every interleaving ------------------------------------------------------------------------------------------------

Step = tuple[Any, ...]


@st.composite
def steps(draw: Any) -> list[Step]:
    amount = st.one_of(st.none(), st.integers(0, 200))
    one = st.one_of(
        st.tuples(
            st.just("ask"),
            st.integers(0, 12),
            st.sampled_from(TENANTS),
            st.sampled_from(BACKENDS),
            st.builds(Amounts, amount, amount, amount),
            st.one_of(st.none(), st.integers(0, 300)),
            st.sampled_from([None, None, 0.0, 0.05, 0.3, 1.0]),
        ),
        st.tuples(
            st.just("end"),
            st.integers(0, 12),
            st.sampled_from(["settled", "released", "unknown"]),
            st.builds(Amounts, amount, amount, amount),
        ),
        st.tuples(st.just("revise"), st.integers(0, 12), st.builds(Amounts, amount, amount, amount)),
        st.tuples(
            st.just("budget"),
            st.sampled_from(
                ["all", *(f"tenant:{tenant}" for tenant in TENANTS), *(f"backend:{name}" for name in BACKENDS)]
            ),
            st.sampled_from(["hour", "total"]),
            st.builds(dict, micros=amount, shots=amount),
        ),
        st.tuples(st.just("clock"), st.floats(0, 5000)),
        st.tuples(st.just("again"), st.integers(0, 40)),
    )
    found: list[Step] = draw(st.lists(one, max_size=60))
    return found


def entries_of(todo: list[Step]) -> Iterator[tuple[LedgerEntry, Ledger]]:
    """What control writes for a run of events, each once more where it is said, and the state after each."""
    state, at = BOOKS.start, NOON
    jobs: dict[int, JobEvent] = {}
    done: list[Step] = []
    for step in todo:
        if step[0] == "again":
            if not done:
                continue
            step = done[step[1] % len(done)]
        done.append(step)
        new: tuple[LedgerEntry, ...] = ()
        if step[0] == "ask":
            _, number, tenant, backend, quote, max_cost, explores = step
            given = job(number, tenant, backend, quote, max_cost, seconds=30_000.0, explores=explores)
            event = jobs.setdefault(number, given)
            booked = asked(state, event, "", at, 0.25)
            if isinstance(booked.goes_on, JobEvent):
                for which in booked.entries[0].accounts:
                    assert booked.ledger.accounts[which].free >= 0  # nothing is granted beyond a cap
            state, new = booked.ledger, booked.entries
        elif step[0] == "end" and step[1] in jobs:
            booked = ended(state, end(jobs[step[1]], step[2], step[3]), at)
            state, new = booked.ledger, booked.entries
        elif step[0] == "revise" and step[1] in jobs:
            new = (LedgerEntry(event="revised", at=at, reservation=reservation_of("", jobs[step[1]]), amounts=step[2]),)
            state = BOOKS.step(state, new[0])
        elif step[0] == "budget":
            new = (LedgerEntry(event="budget", at=at, budget=Budget(step[1], step[2], **step[3])),)
            state = BOOKS.step(state, new[0])
        elif step[0] == "clock":
            at += step[1]
        for entry in new:
            yield entry, state


@settings(max_examples=300, deadline=None)
@given(steps())
def test_conservation_at_every_entry_and_the_same_state_from_the_log(todo: list[Step]) -> None:
    state, last = BOOKS.start, BOOKS.start
    log: list[LedgerEntry] = []
    for entry, now in entries_of(todo):
        last = now
        log.append(entry)
        state = BOOKS.step(state, entry)
        assert unbalanced(state) == []
    assert state.accounts == last.accounts
    assert state.reservations == last.reservations
    twice = ledger_with(*(one for entry in log for one in (entry, entry)))
    assert unbalanced(twice) == []
    assert twice.reservations == state.reservations


@given(st.floats(0, 1e6, allow_nan=False))
def test_dollars_become_micro_dollars_never_fewer(usd: float) -> None:
    assert 0 <= micros_of(usd) - usd * 1e6 < 1.001 or abs(micros_of(usd) - usd * 1e6) < 1e-3


@pytest.mark.parametrize("usd", [-1.0, float("nan"), float("inf"), 1e12])
def test_what_is_no_amount(usd: float) -> None:
    with pytest.raises(ValueError, match="US dollars"):
        micros_of(usd)


@pytest.mark.parametrize(
    ("micros", "text"),
    [(0, "$0.00"), (300_000, "$0.30"), (1, "$0.000001"), (1_234_567_890, "$1,234.56789"), (-5, "-$0.000005")],
)
def test_dollars_for_people(micros: int, text: str) -> None:
    assert dollars(micros) == text


def test_units_are_fields() -> None:
    assert set(UNITS) == {field.name for field in msgspec.structs.fields(Amounts)}
