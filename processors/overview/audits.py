"""What was decided: a fold over `audit`. Which records of `problems` are settled, and what else is worth telling."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any, NamedTuple

import msgspec
from immutables import Map

from qmosaic.processors.overview.ends import cut, latest
from qmosaic.processors.overview.window import Window

MOST_NOTES = 100
"""Of the latest that are known one by one."""
MOST_GAPS = 10_000
"""Stretches of settled records of one partition; beyond, what lies between the oldest of them counts as settled."""
MOST_PARTITIONS = 10_000
SETTLES = frozenset({"settled", "rejected", "duplicate"})
"""Events that end a record of `problems`: exactly one for each."""

Stretches = tuple[tuple[int, int], ...]  # [first, last + 1), in order


class Detail(msgspec.Struct, frozen=True):
    """What an entry says for readers, as far as an overview shows it."""

    said: Any = None
    message: Any = None
    who: Any = None


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """An audit entry, as far as an overview looks at it."""

    event: str
    problem_id: str = ""
    tenant: str = ""
    partition: int = 0
    offset: int = 0
    status: str = ""
    reason: str = ""
    slack: float | None = None
    detail: Detail = Detail()


class Note(NamedTuple):
    """An entry that is no problem's end: a breaker that opened, what was refused, a command."""

    at: float
    problem_id: str
    event: str
    about: str
    said: str


class Audits(NamedTuple):
    """The state of the fold: what is settled by partition of `problems`, and the latest notes, oldest first."""

    settled: Map[int, Stretches] = Map()
    notes: tuple[Note, ...] = ()
    window: Window = Window()


def audits_step(state: Audits, event: Told, at: float) -> Audits:
    """The state with one more entry."""
    if event.event == "round":
        return state  # its problem goes on
    if event.event not in SETTLES:
        return state._replace(notes=latest(state.notes, _note(event, at), MOST_NOTES))
    known = state.settled.get(event.partition, ())
    if known or len(state.settled) < MOST_PARTITIONS:
        state = state._replace(settled=state.settled.set(event.partition, joined(known, event.offset)))
    if event.slack is None:
        return state
    kept = "missed" if event.slack < 0 else "kept"
    return state._replace(window=state.window.counted(at, [(kept,)]))


def joined(known: Stretches, offset: int) -> Stretches:
    """Stretches with one more offset in them."""
    place = bisect_left(known, (offset + 1,))  # the first that begins behind it
    first, last = offset, offset + 1
    if place < len(known) and known[place][0] == last:
        last, behind = known[place][1], place + 1
    else:
        behind = place
    if place and known[place - 1][1] >= first:
        if known[place - 1][1] > first:
            return known  # it is in there
        first, place = known[place - 1][0], place - 1
    found = (*known[:place], (first, last), *known[behind:])
    return ((found[0][0], found[1][1]), *found[2:]) if len(found) > MOST_GAPS else found


def settled_between(known: Stretches, first: int, end: int) -> int:
    """How many offsets of [first, end) are in there."""
    return sum(max(0, min(end, last) - max(first, begin)) for begin, last in known)


def _note(event: Told, at: float) -> Note:
    said = next((one for one in (event.detail.said, event.detail.message) if isinstance(one, str)), event.reason)
    return Note(at, cut(event.problem_id, 300), cut(event.event), cut(event.status or event.tenant), cut(said, 500))
