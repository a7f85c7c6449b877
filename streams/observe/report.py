"""How a pipeline is at a moment: values, made of what the broker was asked and of what is known from the topics."""

from __future__ import annotations

import time
from collections.abc import Iterable

import msgspec

from qmosaic.codecs.events.control import Trouble
from qmosaic.codecs.events.reasons import Condition
from qmosaic.processors.control.breakers import phases
from qmosaic.processors.control.explain import CONDITION
from qmosaic.processors.control.reach import conditions, cut_off
from qmosaic.processors.overview.overview import (
    Balance,
    Overview,
    balances,
    ended_by,
    hop_figures,
    total_p95,
)
from qmosaic.processors.overview.troubles import troubles_now
from qmosaic.processors.overview.window import SECONDS
from qmosaic.streams.observe.words import left, share_left
from qmosaic.streams.settings import Settings
from qmosaic.streams.topology import PAID, STAGES

HELP = 'docs/operations.md, "A foreign transaction that stays open"'
TOLERANCE_SECONDS = 1.0
"""A problem that is open that long after its deadline, or ended so late, is one that nobody took care of."""
LOW = 0.1
"""What is left of a budget, as a share, when it is told; the alert has the same."""
AILING: dict[str, tuple[str, str]] = {
    "ended": ("has ended", "its supervisor starts it again; why it ended is in its log"),
    "silent": ("does not answer", "it hangs: kill it, its supervisor starts it again"),
    "stuck": ("stands still", "it answers and does nothing: see its log, then kill it"),
}
"""What is wrong with a worker, where it works no more: in a few words, and what is to be known of it."""


class Lag(msgspec.Struct, frozen=True):
    """What a stage has not done yet of a partition; `committed` None: it never took any."""

    stage: str
    topic: str
    partition: int
    committed: int | None
    end: int
    lag: int


class Live(msgspec.Struct, frozen=True):
    """A worker that was heard of in the last `route.stale_seconds`, `age` seconds ago, and what it runs."""

    worker: str
    target: str
    backends: list[str]
    age: float


class Ejected(msgspec.Struct, frozen=True):
    """A backend whose breaker is open, for so many seconds yet, or half open (0); `times` in a row."""

    backend: str
    phase: str
    seconds: float
    times: int


class Held(msgspec.Struct, frozen=True):
    """A partition whose records from `offset` to `end` nobody can read before a transaction ends."""

    topic: str
    partition: int
    offset: int
    end: int
    since: float | None  # seconds since the epoch: the record there; None where the broker does not give it


class Oldest(msgspec.Struct, frozen=True):
    """The problem that has been open for the longest time: seconds since it arrived, and until its deadline."""

    partition: int
    offset: int
    waiting: float
    left: float


class Hop(msgspec.Struct, frozen=True):
    """A stage: records that wait for it, problems a second that went through it in the last minute, and the 95th
    percentiles of the seconds that they waited and were worked on (None: there were none)."""

    stage: str
    lag: int
    rate: float
    queue_p95: float | None
    work_p95: float | None


