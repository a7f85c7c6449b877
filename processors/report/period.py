"""What ran in a period, and how problems ended: a fold over the audit, in which nothing fades.

What a gain is, what counts as one and what is believed of several is as in evidence: each problem of the period counts
one, however many rounds it had.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from math import inf
from typing import Any, NamedTuple

import msgspec
from immutables import Map

from qmosaic.codecs.events.control import Evidence, Run
from qmosaic.codecs.events.evidence import Observed, Sums
from qmosaic.codecs.events.ledger import MICROS
from qmosaic.processors.control.evidence import MOST_LATEST, size_class
from qmosaic.processors.control.observed import (
    Open,
    Told,
    charged,
    collapsed,
    counted,
    gained,
    gathered,
    joined,
    observed,
    took,
)
from qmosaic.processors.control.policy import Whose
from qmosaic.processors.control.worth import Worth

MOST_KEYS = 4096
"""Cells that are told apart, and as many ways to end; what comes beyond has the name `other`."""
OTHER = "other"
NOTHING = Evidence(family="", kind="spins", variables=0)
LONGEST_NAME = 200
"""Characters of a name; the rest is cut."""


class Detail(msgspec.Struct, frozen=True):
    """What an entry says for readers, as far as a report tells it. `explores`: a number where the kernel went where it
    did to find out whether that pays."""

    explores: Any = None


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """An audit entry, as far as a report looks at it."""

    event: str
    tenant: str = ""
    family: str = ""
    status: str = ""
    reason: str = ""
    partition: int = 0
    offset: int = 0
    slack: float | None = None
    detail: Detail = Detail()
    evidence: Evidence | None = None


class Key(NamedTuple):
    """What runs are told apart by. `size`: k for more than 2^(k-1) and up to 2^k variables."""

    tenant: str
    family: str
    kind: str
    size: int
    target: str
    backend: str


class End(NamedTuple):
    """What ends of problems are told apart by."""

    tenant: str
    family: str
    status: str
    reason: str


class Ran(NamedTuple):
    """What runs came to. `better`: answers that gained; `explored`: runs of kernels that went to find out; `micros`:
    micro-dollars, as the outcomes tell them; `seconds`: of all runs.

    The rest is of `problems`, which count one each: the mean of their runs. Where they are told apart by size or kind,
    a problem may be in parts. `gain`: over the baseline, relative; where it is known also what the policy makes of it:
    the dollars that gains are worth (`value`), those that seconds and dollars cost (`cost`), and the sum of what a
    percent is worth (`percent`). What was expected: logarithms of the factors by which `off_seconds` and `off_usd` were
    off, and `off_gain` and `off_fidelity`, the differences.
    """

    runs: int = 0
    answered: int = 0
    better: int = 0
    explored: int = 0
    micros: int = 0
    seconds: Sums = Sums()
    problems: float = 0.0
    gain: Sums = Sums()
    value: Sums = Sums()
    cost: Sums = Sums()
    percent: float = 0.0
    off_seconds: Sums = Sums()
    off_usd: Sums = Sums()
    off_gain: Sums = Sums()
    off_fidelity: Sums = Sums()


def both(one: Ran, other: Ran) -> Ran:
    """What they came to together."""
    parts: Iterator[tuple[Any, Any]] = zip(one, other, strict=True)
    return Ran._make(joined(a, b) if isinstance(a, Sums) else a + b for a, b in parts)


class Period(NamedTuple):
    """The state of the fold. `late`: outcomes after their deadline; `refused`: jobs that got no grant, by backend and
    reason; `latest`: jobs that would be nothing new; `since` and `until`: of the first and last entry that counted;
    `open`: of problems that have not ended, what their rounds came to, by cell and the policy's weights for it."""

    ran: Map[Key, Ran] = Map()
    ends: Map[End, int] = Map()
    late: int = 0
    duplicates: int = 0
    refused: Map[tuple[str, str], int] = Map()
    latest: tuple[str, ...] = ()
    since: float = inf
    until: float = -inf
    open: Open[tuple[Key, Worth]] = Map()


