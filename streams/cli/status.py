"""`qmosaic status`: how a pipeline is, in lines, as a table that lives, or as JSON."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import msgspec
from rich.console import Console, Group, RenderableType
from rich.live import Live as LiveTable
from rich.table import Table
from rich.text import Text

from qmosaic.codecs.errors import BrokerError
from qmosaic.codecs.text import shown
from qmosaic.streams.cli.common import FAILED, OK, emit
from qmosaic.streams.cli.render import console
from qmosaic.streams.observe.report import Report
from qmosaic.streams.observe.watching import Watching
from qmosaic.streams.observe.words import duration, left, rate
from qmosaic.streams.settings import Settings

WATCH_SECONDS = 1.0
"""Between two looks."""
MOST_WORKERS = 12
"""Lines of a table."""


async def once(settings: Settings, as_json: bool) -> int:
    """Say how it is; the exit code. Raises BrokerError."""
    async with Watching(settings) as watching:
        found = await watching.report(once=True)
    if as_json:
        emit(report_json(found))
    else:
        console().print(Text("\n".join(lines(found))), soft_wrap=True)
    return code_of(found)


async def watch(settings: Settings, as_json: bool) -> int:
    """Say how it is again and again, until somebody ends it; the exit code is that of the last look. Raises BrokerError
    where no broker answers at first; one that goes away later is waited for."""
    out, code, began = console(), FAILED, False
    try:
        with LiveTable(console=out, auto_refresh=False) as live:
            while True:
                try:
                    async with Watching(settings) as watching:
                        began = True
                        while True:
                            found = await watching.report()
                            code = code_of(found)
                            _show(live, out, found, as_json)
                            await asyncio.sleep(WATCH_SECONDS)
                except BrokerError as error:
                    if not began:
                        raise
                    code = FAILED
                    if as_json:
                        emit({"broker": settings.broker, "health": f"unhealthy: {error}"})
                    else:
                        live.update(Text(shown(f"unhealthy: {error}"), style="red"), refresh=True)
                    await asyncio.sleep(WATCH_SECONDS)
    except asyncio.CancelledError:
        return code


def _show(live: LiveTable, out: Console, found: Report, as_json: bool) -> None:
    if as_json:
        emit(report_json(found))
    elif out.is_terminal:
        live.update(table(found), refresh=True)
    else:
        out.print(table(found))


def code_of(found: Report) -> int:
    """0 where it is healthy."""
    return FAILED if found.problems else OK


def lines(found: Report) -> list[str]:
    """The report for people: a line a stage with what waits for it, a line a live worker, and the warnings."""
    said = [f"broker   {shown(found.broker)}"]
    for stage in dict.fromkeys(one.stage for one in found.lags):
        waiting = [one for one in found.lags if one.stage == stage]
        behind = ", ".join(f"{one.topic}/{one.partition} {one.lag}" for one in waiting if one.lag)
        idle = all(one.committed is None for one in waiting)
        said.append(f"lag      {stage:<18} {behind or ('nothing taken yet' if idle else '0')}")
    for one in found.live:
        backends = shown(", ".join(one.backends), 200)
        said.append(f"alive    {shown(one.worker, 60)}  {one.target}  {backends}  {one.age:.1f} s ago")
    for ejected in found.ejected:
        rest = f", {ejected.seconds:.0f} s left" if ejected.phase == "open" else ""
        times = f"{ejected.times} time{'s' if ejected.times > 1 else ''} in a row"
        said.append(f"breaker  {shown(ejected.backend, 60)}  {ejected.phase.replace('_', ' ')}{rest}  {times}")
    for name, how in found.conditions.items():
        said.append(
            f"network  {shown(name, 60)}  {how}" if how == "unreachable" else f"vendor   {shown(name, 60)}  {how}"
        )
    for hop in found.hops:
        if hop.rate:
            waited, worked = duration(hop.queue_p95), duration(hop.work_p95)
            said.append(f"rate     {hop.stage:<18} {rate(hop.rate)} a second, p95 waited {waited}, worked {worked}")
    if found.at:
        said += [f"{head:<8} {text}" for head, text in _figures(found)]
    return said + [f"warning  {shown(warning)}" for warning in found.warnings] + [f"health   {shown(found.health)}"]


def _figures(found: Report) -> Iterator[tuple[str, str]]:
    """What is known of all of it together."""
    oldest = found.oldest
    since = f", the oldest for {duration(oldest.waiting)}, {_until(oldest.left)}" if oldest is not None else ""
    yield "open", f"{found.open} problem{'' if found.open == 1 else 's'}{since}"
    ended = ", ".join(f"{count} {status}" for status, count in sorted(found.ended.items())) or "none"
    yield "ended", f"{ended} in a minute; {found.missed} after the deadline"
    if found.p95 is not None:
        yield "answer", f"{rate(found.rate)} a second, p95 {duration(found.p95)}"
    for budget in found.budgets:
        window = f" {budget.window}" if budget.window else ""
        yield "budget", f"{shown(budget.budget, 100)}{window}  {left(budget)} left"
    for name, why in found.closed.items():
        yield "ordered", f"{shown(name, 60)}  {why}"
    if found.policy:
        yield "policy", shown(found.policy, 100)


def _until(seconds: float) -> str:
    return f"{duration(seconds)} left" if seconds >= 0 else f"{duration(-seconds)} past its deadline"


def report_json(found: Report) -> dict[str, Any]:
    """The same as one object."""
    return {**msgspec.to_builtins(found), "warnings": found.warnings, "health": found.health}


def table(found: Report) -> RenderableType:
    """The report as a picture of the moment: fits 80 columns, and the lines of a terminal as far as they go."""
    good = not found.problems
    at = time.strftime("%H:%M:%S UTC", time.gmtime(found.at or time.time()))
    head = Text.assemble((shown(found.broker, 60), "bold"), "  ", at, "  ")
    head.append(shown(found.health, 200), style="green" if good else "bold red")
    parts: list[RenderableType] = [head]
    for name, text in _figures(found) if found.at else ():
        parts.append(Text.assemble((f"{name:<8} ", "dim"), text, overflow="ellipsis", no_wrap=True))
    stages = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    stages.add_column("stage")
    for name in ("waiting", "per second", "p95 waited", "p95 worked"):
        stages.add_column(name, justify="right", min_width=10)
    for hop in found.hops:
        each_second = rate(hop.rate) if hop.rate else ""
        stages.add_row(hop.stage, str(hop.lag), each_second, duration(hop.queue_p95), duration(hop.work_p95))
    parts += ["", stages]
    if found.live:
        workers = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        workers.add_column("worker", max_width=30, no_wrap=True, overflow="ellipsis")
        workers.add_column("heard", justify="right", no_wrap=True)
        workers.add_column("runs", no_wrap=True, overflow="ellipsis")
        for one in found.live[:MOST_WORKERS]:
            workers.add_row(
                Text(shown(one.worker, 60)), f"{one.age:.1f} s ago", Text(shown(", ".join(one.backends), 200))
            )
        if len(found.live) > MOST_WORKERS:
            workers.add_row(f"and {len(found.live) - MOST_WORKERS} more", "", "")
        parts += ["", workers]
    for ejected in found.ejected:
        rest = f" for {ejected.seconds:.0f} s" if ejected.phase == "open" else ""
        phase = ejected.phase.replace("_", " ")
        parts.append(Text(f"breaker of {shown(ejected.backend, 40)} {phase}{rest}", style="yellow"))
    return Group(*parts)
