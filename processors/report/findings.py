"""What a report says of a period and its spending: by what is asked for, and with intervals."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from math import exp, isfinite, sqrt
from typing import Final, Literal

import msgspec

from qmosaic.codecs.events.evidence import Sums
from qmosaic.processors.control.evidence import PRIOR_DEVIATION, Estimated, believed, mean_of
from qmosaic.processors.report.period import Key, Period, Ran, both, closed
from qmosaic.processors.report.spending import Spending

REPORT_SCHEMA: Final = "qmosaic.report/1"
By = Literal["tenant", "family", "kind", "size", "target", "backend"]
BY: tuple[By, ...] = ("tenant", "family", "kind", "size", "target", "backend")
DEFAULT_BY: tuple[By, ...] = ("family", "backend")
Verdict = Literal["paid", "did_not_pay", "unclear", "not_compared"]
MOST_PENDING = 20
"""Reservations that are told one by one, those held for the longest."""


class Interval(msgspec.Struct, frozen=True):
    """A mean, and what holds it nine times in ten."""

    mean: float
    low: float
    high: float


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What runs came to that have `by` in common. `answered`: of them; `better`: answers that gained over the baseline;
    `explored`: runs to find out. They are of so many `problems`, which weigh the same, however many rounds each had;
    `compared`: problems whose gain is known.

    `gain`: over the baseline, relative: 0.01 is a percent. `worth`: of a run, in dollars, by the policy's weights;
    `over_classical`: by how much more than that of classical backends which ran what else is the same in `by`; None:
    there were none, or it is one.
    `micros`: micro-dollars of all runs, as outcomes tell them. `seconds`: the mean of a run.
    """

    by: dict[str, str]
    runs: int
    answered: int
    better: int
    explored: int
    problems: int
    compared: int
    gain: Interval | None
    worth: Interval | None
    over_classical: Interval | None
    verdict: Verdict
    micros: int
    seconds: float | None


class Ending(msgspec.Struct, frozen=True):
    """So many problems ended like this."""

    by: dict[str, str]
    status: str
    reason: str
    count: int


class Refused(msgspec.Struct, frozen=True):
    """So many jobs on a backend got no grant."""

    backend: str
    reason: str
    count: int


class Calibrated(msgspec.Struct, frozen=True, kw_only=True):
    """How good what was expected of a backend was, over `runs` of it, of so many `problems`: the factors that its
    seconds and dollars were of what was expected (a geometric mean), and by how much its gains and the fidelities of
    its circuits were better. None: nothing was expected, or measured."""

    backend: str
    runs: int
    problems: int
    seconds: Interval | None
    cost: Interval | None
    gain: Interval | None
    fidelity: Interval | None


class Booked(msgspec.Struct, frozen=True):
    """What the ledger says of a backend: jobs that were charged for, and micro-dollars."""

    backend: str
    jobs: int
    micros: int


class Held(msgspec.Struct, frozen=True):
    """A reservation that is not resolved. `seconds`: for how long it is held; `late`: since its deadline, 0 before."""

    reservation: str
    problem_id: str
    tenant: str
    backend: str
    state: str
    micros: int
    seconds: float
    late: float


class Reservations(msgspec.Struct, frozen=True, kw_only=True):
    """Money that was held for jobs, in micro-dollars. Of `jobs` that were resolved: what was `reserved` for them, and
    what they `spent`; `unused` of them took nothing. `idle_dollar_hours`: what was not spent, times how long it was
    held. `pending`: how many are not resolved, `pending_micros` what they hold, `held` the oldest of them."""

    jobs: int
    unused: int
    reserved: int
    spent: int
    idle_dollar_hours: float
    pending: int
    pending_micros: int
    held: list[Held]


