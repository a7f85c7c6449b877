"""What a period cost by the ledger: each charge, what was held for jobs and not used, and what finding out cost."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Literal, NamedTuple

from qmosaic.codecs.events.ledger import Amounts, LedgerEntry
from qmosaic.processors.control.books import window_of
from qmosaic.processors.report.period import is_of


class Charge(NamedTuple):
    """What a job took of a vendor, in micro-dollars, as it was booked in one month (UTC): when it was settled, with
    revisions of the same month in it; or a revision of later (`revises`: the time of what it corrects), which may be
    less than nothing. `since` and `at`: when it was granted and when this was booked, seconds since the epoch."""

    reservation: str
    problem_id: str
    tenant: str
    backend: str
    since: float
    at: float
    micros: int
    amounts: Amounts
    revises: float | None = None


class Pending(NamedTuple):
    """A reservation that is not resolved: `unknown` where nobody knows how its job ended. `since`: when it was granted,
    `deadline_at`: by when its job should have ended, seconds since the epoch."""

    reservation: str
    problem_id: str
    tenant: str
    backend: str
    state: Literal["reserved", "unknown"]
    micros: int
    since: float
    deadline_at: float


class Spending(NamedTuple):
    """Of a period. `jobs` were resolved in it, `unused` of them took nothing; micro-dollars that were `reserved` for
    them and that they `spent`; `idle`: what each did not use, times the seconds for which it was held. `explored` of
    them were to find out, and spent `exploring`. All `charges`; what was `pending` at its end, the oldest first."""

    charges: tuple[Charge, ...] = ()
    pending: tuple[Pending, ...] = ()
    jobs: int = 0
    unused: int = 0
    reserved: int = 0
    spent: int = 0
    idle: float = 0.0
    exploring: int = 0
    explored: int = 0


class _Job(NamedTuple):
    entry: LedgerEntry  # that reserved
    amounts: Amounts  # what is reserved or was spent
    state: Literal["reserved", "unknown", "resolved"] = "reserved"
    settled_at: float = 0.0


def spending(
    entries: Iterable[LedgerEntry], since: float = -inf, until: float = inf, tenant: str | None = None
) -> Spending:
    """Of all entries of the ledger, in their order, what was booked from `since` on and before `until`."""
    jobs, charges, found = dict[str, _Job](), dict[tuple[str, str], Charge](), Spending()
    for entry in entries:
        if entry.at >= until or entry.event in ("budget", "refused"):
            continue
        job = jobs.get(entry.reservation)
        if job is None:
            if entry.event == "reserved" and is_of(tenant, entry.tenant):
                jobs[entry.reservation] = _Job(entry, entry.amounts)
            continue
        if entry.event == "unknown" and job.state == "reserved":
            jobs[entry.reservation] = job._replace(state="unknown")
        elif entry.event == "revised" or (entry.event in ("settled", "released") and job.state != "resolved"):
            jobs[entry.reservation] = after = _after(job, entry)
            if entry.at >= since:
                found = _booked(found, job, after, entry)
                _charge(charges, job, after, entry)
    pending = [
        Pending(
            name,
            job.entry.problem_id,
            job.entry.tenant,
            job.entry.backend,
            job.state,
            job.amounts.micros or 0,
            job.entry.at,
            job.entry.deadline_at,
        )
        for name, job in jobs.items()
        if job.state != "resolved"
    ]
    kept = tuple(charge for charge in charges.values() if charge.micros)
    return found._replace(charges=kept, pending=tuple(sorted(pending, key=lambda one: one.since)))


def _after(job: _Job, entry: LedgerEntry) -> _Job:
    used = Amounts() if entry.event == "released" else entry.amounts.known(job.amounts)
    return _Job(job.entry, used, "resolved", job.settled_at or entry.at)


def _booked(found: Spending, before: _Job, after: _Job, entry: LedgerEntry) -> Spending:
    known, now = before.amounts.micros or 0, after.amounts.micros or 0
    explores = before.entry.explores is not None
    if before.state == "resolved":
        more = now - known
        return found._replace(spent=found.spent + more, exploring=found.exploring + (more if explores else 0))
    held = max(0, known - now) * max(0.0, entry.at - before.entry.at)
    return found._replace(
        jobs=found.jobs + 1,
        unused=found.unused + (entry.event == "released"),
        reserved=found.reserved + known,
        spent=found.spent + now,
        idle=found.idle + held,
        exploring=found.exploring + (now if explores else 0),
        explored=found.explored + explores,
    )


def _charge(charges: dict[tuple[str, str], Charge], before: _Job, after: _Job, entry: LedgerEntry) -> None:
    """One a job and month; what corrects an earlier one is told apart from it."""
    is_first = before.state != "resolved"
    known = 0 if is_first else before.amounts.micros or 0
    more, key = (after.amounts.micros or 0) - known, (entry.reservation, window_of("month", entry.at))
    one = charges.get(key)
    if one is not None:
        charges[key] = one._replace(micros=one.micros + more, amounts=after.amounts)
        return
    job = before.entry
    charges[key] = Charge(
        entry.reservation,
        job.problem_id,
        job.tenant,
        job.backend,
        job.at,
        max(entry.at, job.at),
        more,
        after.amounts,
        None if is_first else before.settled_at,
    )
