"""What a report says in words, on a terminal and on its page the same."""

from __future__ import annotations

from collections.abc import Sequence

from qmosaic.codecs.events.ledger import MICROS
from qmosaic.codecs.text import shown
from qmosaic.processors.report.findings import Findings, Interval
from qmosaic.streams.cli.times import moment
from qmosaic.streams.observe.words import cost

VERDICTS = {"paid": "paid", "did_not_pay": "did not pay", "unclear": "unclear", "not_compared": "not compared"}
STATUSES = ("accepted", "fallback", "rejected")


def headline(found: Findings) -> str:
    """Which period it is, and whose."""
    if found.since is None or found.until is None:
        return "Nothing has ended yet." if found.tenant is None else f"Nothing of {shown(found.tenant, 100)} has ended."
    whose = f" of {shown(found.tenant, 100)}" if found.tenant is not None else ""
    return f"Did it pay{whose}? {moment(found.since)} to {moment(found.until)} UTC"


def counted(found: Findings, of: Sequence[str]) -> list[tuple[tuple[str, ...], int]]:
    """How many problems ended, by some of an ending's words, the most first."""
    sums: dict[tuple[str, ...], int] = {}
    for one in found.ends:
        key = tuple(shown(str(getattr(one, name)), 60) for name in of)
        sums[key] = sums.get(key, 0) + one.count
    return sorted(sums.items(), key=lambda pair: (-pair[1], pair[0]))


def by_group(found: Findings) -> list[tuple[tuple[str, ...], dict[tuple[str, str], int]]]:
    """How many problems ended by status and reason, by tenant or family as asked; those with most problems first."""
    groups: dict[tuple[str, ...], dict[tuple[str, str], int]] = {}
    for one in found.ends:
        counts = groups.setdefault(tuple(shown(name, 60) or "-" for name in one.by.values()), {})
        key = shown(one.status, 60), shown(one.reason, 60)
        counts[key] = counts.get(key, 0) + one.count
    return sorted(groups.items(), key=lambda pair: (-sum(pair[1].values()), pair[0]))


def factor_text(of: Interval | None) -> str:
    """`1.2 (0.9 to 1.6)`: so many times what was expected."""
    return "" if of is None else f"{of.mean:.3g} ({of.low:.3g} to {of.high:.3g})"


def dollars_text(micros: int) -> str:
    """What it cost, in cents where it is more than some."""
    return cost(micros / MICROS)


def jobs_text(count: int) -> str:
    """`1 job`, `1,200 jobs`."""
    return f"{count:,} job{'' if count == 1 else 's'}"