class Exploration(msgspec.Struct, frozen=True, kw_only=True):
    """What finding out took: runs; jobs of them that were paid for, and their micro-dollars."""

    runs: int
    jobs: int
    micros: int


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. `since`, `until`: what was asked for, or the first and the last that there is; None: there is nothing.
    `at`: when this was found out; seconds since the epoch."""

    schema: Literal["qmosaic.report/1"] = REPORT_SCHEMA
    at: float
    since: float | None
    until: float | None
    tenant: str | None
    by: list[str]
    problems: int
    late: int
    duplicates: int
    ends: list[Ending]
    rows: list[Row]
    refused: list[Refused]
    booked: list[Booked]
    exploration: Exploration
    reservations: Reservations
    calibration: list[Calibrated]


def findings(
    period: Period,
    spent: Spending,
    at: float,
    by: Sequence[By] = DEFAULT_BY,
    since: float | None = None,
    until: float | None = None,
    tenant: str | None = None,
) -> Findings:
    """What is to be said at a moment, of a period that was folded from `since` until `until`."""
    ended, period = _ends(period, by), closed(period)
    return Findings(
        at=at,
        since=since if since is not None else period.since if isfinite(period.since) else None,
        until=until if until is not None else period.until if isfinite(period.until) else None,
        tenant=tenant,
        by=list(by),
        problems=sum(one.count for one in ended),
        late=period.late,
        duplicates=period.duplicates,
        ends=ended,
        rows=_rows(period, by),
        refused=[
            Refused(*key, count) for key, count in sorted(period.refused.items(), key=lambda one: (-one[1], one[0]))
        ],
        booked=_booked(spent),
        exploration=Exploration(
            runs=sum(ran.explored for ran in period.ran.values()), jobs=spent.explored, micros=spent.exploring
        ),
        reservations=_reservations(spent, at if until is None else min(at, until)),
        calibration=[_calibrated(key[0], ran) for key, ran in _grouped(period, ("backend",)) if _is_calibrated(ran)],
    )


def size_text(size: int) -> str:
    """A size class in words: `1`, `2`, `3-4`, `5-8`, …; nothing for none."""
    if size <= 0:
        return "0-1" if size == 0 else ""
    first, last = 2 ** (size - 1) + 1, 2**size
    return f"{first}-{last}" if first < last else str(last)


def _grouped(
    period: Period, by: Sequence[By], of: Callable[[Key], bool] = lambda _: True
) -> list[tuple[tuple[str, ...], Ran]]:
    found: dict[tuple[int | str, ...], Ran] = {}
    for key, ran in period.ran.items():
        if of(key):
            group = tuple(getattr(key, name) for name in by)
            found[group] = both(found.get(group, Ran()), ran)
    return [(tuple(_said(part) for part in group), found[group]) for group in sorted(found)]


def _rows(period: Period, by: Sequence[By]) -> list[Row]:
    """Where backends or targets are told apart, those that are not classical against those that are."""
    rest = [name for name in by if name not in ("backend", "target")]
    solvers = dict(_grouped(period, rest, _is_classical)) if rest != list(by) else {}
    others = {key for key, _ in _grouped(period, by, lambda key: not _is_classical(key))}
    rows = []
    for key, ran in _grouped(period, by):
        named = dict[str, str](zip(by, key, strict=True))
        solver = solvers.get(tuple(named[name] for name in rest)) if key in others else None
        rows.append(_row(named, ran, solver))
    return rows


def _is_classical(key: Key) -> bool:
    return key.target == "classical"


def _said(part: int | str) -> str:
    return size_text(part) if isinstance(part, int) else part


def _ends(period: Period, by: Iterable[By]) -> list[Ending]:
    names = [name for name in ("tenant", "family") if name in by]
    found: dict[tuple[str, ...], int] = {}
    for end, count in period.ends.items():
        key = (*(getattr(end, name) for name in names), end.status, end.reason)
        found[key] = found.get(key, 0) + count
    ordered = sorted(found.items(), key=lambda one: (-one[1], one[0]))
    return [Ending(dict(zip(names, key, strict=False)), key[-2], key[-1], count) for key, count in ordered]


def _row(by: dict[str, str], ran: Ran, solver: Ran | None) -> Row:
    gain, worth, over = None, None, None
    verdict: Verdict = "not_compared"
    if ran.gain.n:
        gain, mine = _interval(believed(ran.gain)), _worth(ran)
        worth = _interval(mine)
        if solver is not None and solver.gain.n:
            theirs = _worth(solver)
            error = sqrt(mine.error * mine.error + theirs.error * theirs.error)
            over = _interval(Estimated(mine.mean - theirs.mean, error, mine.n))
        all_of = [each for each in (worth, over) if each is not None]
        if all(each.low > 0 for each in all_of):
            verdict = "paid"
        else:
            verdict = "did_not_pay" if any(each.high < 0 for each in all_of) else "unclear"
    return Row(
        by=by,
        runs=ran.runs,
        answered=ran.answered,
        better=ran.better,
        explored=ran.explored,
        problems=_whole(ran.problems),
        compared=_whole(ran.gain.n),
        gain=gain,
        worth=worth,
        over_classical=over,
        verdict=verdict,
        micros=ran.micros,
        seconds=ran.seconds.total / ran.seconds.n if ran.seconds.n else None,
    )


def _whole(problems: float) -> int:
    """How many they are: of one that other rows have a part of, too, it is one."""
    return max(round(problems), int(problems > 0))


def _worth(ran: Ran) -> Estimated:
    """Of a run: what its gain is worth, believed as gains are, less what it costs."""
    percent = ran.percent / ran.gain.n
    value = believed(ran.value, 100.0 * percent * PRIOR_DEVIATION)
    cost = mean_of(ran.cost, 0.0)
    return Estimated(value.mean - cost.mean, sqrt(value.error * value.error + cost.error * cost.error), ran.gain.n)


def _interval(of: Estimated) -> Interval:
    return Interval(of.mean, *of.interval)


def _is_calibrated(ran: Ran) -> bool:
    return bool(ran.off_seconds.n or ran.off_usd.n or ran.off_gain.n or ran.off_fidelity.n)


def _calibrated(backend: str, ran: Ran) -> Calibrated:
    return Calibrated(
        backend=backend,
        runs=ran.runs,
        problems=_whole(ran.problems),
        seconds=_factor(ran.off_seconds),
        cost=_factor(ran.off_usd),
        gain=_interval(mean_of(ran.off_gain, 0.0)) if ran.off_gain.n else None,
        fidelity=_interval(mean_of(ran.off_fidelity, 0.0)) if ran.off_fidelity.n else None,
    )


def _factor(logarithms: Sums) -> Interval | None:
    if not logarithms.n:
        return None
    found = _interval(mean_of(logarithms, 0.0))
    return Interval(exp(found.mean), exp(found.low), exp(found.high))


def _booked(spent: Spending) -> list[Booked]:
    jobs, micros = defaultdict[str, set[str]](set), Counter[str]()
    for charge in spent.charges:
        jobs[charge.backend].add(charge.reservation)
        micros[charge.backend] += charge.micros
    return [Booked(name, len(jobs[name]), micros[name]) for name in sorted(jobs)]


def _reservations(spent: Spending, at: float) -> Reservations:
    held = [
        Held(
            one.reservation,
            one.problem_id,
            one.tenant,
            one.backend,
            one.state,
            one.micros,
            max(0.0, at - one.since),
            max(0.0, at - one.deadline_at),
        )
        for one in spent.pending[:MOST_PENDING]
    ]
    return Reservations(
        jobs=spent.jobs,
        unused=spent.unused,
        reserved=spent.reserved,
        spent=spent.spent,
        idle_dollar_hours=spent.idle / 1e6 / 3600,
        pending=len(spent.pending),
        pending_micros=sum(one.micros for one in spent.pending),
        held=held,
    )
