"""What arrived: a fold over the terminal topics, for those that watch a pipeline."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import msgspec

from qmosaic.codecs.events.public import Timings
from qmosaic.processors.overview.window import Key, Window, bin_of

MOST_ROWS = 200
"""Of the latest ends that are known one by one."""
MOST_TEXT = 200
"""Characters of any text in them."""
MOST_HOPS = 20
"""Of one end that are counted."""


class Charge(msgspec.Struct, frozen=True):
    """Of a run, US dollars where they are known."""

    cost_usd: float | None = None


class Objective(msgspec.Struct, frozen=True):
    """Of the baseline."""

    objective: float | None = None


class Names(msgspec.Struct, frozen=True):
    """The labels that a person calls a problem by."""

    name: Any = None
    file: Any = None


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """An outcome or a rejection, as far as an overview looks at it: the rest of its bytes is passed over."""

    problem_id: str
    status: Literal["accepted", "fallback", "rejected"]
    trace_id: str = ""
    family: str = ""
    tenant: str = ""
    labels: Names = Names()
    reason: str = ""
    code: str = ""
    message: str = ""
    sense: str = ""
    objective: float | None = None
    baseline: Objective | None = None
    improvement: float | None = None
    target: str | None = None
    backend: str | None = None
    route_reason: str | None = None
    policy: str = ""
    usage: Charge | None = None
    tried: list[Charge] = []
    timings: Timings | None = None


class Row(NamedTuple):
    """The end of a problem. `at`: when it was written, seconds since the epoch; `seconds`: from arrival to outcome;
    `cost`: US dollars of all attempts, None where none are known; texts are cut."""

    at: float
    problem_id: str
    name: str
    family: str
    tenant: str
    status: str
    reason: str
    target: str
    backend: str
    route_reason: str
    policy: str
    sense: str
    objective: float | None
    baseline: float | None
    gain: float | None
    cost: float | None
    seconds: float | None
    trace_id: str


class Ends(NamedTuple):
    """The state of the fold: the latest ends, oldest first, and the counts of the last minute."""

    rows: tuple[Row, ...] = ()
    window: Window = Window()


def ends_step(state: Ends, event: Ended, at: float) -> Ends:
    """The state with one more end."""
    row = _row(event, at)
    return Ends(latest(state.rows, row, MOST_ROWS), state.window.counted(at, _keys(event, row)))


def latest(rows: tuple[Any, ...], row: Any, most: int) -> tuple[Any, ...]:
    """Rows by time and problem with one more of them, the latest `most`: the same in whatever order they come."""
    place = bisect(rows, (row.at, row.problem_id), key=lambda one: (one.at, one.problem_id))
    return (*rows[:place], row, *rows[place:])[-most:]


def _row(event: Ended, at: float) -> Row:
    charges = [one.cost_usd for one in event.tried if one.cost_usd is not None]
    usage = event.usage.cost_usd if event.usage is not None else None
    name = next((one for one in (event.labels.name, event.labels.file) if isinstance(one, str)), event.problem_id)
    return Row(
        at=at,
        problem_id=cut(event.problem_id, 300),  # the longest id there is has 256
        name=cut(name),
        family=cut(event.family),
        tenant=cut(event.tenant),
        status=event.status,
        reason=cut(event.reason or event.code),
        target=cut(event.target or ""),
        backend=cut(event.backend or ""),
        route_reason=cut(event.route_reason or ""),
        policy=cut(event.policy),
        sense=cut(event.sense),
        objective=event.objective,
        baseline=event.baseline.objective if event.baseline is not None else None,
        gain=event.improvement,
        cost=sum(charges) if charges else usage,
        seconds=event.timings.total if event.timings is not None else None,
        trace_id=cut(event.trace_id),
    )


def cut(text: str, most: int = MOST_TEXT) -> str:
    """Its beginning: what is kept is bounded, whoever wrote it."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _keys(event: Ended, row: Row) -> Iterator[Key]:
    """What an end counts for."""
    yield "ended", row.status, row.reason
    if row.route_reason:
        yield "routed", row.target, row.backend, row.route_reason
    if event.timings is None:
        return
    for hop, timing in list(event.timings.hops.items())[:MOST_HOPS]:
        stage = f"execute.{row.target}" if hop == "execute" and row.target else cut(hop)
        yield "queue", stage, bin_of(timing.queue)
        yield "work", stage, bin_of(timing.work)
    yield "total", bin_of(event.timings.total)
