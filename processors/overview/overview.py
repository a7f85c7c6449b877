"""What is known of a running pipeline, for whoever watches it: one fold over its public and control topics.

The terminal topics tell what arrived, `audit` what was decided, `backends.status` who is there and whose breaker is
open, `workers.status` what is wrong with workers, `control.state` what was ordered, `ledger` what may still be spent.
Records of different topics and partitions may come in any order among each other: the state is the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from qmosaic.codecs.events.control import BackendStatus, ControlState, WorkersStatus
from qmosaic.codecs.events.ledger import UNITS, AccountId, LedgerEntry, Unit
from qmosaic.processors.control.books import Books, Ledger, window_of
from qmosaic.processors.control.facts import STATUS, Status
from qmosaic.processors.control.ordered import Ordered, Orders
from qmosaic.processors.overview.audits import Audits, Told, audits_step
from qmosaic.processors.overview.ends import Ended, Ends, ends_step
from qmosaic.processors.overview.troubles import Troubles, troubles_step
from qmosaic.processors.overview.window import SECONDS, Key, Window, percentile

Event = Ended | Told | BackendStatus | WorkersStatus | ControlState | LedgerEntry


class Overview(NamedTuple):
    """The state of the fold."""

    ends: Ends = Ends()
    audits: Audits = Audits()
    status: Status = STATUS.start
    troubles: Troubles = Troubles()
    ordered: Ordered = Orders.start
    ledger: Ledger = Books.start


class Overviews:
    """The fold: each event makes a step of the one that it is for."""

    start = Overview()

    def step(self, state: Overview, event: Event, at: float) -> Overview:
        """The state after one more event. `at`: when it was written, seconds since the epoch."""
        match event:
            case Ended():
                return state._replace(ends=ends_step(state.ends, event, at))
            case Told():
                return state._replace(audits=audits_step(state.audits, event, at))
            case BackendStatus():
                return state._replace(status=STATUS.step(state.status, event, at))
            case WorkersStatus():
                return state._replace(troubles=troubles_step(state.troubles, event, at))
            case ControlState():
                return state._replace(ordered=Orders().step(state.ordered, event, at))
            case LedgerEntry():
                return state._replace(ledger=Books().step(state.ledger, event, at))


class Balance(NamedTuple):
    """What is left of one unit of a budget in its window: whole numbers of the unit."""

    budget: str
    window: str
    unit: Unit
    cap: int
    free: int
    reserved: int
    spent: int


def balances(ledger: Ledger, at: float) -> list[Balance]:
    """Of every budget, in the window of a moment (seconds since the epoch); in the order of their names."""
    found = []
    for budget in ledger.budgets.values():
        window = window_of(budget.window, at)
        for unit in UNITS:
            if budget.cap(unit) is not None:
                account = ledger.account(AccountId(budget.name, window, unit))
                found.append(Balance(budget.name, window, unit, *account))
    return sorted(found)


class HopFigures(NamedTuple):
    """Of a stage in the last minute: problems a second that went through it, and the 95th percentiles of the seconds
    that they waited for it and that it worked on them; None where none did."""

    rate: float
    queue_p95: float | None
    work_p95: float | None


def hop_figures(counts: Mapping[Key, int]) -> dict[str, HopFigures]:
    """By stage, from the counts of the last minute."""
    queue, work = _bins(counts, "queue"), _bins(counts, "work")
    return {
        stage: HopFigures(sum(bins.values()) / SECONDS, percentile(bins, 0.95), percentile(work.get(stage, {}), 0.95))
        for stage, bins in queue.items()
    }


def _bins(counts: Mapping[Key, int], kind: str) -> dict[str, dict[int, int]]:
    found: dict[str, dict[int, int]] = {}
    for key, count in counts.items():
        if key[0] == kind:
            found.setdefault(str(key[1]), {})[int(key[2])] = count
    return found


def total_p95(counts: Mapping[Key, int]) -> float | None:
    """The 95th percentile of the seconds from arrival to outcome."""
    return percentile({int(key[1]): count for key, count in counts.items() if key[0] == "total"}, 0.95)


def ended_by(counts: Mapping[Key, int]) -> dict[str, int]:
    """Problems that ended in the last minute, by status."""
    found: dict[str, int] = {}
    for key, count in counts.items():
        if key[0] == "ended":
            found[str(key[1])] = found.get(str(key[1]), 0) + count
    return found


def routed_by(counts: Mapping[Key, int]) -> dict[tuple[str, str, str], int]:
    """Problems that ended in the last minute, by target, backend and the reason why they went there."""
    found = {(str(key[1]), str(key[2]), str(key[3])): count for key, count in counts.items() if key[0] == "routed"}
    return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))


def ended_each_second(window: Window, at: float) -> dict[str, list[int]]:
    """By status, how many ended in each of the last `SECONDS` seconds, the oldest first."""
    last = math.floor(at)
    found: dict[str, list[int]] = {status: [0] * SECONDS for status in ("accepted", "fallback", "rejected")}
    for second, counts in window.slices.items():
        place = SECONDS - 1 - (last - second)
        if 0 <= place < SECONDS:
            for key, count in counts.items():
                if key[0] == "ended":
                    found[str(key[1])][place] += count
    return found
