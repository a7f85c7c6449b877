"""`qmosaic report`: did it pay. What a period came to, and at what price: as tables, JSON, a page or CSV."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from qmosaic.codecs.errors import SettingsError
from qmosaic.codecs.events.ledger import dollars
from qmosaic.codecs.text import choose, quoted, shown
from qmosaic.processors.report.findings import BY, DEFAULT_BY, By, Findings, Interval
from qmosaic.processors.report.focus import focus_csv
from qmosaic.streams.cli.common import OK, USAGE, BrokerOption, JsonOption, connected, emit, fail, run, say
from qmosaic.streams.cli.files import new_file, write_new
from qmosaic.streams.cli.render import console
from qmosaic.streams.cli.report_words import (
    STATUSES,
    VERDICTS,
    by_group,
    counted,
    dollars_text,
    factor_text,
    headline,
    jobs_text,
)
from qmosaic.streams.cli.times import given_moment
from qmosaic.streams.observe.paid import Paid, read_period
from qmosaic.streams.observe.words import duration, percent

MOST_ROWS = 40
"""Of one table on a terminal; `--json` has all."""
MOST_REASONS = 12
STYLES = {"paid": "green", "did_not_pay": "red", "unclear": "yellow", "not_compared": "dim"}


def report(
    since: Annotated[
        str | None, typer.Option("--since", help="RFC 3339 time, or an age such as 30s, 15m, 2h, 1d. Default: all.")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", help="The same; the moment itself is not in it.")] = None,
    tenant: Annotated[str | None, typer.Option("--tenant", help="Of this one, and of what lies under it.")] = None,
    by: Annotated[str, typer.Option("--by", metavar="NAME,…", help=f"What is told apart: {', '.join(BY)}.")] = ",".join(
        DEFAULT_BY
    ),
    html: Annotated[
        Path | None,
        typer.Option(
            "--html", metavar="FILE", help="Write a page with pictures, that loads nothing.", show_default=False
        ),
    ] = None,
    focus: Annotated[
        Path | None,
        typer.Option("--focus", metavar="FILE", help="Write each charge as CSV by FOCUS 1.2.", show_default=False),
    ] = None,
    broker: BrokerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Did it pay: what backends gained over baselines, how sure that is, what it cost, what fell back and why."""
    names = _names(by)
    start, end = given_moment(since, "--since"), given_moment(until, "--until")
    if start is not None and end is not None and start >= end:
        fail(SettingsError("--until is not after --since", place="--until", remedy="Name a later moment."), USAGE)
    for path, place in ((html, "--html"), (focus, "--focus")):
        if path is not None:
            try:
                new_file(path, place)
            except SettingsError as error:
                fail(error, USAGE)
    if html is not None and find_spec("matplotlib") is None:
        remedy = "Run: pip install 'qmosaic[plot]'."
        fail(SettingsError("matplotlib is not installed", place="--html", remedy=remedy), USAGE)
    settings = connected(broker)

    async def work() -> int:
        paid = await read_period(settings, start, end, tenant, names)
        _write(paid, html, focus)
        if as_json:
            emit(paid.findings)
        elif html is None and focus is None:
            out = console()
            for part in parts(paid.findings):
                out.print(part)
        return OK

    run(work())


def _names(text: str) -> list[By]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in BY:
            message = f"nothing is told apart by {quoted(name, 60)}"
            fail(SettingsError(message, place="--by", remedy=choose(name, BY)), USAGE)
    return [name for name in BY if name in names] or list(DEFAULT_BY)


def _write(paid: Paid, html: Path | None, focus: Path | None) -> None:
    for path, place in ((html, "--html"), (focus, "--focus")):
        if path is None:
            continue
        try:
            write_new(path, _page(paid.findings) if place == "--html" else focus_csv(paid.charges).encode())
        except OSError as error:
            fail(SettingsError(f"cannot write {error.filename}: {error.strerror}", place=place))
        say(f"wrote {path}")


def _page(found: Findings) -> bytes:
    from qmosaic.streams.cli.report_page import report_page

    return report_page(found)


# -- on a terminal -----------------------------------------------------------------------------------------------------


def parts(found: Findings) -> Iterator[RenderableType]:
    """The report for people, in 80 columns."""
    yield Text(headline(found), style="bold")
    for line in ends_lines(found):
        yield Text(line)
    if found.ends and found.ends[0].by:
        yield ""
        yield _endings(found)
    yield ""
    yield _table(found) if found.rows else Text("No backend has run anything.")
    if len(found.rows) > MOST_ROWS:
        yield Text(f"… and {len(found.rows) - MOST_ROWS} more: --json", style="dim")
    if found.rows:
        yield Text(
            "gain: over the paired baseline; worth: by the policy's weights; below them what\n"
            "holds the mean nine times in ten; each problem counts one, whatever its runs.\n"
            "Paid: all of it is above nothing, and above what classical backends were worth\n"
            "on the same, where they ran.",
            style="dim",
        )
    if found.calibration:
        yield ""
        yield _calibration(found)
    yield ""
    for line in money_lines(found):
        yield Text(line)


