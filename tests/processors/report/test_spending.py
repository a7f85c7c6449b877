"""What a period cost by the ledger: each charge once, what was held for nothing, and what is held still."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qmosaic.codecs.events.ledger import LedgerEntry
from qmosaic.processors.control.books import Books
from qmosaic.processors.report.spending import spending
from tests.processors.report.fixtures import DAY, IONQ, NOON, entry, ledger

USD = 1_000_000


def test_each_charge_of_a_job_and_month_is_one() -> None:
    charges = spending(ledger()).charges
    assert [(one.reservation, one.micros, one.revises) for one in charges] == [
        ("r1", 300_000, None),
        ("r2", USD + 12, None),
        ("r5", 400_000, None),
        ("r1", -50_000, NOON + 3),
    ]


def test_what_was_held_and_what_is() -> None:
    spent = spending(ledger())
    assert (spent.jobs, spent.unused, spent.spent) == (4, 1, 300_000 + USD + 12 + 400_000 - 50_000)
    assert spent.reserved == 2 * USD + USD + USD + 400_000
    assert spent.idle == pytest.approx(1.7 * USD * 3 + USD * 3600)
    assert (spent.explored, spent.exploring) == (1, 250_000)
    assert [(one.reservation, one.state, one.micros) for one in spent.pending] == [("r4", "unknown", USD)]


def test_periods_that_follow_each_other_come_to_the_whole() -> None:
    whole = sum(one.micros for one in spending(ledger()).charges)
    for cut in (NOON + 2, NOON + 4, NOON + 6, NOON + 9, NOON + 10 * DAY, NOON + 50 * DAY):
        first, second = spending(ledger(), until=cut), spending(ledger(), since=cut)
        assert sum(one.micros for one in (*first.charges, *second.charges)) == whole, cut
        assert first.spent + second.spent == spending(ledger()).spent, cut


def test_what_comes_twice_changes_nothing() -> None:
    twice = [one for each in ledger() for one in (each, each)]
    assert spending(twice) == spending(ledger())


def test_of_a_tenant() -> None:
    assert spending(ledger(), tenant="acme").spent == spending(ledger()).spent - 400_000
    assert spending(ledger(), tenant="other").charges == ()


def test_nobody_pays_for_what_was_never_reserved() -> None:
    stray: list[LedgerEntry] = [entry("settled", "x", NOON, USD), entry("revised", "y", NOON, USD)]
    assert spending(stray).charges == ()


def test_a_job_that_nobody_knows_of_is_settled_by_its_revision() -> None:
    entries = [entry("reserved", "r", NOON, USD), entry("unknown", "r", NOON + 1), entry("revised", "r", NOON + 2, 7)]
    spent = spending(entries)
    assert [(one.micros, one.revises, one.backend) for one in spent.charges] == [(7, None, IONQ)]
    assert (spent.jobs, spent.pending) == (1, ())


EVENTS = ("reserved", "settled", "released", "unknown", "revised")


@given(
    st.lists(
        st.tuples(st.sampled_from(EVENTS), st.sampled_from("ab"), st.integers(0, 9), st.integers(0, 2)), max_size=12
    )
)
def test_charges_are_what_the_books_say(events: list[tuple[str, str, int, int]]) -> None:
    at, entries, books = NOON, [], Books().start
    for event, job, micros, days in events:
        at += days * DAY
        entries.append(entry(event, job, at, 9 if event == "reserved" else micros))  # control settles no more
        books = Books().step(books, entries[-1])
    spent = spending(entries)
    for name, one in books.reservations.items():
        booked = sum(charge.micros for charge in spent.charges if charge.reservation == name)
        assert booked == (one.amounts.micros if one.state in ("settled", "revised") else 0), name
    pending = {name for name, one in books.reservations.items() if one.is_pending}
    assert {one.reservation for one in spent.pending} == pending