class Periods:
    """The fold. It takes what was written from `since` on and before `until` (seconds since the epoch), of a tenant and
    what lies under it, or of all. `worth_of`: the policy's weights, by tenant and family."""

    start = Period()

    def __init__(
        self,
        worth_of: Callable[[Whose], Worth],
        since: float = -inf,
        until: float = inf,
        tenant: str | None = None,
    ) -> None:
        self._worth_of, self._since, self._until, self._tenant = worth_of, since, until, tenant

    def step(self, state: Period, event: Entry, at: float) -> Period:
        """With one more entry, written `at`."""
        if not self._since <= at < self._until or not is_of(self._tenant, event.tenant):
            return state
        state = state._replace(since=min(state.since, at), until=max(state.until, at))
        match event.event:
            case "settled" | "rejected":
                family = event.family or (event.evidence.family if event.evidence is not None else "")
                end = End(cut(event.tenant), cut(family), cut(event.status), cut(event.reason))
                state = state._replace(
                    ends=_added(state.ends, end, End(OTHER, OTHER, OTHER, OTHER)),
                    late=state.late + (event.slack is not None and event.slack < 0),
                )
                return self._ran(state, event)
            case "round":
                return self._ran(state, event)
            case "duplicate":
                return state._replace(duplicates=state.duplicates + 1)
            case "refused":
                key = cut(event.status), cut(event.reason)
                return state._replace(refused=_added(state.refused, key, (OTHER, OTHER)))
        return state

    def _ran(self, state: Period, event: Entry) -> Period:
        said, problem = event.evidence or NOTHING, f"{event.partition}-{event.offset}"
        explores = event.detail.explores
        explored = int(isinstance(explores, int | float) and explores > 0)
        table, latest, found = state.ran, state.latest, list[tuple[tuple[Key, Worth], Observed]]()
        weights = self._worth_of(_Of(event.tenant, said.family))
        for run in said.runs:
            key = Key(
                cut(event.tenant), cut(said.family), said.kind, size_class(said.variables), run.target, cut(run.backend)
            )
            if key not in table and len(table) >= MOST_KEYS:
                key = key._replace(tenant=OTHER, family=OTHER, size=0, backend=OTHER)
            name = f"{said.job} {run.backend}"
            is_new = not said.job or name not in latest
            if is_new:
                latest = (*latest[1 - MOST_LATEST :], name)
            table = table.set(key, both(table.get(key, Ran()), _one(run, explored, is_new)))
            # an equal job again costs what it costs, and says nothing new
            estimate = run.expected.seconds if run.expected is not None else None
            found.append(((key, weights), observed(run, estimate) if is_new else Observed(runs=1)))
        if not found and problem not in state.open:
            return state
        still_open, told = gathered(state.open, problem, event.event == "round", found, _backend_of)
        return state._replace(ran=_counted(table, told), latest=latest, open=still_open)


def closed(state: Period) -> Period:
    """With what the rounds came to of problems that have not ended: of more of them the next period tells."""
    told = [one for cells in state.open.values() for one in collapsed(cells, _backend_of)]
    return state._replace(ran=_counted(state.ran, told), open=Map())


def _backend_of(cell: tuple[Key, Worth]) -> str:
    return cell[0].backend


def _counted(table: Map[Key, Ran], told: Iterable[Told[tuple[Key, Worth]]]) -> Map[Key, Ran]:
    for (key, weights), seen, share in told:
        table = table.set(key, both(table.get(key, Ran()), _problem(seen, share, weights)))
    return table


def _problem(seen: Observed, share: float, weights: Worth) -> Ran:
    """What one tells, or a part of it."""
    one = Ran(
        problems=share,
        gain=seen.gain,
        off_seconds=seen.off_seconds,
        off_usd=seen.off_usd,
        off_gain=seen.off_gain,
        off_fidelity=seen.off_fidelity,
    )
    if not seen.gain.n:
        return one
    gain, seconds, usd = (each.total / each.n if each.n else 0.0 for each in (seen.gain, seen.seconds, seen.usd))
    return one._replace(
        value=counted(Sums(), weights.of(gain, 0.0, 0.0), share),
        cost=counted(Sums(), -weights.of(0.0, seconds, usd), share),
        percent=weights.percent * share,
    )


class _Of(NamedTuple):
    tenant: str
    family: str


def _one(run: Run, explored: int, is_new: bool) -> Ran:
    """One run, less what it tells."""
    gain = gained(run) if is_new else None
    return Ran(
        runs=1,
        answered=int(run.answered),
        better=int(run.answered and gain is not None and gain > 0),
        explored=explored,
        micros=round(MICROS * (charged(run) or 0.0)),
        seconds=counted(Sums(), took(run)),
    )


def _added(counts: Map[Any, int], key: Any, full: Any) -> Map[Any, int]:
    if key not in counts and len(counts) >= MOST_KEYS:
        key = full
    return counts.set(key, counts.get(key, 0) + 1)


def is_of(tenant: str | None, whose: str) -> bool:
    """Whether something is of a tenant, or of what lies under it; None: of all."""
    return tenant is None or f"{whose}/".startswith(f"{tenant}/")


def cut(text: str) -> str:
    """A name's beginning: what is kept is bounded, whoever wrote it."""
    return text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 1]}…"