class Report(msgspec.Struct, frozen=True):
    """All of it. `missing`: topics that are not there; with one, nothing else is asked.

    `rate`, `p95` (seconds from arrival to outcome), `ended` (by status) and `missed` (after their deadline) are of the
    problems that ended in the last minute; `open` are those that have not ended. `policy`: the version in force, empty
    where the settings' is. `closed`: backends that get no jobs by an order, and why; `conditions`: how those are that
    are not as they should be. `cut_off`: workers that reach no vendor at all. `troubles`: of workers.
    """

    broker: str
    missing: list[str]
    lags: list[Lag] = []
    live: list[Live] = []
    held: list[Held] = []
    ejected: list[Ejected] = []
    hops: list[Hop] = []
    open: int = 0
    oldest: Oldest | None = None
    rate: float = 0.0
    p95: float | None = None
    ended: dict[str, int] = {}
    missed: int = 0
    budgets: list[Balance] = []
    policy: str = ""
    closed: dict[str, str] = {}
    conditions: dict[str, Condition] = {}
    cut_off: list[str] = []
    troubles: list[Trouble] = []
    at: float = 0.0

    @property
    def problems(self) -> list[tuple[str, str]]:
        """What somebody should do something about: in a few words, and in a line."""
        said = [
            (f"no topic {topic}", f"topic {topic} is not there: `qmosaic topics create` makes it")
            for topic in self.missing
        ]
        for one in self.held:
            since = "" if one.since is None else f" since {_date(one.since)}"
            said.append(
                (
                    f"{one.topic}/{one.partition} is held",
                    f"partition {one.topic}/{one.partition} is held by a foreign open transaction{since}: the "
                    f"{one.end - one.offset} records from offset {one.offset} on cannot be read before it ends. "
                    f"See {HELP}.",
                )
            )
        said += [(f"{one.worker} {AILING[one.what][0]}", _line_of(one)) for one in self.troubles if one.what in AILING]
        if not self.missing and not self.live:
            said.append(("no execute worker", "no execute worker was heard of lately: problems end as fallbacks"))
        if self.oldest is not None and self.oldest.left < -TOLERANCE_SECONDS:
            late = f"the oldest open problem is {-self.oldest.left:.0f} s past its deadline"
            said.append((late, f"{late}: is a verifier alive?"))
        if self.missed:
            late = f"{self.missed} ended after their deadline"
            said.append((late, f"{self.missed} problems ended after their deadline in the last minute"))
        return said

    @property
    def notices(self) -> list[str]:
        """What somebody should know of, though the pipeline does what it should: a line each."""
        said, lose = [], [one for one in self.troubles if one.what == "collector"]
        if lose:
            names, since = ", ".join(one.worker for one in lose), _date(min(one.since for one in lose))
            said.append(f"the collector has not taken the traces of {names} since {since}: they are lost, nothing else")
        said += [f"{one.backend} is shut out by its breaker: too many of its attempts failed" for one in self.ejected]
        said += [f"{name}: {CONDITION[how]}" for name, how in self.conditions.items()]
        said += [f"{worker} reaches none of its vendors: look at the network where it runs" for worker in self.cut_off]
        low = [one for one in self.budgets if share_left(one) < LOW]
        said += [f"budget {one.budget}{f' {one.window}' if one.window else ''}: {left(one)} is left" for one in low]
        return said

    @property
    def warnings(self) -> list[str]:
        """All that somebody should know of, a line each."""
        return [*(line for _, line in self.problems), *self.notices]

    @property
    def health(self) -> str:
        """`healthy`, or why not, in one line."""
        return f"unhealthy: {'; '.join(short for short, _ in self.problems)}" if self.problems else "healthy"


def _line_of(trouble: Trouble) -> str:
    """What is wrong with a worker, since when, and what to do."""
    short, remedy = AILING[trouble.what]
    return f"worker {trouble.worker} {short}, since {_date(trouble.since)}: {remedy}"


def _date(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def report_of(
    settings: Settings,
    known: Overview,
    lags: Iterable[Lag],
    held: Iterable[Held],
    still_open: int,
    oldest: Oldest | None,
    now: float,
) -> Report:
    """What is known of a pipeline at a moment, seconds since the epoch."""
    signs, breakers = known.status
    counts, waiting = known.ends.window.total(now), dict[str, int]()
    lags = list(lags)
    for lag in lags:
        waiting[lag.stage] = waiting.get(lag.stage, 0) + lag.lag
    figures = hop_figures(counts)
    ended, policy = ended_by(counts), known.ordered.policy
    live = [
        Live(worker, said.status.target, sorted(said.status.backends), round(max(0.0, now - said.at), 1))
        for worker, said in sorted(signs.items())
        if now - said.at <= settings.route.stale_seconds and not said.status.grants
    ]
    return Report(
        broker=settings.broker,
        missing=[],
        lags=lags,
        live=live,
        held=list(held),
        ejected=[
            Ejected(name, phase, round(max(0.0, breakers.breakers[name].until - now), 1), breakers.breakers[name].times)
            for name, phase in sorted(phases(breakers, now).items())
        ],
        hops=[
            Hop(stage, waiting.get(stage, 0), *figures.get(stage, (0.0, None, None)))
            for stage in STAGES
            if stage != PAID or settings.paid.backends or waiting.get(stage)
        ],
        open=still_open,
        oldest=oldest,
        rate=sum(ended.values()) / SECONDS,
        p95=total_p95(counts),
        ended=ended,
        missed=known.audits.window.total(now)[("missed",)],
        budgets=balances(known.ledger, now),
        policy=f"{policy.number} ({policy.version})" if policy is not None else "",
        closed=dict(known.ordered.closed(now)),
        conditions=dict(sorted(conditions(signs, now, settings.route.stale_seconds).items())),
        cut_off=cut_off(signs, now, settings.route.stale_seconds),
        troubles=troubles_now(known.troubles, now, settings.route.stale_seconds),
        at=now,
    )