def ends_lines(found: Findings) -> list[str]:
    """How problems ended, and why they fell back."""
    said, lines = counted(found, ("status",)), list[str]()
    if found.problems:
        shares = ", ".join(f"{count:,} {key[0]} ({_share(count, found.problems)})" for key, count in said)
        lines.append(f"{found.problems:,} problems ended: {shares}")
        late = f"{found.late:,} after their deadline" if found.late else "none after its deadline"
        lines.append(f"{late}; {found.duplicates:,} sent twice")
    fell = [(key, count) for key, count in counted(found, ("status", "reason")) if key[0] != "accepted"]
    lines += [
        f"  {status} because {reason.replace('_', ' ')}: {count:,}" for (status, reason), count in fell[:MOST_REASONS]
    ]
    refused = [f"{shown(one.backend, 30)} {one.reason.replace('_', ' ')} {one.count:,}" for one in found.refused[:5]]
    return lines + ([f"jobs without a grant: {', '.join(refused)}"] if refused else [])


def _endings(found: Findings) -> Table:
    """By tenant or family, as asked: how many ended how, and what of them that were not accepted mostly said."""
    names = list(found.ends[0].by)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column(" · ".join(names), overflow="fold", min_width=12, max_width=30)
    for name in ("ended", *STATUSES):
        table.add_column(name, justify="right")
    table.add_column("why not accepted, mostly", overflow="fold")
    groups = by_group(found)
    for key, counts in groups[:MOST_ROWS]:
        sums = [sum(n for (status, _), n in counts.items() if status == name) for name in STATUSES]
        why = max((one for one in counts if one[0] != "accepted"), key=lambda one: counts[one], default=("", ""))[1]
        figures = (f"{n:,}" if n else "" for n in (sum(counts.values()), *sums))
        table.add_row(Text(" · ".join(key)), *figures, Text(why.replace("_", " ")))
    if len(groups) > MOST_ROWS:
        table.add_row(Text(f"… and {len(groups) - MOST_ROWS} more: --json", style="dim"))
    return table


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %"


def _table(found: Findings) -> Table:
    """Some lines a row: means, and what holds them."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("\n".join(found.by), overflow="fold", min_width=12, max_width=24)
    for name, width in (("problems\nruns\ncost", 8), ("gain\nin percent", 14), ("worth\nof a run, $", 16)):
        table.add_column(name, justify="right", min_width=width)
    table.add_column("verdict", min_width=12, no_wrap=True)
    for row in found.rows[:MOST_ROWS]:
        what = Text("\n").join(Text(shown(row.by[name], 60)) for name in found.by)
        figures = (
            f"{row.problems:,}\n{row.runs:,}\n{dollars_text(row.micros)}",
            gain_text(row.gain),
            worth_text(row.worth),
        )
        failed = row.runs - row.answered
        verdict = Text(VERDICTS[row.verdict], style=STYLES[row.verdict])
        verdict.append(f"\n{failed:,} failed" if failed else "", style="dim")
        table.add_row(what, *figures, verdict)
    return table


def gain_text(of: Interval | None) -> str:
    """In percent, with its interval."""
    return "" if of is None else f"{100 * of.mean:+.2f}\n{100 * of.low:+.2f} to {100 * of.high:+.2f}"


def worth_text(of: Interval | None) -> str:
    """In dollars, with its interval."""
    return "" if of is None else f"{of.mean:+.3g}\n{of.low:+.3g} to {of.high:+.3g}"


def _calibration(found: Findings) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("expected of", overflow="fold", max_width=24)
    for name in ("problems", "seconds ×", "cost ×", "gain", "fidelity"):
        table.add_column(name, justify="right")
    for one in found.calibration[:MOST_ROWS]:
        table.add_row(
            Text(shown(one.backend, 60)),
            f"{one.problems:,}",
            factor_text(one.seconds),
            factor_text(one.cost),
            percent(one.gain.mean) if one.gain is not None else "",
            f"{one.fidelity.mean:+.3f}" if one.fidelity is not None else "",
        )
    return table


def money_lines(found: Findings) -> list[str]:
    """What was booked, what finding out cost, and what was held for nothing."""
    kept, tried = found.reservations, found.exploration
    booked = sum(one.micros for one in found.booked)
    lines = [f"booked       {dollars(booked)}" + (" in the ledger" if found.booked else ": no job was charged for")]
    lines += [
        f"             {dollars(one.micros)} {shown(one.backend, 40)}, {jobs_text(one.jobs)}"
        for one in found.booked[:MOST_REASONS]
    ]
    lines.append(f"exploration  {tried.runs:,} runs to find out; {tried.jobs:,} paid for, {dollars(tried.micros)}")
    if kept.jobs:
        lines.append(
            f"reserved     {dollars(kept.reserved)} for {jobs_text(kept.jobs)}, {dollars(kept.spent)} of it spent; "
            f"{kept.unused:,} took nothing"
        )
        lines.append(f"             idle: {kept.idle_dollar_hours:.3g} dollar-hours held and not spent")
    if kept.pending:
        lines.append(f"held now     {dollars(kept.pending_micros)} for {jobs_text(kept.pending)} without an end")
    lines += [
        f"             {dollars(one.micros)} {shown(one.backend, 30)}, {one.state}, for {duration(one.seconds)}, "
        f"{duration(one.late)} past its deadline"
        for one in kept.held
        if one.late > 0
    ]
    return lines
