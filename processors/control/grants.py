"""Grants: a job that is paid for is let through where every account has what it takes, and is booked when it ends.

Pure: from the ledger, and an event, to the entries that follow and what goes on. Whoever calls these writes all of it
in one transaction with the offset of the event, so that it counts once.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Literal, NamedTuple

from msgspec.structs import replace

from qmosaic.codecs.events.control import AuditEntry
from qmosaic.codecs.events.hops import Failure, JobEvent, Proposal, Ref, Route
from qmosaic.codecs.events.ledger import UNITS, AccountId, Amounts, JobEnded, LedgerEntry, Slot
from qmosaic.processors.control.books import (
    EXPLORING,
    MILLION,
    PROBLEM,
    Books,
    Ledger,
    Short,
    accounts_for,
    allowances,
    amount_text,
    beyond_soft,
    shortage,
    with_allowances,
    within,
)
from qmosaic.processors.control.rates import Rate, next_at
from qmosaic.processors.execute import advance

BOOKS = Books()
Refusal = Literal["deadline", "over_budget", "rate_limited"]


class Booked(NamedTuple):
    """The ledger after an event, the entries that were made, what goes on to others, and what the audit says."""

    ledger: Ledger
    entries: tuple[LedgerEntry, ...] = ()
    goes_on: JobEvent | Proposal | None = None
    audits: tuple[AuditEntry, ...] = ()


def reservation_of(namespace: str, event: JobEvent) -> str:
    """The name of a job's reservation: of the problem where it arrived, the attempt and the round. Equal whenever it is
    made."""
    ref, of_round = event.ref, (event.ref.round,) if event.ref.round > 1 else ()
    of = (namespace, ref.problem_id, ref.digest, ref.partition, ref.offset, ref.received_at, event.attempt, *of_round)
    return f"qm-{sha256(repr(of).encode()).hexdigest()[:40]}"


def asked(
    ledger: Ledger, event: JobEvent, namespace: str, at: float, margin: float, rate: Rate | None = None, of: str = ""
) -> Booked:
    """A job asks for what it was quoted. `at`: seconds since the epoch, by the broker's clock; a job whose deadline is
    less than `margin` seconds away is not started any more. `rate`: that `of` its backend without wrappers; what it
    leaves no room for before the deadline is not granted, the others get the first moment that is free."""
    name, ref = reservation_of(namespace, event), event.ref
    if name in ledger.reservations:
        return Booked(ledger)  # it was asked before, and has its answer
    at = max(at, ledger.at)
    if ref.deadline_at <= at + margin:
        return _refused(ledger, event, name, at, "deadline", "it cannot be done by its deadline any more")
    amounts = event.quote or Amounts(None, None, None)
    accounts, explores, short = needed(ledger, ref, event.route, amounts, at)
    if short is not None:
        return _refused(ledger, event, name, at, "over_budget", why_short(short, event.route.backend))
    moment = at
    if rate is not None:
        found = next_at(ledger.sent.get(of, ()), rate, at, event.sends)
        expected = event.route.expected
        takes = expected.seconds if expected is not None and expected.seconds is not None else 0.0
        if found is None or (found > at and found + takes + margin >= ref.deadline_at):
            return _refused(ledger, event, name, at, "rate_limited", _too_often(event, rate, of, found, at))
        moment = found
    entry = LedgerEntry(
        event="reserved",
        at=at,
        reservation=name,
        amounts=amounts.known(Amounts()),
        accounts=accounts,
        max_cost=ref.max_cost,
        explores=explores,
        slot=None if rate is None else Slot(of, moment, event.sends, rate.sends),
        problem_id=ref.problem_id,
        tenant=ref.tenant,
        backend=event.route.backend,
        deadline_at=ref.deadline_at,
    )
    after = BOOKS.step(ledger, entry)
    crossed = beyond_soft(after, accounts) - beyond_soft(ledger, accounts)
    audits = []
    for which in sorted(crossed):
        account, unit = after.accounts[which], which.unit
        used = amount_text(unit, account.reserved + account.spent)
        said = f"{used} of {amount_text(unit, account.cap)} are reserved or spent"
        audits.append(_audit("soft_limit", event, at, which.budget, {"window": which.window, "said": said}))
    granted = replace(event, reservation=name, not_before=moment if moment > at else 0.0)
    return Booked(after, (entry,), granted, tuple(audits))


def _too_often(event: JobEvent, rate: Rate, of: str, found: float | None, at: float) -> str:
    """For people: why its turn does not come."""
    takes = f"{of} takes {rate.sends} jobs in {rate.seconds:g} s"
    if found is None:
        return f"{takes}, and this one is {event.sends} at once"
    return f"{takes}: the next may go in {found - at:.1f} s, and {event.ref.deadline_at - at:.1f} s are left"


def needed(
    ledger: Ledger, ref: Ref, route: Route, amounts: Amounts, at: float
) -> tuple[list[AccountId], int | None, Short | None]:
    """All accounts that a job needs something of; what share of their budgets it may explore with, in millionths; and
    the first account that has too little, if any has."""
    accounts = accounts_for(ledger, ref.tenant, route.backend, at, f"{ref.partition}-{ref.offset}", ref.max_cost)
    explores = None if route.explores is None else int(min(max(route.explores, 0.0), 1.0) * MILLION)
    if explores is not None:
        accounts += allowances(which for which in accounts if not which.budget.startswith(PROBLEM))
    return accounts, explores, shortage(with_allowances(ledger, accounts, explores), accounts, amounts, ref.max_cost)


def why_short(short: Short, backend: str) -> str:
    """For people: which account has how much left, and what the job takes."""
    unit, of = short.account.unit, short.account.budget
    if short.wanted is None:
        what = {"micros": "costs", "device_ms": "takes of the device", "shots": "takes of shots"}[unit]
        return f"{of} counts what a job on {backend} {what}, and nobody knows that"
    whose = "the problem" if of.startswith(PROBLEM) else of
    if of.startswith(EXPLORING):
        whose = f"what finds out what pays, of {of.removeprefix(EXPLORING)},"
    left = f"{amount_text(unit, short.free)} of {amount_text(unit, short.cap)}"
    return f"{whose} has {left} left, and a job on {backend} takes {amount_text(unit, short.wanted)}"


def _refused(ledger: Ledger, event: JobEvent, name: str, at: float, reason: Refusal, why: str) -> Booked:
    """The next candidate has it, at the latest the incumbent."""
    ref = event.ref
    entry = LedgerEntry(
        event="refused",
        at=at,
        reservation=name,
        problem_id=ref.problem_id,
        tenant=ref.tenant,
        backend=event.route.backend,
        deadline_at=ref.deadline_at,
        why=why,
    )
    goes_on = advance(event, Failure("control", reason, why))
    audit = _audit("refused", event, at, reason, {"said": why})
    return Booked(BOOKS.step(ledger, entry), (entry,), goes_on, (audit,))


def _audit(
    kind: Literal["refused", "soft_limit"], event: JobEvent, at: float, reason: str, detail: dict[str, object]
) -> AuditEntry:
    ref = event.ref
    return AuditEntry(
        event=kind,
        problem_id=ref.problem_id,
        tenant=ref.tenant,
        partition=ref.partition,
        offset=ref.offset,
        at=at,
        status=event.route.backend,
        reason=reason,
        detail=detail,
    )


def ended(ledger: Ledger, event: JobEnded, at: float) -> Booked:
    """A job has ended. What it took more than was reserved is a revision, and is told."""
    known = ledger.reservations.get(event.reservation)
    if known is None or not known.is_pending or event.ended == known.state:
        return Booked(ledger)
    at = max(at, ledger.at)
    real = event.amounts.known(known.amounts)
    booked = within(known, real)
    entry = LedgerEntry(
        event=event.ended,
        at=at,
        reservation=event.reservation,
        amounts=booked if event.ended == "settled" else Amounts(),
        problem_id=known.problem_id,
        tenant=known.tenant,
        backend=known.backend,
        why=event.vendor_ids,
    )
    ledger = BOOKS.step(ledger, entry)
    if event.ended != "settled" or real == entry.amounts:
        return Booked(ledger, (entry,))
    more = replace(entry, event="revised", amounts=real, why="it took more than was reserved")
    over = ", ".join(
        amount_text(unit, more_of) for unit in UNITS if (more_of := (real.of(unit) or 0) - (booked.of(unit) or 0)) > 0
    )
    audit = AuditEntry(
        event="overrun",
        problem_id=known.problem_id,
        tenant=known.tenant,
        partition=0,
        offset=0,
        at=at,
        status=known.backend,
        reason="revised",
        detail={"reservation": event.reservation, "said": f"{over} more than was reserved"},
    )
    return Booked(BOOKS.step(ledger, more), (entry, more), None, (audit,))
