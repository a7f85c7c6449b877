"""What is wrong with workers, as far as their supervisors tell: a fold over `workers.status`."""

from __future__ import annotations

from typing import NamedTuple

from immutables import Map

from qmosaic.codecs.events.control import Trouble, WorkersStatus
from qmosaic.processors.overview.ends import cut

MOST_SUPERVISORS, MOST_TROUBLES = 1000, 100
"""Kept; beyond, who was not heard of for the longest time is forgotten."""


class Complaint(NamedTuple):
    """What a supervisor told last, and when (seconds since the epoch)."""

    troubles: tuple[Trouble, ...]
    at: float


Troubles = Map[str, Complaint]
"""By supervisor; one that has nothing to complain of is not in there."""


def troubles_step(state: Troubles, event: WorkersStatus, at: float) -> Troubles:
    """The state after what one supervisor tells."""
    name = cut(event.supervisor)
    if not event.troubles:
        return state.delete(name) if name in state else state
    found = tuple(
        Trouble(cut(one.worker), one.what, min(max(0.0, one.since), at)) for one in event.troubles[:MOST_TROUBLES]
    )
    state = state.set(name, Complaint(found, at))
    if len(state) > MOST_SUPERVISORS:
        state = state.delete(min(state, key=lambda each: (state[each].at, each)))
    return state


def troubles_now(state: Troubles, now: float, stale_seconds: float) -> list[Trouble]:
    """Of the supervisors that were heard of lately: whoever has something to complain of says so again and again."""
    return sorted(
        (one for said in state.values() if now - said.at <= stale_seconds for one in said.troubles),
        key=lambda one: (one.worker, one.what),
    )
